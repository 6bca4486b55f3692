//! Retention of timelines (TR-12): what is over the bounds of size and age loses its text, the
//! oldest first, outputs before prompts and messages. The items stay and say how much there was.
//! Nothing of a turn that has not ended is dropped, so no dropped item grows. An item counts until
//! its text is dropped: afterwards it takes nothing of a bound, so that any bound can be met.
//!
//! It runs in the ledger's upkeep, in transactions of a bounded number of items, between the
//! batches. A device that has the item is told by an event, as of any change of a timeline.

use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

use bowline_machines::MonotonicTime;
use bowline_protocol::{RpcReason, SessionEvent, error::RpcError};
use tokio::sync::oneshot;

use super::{
    core::{Core, WriteJob, Writing},
    owner::{Account, Owner},
    tx::Tx,
    types::Audience,
    usage::Usage,
};
use crate::store::{
    self, fault,
    retention::{Content, ITEM_COST, Kept},
};

/// Items of one transaction.
const STEP: u32 = 64;
/// Interval of the search for what is too old, and of attempts after a failure.
const INTERVAL: Duration = Duration::from_secs(60);
/// Part of the database's limit that is kept free by dropping the oldest outputs of all: an eighth,
/// begun when less than a sixteenth is free.
const FREE: u32 = 8;

/// How long timelines are kept; zero = for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Bytes of one agent's timeline.
    pub timeline_bytes: u64,
    /// Age of outputs, by the store's own clock.
    pub output_age: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            timeline_bytes: 64 << 20,
            output_age: Duration::from_secs(90 * 24 * 3_600),
        }
    }
}

/// What is known to be over a bound, and when to look for more.
#[derive(Debug)]
pub(super) struct Upkeep {
    pub(super) at: MonotonicTime,
    /// Whether the last step failed: nothing is tried before `at`, whatever is over its bounds.
    is_paused: bool,
    /// Agents whose timelines cannot be shortened, such as one with a damaged row: the others go on
    /// without them.
    failed: BTreeSet<i64>,
    /// When those are tried again.
    retry_at: MonotonicTime,
}

impl Upkeep {
    pub(super) const fn due(at: MonotonicTime) -> Self {
        Self {
            at,
            is_paused: false,
            failed: BTreeSet::new(),
            retry_at: at,
        }
    }
}

/// Accounts and timelines over their bounds; may name ones that no longer are.
#[derive(Debug, Default)]
pub(super) struct Overfull {
    pub(super) agents: BTreeSet<i64>,
    pub(super) owners: BTreeSet<Owner>,
}

/// Why content of an agent is dropped.
#[derive(Clone, Copy, Debug)]
enum Goal {
    /// To free that many bytes.
    Bytes(i64),
    /// Outputs from before that time.
    Age(i64),
}

/// The outcome of one transaction.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    /// Bytes that no longer count.
    freed: i64,
    /// Bytes of text among them.
    dropped: i64,
    /// Whether nothing of the agent can be dropped any more, for this goal.
    is_exhausted: bool,
}

impl Core {
    /// When retention has work, if it has.
    pub(super) fn retention_due(&self) -> MonotonicTime {
        let Overfull { agents, owners } = &self.live.overfull;
        let is_idle = owners.is_empty() && agents.is_subset(&self.retention.failed);
        if is_idle || self.retention.is_paused || self.health.is_failing() {
            self.retention.at
        } else {
            self.options.clock.now()
        }
    }

    /// Drops some of what is over the bounds.
    pub(super) fn retain(&mut self) {
        let now = self.options.clock.now();
        if self.retention.retry_at <= now {
            self.retention.failed.clear();
        }
        let kept = self.retain_some();
        self.retention.is_paused = kept.is_err();
        let next = match kept {
            // More to do: after the jobs that wait.
            Ok(true) => now,
            Ok(false) => now + INTERVAL,
            Err(error) => {
                tracing::warn!(%error, "old output cannot be dropped now");
                now + INTERVAL
            }
        };
        self.retention.at = next;
    }

    /// Sets an agent aside whose timeline cannot be shortened for a reason that is not the disk: it
    /// counts as one without anything to drop until it is tried again.
    fn unless_failed(
        &mut self,
        n: i64,
        step: Result<Option<Step>, RpcError>,
    ) -> Result<Option<Step>, RpcError> {
        match step {
            Err(error) if !store::is_unavailable(&error) => {
                tracing::warn!(agent = n, %error, "an agent's old output cannot be dropped now");
                if self.retention.failed.is_empty() {
                    self.retention.retry_at = self.options.clock.now() + INTERVAL;
                }
                self.retention.failed.insert(n);
                Ok(Some(Step {
                    is_exhausted: true,
                    ..Step::default()
                }))
            }
            step => step,
        }
    }

