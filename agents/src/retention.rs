//! Keeps timelines within their bounds of size and age (TR-12), in the background: in jobs of a
//! bounded number of items, between which others run. [`aging`] says what goes.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use bowline_daemon::ledger::{Ledger, Owner, Tx};
use bowline_program::watch::kept;
use bowline_protocol::{AgentId, RpcReason, error::RpcError};
use tokio::{sync::watch, time::sleep};

use super::{
    aging::{self, Content, Oldest, Step},
    directory,
};

/// Time in which growth is collected before it is looked at.
const PAUSE: Duration = Duration::from_millis(50);
/// Agents that one job looks at.
const LOOK: usize = 64;

/// How much of timelines is kept, and how long; zero = for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Bytes of one agent's timeline: its texts, and 128 for each item that has one.
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
        let this = Arc::downgrade(&keeper);
        tokio::spawn(kept("retention", move || Self::run(this.clone())));
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

    /// A job lets a timeline grow: looked at once it is committed.
    pub(super) fn grows(self: &Arc<Self>, tx: &mut Tx<'_>, agent: &AgentId) {
        let (keeper, agent) = (Arc::clone(self), agent.clone());
        tx.after_commit(move || keeper.grew(&agent));
    }

    async fn run(this: Weak<Self>) {
        let Some(keeper) = this.upgrade() else {
            return;
        };
        let (mut told, mut ticks) = (keeper.told.subscribe(), keeper.ledger.ticks());
        drop(keeper);
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

    /// Does all that is to be done. What fails keeps nothing else from it, unless the disk or the
    /// ledger can take nothing now.
    async fn keep(&self, is_tick: bool) -> Result<(), RpcError> {
        if is_tick {
            // Those that were set aside are tried again.
            let failed = self.with_state(|state| std::mem::take(&mut state.failed));
            self.add_grown(failed);
        }
        self.shorten_grown().await?;
        if is_tick {
            self.relieve().await?;
            self.look_at_all().await?;
            self.shorten_owners().await?;
            self.drop_aged().await?;
        }
        Ok(())
    }

    /// Makes room in a database that is near its limit, as far as that can be done.
    pub(super) async fn make_room(&self) {
        if let Err(error) = self.relieve().await {
            tracing::warn!(%error, "old output cannot be dropped now");
        }
    }

    /// What must not wait for long work.
    async fn urgent(&self) -> Result<(), RpcError> {
        self.shorten_grown().await?;
        self.relieve().await
    }

    async fn shorten_grown(&self) -> Result<(), RpcError> {
        let grown = self.take_grown();
        if grown.is_empty() {
            return Ok(());
        }
        let done = self.shorten_all(&grown).await;
        if done.is_err() {
            // They are looked at again.
            self.add_grown(grown);
        }
        done
    }

    fn add_grown(&self, agents: BTreeSet<AgentId>) {
        let mut grown = self.grown.lock().unwrap_or_else(PoisonError::into_inner);
        grown.extend(agents);
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
                .read(move |reader| directory::ids(reader, &after, LOOK));
            let (ids, last) = page.await?;
            self.shorten_each(&ids).await?;
            self.with_state(|state| state.looked_at = last);
            self.urgent().await?;
        }
        Ok(())
    }

    /// Shortens these timelines, and all of their accounts, as far as they are over their bounds.
    async fn shorten_all(&self, agents: &BTreeSet<AgentId>) -> Result<(), RpcError> {
        let agents: Vec<AgentId> = agents.iter().cloned().collect();
        let mut owners = BTreeSet::new();
        for some in agents.chunks(LOOK) {
            owners.extend(self.shorten_each(some).await?);
        }
        for owner in owners {
            self.shorten_owner(owner).await?;
        }
        Ok(())
    }

    /// Shortens at most [`LOOK`] timelines that are over their bound; returns their accounts.
    async fn shorten_each(&self, agents: &[AgentId]) -> Result<BTreeSet<Owner>, RpcError> {
        let (some, bounds) = (agents.to_vec(), self.bounds);
        let looked = self.ledger.read(move |reader| {
            let look = |id: AgentId| {
                let looked = aging::bytes(reader, &id);
                (id, looked)
            };
            Ok(some.into_iter().map(look).collect::<Vec<_>>())
        });
        let mut owners = BTreeSet::new();
        for (id, looked) in looked.await? {
            match looked {
                Ok((bytes, book, owner)) => {
                    owners.insert(owner);
                    if let Some(wanted) = excess(bytes, bounds.timeline_bytes) {
                        self.shorten(&id, book.end, wanted).await?;
                    }
                }
                Err(error) => self.set_aside(&id, &error)?,
            }
        }
        Ok(owners)
    }

    /// Sets an agent aside until the next tick, unless its error is one of the disk or the ledger.
    fn set_aside(&self, id: &AgentId, error: &RpcError) -> Result<(), RpcError> {
        if is_passing(error) {
            return Err(error.clone());
        }
        tracing::warn!(agent = %id, %error, "an agent's old output cannot be dropped now");
        self.with_state(|state| state.failed.insert(id.clone()));
        Ok(())
    }

    /// Shortens the timelines of all accounts that are over their bound.
    async fn shorten_owners(&self) -> Result<(), RpcError> {
        let mut owner = None;
        while let Some(next) = self.owner_after(owner).await? {
            self.shorten_owner(next).await?;
            owner = Some(next);
        }
        Ok(())
    }

    async fn owner_after(&self, owner: Option<Owner>) -> Result<Option<Owner>, RpcError> {
        let next = self
            .ledger
            .read(move |reader| aging::owner_after(reader, owner));
        next.await
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
            Err(error) => self.set_aside(id, &error).map(|()| None),
        }
    }

    /// What an account loses next after this row of the queue.
    async fn oldest_of(
        &self,
        owner: Owner,
        after: Option<String>,
    ) -> Result<Option<Oldest>, RpcError> {
        let failed = self.with_state(|state| state.failed.clone());
        self.ledger
            .read(move |reader| {
                aging::oldest_of(reader, owner, after.as_deref(), |id| failed.contains(id))
            })
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
            .read(move |reader| Ok(aging::bytes_of(reader, owner)));
        let Some(mut wanted) = excess(look.await?, limit) else {
            return Ok(());
        };
        let mut after = None;
        while wanted > 0 {
            // Every step moves on, or sets an agent aside, so this ends.
            let Some(oldest) = self.oldest_of(owner, after).await? else {
                break;
            };
            after = Some(oldest.before.clone());
            let freed = self.drop_oldest(oldest, wanted).await?;
            wanted = wanted.saturating_sub(freed);
        }
        Ok(())
    }

    /// What each account with ended turns loses next, if that is output.
    async fn oldest_outputs(&self) -> Result<Vec<Oldest>, RpcError> {
        let (mut found, mut owner) = (Vec::new(), None);
        while let Some(next) = self.owner_after(owner).await? {
            let oldest = self.oldest_of(next, None).await?;
            found.extend(oldest.filter(|oldest| oldest.content == Content::Outputs));
            owner = Some(next);
        }
        Ok(found)
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
        let mut owner = None;
        while let Some(next) = self.owner_after(owner).await? {
            let mut after = None;
            while let Some(oldest) = self.oldest_of(next, after).await? {
                if oldest.content != Content::Outputs || oldest.lived >= before {
                    break;
                }
                after = Some(oldest.before.clone());
                self.drop_oldest(oldest, u64::MAX).await?;
                self.urgent().await?;
            }
            owner = Some(next);
        }
        Ok(())
    }
}

/// Whether the disk or the ledger could not take the job now, whatever it was.
fn is_passing(error: &RpcError) -> bool {
    matches!(
        error.reason(),
        Some(RpcReason::StorageUnavailable | RpcReason::Overloaded)
    )
}
