//! The [`Provider`] trait, which runs turns, and [`Run`], the output side of one turn.

use std::{
    future::Future,
    path::{Path, PathBuf},
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use bowline_daemon::ledger::{Ledger, Tx};
use bowline_protocol::{
    AgentId, ItemKind, PermissionId, RpcReason,
    error::RpcError,
    model::{OutputStream, TurnStatus},
};
use tokio::{sync::watch, time::sleep};

use super::{
    retention::Keeper,
    supervisor::RunPermit,
    timeline::{self, Tail},
};

/// First pause between two attempts to write to the store.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Bytes that an item takes of its turn's bound besides its text, if it is shorter than that.
const ITEM_COST: usize = 128;
/// Longest pause.
const LAST_PAUSE: Duration = Duration::from_millis(1_280);

/// Runs the turns of agents.
pub trait Provider: Send + Sync + 'static {
    /// Runs one turn to its end. It must watch [`Run::stopped`] and end soon after it.
    fn run(&self, turn: Turn, run: Run) -> Pin<Box<dyn Future<Output = TurnEnd> + Send>>;

    /// Checks that the provider accepts this prompt.
    ///
    /// # Errors
    /// `invalid_params` with the reason and what would be accepted.
    fn check(&self, _prompt: &str) -> Result<(), RpcError> {
        Ok(())
    }

    /// Checks that its agents may be started in this folder. It may access the file system: it is
    /// called on a thread of its own.
    ///
    /// # Errors
    /// `forbidden` with the folders that are allowed.
    fn check_folder(&self, _folder: &Path) -> Result<(), RpcError> {
        Ok(())
    }

    /// Answers a question of the agent.
    ///
    /// # Errors
    /// `not_found` without such a question.
    fn respond(
        &self,
        agent: &AgentId,
        permission: &PermissionId,
        _option: &str,
    ) -> Result<(), RpcError> {
        Err(RpcError::new(
            RpcReason::NotFound,
            format!("agent `{agent}` has no question `{permission}`"),
        ))
    }
}

/// One turn to run.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The agent of the turn.
    pub agent: AgentId,
    /// Unique name; it must be set as `BOWLINE_TURN` in the environment of the turn's processes.
    pub name: String,
    /// The prompt.
    pub prompt: String,
    /// The agent's working directory.
    pub cwd: PathBuf,
}

/// The end of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnEnd {
    /// Whether it completed, failed, or was cancelled or interrupted.
    pub status: TurnStatus,
    /// Exit status of the process, if it had one.
    pub exit_code: Option<i32>,
    /// What went wrong, for people; becomes an `error` item before the `turn_end`.
    pub error: Option<String>,
    /// Whether the turn could not run to its end; the agent becomes `failed`.
    pub broken: bool,
    /// Output missing from the timeline, for people: becomes the text of the `turn_end`.
    pub missing: Option<String>,
}

impl TurnEnd {
    /// An end with that status, and nothing to add.
    pub const fn of(status: TurnStatus) -> Self {
        Self {
            status,
            exit_code: None,
            error: None,
            broken: false,
            missing: None,
        }
    }

    /// A turn cancelled before it began.
    pub const fn cancelled() -> Self {
        Self::of(TurnStatus::Cancelled)
    }

    /// A turn whose program could not run.
    pub fn broken(error: impl Into<String>) -> Self {
        Self {
            error: Some(error.into()),
            broken: true,
            ..Self::of(TurnStatus::Failed)
        }
    }

    /// A turn that ended with its daemon.
    pub(super) fn interrupted(error: &str) -> Self {
        Self {
            status: TurnStatus::Interrupted,
            ..Self::broken(error)
        }
    }
}

/// Text shown where output was dropped, and at the end of the turn.
const OVER_THE_BOUND: &str = "The output of this turn is over its bound; the rest is not kept.";

/// Why a run must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A client cancelled the turn.
    Cancelled,
    /// The daemon shuts down.
    Shutdown,
}