    /// One step of whatever comes first. Returns whether there may be more to do.
    fn retain_some(&mut self) -> Result<bool, RpcError> {
        let failed = &self.retention.failed;
        let next = self.live.overfull.agents.difference(failed).next();
        if let Some(n) = next.copied() {
            let limit = signed(self.options.retention.timeline_bytes);
            let all = [Content::Outputs, Content::Texts];
            let step = self.kept(n).and_then(|kept| {
                let has = kept.map_or(0, |kept| kept.bytes);
                self.shorten(n, has, limit, &all)
            });
            let step = self.unless_failed(n, step)?;
            let is_failed = self.retention.failed.contains(&n);
            // One that failed is tried again.
            if !is_failed && step.is_none_or(|step| step.is_exhausted) {
                self.live.overfull.agents.remove(&n);
            }
            return Ok(true);
        }
        if let Some(owner) = self.live.overfull.owners.first().copied() {
            let limit = signed(self.live.quotas.timeline_bytes);
            let has = self.live.accounts.timeline_bytes(owner);
            let failed = &self.retention.failed;
            let of = store::retention::oldest_of(&self.conn, owner.0, failed).map_err(fault)?;
            let is_done = match of {
                // Whatever is found has something to drop, so every step moves on.
                Some((n, content)) => {
                    let step = self.shorten(n, has, limit, &[content]);
                    self.unless_failed(n, step)?.is_none()
                }
                None => true,
            };
            if is_done {
                self.live.overfull.owners.remove(&owner);
            }
            return Ok(true);
        }
        if let Some(over) = self.storage_pressure()?
            && self.drop_oldest(i64::MAX, Goal::Bytes(over))?
        {
            return Ok(true);
        }
        let age = self.options.retention.output_age;
        if age.is_zero() {
            return Ok(false);
        }
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let before = self.lived.now().saturating_sub(age);
        // Every step moves on, so this ends.
        self.drop_oldest(before, Goal::Age(before))
    }

    /// Drops outputs of the agent with the oldest one, if that is older than `before`. Returns
    /// whether there was one.
    fn drop_oldest(&mut self, before: i64, goal: Goal) -> Result<bool, RpcError> {
        let failed = &self.retention.failed;
        let oldest = store::retention::oldest(&self.conn, before, failed).map_err(fault)?;
        if let Some(n) = oldest {
            let step = self.drop_of(n, goal, &[Content::Outputs]).map(Some);
            self.unless_failed(n, step)?;
        }
        Ok(oldest.is_some())
    }

    fn kept(&self, n: i64) -> Result<Option<Kept>, RpcError> {
        store::retention::kept(&self.conn, n).map_err(fault)
    }

    /// Drops content of an agent if `has` is over the limit, until it is an eighth below, so that
    /// not every further item drops another. `None` if it is not over.
    fn shorten(
        &mut self,
        n: i64,
        has: i64,
        limit: i64,
        which: &[Content],
    ) -> Result<Option<Step>, RpcError> {
        if limit == 0 || has <= limit - limit / 8 {
            return Ok(None);
        }
        let goal = Goal::Bytes(has - (limit - limit / 8));
        self.drop_of(n, goal, which).map(Some)
    }

    /// Bytes to free for the database to stay below its limit, if it comes near.
    fn storage_pressure(&self) -> Result<Option<i64>, RpcError> {
        let Some(limit) = self.options.max_pages else {
            return Ok(None);
        };
        let pages = store::pages(&self.conn).map_err(fault)?;
        let used = pages.saturating_sub(store::free_pages(&self.conn).map_err(fault)?);
        let most = limit - limit / FREE;
        let is_near = used > limit - limit / (2 * FREE);
        Ok(is_near.then(|| i64::from(used - most) * 4_096))
    }

