//! Runs turns from queued to ended. A turn is durably marked as started before its program starts
//! (exactly once). An agent runs one turn at a time; all agents together run a bounded number.
//!
//! [`places`] says which agents run and which wait, [`serve`] is the task of one that runs, and
//! [`turns`] reads and stores the turns.

mod places;
mod serve;
mod turns;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use bowline_daemon::{blocking::Blocking, ledger::Ledger};
use bowline_program::watch::kept;
use bowline_protocol::{PublicKey, error::RpcError};
use tokio::{runtime::Handle, sync::watch, time::timeout};

use self::places::{Change, Places};
pub(super) use self::{places::RunPermit, turns::settle};
use super::{
    leftovers::{self, Daemons},
    provider::Provider,
    queue,
    retention::Keeper,
};

/// Time a shutdown waits for the ends of runs to be recorded.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Most providers that an error names.
const NAMED: usize = 16;

/// Waiting turns of a revoked device that are ended in one transaction.
const ENDED_AT_ONCE: usize = 256;
/// Time before the turns are read again after the store could not.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// Starts and ends turns.
pub(super) struct Supervisor {
    ledger: Ledger,
    keeper: Arc<Keeper>,
    providers: HashMap<String, Arc<dyn Provider>>,
    max_output_bytes: usize,
    folders: Blocking,
    runtime: Handle,
    shutdown: watch::Sender<bool>,
    /// Notified whenever a run has ended.
    ended: watch::Sender<()>,
    places: Mutex<Places>,
    this: Weak<Self>,
}

impl Supervisor {
    pub(super) fn new(
        ledger: Ledger,
        keeper: Arc<Keeper>,
        providers: HashMap<String, Arc<dyn Provider>>,
        max_runs: usize,
        max_output_bytes: usize,
        folders: Blocking,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            ledger,
            keeper,
            providers,
            max_output_bytes,
            folders,
            runtime: Handle::current(),
            shutdown: watch::Sender::new(false),
            ended: watch::Sender::new(()),
            places: Mutex::new(Places::new(max_runs)),
            this: this.clone(),
        })
    }

    /// What looks after the timelines.
    pub(super) const fn keeper(&self) -> &Arc<Keeper> {
        &self.keeper
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
        let turns = self.ledger.read(|reader| queue::all(reader)).await?;
        let interrupted: Vec<String> = turns
            .iter()
            .filter(|turn| turn.started)
            .map(|turn| turn.name.clone())
            .collect();
        if !interrupted.is_empty() {
            // Scans all of /proc, only after a crash.
            let outcome = leftovers::end(interrupted, Daemons::Spare).await;
            tracing::info!(?outcome, "ended what interrupted turns left running");
            // A store at its limit needs room for that.
            self.keeper.make_room().await;
            let keeper = Arc::clone(&self.keeper);
            self.ledger
                .write(move |tx| turns::mark_interrupted(tx, &keeper))
                .await?;
        }
        for agent in queue::waiting(&turns) {
            self.kick(agent);
        }
        Ok(())
    }

    /// Starts an agent's waiting turns. Callable from any thread.
    pub(super) fn kick(&self, agent: i64) {
        self.change(|places| {
            if !self.is_stopping() {
                places.kick(agent);
            }
        });
    }

    /// Ends a started turn. Callable from any thread.
    pub(super) fn cancel(&self, agent: i64, turn: i64) {
        self.change(|places| places.cancel(agent, turn));
    }

    /// Changes the places, and starts the tasks that follow from that.
    fn change<R>(&self, change: impl FnOnce(&mut Places) -> R) -> R {
        // No code under this lock can panic.
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut places);
        while let Some(change) = places.poll_change() {
            match (change, self.this.upgrade()) {
                (Change::Runs(agent, cancel), Some(this)) => {
                    let serve = move || Arc::clone(&this).serve(agent, cancel.clone());
                    self.runtime.spawn(kept("agent", serve));
                }
                (Change::Waits(agent), _) => {
                    let told = turns::tell_queued(self.ledger.clone(), agent);
                    self.runtime.spawn(told);
                }
                (Change::Runs(..), None) => {}
            }
        }
        result
    }

    fn is_stopping(&self) -> bool {
        *self.shutdown.borrow()
    }

    /// Ends every run and waits until all are recorded, at most [`SHUTDOWN`].
    pub(super) async fn stop(&self) {
        // Under the lock, so that no run begins after it.
        self.change(|places| {
            self.shutdown.send_replace(true);
            places.clear_waiting();
        });
        let mut ended = self.ended.subscribe();
        let all_ended = async {
            while !self.change(|places| places.is_idle()) {
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
    /// case: [`turns::claim`] looks at their device.
    pub(super) async fn end_turns_of(&self, device: PublicKey) -> Result<u64, RpcError> {
        let turns = self
            .ledger
            .read(move |reader| queue::of_device(reader, &device))
            .await?;
        for turn in turns.iter().filter(|turn| turn.started) {
            self.cancel(turn.agent, turn.id);
        }
        for some in turns.chunks(ENDED_AT_ONCE) {
            let (some, keeper) = (some.to_vec(), Arc::clone(&self.keeper));
            self.ledger
                .write(move |tx| {
                    some.iter()
                        .filter(|turn| !turn.started)
                        .try_for_each(|turn| turns::drop_turn(tx, &keeper, turn))
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
    /// unlocked (TR-15). Dropped once the lock changes again.
    pub(super) async fn lock_changed(&self, is_locked: bool) {
        let turns = loop {
            match self.ledger.read(|reader| queue::all(reader)).await {
                Ok(turns) => break turns,
                Err(error) => {
                    tracing::warn!(%error, "the turns could not be read after a change of the lock");
                    tokio::time::sleep(READ_AGAIN).await;
                }
            }
        };
        for turn in turns {
            match (is_locked, turn.started) {
                (true, true) => self.cancel(turn.agent, turn.id),
                (false, false) => self.kick(turn.agent),
                (true, false) | (false, true) => {}
            }
        }
    }
}