/// The provider's interface to one running turn.
pub struct Run {
    pub(super) ledger: Ledger,
    pub(super) keeper: Arc<Keeper>,
    pub(super) agent: AgentId,
    pub(super) turn: i64,
    pub(super) tail: Option<Tail>,
    /// Bytes of output that may still be stored.
    pub(super) budget: usize,
    pub(super) truncated: bool,
    pub(super) cancel: watch::Receiver<i64>,
    pub(super) shutdown: watch::Receiver<bool>,
    pub(super) permit: RunPermit,
}

impl Run {
    /// Waits until the turn must end. Cancel-safe.
    pub async fn stopped(&mut self) -> Stop {
        let turn = self.turn;
        tokio::select! {
            _ = self.shutdown.wait_for(|stopping| *stopping) => Stop::Shutdown,
            _ = self.cancel.wait_for(|cancelled| *cancelled == turn) => Stop::Cancelled,
        }
    }

    /// Why the turn must end, if it must.
    pub fn stop(&self) -> Option<Stop> {
        if *self.shutdown.borrow() {
            Some(Stop::Shutdown)
        } else if *self.cancel.borrow() == self.turn {
            Some(Stop::Cancelled)
        } else {
            None
        }
    }

    /// Output missing from the timeline because the turn exceeded its bound.
    pub fn missing(&self) -> Option<String> {
        self.truncated.then(|| OVER_THE_BOUND.to_owned())
    }

    /// Appends text to the timeline; returns once it is durable, which throttles a fast program.
    /// Text over the turn's bound is dropped, which the timeline says once. While the store cannot
    /// write, this waits.
    ///
    /// # Errors
    /// Why the turn must end, if that came before the text was stored.
    pub async fn append(
        &mut self,
        kind: ItemKind,
        stream: Option<OutputStream>,
        text: &str,
    ) -> Result<(), Stop> {
        if text.is_empty() || self.truncated {
            return Ok(());
        }
        let kept = text
            .get(..text.floor_char_boundary(self.budget))
            .unwrap_or_default();
        self.budget -= kept.len();
        if !kept.is_empty() {
            self.store(kind, stream, kept).await?;
        }
        if kept.len() < text.len() {
            self.truncated = true;
            self.store(ItemKind::Error, None, OVER_THE_BOUND).await?;
        }
        Ok(())
    }

    async fn store(
        &mut self,
        kind: ItemKind,
        stream: Option<OutputStream>,
        text: &str,
    ) -> Result<(), Stop> {
        let (ledger, agent, tail) = (self.ledger.clone(), self.agent.clone(), self.tail.clone());
        let before = tail.as_ref().map(|tail| (tail.index(), tail.bytes()));
        let job = || {
            let (agent, tail, text) = (agent.clone(), tail.clone(), text.to_owned());
            move |tx: &mut Tx<'_>| timeline::append_text(tx, &agent, tail, kind, stream, &text)
        };
        self.tail = insist(&ledger, "output", job, self.stopped()).await?;
        self.keeper.grew(&agent);
        // What alternates between two streams begins many small items, which take space themselves.
        if let (Some((index, bytes)), Some(tail)) = (before, &self.tail)
            && tail.index() != index
        {
            let cost = ITEM_COST.saturating_sub(bytes);
            self.budget = self.budget.saturating_sub(cost);
        }
        Ok(())
    }
}

/// Runs the job until the store takes it, with growing pauses.
///
/// # Errors
/// The output of `stopped`, if it is ready after a failure and before a success. Nothing was stored
/// then.
pub(super) async fn insist<R, J, S>(
    ledger: &Ledger,
    what: &'static str,
    job: impl Fn() -> J,
    stopped: impl Future<Output = S>,
) -> Result<R, S>
where
    R: Send + 'static,
    J: FnOnce(&mut Tx<'_>) -> Result<R, RpcError> + Send + 'static,
{
    let mut stopped = pin!(stopped);
    let mut pause = FIRST_PAUSE;
    loop {
        match ledger.write(job()).await {
            Ok(result) => return Ok(result),
            Err(error) => tracing::warn!(%error, "{what} waits for the store"),
        }
        tokio::select! {
            biased;
            stop = &mut stopped => return Err(stop),
            () = sleep(pause) => pause = LAST_PAUSE.min(2 * pause),
        }
    }
}
