//! Keeps timelines within their bounds of size and age (TR-12), in the background: in jobs of a
//! bounded number of items, between which others run. [`aging`] says what goes.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use bowline_protocol::{AgentId, RpcReason, error::RpcError};
use tokio::{sync::watch, time::sleep};

use super::{
    aging::{self, Content, Oldest, Step},
    directory,
};
use crate::ledger::{Ledger, Owner, Tx};

/// Time in which growth is collected before it is looked at.
const PAUSE: Duration = Duration::from_millis(50);
/// Agents that one job looks at.
const LOOK: usize = 64;

/// How much of timelines is kept, and how long; zero = for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Bytes of one agent's timeline, as JSON.
    pub timeline_bytes: u64,
    /// Bytes of the timelines of one device's agents; over it the oldest outputs are dropped, and
    /// prompts are answered with `rate_limited` while that has not caught up. The local socket
    /// counts as one device.
    pub timeline_bytes_per_device: u64,
    /// Age of outputs, by the store's own clock, from the end of their turn on.
    pub output_age: Duration,
}

impl Retention {
    /// The defaults.
    pub const DEFAULT: Self = Self {
        timeline_bytes: 64 << 20,
        timeline_bytes_per_device: 2 << 30,
        output_age: Duration::from_secs(90 * 24 * 3_600),
    };
}

impl Default for Retention {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Looks after the timelines.
pub(super) struct Keeper {
    ledger: Ledger,
    bounds: Retention,
    /// Agents whose timelines have grown since the last look.
    grown: Mutex<BTreeSet<AgentId>>,
    /// Notified when the first one of them has.
    told: watch::Sender<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Agents whose timelines cannot be shortened, such as one with a damaged item: the others go
    /// on without them until the next tick.
    failed: BTreeSet<AgentId>,
    /// The last agent of the first look at all of them; `None` once that is done.
    looked_at: Option<String>,
}

/// The bytes to free for a limit to be met with an eighth to spare, so that not every further item
/// drops another; `None` if it is not exceeded.
const fn excess(has: u64, limit: u64) -> Option<u64> {
    if limit == 0 || has <= limit {
        None
    } else {
        Some(has - (limit - limit / 8))
    }
}

impl Keeper {
    /// Begins to look after the timelines, until the ledger or all handles to this are gone.
    pub(super) fn start(ledger: Ledger, bounds: Retention) -> Arc<Self> {
        let ticks = ledger.ticks();
        let keeper = Arc::new(Self {
            ledger,
            bounds,
            grown: Mutex::default(),
            told: watch::Sender::new(()),
            state: Mutex::new(State {
                failed: BTreeSet::new(),
                looked_at: Some(String::new()),
            }),
        });
        let told = keeper.told.subscribe();
        tokio::spawn(Self::run(Arc::downgrade(&keeper), told, ticks));
        keeper
    }

    pub(super) const fn bounds(&self) -> &Retention {
        &self.bounds
    }

    /// A timeline has grown. Callable from any thread.
    pub(super) fn grew(&self, agent: &AgentId) {
        let mut grown = self.grown.lock().unwrap_or_else(PoisonError::into_inner);
        if grown.contains(agent) {
            return;
        }
        let is_first = grown.is_empty();
        grown.insert(agent.clone());
        drop(grown);
        if is_first {
            self.told.send_replace(());
        }
    }

    async fn run(this: Weak<Self>, mut told: watch::Receiver<()>, mut ticks: watch::Receiver<()>) {
        // The first look is at all of them.
        let mut is_tick = true;
        loop {
            sleep(PAUSE).await;
            let Some(keeper) = this.upgrade() else {
                return;
            };
            let kept = keeper.keep(is_tick).await;
            drop(keeper);
            if let Err(error) = &kept {
                tracing::warn!(%error, "old output cannot be dropped now");
                // Not for its own failure, which may have been told as one.
                ticks.mark_unchanged();
            }
            let changed = tokio::select! {
                tick = ticks.changed() => tick.map(|()| true),
                grown = told.changed(), if kept.is_ok() => grown.map(|()| false),
            };
            match changed {
                Ok(tick) => is_tick = tick,
                Err(_) => return,
            }
        }
    }

    /// Does all that is to be done.
    async fn keep(&self, is_tick: bool) -> Result<(), RpcError> {
        if is_tick {
            self.with_state(|state| state.failed.clear());
        }
        let grown = self.take_grown();
        let done = self.shorten_all(&grown).await;
        if done.is_err() {
            // They are looked at again.
            let mut again = self.grown.lock().unwrap_or_else(PoisonError::into_inner);
            again.extend(grown);
        }
        done?;
        if is_tick {
            self.look_at_all().await?;
            self.relieve().await?;
            self.drop_aged().await?;
        }
        Ok(())
    }

    fn take_grown(&self) -> BTreeSet<AgentId> {
        let mut grown = self.grown.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *grown)
    }

    fn with_state<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_failed(&self, agent: &AgentId) -> bool {
        self.with_state(|state| state.failed.contains(agent))
    }

    /// Looks at every agent once after the start: the bounds may be others than before.
    async fn look_at_all(&self) -> Result<(), RpcError> {
        while let Some(after) = self.with_state(|state| state.looked_at.clone()) {
            let page = self
                .ledger
                .read(move |reader| directory::ids(reader, &after, LOOK))
                .await?;
            let last = page.last().map(|id| id.as_str().to_owned());
            self.shorten_all(&page.into_iter().collect()).await?;
            self.with_state(|state| state.looked_at = last);
        }
        Ok(())
    }

