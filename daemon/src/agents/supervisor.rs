//! Turns from queued to ended: each is marked as started, durably, before its program is (exactly once);
//! one at a time for an agent, a bounded number at a time in all.

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bowline_program::watch::caught;
use bowline_protocol::{AgentStatus, ItemKind, error::RpcError, model::TurnStatus};
use tokio::{runtime::Handle, sync::watch, time::timeout};

use super::{
    leftovers::{self, Daemons},
    provider::{Pause, Provider, Run, Turn, TurnEnd},
    timeline,
};
use crate::{
    ledger::{Ledger, Tx},
    store::{self, agents::AgentRow, fault, turns::TurnRow},
};

/// How long a shutdown waits for the runs to be recorded.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Turns that may hang on their way into a folder or a program without counting among those that run.
const SET_ASIDE: usize = 96;

/// Starts and ends turns.
pub(super) struct Supervisor {
    ledger: Ledger,
    providers: HashMap<String, Arc<dyn Provider>>,
    max_runs: usize,
    max_output_bytes: usize,
    runtime: Handle,
    shutdown: watch::Sender<bool>,
    /// Sent to whenever a run has ended.
    ended: watch::Sender<()>,
    state: Mutex<State>,
    this: Weak<Self>,
}

#[derive(Default)]
struct State {
    /// By agent number.
    runs: HashMap<i64, RunState>,
    /// Agents that wait because `max_runs` run.
    waiting: VecDeque<i64>,
}

struct RunState {
    /// The turn to cancel; zero for none.
    cancel: watch::Sender<i64>,
    /// Whether turns may have been queued since the run last looked.
    again: bool,
    /// Whether its turn hangs before its program runs, and so counts for nothing.
    aside: bool,
}

impl State {
    /// Whether another turn may run.
    fn has_place(&self, max_runs: usize) -> bool {
        let aside = self.runs.values().filter(|run| run.aside).count();
        self.runs.len().saturating_sub(aside.min(SET_ASIDE)) < max_runs
    }
}

/// A run's place among those that run at once.
#[derive(Clone)]
pub(super) struct Place {
    supervisor: Weak<Supervisor>,
    agent: i64,
}

impl Place {
    /// The turn hangs before its program runs: another one may run meanwhile.
    pub(super) fn leave(&self) {
        self.set_aside(true);
    }

    /// The turn runs after all, if need be as one more than usual.
    pub(super) fn take(&self) {
        self.set_aside(false);
    }

    fn set_aside(&self, aside: bool) {
        if let Some(supervisor) = self.supervisor.upgrade() {
            let mut state = supervisor.lock();
            if let Some(run) = state.runs.get_mut(&self.agent) {
                run.aside = aside;
            }
            supervisor.fill(&mut state);
        }
    }
}

