//! Runs turns from queued to ended. A turn is durably marked as started before its program starts
//! (exactly once). An agent runs one turn at a time; all agents together run a bounded number.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bowline_program::watch::{caught, kept};
use bowline_protocol::{
    AgentStatus, ItemKind, PublicKey,
    error::RpcError,
    model::{TurnStatus, UnixMillis},
};
use tokio::{runtime::Handle, sync::watch, time::timeout};

use super::{
    grants,
    leftovers::{self, Daemons},
    provider::{Provider, Run, Turn, TurnEnd, insist},
    timeline,
};
use crate::{
    blocking::Blocking,
    ledger::{Ledger, Tx},
    store::{self, agents::AgentRow, fault, turns::TurnRow},
};

/// Time a shutdown waits for the ends of runs to be recorded.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Turns blocked on entering a folder or starting a program that do not count as running.
const SET_ASIDE: usize = 96;

/// Most providers that an error names.
const NAMED: usize = 16;

/// Waiting turns of a revoked device that are ended in one transaction.
const ENDED_AT_ONCE: usize = 256;
/// Time before the turns are read again after the store could not.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// Starts and ends turns.
pub(super) struct Supervisor {
    ledger: Ledger,
    providers: HashMap<String, Arc<dyn Provider>>,
    max_runs: usize,
    max_output_bytes: usize,
    folders: Blocking,
    runtime: Handle,
    shutdown: watch::Sender<bool>,
    /// Notified whenever a run has ended.
    ended: watch::Sender<()>,
    state: Mutex<State>,
    this: Weak<Self>,
}

#[derive(Default)]
struct State {
    /// By agent number.
    runs: HashMap<i64, RunState>,
    /// Agents that wait because `max_runs` turns run, or as many of a device as may.
    waiting: VecDeque<Waiting>,
    next_ticket: u64,
}

struct Waiting {
    agent: i64,
    /// Its place in the order of those that wait.
    ticket: u64,
    /// Who has to have room first; unknown until the agent's next turn was looked at.
    for_whom: Option<Asker>,
}

/// Who asked for a turn: a device, or the owner on the local socket.
type Asker = Option<PublicKey>;

struct RunState {
    /// The turn to cancel; zero for none.
    cancel: watch::Sender<i64>,
    /// Whether turns may have been queued since the run last checked.
    again: bool,
    /// Whether its turn blocks before its program runs, and therefore does not count as running.
    aside: bool,
    /// Whose turn it runs; unknown until that has a place.
    asker: Option<Asker>,
    /// Its place in the order if its turn has to wait.
    ticket: u64,
}

impl State {
    fn ticket(&mut self) -> u64 {
        self.next_ticket = self.next_ticket.saturating_add(1);
        self.next_ticket
    }

    /// Whether another turn may start.
    fn has_capacity(&self, max_runs: usize) -> bool {
        let aside = self.runs.values().filter(|run| run.aside).count();
        self.runs.len().saturating_sub(aside.min(SET_ASIDE)) < max_runs
    }

    /// Whether another turn of a device may run beside those of other agents: one device holds at
    /// most three quarters of the places, so that the others find some (TR-12).
    fn has_place(&self, agent: i64, asker: &Asker, max_runs: usize) -> bool {
        let runs = self.runs.iter();
        let held = runs.filter(|(other, run)| {
            **other != agent && !run.aside && run.asker.as_ref() == Some(asker)
        });
        held.count()
            < (max_runs - max_runs / 4)
                .min(max_runs.saturating_sub(1))
                .max(1)
    }
}

/// A turn to run.
struct Claimed {
    turn: TurnRow,
    row: AgentRow,
    /// The only folders that its device may use.
    roots: Option<Vec<String>>,
}

/// What an agent's run does next.
enum Next {
    Turn(Box<Claimed>),
    /// Its turn waits until that one has room.
    Waits(Asker),
    Nothing,
}

/// A run's share of the limit of running turns.
#[derive(Clone)]
pub(super) struct RunPermit {
    supervisor: Weak<Supervisor>,
    agent: i64,
}

impl RunPermit {
    /// Stops counting the turn, which blocks before its program runs: another turn may start.
    pub(super) fn suspend(&self) {
        self.set_aside(true);
    }

    /// Counts the turn again, even if that exceeds the limit.
    pub(super) fn resume(&self) {
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
        folders: Blocking,
    ) -> Arc<Self> {
        let lock = ledger.lock_changes();
        let supervisor = Arc::new_cyclic(|this: &Weak<Self>| Self {
            ledger,
            providers,
            max_runs: max_runs.max(1),
            max_output_bytes,
            folders,
            runtime: Handle::current(),
            shutdown: watch::Sender::new(false),
            ended: watch::Sender::new(()),
            state: Mutex::default(),
            this: this.clone(),
        });
        let follow = Self::follow_lock(Arc::downgrade(&supervisor), lock);
        supervisor.runtime.spawn(follow);
        supervisor
    }

