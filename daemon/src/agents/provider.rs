//! What runs a turn: the [`Provider`] trait and the [`Run`] a provider writes its output to.

use std::{future::Future, path::PathBuf, pin::Pin, time::Duration};

use bowline_protocol::{
    AgentId, ItemKind, PermissionId, RpcReason,
    error::RpcError,
    model::{OutputStream, TurnStatus},
};
use tokio::{sync::watch, time::sleep};

use super::{
    supervisor::Place,
    timeline::{self, Tail},
};
use crate::ledger::Ledger;

/// Runs the turns of agents.
pub trait Provider: Send + Sync + 'static {
    /// Runs one turn to its end. Has to watch [`Run::stopped`] and end soon after it.
    fn run(&self, turn: Turn, run: Run) -> Pin<Box<dyn Future<Output = TurnEnd> + Send>>;

    /// Whether it can be given that prompt.
    ///
    /// # Errors
    /// `invalid_params`, with what would do.
    fn check(&self, _prompt: &str) -> Result<(), RpcError> {
        Ok(())
    }

    /// Answers a question the agent has asked.
    ///
    /// # Errors
    /// `not_found` if there is no such question.
    fn respond(
        &self,
        agent: &AgentId,
        permission: &PermissionId,
        _option: &str,
    ) -> Result<(), RpcError> {
        Err(RpcError::new(
            RpcReason::NotFound,
            format!("agent `{agent}` asks nothing under `{permission}`"),
        ))
    }
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Whose turn.
    pub agent: AgentId,
    /// Unique name; to be in the environment of the turn's processes as `BOWLINE_TURN`.
    pub name: String,
    /// What the user said.
    pub prompt: String,
    /// The agent's working directory.
    pub cwd: PathBuf,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnEnd {
    /// Well or not.
    pub status: TurnStatus,
    /// Exit status of the process, if it had one.
    pub exit_code: Option<i32>,
    /// What went wrong, for people; becomes an `error` item before the `turn_end`.
    pub error: Option<String>,
    /// Whether the turn could not run to its end, which makes the agent `failed`.
    pub broken: bool,
    /// What is missing from the timeline, for people: becomes the text of the `turn_end`.
    pub missing: Option<String>,
}

impl TurnEnd {
    /// It was cancelled before it began.
    pub fn cancelled() -> Self {
        Self {
            status: TurnStatus::Cancelled,
            exit_code: None,
            error: None,
            broken: false,
            missing: None,
        }
    }

    /// The program could not be run.
    pub fn broken(error: impl Into<String>) -> Self {
        Self {
            status: TurnStatus::Failed,
            exit_code: None,
            error: Some(error.into()),
            broken: true,
            missing: None,
        }
    }
}

/// Output that is dropped is said so where it is dropped, and where the turn ends.
const OVER_THE_BOUND: &str = "The output of this turn is over its bound; the rest is not kept.";

/// Why a run has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Its user cancelled the turn.
    Cancelled,
    /// The daemon is going away.
    Shutdown,
}

/// The provider's side of one running turn.
pub struct Run {
    pub(super) ledger: Ledger,
    pub(super) agent: i64,
    pub(super) turn: i64,
    pub(super) tail: Option<Tail>,
    /// Bytes of text that may still be stored.
    pub(super) budget: usize,
    pub(super) truncated: bool,
    pub(super) cancel: watch::Receiver<i64>,
    pub(super) shutdown: watch::Receiver<bool>,
    pub(super) place: Place,
}

impl Run {
    /// Waits until the turn has to end. Cancel-safe.
    pub async fn stopped(&mut self) -> Stop {
        let turn = self.turn;
        tokio::select! {
            _ = self.shutdown.wait_for(|stopping| *stopping) => Stop::Shutdown,
            _ = self.cancel.wait_for(|cancelled| *cancelled == turn) => Stop::Cancelled,
        }
    }

    /// Whether it has to end already.
    pub fn stop(&self) -> Option<Stop> {
        if *self.shutdown.borrow() {
            Some(Stop::Shutdown)
        } else if *self.cancel.borrow() == self.turn {
            Some(Stop::Cancelled)
        } else {
            None
        }
    }

    /// What is missing from the timeline because it was over the turn's bound.
    pub fn missing(&self) -> Option<String> {
        self.truncated.then(|| OVER_THE_BOUND.to_owned())
    }

    /// Appends text to the timeline; returns once it is durable, which is what holds a fast program back.
    /// Text over the turn's bound is dropped, and the timeline says so once. While the store cannot write,
    /// this waits for it.
    ///
    /// # Errors
    /// Why the turn has to end, if that came before the text was stored.
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
        let agent = self.agent;
        let mut pause = Pause::default();
        loop {
            let (tail, text) = (self.tail.clone(), text.to_owned());
            let job = self
                .ledger
                .write(move |tx| timeline::append_text(tx, agent, tail, kind, stream, &text));
            match job.await {
                Ok(tail) => {
                    self.tail = tail;
                    return Ok(());
                }
                Err(error) => {
                    tracing::warn!(%error, "output waits for the store");
                    // Nothing was stored: the same again, unless the turn has to end.
                    if let Some(stop) = self.stop() {
                        return Err(stop);
                    }
                    tokio::select! {
                        () = pause.wait() => {}
                        stop = self.stopped() => return Err(stop),
                    }
                }
            }
        }
    }
}

/// Growing pauses between attempts at the store.
#[derive(Debug, Default)]
pub(super) struct Pause(u32);

impl Pause {
    pub(super) async fn wait(&mut self) {
        let pause = Duration::from_millis(20 << self.0.min(6));
        self.0 = self.0.saturating_add(1);
        sleep(pause).await;
    }
}