    /// Drops content of one agent in a transaction of its own.
    fn drop_of(&mut self, n: i64, goal: Goal, which: &[Content]) -> Result<Step, RpcError> {
        let (reply, mut result) = oneshot::channel();
        let which = which.to_vec();
        let job: Box<dyn WriteJob> = Box::new(Writing {
            work: Some(move |tx: &mut Tx<'_>| drop_content(tx, n, goal, &which)),
            result: None,
            reply,
        });
        self.with_reserve(|core| core.commit_group(&mut vec![job]));
        result
            .try_recv()
            .map_err(|_| RpcError::internal("a step of retention had no result"))?
    }
}

fn drop_content(tx: &mut Tx<'_>, n: i64, goal: Goal, which: &[Content]) -> Result<Step, RpcError> {
    let mut step = Step::default();
    let Some(kept) = store::retention::kept(tx.conn, n).map_err(fault)? else {
        step.is_exhausted = true;
        return Ok(step);
    };
    for content in which {
        let (from, end) = (kept.from(*content), kept.end);
        let rows = store::retention::bare(tx.conn, n, from, end, STEP).map_err(fault)?;
        let is_last = rows.len() < STEP as usize;
        let (mut to, mut freed, mut is_met) = (from, 0, false);
        for row in rows {
            is_met = match goal {
                Goal::Bytes(wanted) => step.freed + freed >= wanted,
                Goal::Age(before) => row.lived >= before,
            };
            if is_met {
                break;
            }
            to = row.item.index.saturating_add(1);
            if content.releases(row.item.kind) {
                freed += Tx::item_cost("");
            }
            if content.has(row.item.kind) && row.bytes > 0 {
                freed += row.bytes;
                step.dropped += row.bytes;
                drop_item(tx, &kept, row)?;
            }
        }
        store::retention::advance(tx.conn, &kept, *content, to, freed).map_err(fault)?;
        step.freed += freed;
        if is_met {
            break;
        }
        // The next kind of content only once nothing of this one is left.
        step.is_exhausted = is_last;
        if !is_last {
            break;
        }
    }
    let change = Usage::timeline(-step.freed);
    tx.charge(Owner(kept.owner), change);
    tx.counters
        .dropped_bytes
        .fetch_add(step.dropped.cast_unsigned(), Ordering::Relaxed);
    Ok(step)
}

fn drop_item(tx: &mut Tx<'_>, kept: &Kept, row: store::retention::Bare) -> Result<(), RpcError> {
    let mut item = row.item;
    let bytes = row.bytes.cast_unsigned();
    store::retention::drop_text(tx.conn, kept.n, item.index, bytes).map_err(fault)?;
    item.dropped_bytes = bytes;
    let event = SessionEvent::TimelineUpdated {
        agent_id: kept.id.clone(),
        item,
    };
    tx.emit(Audience::Subscribers(&kept.id), &event)
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl Tx<'_> {
    /// Charges the growth of a timeline, of an item's text or of a new item, to its agent's owner;
    /// `after` is the size of the timeline with it. What is over the bounds is dropped after the
    /// commit.
    pub(crate) fn grow_timeline(&mut self, owner: i64, agent: i64, more: i64, after: i64) {
        let owner = Owner(owner);
        self.charge(owner, Usage::timeline(more));
        let limit = signed(self.live.timeline_bytes);
        if limit > 0 && after > limit {
            self.live.overfull.agents.insert(agent);
        }
        let quota = signed(self.live.quotas.timeline_bytes);
        let has = self.live.accounts.timeline_bytes(owner);
        if owner.has_quota() && quota > 0 && has > quota {
            self.live.overfull.owners.insert(owner);
        }
    }

    /// Bytes that an item takes in its timeline.
    pub(crate) fn item_cost(text: &str) -> i64 {
        i64::try_from(ITEM_COST.saturating_add(text.len())).unwrap_or(i64::MAX)
    }

    /// Refuses a prompt while the timelines of the caller's agents, or those of the device that
    /// created the agent, are far over their quota: they are shortened meanwhile. Whoever has no
    /// turn there is not refused for what the turns of others hold.
    ///
    /// # Errors
    /// `rate_limited`, which names the account and the quota.
    pub(crate) fn check_timelines(&self, owner: i64) -> Result<(), RpcError> {
        let Some(account) = self.account() else {
            return Ok(());
        };
        let setting = "timeline_bytes_per_device";
        let limit = self.live.quotas.timeline_bytes;
        let refuse = |account: &Account| {
            let what =
                "has agents whose timelines take more than they may; old output is being dropped";
            let error = account.over(RpcReason::RateLimited, setting, limit, what);
            Err(error.after(Duration::from_secs(10)))
        };
        if self.holds_too_much(account.owner)? {
            return refuse(account);
        }
        let owner = Owner(owner);
        if owner != account.owner && self.holds_too_much(owner)? {
            // Devices do not see each other's use by name.
            return refuse(&Account::unnamed(
                owner,
                "the device that created the agent",
            ));
        }
        Ok(())
    }

    /// Whether the timelines of an owner's agents are far over its quota, and not only for the
    /// turns of others than the caller.
    fn holds_too_much(&self, owner: Owner) -> Result<bool, RpcError> {
        let quota = signed(self.live.quotas.timeline_bytes);
        let has = self.live.accounts.timeline_bytes(owner);
        if !owner.has_quota() || quota == 0 || has <= quota.saturating_add(quota / 8) {
            return Ok(false);
        }
        let device = self.device();
        let turns = store::turns::unended(self.conn, owner.0, device.as_ref()).map_err(fault)?;
        Ok(turns.own || !turns.any)
    }
}