    /// The provider with that name, if it is configured.
    pub(super) fn provider(&self, name: &str) -> Option<&Arc<dyn Provider>> {
        self.providers.get(name)
    }

    /// The error text for a provider that is not configured; it names the configured ones.
    pub(super) fn no_provider(&self, name: &str) -> String {
        let mut names: Vec<String> = self
            .providers
            .keys()
            .map(|name| format!("`{name}`"))
            .collect();
        names.sort_unstable();
        let more = names.len().saturating_sub(NAMED);
        names.truncate(NAMED);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let shell = if name == "shell" {
            ", and the built-in `shell` exists only while no other is (a provider of that name can be configured)"
        } else {
            ""
        };
        format!(
            "no provider `{name}`; configured: {}{more}{shell}",
            names.join(", ")
        )
    }

    /// Cleans up after a killed daemon, then starts queued turns.
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
            // Scans all of /proc, only after a crash.
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

    /// Starts an agent's waiting turns. Callable from any thread.
    pub(super) fn kick(&self, agent: i64) {
        let mut state = self.lock();
        if *self.shutdown.borrow() {
            return;
        }
        if let Some(run) = state.runs.get_mut(&agent) {
            run.again = true;
        } else if let Some(waiting) = state.waiting.iter_mut().find(|it| it.agent == agent) {
            // Its next turn may be another one than before.
            waiting.for_whom = None;
            self.fill(&mut state);
        } else if !state.has_capacity(self.max_runs) {
            let ticket = state.ticket();
            self.wait(&mut state, agent, ticket, None);
        } else {
            let ticket = state.ticket();
            self.begin(&mut state, agent, ticket, None);
        }
    }