impl Supervisor {
    pub(super) fn new(
        ledger: Ledger,
        providers: HashMap<String, Arc<dyn Provider>>,
        max_runs: usize,
        max_output_bytes: usize,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            ledger,
            providers,
            max_runs: max_runs.max(1),
            max_output_bytes,
            runtime: Handle::current(),
            shutdown: watch::Sender::new(false),
            ended: watch::Sender::new(()),
            state: Mutex::default(),
            this: this.clone(),
        })
    }

    /// Whether agents of that provider can run.
    pub(super) fn provider(&self, name: &str) -> Option<&Arc<dyn Provider>> {
        self.providers.get(name)
    }

    /// Cleans up after a daemon that was killed, then starts what is queued.
    pub(super) async fn recover(&self) -> Result<(), RpcError> {
        let turns = self
            .ledger
            .read(|reader| store::turns::all(reader.conn()).map_err(fault))
            .await?;
        let interrupted: Vec<String> = turns
            .iter()
            .filter(|turn| turn.started)
            .map(|turn| turn.name.clone())
            .collect();
        if !interrupted.is_empty() {
            // Reads all of /proc, and only after a crash.
            let outcome = leftovers::end(interrupted, Daemons::Spare).await;
            tracing::info!(?outcome, "ended what interrupted turns left running");
            self.ledger.write(mark_interrupted).await?;
        }
        let mut agents: Vec<i64> = turns
            .into_iter()
            .filter(|turn| !turn.started)
            .map(|turn| turn.agent)
            .collect();
        agents.sort_unstable();
        agents.dedup();
        for agent in agents {
            self.kick(agent);
        }
        Ok(())
    }

    /// Turns of an agent may be waiting. Callable from any thread.
    pub(super) fn kick(&self, agent: i64) {
        let mut state = self.lock();
        if *self.shutdown.borrow() {
            return;
        }
        if let Some(run) = state.runs.get_mut(&agent) {
            run.again = true;
        } else if !state.has_place(self.max_runs) {
            if !state.waiting.contains(&agent) {
                state.waiting.push_back(agent);
                self.runtime.spawn(tell_queued(self.ledger.clone(), agent));
            }
        } else {
            self.begin(&mut state, agent);
        }
    }

    fn begin(&self, state: &mut State, agent: i64) {
        let Some(this) = self.this.upgrade() else {
            return;
        };
        let cancel = watch::Sender::new(0);
        let watching = cancel.subscribe();
        state.runs.insert(
            agent,
            RunState {
                cancel,
                again: false,
                aside: false,
            },
        );
        self.runtime.spawn(async move {
            let serving = caught(Arc::clone(&this).serve(agent, watching));
            if let Err(panic) = serving.await {
                tracing::error!(
                    agent,
                    "a defect ended an agent's turn; please report it: {panic}"
                );
                this.give_up(agent);
            }
        });
    }

    /// Begins what waits, as far as there are places.
    fn fill(&self, state: &mut State) {
        while state.has_place(self.max_runs)
            && let Some(next) = state.waiting.pop_front()
        {
            self.begin(state, next);
        }
    }

    /// Lets go of an agent whose task died, so that its next prompt begins another. What was running is marked interrupted by the
    /// next start of the daemon.
    fn give_up(&self, agent: i64) {
        let mut state = self.lock();
        state.runs.remove(&agent);
        self.fill(&mut state);
        drop(state);
        self.ended.send_replace(());
    }

    /// Ends a turn that has started. Callable from any thread.
    pub(super) fn cancel(&self, agent: i64, turn: i64) {
        if let Some(run) = self.lock().runs.get(&agent) {
            run.cancel.send_replace(turn);
        }
    }

    /// Ends every run and waits until all are recorded, or for a few seconds.
    pub(super) async fn stop(&self) {
        {
            // Under the lock, so that no run begins after this.
            let mut state = self.lock();
            self.shutdown.send_replace(true);
            state.waiting.clear();
        }
        let mut ended = self.ended.subscribe();
        let all_ended = async {
            while !self.lock().runs.is_empty() {
                if ended.changed().await.is_err() {
                    break;
                }
            }
        };
        if timeout(SHUTDOWN, all_ended).await.is_err() {
            tracing::warn!(
                "some turns could not be recorded; the next start marks them interrupted"
            );
        }
    }

    /// Runs an agent's turns, one after the other, until none is left.
    async fn serve(self: Arc<Self>, agent: i64, cancel: watch::Receiver<i64>) {
        loop {
            while let Some((turn, row)) = self.claim(agent).await {
                let id = turn.id;
                let end = self.run(turn, row, cancel.clone()).await;
                self.record(agent, id, end).await;
            }
            let mut state = self.lock();
            match state.runs.get_mut(&agent) {
                Some(run) if run.again && !*self.shutdown.borrow() => run.again = false,
                _ => {
                    state.runs.remove(&agent);
                    self.fill(&mut state);
                    break;
                }
            }
        }
        self.ended.send_replace(());
    }

    /// Marks the agent's next turn as started, in a commit of its own.
    async fn claim(&self, agent: i64) -> Option<(TurnRow, AgentRow)> {
        let mut pause = Pause::default();
        loop {
            if *self.shutdown.borrow() {
                return None;
            }
            match self.ledger.write(move |tx| claim(tx, agent)).await {
                Ok(claimed) => return claimed,
                Err(error) => {
                    tracing::warn!(%error, "a turn waits for the store");
                    self.pause(&mut pause).await;
                }
            }
        }
    }

    async fn run(&self, turn: TurnRow, row: AgentRow, cancel: watch::Receiver<i64>) -> TurnEnd {
        let Some(provider) = self.provider(&row.summary.provider) else {
            return TurnEnd::broken(format!(
                "The provider `{}` is not configured any more.",
                row.summary.provider
            ));
        };
        let place = Place {
            supervisor: self.this.clone(),
            agent: row.n,
        };
        // The turn before this one may have hung.
        place.take();
        let run = Run {
            place,
            ledger: self.ledger.clone(),
            agent: row.n,
            turn: turn.id,
            tail: None,
            budget: self.max_output_bytes,
            truncated: false,
            cancel,
            shutdown: self.shutdown.subscribe(),
        };
        let turn = Turn {
            agent: row.summary.id,
            name: turn.name,
            prompt: turn.prompt,
            cwd: PathBuf::from(row.summary.cwd),
        };
        provider.run(turn, run).await
    }

    /// Records the end of a turn, however long the store takes: until then the agent runs no other.
    async fn record(&self, agent: i64, turn: i64, end: TurnEnd) {
        let mut pause = Pause::default();
        loop {
            let end = end.clone();
            match self
                .ledger
                .write(move |tx| record(tx, agent, turn, &end))
                .await
            {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(%error, "the end of a turn waits for the store");
                    pause.wait().await;
                }
            }
        }
    }

    async fn pause(&self, pause: &mut Pause) {
        let mut shutdown = self.shutdown.subscribe();
        tokio::select! {
            () = pause.wait() => {}
            _ = shutdown.wait_for(|stopping| *stopping) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says in the agent's row that its turn waits for a place among those that run.
async fn tell_queued(ledger: Ledger, agent: i64) {
    let told = ledger.write(move |tx| {
        let mut row = timeline::numbered(tx.conn(), agent)?;
        // Otherwise it has its place by now.
        if row.summary.status == AgentStatus::Starting {
            timeline::set_standing(tx, &mut row, AgentStatus::Starting, Some("queued"))?;
        }
        Ok(())
    });
    if let Err(error) = told.await {
        tracing::warn!(%error, "nobody is told that a turn waits for a place");
    }
}

fn claim(tx: &mut Tx<'_>, agent: i64) -> Result<Option<(TurnRow, AgentRow)>, RpcError> {
    let Some(mut turn) = store::turns::first(tx.conn(), agent).map_err(fault)? else {
        return Ok(None);
    };
    if turn.started {
        // Only the one run of this agent starts turns, and it ends each before the next.
        return Err(RpcError::internal("a turn would have run twice"));
    }
    store::turns::start(tx.conn(), turn.id).map_err(fault)?;
    turn.started = true;
    let mut row = timeline::numbered(tx.conn(), agent)?;
    timeline::set_standing(tx, &mut row, AgentStatus::Running, None)?;
    Ok(Some((turn, row)))
}

fn record(tx: &mut Tx<'_>, agent: i64, turn: i64, end: &TurnEnd) -> Result<(), RpcError> {
    let mut row = timeline::numbered(tx.conn(), agent)?;
    if let Some(error) = &end.error {
        timeline::append(tx, &mut row, ItemKind::Error, |item| {
            item.text.clone_from(error);
        })?;
    }
    timeline::end_turn(tx, &mut row, turn, end)?;
    settle(tx, &mut row, end.status, end.broken)
}

/// The agent's standing after a turn has ended.
pub(super) fn settle(
    tx: &mut Tx<'_>,
    row: &mut AgentRow,
    last: TurnStatus,
    broken: bool,
) -> Result<(), RpcError> {
    if row.summary.status == AgentStatus::Archived {
        return Ok(());
    }
    if store::turns::count(tx.conn(), row.n).map_err(fault)? > 0 {
        return timeline::set_standing(tx, row, AgentStatus::Starting, None);
    }
    let attention = match last {
        TurnStatus::Completed => Some("finished"),
        TurnStatus::Failed | TurnStatus::Interrupted => Some("failed"),
        TurnStatus::Cancelled => None,
    };
    let status = if broken {
        AgentStatus::Failed
    } else {
        AgentStatus::Idle
    };
    timeline::set_standing(tx, row, status, attention)
}

fn mark_interrupted(tx: &mut Tx<'_>) -> Result<(), RpcError> {
    let end = TurnEnd {
        status: TurnStatus::Interrupted,
        exit_code: None,
        error: Some("The daemon went away while this turn ran.".to_owned()),
        broken: true,
        missing: None,
    };
    for turn in store::turns::all(tx.conn()).map_err(fault)? {
        if turn.started {
            record(tx, turn.agent, turn.id, &end)?;
        }
    }
    Ok(())
}