    /// Shortens these timelines, and all of their accounts, as far as they are over their bounds.
    async fn shorten_all(&self, agents: &BTreeSet<AgentId>) -> Result<(), RpcError> {
        let agents: Vec<AgentId> = agents.iter().cloned().collect();
        let bounds = self.bounds;
        let mut owners = BTreeSet::new();
        for some in agents.chunks(LOOK) {
            let some = some.to_vec();
            let looked = self.ledger.read(move |reader| {
                let mut over = Vec::new();
                let mut owners = BTreeSet::new();
                for id in some {
                    let (bytes, book, owner) = aging::bytes(reader, &id)?;
                    owners.insert(owner);
                    if let Some(wanted) = excess(bytes, bounds.timeline_bytes) {
                        over.push((id, book.end, wanted));
                    }
                }
                Ok((over, owners))
            });
            let (over, of) = looked.await?;
            owners.extend(of);
            for (id, end, wanted) in over {
                self.shorten(&id, end, wanted).await?;
            }
        }
        for owner in owners {
            self.shorten_owner(owner).await?;
        }
        Ok(())
    }

    /// Frees bytes of one timeline: of its outputs, then of its texts.
    async fn shorten(&self, id: &AgentId, end: u64, mut wanted: u64) -> Result<(), RpcError> {
        for content in [Content::Outputs, Content::Texts] {
            while wanted > 0 {
                let of = id.clone();
                let job =
                    move |tx: &mut Tx<'_>| aging::drop_content(tx, &of, (content, end), wanted);
                let Some(step) = self.step(id, job).await? else {
                    return Ok(());
                };
                wanted = wanted.saturating_sub(step.freed);
                if step.is_through {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Runs one job that drops something of an agent. Sets the agent aside if that fails for
    /// another reason than the disk: `None`.
    async fn step(
        &self,
        id: &AgentId,
        job: impl FnOnce(&mut Tx<'_>) -> Result<Step, RpcError> + Send + 'static,
    ) -> Result<Option<Step>, RpcError> {
        if self.is_failed(id) {
            return Ok(None);
        }
        match self.ledger.write_freeing(job).await {
            Ok(step) => Ok(Some(step)),
            Err(error) if is_passing(&error) => Err(error),
            Err(error) => {
                tracing::warn!(agent = %id, %error, "an agent's old output cannot be dropped now");
                self.with_state(|state| state.failed.insert(id.clone()));
                Ok(None)
            }
        }
    }

    /// What an account loses next.
    async fn oldest_of(&self, owner: Owner) -> Result<Option<Oldest>, RpcError> {
        let failed = self.with_state(|state| state.failed.clone());
        self.ledger
            .read(move |reader| aging::oldest_of(reader, owner, |id| failed.contains(id)))
            .await
    }

    /// Drops content of the oldest turn; returns the bytes that it freed.
    async fn drop_oldest(&self, oldest: Oldest, wanted: u64) -> Result<u64, RpcError> {
        let id = oldest.agent.clone();
        let job = move |tx: &mut Tx<'_>| aging::drop_oldest(tx, &oldest, wanted);
        let step = self.step(&id, job).await?;
        Ok(step.map_or(0, |step| step.freed))
    }

    /// Frees bytes of the timelines of an account's agents, if they are over their bound.
    async fn shorten_owner(&self, owner: Owner) -> Result<(), RpcError> {
        let limit = self.bounds.timeline_bytes_per_device;
        if !owner.has_quota() || limit == 0 {
            return Ok(());
        }
        let look = self
            .ledger
            .read(move |reader| aging::bytes_of(reader, owner));
        let Some(mut wanted) = excess(look.await?, limit) else {
            return Ok(());
        };
        while wanted > 0 {
            // Every step moves on, or sets an agent aside, so this ends.
            let Some(oldest) = self.oldest_of(owner).await? else {
                break;
            };
            let freed = self.drop_oldest(oldest, wanted).await?;
            wanted = wanted.saturating_sub(freed);
        }
        Ok(())
    }

    /// The accounts that have ended turns, each with what it loses next if that is output.
    async fn oldest_outputs(&self) -> Result<Vec<Oldest>, RpcError> {
        let (mut found, mut owner) = (Vec::new(), None);
        loop {
            let after = owner;
            let next = self
                .ledger
                .read(move |reader| aging::owner_after(reader, after));
            let Some(next) = next.await? else {
                return Ok(found);
            };
            let oldest = self.oldest_of(next).await?;
            found.extend(oldest.filter(|oldest| oldest.content == Content::Outputs));
            owner = Some(next);
        }
    }

    /// Drops the oldest outputs of all while the database is near its limit.
    async fn relieve(&self) -> Result<(), RpcError> {
        while let Some(over) = self.ledger.storage_pressure().await? {
            let outputs = self.oldest_outputs().await?;
            let Some(oldest) = outputs.into_iter().min_by_key(|oldest| oldest.lived) else {
                break;
            };
            self.drop_oldest(oldest, over).await?;
        }
        Ok(())
    }

    /// Drops outputs that are too old.
    async fn drop_aged(&self) -> Result<(), RpcError> {
        let age = self.bounds.output_age;
        if age.is_zero() {
            return Ok(());
        }
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let now = self.ledger.read(|reader| Ok(reader.lived())).await?;
        let before = now.saturating_sub(age);
        loop {
            let outputs = self.oldest_outputs().await?;
            let mut aged = outputs.into_iter().filter(|oldest| oldest.lived < before);
            let Some(oldest) = aged.next() else {
                return Ok(());
            };
            self.drop_oldest(oldest, u64::MAX).await?;
            for oldest in aged {
                self.drop_oldest(oldest, u64::MAX).await?;
            }
        }
    }
}

/// Whether the disk or the ledger could not take the job now, whatever it was.
fn is_passing(error: &RpcError) -> bool {
    matches!(
        error.reason(),
        Some(RpcReason::StorageUnavailable | RpcReason::Overloaded)
    )
}