    fn begin(&self, state: &mut State, agent: i64, ticket: u64, asker: Option<Asker>) {
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
                asker,
                ticket,
            },
        );
        self.runtime.spawn(kept("agent", move || {
            Arc::clone(&this).serve(agent, watching.clone())
        }));
    }

    fn wait(&self, state: &mut State, agent: i64, ticket: u64, for_whom: Option<Asker>) {
        let at = state.waiting.partition_point(|it| it.ticket < ticket);
        let waiting = Waiting {
            agent,
            ticket,
            for_whom,
        };
        state.waiting.insert(at, waiting);
        self.runtime.spawn(tell_queued(self.ledger.clone(), agent));
    }

    /// Starts waiting agents up to the limits, in the order they came.
    fn fill(&self, state: &mut State) {
        while state.has_capacity(self.max_runs) {
            let next = state.waiting.iter().position(|waiting| {
                let asker = waiting.for_whom.as_ref();
                asker.is_none_or(|asker| state.has_place(waiting.agent, asker, self.max_runs))
            });
            let Some(next) = next.and_then(|next| state.waiting.remove(next)) else {
                return;
            };
            // The place is its own from now on.
            self.begin(state, next.agent, next.ticket, next.for_whom);
        }
    }

    /// Gives the agent's run a place for a turn of that device, if it may have one more.
    fn take_place(&self, agent: i64, asker: &Asker) -> bool {
        let mut state = self.lock();
        let has_place = state.has_place(agent, asker, self.max_runs);
        // Its next turn waits behind those that wait by then.
        let next = if has_place {
            Some(state.ticket())
        } else {
            None
        };
        if let Some(run) = state.runs.get_mut(&agent) {
            run.asker = has_place.then_some(*asker);
            run.ticket = next.unwrap_or(run.ticket);
        }
        // The run may have been another device's before.
        self.fill(&mut state);
        has_place
    }

    /// Ends a started turn. Callable from any thread.
    pub(super) fn cancel(&self, agent: i64, turn: i64) {
        if let Some(run) = self.lock().runs.get(&agent) {
            run.cancel.send_replace(turn);
        }
    }

    /// Ends every run and waits until all are recorded, at most [`SHUTDOWN`].
    pub(super) async fn stop(&self) {
        {
            // Under the lock, so that no run begins after it.
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

    /// Ends the turns that a device asked for; returns how many. Waiting ones do not begin in any
    /// case: [`claim`] looks at their device.
    pub(super) async fn end_turns_of(&self, device: PublicKey) -> Result<u64, RpcError> {
        let turns = self
            .ledger
            .read(move |reader| store::turns::of_device(reader.conn(), &device).map_err(fault))
            .await?;
        for turn in turns.iter().filter(|turn| turn.started) {
            self.cancel(turn.agent, turn.id);
        }
        for some in turns.chunks(ENDED_AT_ONCE) {
            let some = some.to_vec();
            self.ledger
                .write(move |tx| {
                    some.iter()
                        .filter(|turn| !turn.started)
                        .try_for_each(|turn| drop_turn(tx, turn))
                })
                .await?;
        }
        // Turns of others may have waited behind them.
        for turn in turns.iter().filter(|turn| !turn.started) {
            self.kick(turn.agent);
        }
        Ok(u64::try_from(turns.len()).unwrap_or(u64::MAX))
    }

    /// Ends running turns when the owner locks the daemon, and starts waiting ones when it is
    /// unlocked (TR-15).
    async fn follow_lock(this: Weak<Self>, mut lock: watch::Receiver<Option<UnixMillis>>) {
        while lock.changed().await.is_ok() {
            let Some(this) = this.upgrade() else {
                return;
            };
            let is_locked = lock.borrow_and_update().is_some();
            let turns = loop {
                let turns = this
                    .ledger
                    .read(|reader| store::turns::all(reader.conn()).map_err(fault));
                match turns.await {
                    Ok(turns) => break turns,
                    Err(error) => {
                        tracing::warn!(%error, "the turns could not be read after a change of the lock");
                        tokio::time::sleep(READ_AGAIN).await;
                    }
                }
                if lock.has_changed().unwrap_or(true) {
                    break Vec::new();
                }
            };
            for turn in turns {
                match (is_locked, turn.started) {
                    (true, true) => this.cancel(turn.agent, turn.id),
                    (false, false) => this.kick(turn.agent),
                    (true, false) | (false, true) => {}
                }
            }
        }
    }

    /// Runs an agent's turns one after the other until none is left, or the next one has to wait.
    async fn serve(self: Arc<Self>, agent: i64, cancel: watch::Receiver<i64>) {
        loop {
            let waits_for = loop {
                let Claimed { turn, row, roots } = match self.claim(agent).await {
                    Next::Turn(claimed) => *claimed,
                    Next::Waits(asker) => break Some(asker),
                    Next::Nothing => break None,
                };
                let (id, name) = (turn.id, turn.name.clone());
                let end = if turn.started {
                    // The task panicked after it started this turn, and was restarted.
                    broken_by_defect(name).await
                } else {
                    match caught(self.run(turn, row, roots, cancel.clone())).await {
                        Ok(end) => end,
                        Err(panic) => {
                            tracing::error!(
                                agent,
                                "a defect ended an agent's turn; please report it: {panic}"
                            );
                            broken_by_defect(name).await
                        }
                    }
                };
                self.record(agent, id, end).await;
            };
            let mut state = self.lock();
            match state.runs.get_mut(&agent) {
                Some(run) if run.again && !*self.shutdown.borrow() => run.again = false,
                _ => {
                    let ended = state.runs.remove(&agent);
                    if waits_for.is_some() && !*self.shutdown.borrow() {
                        let ticket = ended.map_or(0, |run| run.ticket);
                        self.wait(&mut state, agent, ticket, waits_for);
                    }
                    self.fill(&mut state);
                    break;
                }
            }
        }
        self.ended.send_replace(());
    }

    /// Marks the agent's next turn as started, in a commit of its own. Returns the turn as it was
    /// before: a turn already marked as started must not run again.
    async fn claim(&self, agent: i64) -> Next {
        if *self.shutdown.borrow() {
            return Next::Nothing;
        }
        let mut shutdown = self.shutdown.subscribe();
        let job = || {
            let this = self.this.clone();
            let has_place = move |asker: &Asker| {
                let this = this.upgrade();
                this.is_some_and(|this| this.take_place(agent, asker))
            };
            move |tx: &mut Tx<'_>| claim(tx, agent, has_place)
        };
        let stopped = shutdown.wait_for(|stopping| *stopping);
        let claimed = insist(&self.ledger, "a turn", job, stopped).await;
        claimed.unwrap_or(Next::Nothing)
    }

    async fn run(
        &self,
        turn: TurnRow,
        row: AgentRow,
        roots: Option<Vec<String>>,
        cancel: watch::Receiver<i64>,
    ) -> TurnEnd {
        if let Some(roots) = roots
            && let Err(why) = self.check_roots(row.summary.cwd.clone(), roots).await
        {
            return TurnEnd::broken(why);
        }
        let Some(provider) = self.provider(&row.summary.provider) else {
            let text = self.no_provider(&row.summary.provider);
            return TurnEnd::broken(format!("The provider is no longer configured: {text}."));
        };
        let permit = RunPermit {
            supervisor: self.this.clone(),
            agent: row.n,
        };
        // The previous turn may have been set aside.
        permit.resume();
        let run = Run {
            permit,
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

    /// Checks again that the agent's folder is one that the turn's device may use: links may have
    /// changed (TR-4).
    async fn check_roots(&self, cwd: String, roots: Vec<String>) -> Result<(), String> {
        let checked = self.folders.run(move || grants::within(&cwd, &roots)).await;
        match checked {
            Ok(verdict) => verdict.map(drop).map_err(|error| error.message),
            Err(error) => Err(format!(
                "The agent's folder could not be checked against what the device may use: {error}."
            )),
        }
    }

    /// Records the end of a turn and retries until the store takes it; the agent runs no other turn
    /// before.
    async fn record(&self, agent: i64, turn: i64, end: TurnEnd) {
        let job = || {
            let end = end.clone();
            move |tx: &mut Tx<'_>| record(tx, agent, turn, &end)
        };
        let never = std::future::pending::<Infallible>();
        let Ok(()) = insist(&self.ledger, "the end of a turn", job, never).await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code under this lock can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records in the agent's row that its turn waits for the limit of running turns.
async fn tell_queued(ledger: Ledger, agent: i64) {
    let told = ledger.write(move |tx| {
        let mut row = timeline::numbered(tx.conn(), agent)?;
        // Otherwise the turn has started by now.
        if row.summary.status == AgentStatus::Starting {
            timeline::set_standing(tx, &mut row, AgentStatus::Starting, Some("queued"))?;
        }
        Ok(())
    });
    if let Err(error) = told.await {
        tracing::warn!(%error, "cannot record that a turn waits");
    }
}

/// Ends a turn that has not begun. One that has begun or ended meanwhile is left as it is.
fn drop_turn(tx: &mut Tx<'_>, turn: &TurnRow) -> Result<(), RpcError> {
    let of_agent = store::turns::of_agent(tx.conn(), turn.agent).map_err(fault)?;
    if !of_agent.iter().any(|now| now.id == turn.id && !now.started) {
        return Ok(());
    }
    let mut row = timeline::numbered(tx.conn(), turn.agent)?;
    timeline::end_turn(tx, &mut row, turn.id, &TurnEnd::cancelled())?;
    settle(tx, &mut row, TurnStatus::Cancelled, false)
}

fn claim(
    tx: &mut Tx<'_>,
    agent: i64,
    has_place: impl FnOnce(&Asker) -> bool,
) -> Result<Next, RpcError> {
    if tx.is_locked() {
        return Ok(Next::Nothing);
    }
    let provider = timeline::numbered(tx.conn(), agent)?.summary.provider;
    let turn = loop {
        let Some(turn) = store::turns::first(tx.conn(), agent).map_err(fault)? else {
            return Ok(Next::Nothing);
        };
        let standing = match &turn.device {
            Some(device) => store::devices::standing(tx.conn(), device).map_err(fault)?,
            None => None,
        };
        let is_void = turn.device.is_some_and(|device| {
            standing.as_ref().is_none_or(|standing| {
                tx.is_revoked(&device, standing)
                    || standing.is_expired(tx.now(), tx.lived())
                    || !grants::may_prompt(&standing.grant, &provider)
            })
        });
        if turn.started || !is_void {
            break (turn, standing.and_then(|it| it.grant.roots));
        }
        drop_turn(tx, &turn)?;
    };
    let (turn, roots) = turn;
    let mut row = timeline::numbered(tx.conn(), agent)?;
    if !turn.started {
        if !has_place(&turn.device) {
            return Ok(Next::Waits(turn.device));
        }
        store::turns::start(tx.conn(), turn.id).map_err(fault)?;
        timeline::set_standing(tx, &mut row, AgentStatus::Running, None)?;
    }
    Ok(Next::Turn(Box::new(Claimed { turn, row, roots })))
}

/// Ends the processes of a turn whose task panicked, and returns the end of the turn.
async fn broken_by_defect(name: String) -> TurnEnd {
    leftovers::end(vec![name], Daemons::End).await;
    TurnEnd::broken(
        "A defect of the daemon ended this turn; please report it with the daemon's log. The agent takes further prompts.",
    )
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

/// The agent's status after a turn has ended.
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
    let end = TurnEnd::interrupted("The daemon ended unexpectedly while this turn ran.");
    for turn in store::turns::all(tx.conn()).map_err(fault)? {
        if turn.started {
            record(tx, turn.agent, turn.id, &end)?;
        }
    }
    Ok(())
}
