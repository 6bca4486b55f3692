//! The timelines of one host: the open ones, those kept without readers, and the views of them.
//!
//! ```text
//!            open                  last reader gone, swept          open longest ago
//!  unknown ────────► open (a load, ──────────────────────► kept ───────────────────► forgotten
//!     ▲               live, failed) ◄────────────────────── idle    too many, too large   │
//!     │                                     open                                          │ remembered as loaded
//!     └───────────────────────────────────── open ────────────────────────────────────────┘
//! ```
//!
//! Each timeline is followed once, whatever its number of readers ([`crate::data::timeline`] is its
//! machine). Readers are screens and streams; the driver reports their end, and
//! [`Timelines::sweep`] closes timelines without readers. A timeline is closed in one sweep and
//! forgotten in a later one, after its subscription has ended.
//!
//! **Bounds** are in [`TimelinesConfig`]. An open timeline is never forgotten. A loaded one that is
//! forgotten is recorded as loaded, so that opening it again shows no overlay (UX-2).
//!
//! **Loads.** Each timeline has one at a time, with its own deadline. They are independent: a
//! client's connection bounds the requests in flight.
//!
//! **Subscriptions.** An event of a timeline without readers belongs to a subscription left by an
//! earlier run of the app, which is ended once per attach.
//!
//! Pending messages ([`Optimistic`]) are an argument, since intents change them too.

mod config;
mod open;
mod retention;
mod rows;
mod settling;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bowline_protocol::{AgentId, Reason, SessionState};

pub use config::{KeptBounds, TimelinesConfig, ViewBounds};
use open::OpenTimeline;
use retention::{LoadedMemory, Unread};
use settling::Overdue;

use super::{
    optimistic::{self, Optimistic},
    screen::Connectivity,
    timeline::{self, Input, Timeline},
    view::TimelineView,
};
use crate::{Attach, Generation, MonotonicTime, Transition, effects::EffectQueue};

/// An agent created by this client and read continuously since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FreshCreation {
    /// Whether it has a first prompt.
    pub prompted: bool,
}

/// Kind of a timeline's reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reader {
    /// A stream, which receives each [`TimelineView`].
    Stream,
    /// A screen; `created`: of an agent just created by this client.
    Screen {
        /// Its creation.
        created: Option<FreshCreation>,
    },
}

/// The maximum of timelines is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TooManyOpen {
    /// The maximum.
    pub most: usize,
}

/// The timelines of one host.
#[derive(Clone, Debug, Default)]
pub struct Timelines {
    config: TimelinesConfig,
    open: BTreeMap<AgentId, OpenTimeline>,
    /// Number of times that a last reader left.
    leaves: u64,
    loaded: LoadedMemory,
    /// The newest load of any forgotten timeline, whose answer may still arrive.
    last_load: Generation,
    overdue: Overdue,
    /// The latest attach.
    attach: Attach,
    /// Agents without readers whose subscription was ended under this attach.
    leftovers: BTreeSet<AgentId>,
    effects: EffectQueue<AgentId>,
    views: EffectQueue<(AgentId, Arc<TimelineView>)>,
}

impl Timelines {
    /// No timelines; `config` sets the bounds.
    pub fn new(config: TimelinesConfig) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// Opens a timeline for a reader. It catches up, or retries if that failed, whether or not
    /// there are other readers.
    ///
    /// # Errors
    /// [`TooManyOpen`] at the bound; nothing has changed then.
    pub fn open(
        &mut self,
        now: MonotonicTime,
        agent_id: &AgentId,
        reader: Reader,
        optimistic: &Optimistic,
    ) -> Result<(), TooManyOpen> {
        let open = self.open.iter();
        let others = open.filter(|(id, one)| *id != agent_id && one.is_read());
        if others.count() >= self.config.most_open {
            return Err(TooManyOpen {
                most: self.config.most_open,
            });
        }
        let one = self.open.entry(agent_id.clone()).or_insert_with(|| {
            OpenTimeline::new(
                agent_id.clone(),
                &self.config,
                self.loaded.contains(agent_id),
                self.last_load,
            )
        });
        match reader {
            Reader::Stream => one.has_streams = true,
            Reader::Screen { created } => {
                one.screens += 1;
                one.created = created.or(one.created);
            }
        }
        one.open(now, optimistic);
        self.share();
        Ok(())
    }

    /// Handles the end of a screen that displayed the timeline.
    pub fn screen_closed(&mut self, agent_id: &AgentId) {
        if let Some(one) = self.open.get_mut(agent_id) {
            one.screens = one.screens.saturating_sub(1);
        }
    }

    /// Handles the end of the timeline's last stream.
    pub fn streams_ended(&mut self, agent_id: &AgentId) {
        if let Some(one) = self.open.get_mut(agent_id) {
            one.has_streams = false;
        }
    }

    /// The host's active client attached to the session.
    pub fn attached(&mut self, now: MonotonicTime, session: SessionState, optimistic: &Optimistic) {
        self.attach = self.attach.next();
        self.leftovers.clear();
        for one in self.open.values_mut() {
            one.handle(now, Input::Attached { session }, optimistic);
        }
    }

    /// The connection ended.
    pub fn disconnected(&mut self, now: MonotonicTime, reason: Reason, optimistic: &Optimistic) {
        for one in self.open.values_mut() {
            one.handle(now, Input::Disconnected { reason }, optimistic);
        }
    }

    /// Feeds an input for one timeline: a request of its reader, a page, or an event. For an
    /// unknown one only its subscription may end.
    pub fn handle(
        &mut self,
        now: MonotonicTime,
        agent_id: &AgentId,
        input: Input,
        optimistic: &Optimistic,
    ) {
        if matches!(input, Input::Event { .. }) {
            self.end_leftover(agent_id);
        }
        if let Some(one) = self.open.get_mut(agent_id) {
            one.handle(now, input, optimistic);
        }
    }

    /// Ends a subscription without a reader: an earlier run of the app was killed with a screen
    /// open, or could not report its close. Otherwise its events continue for the life of the
    /// session.
    fn end_leftover(&mut self, agent_id: &AgentId) {
        let one = self.open.get(agent_id);
        let is_wanted = one.is_some_and(|one| one.is_read() || !one.is_idle());
        if !is_wanted
            && self.leftovers.len() < self.config.most_leftovers
            && self.leftovers.insert(agent_id.clone())
        {
            self.effects.push(agent_id.clone());
        }
    }

    /// Assigns each open timeline its share of the total bytes.
    fn share(&mut self) {
        let open = self.open.values().filter(|one| !one.is_idle());
        let share = self.config.open_bytes / open.count().max(1);
        for one in self.open.values_mut().filter(|one| !one.is_idle()) {
            one.set_share(share, &self.config);
        }
    }

    /// Closes timelines without readers, forgets closed ones above the bounds, and removes messages
    /// that no timeline will display. Call every few seconds. `host`: its status.
    pub fn sweep(&mut self, now: MonotonicTime, host: Connectivity, optimistic: &mut Optimistic) {
        self.settle(now, host, optimistic);
        self.forget();
        for one in self.open.values_mut() {
            if !one.is_read() && !one.is_idle() {
                self.leaves += 1;
                one.left_at = self.leaves;
                one.close(now, &self.config.kept, optimistic);
            }
        }
        self.share();
    }

    fn forget(&mut self) {
        let kept = self.open.iter();
        let kept = kept.filter(|(_, one)| one.is_idle() && !one.is_read());
        let unread = kept.map(|(agent_id, one)| Unread {
            left_at: one.left_at,
            agent_id: agent_id.clone(),
            bytes: one.bytes(),
            has_loaded: one.machine.has_loaded(),
        });
        for one in retention::to_forget(unread.collect(), &self.config.kept) {
            if let Some(forgotten) = self.open.remove(&one.agent_id) {
                self.last_load = self.last_load.max(forgotten.machine.generation());
            }
            if one.has_loaded {
                self.loaded.insert(one.agent_id, &self.config.kept);
            }
        }
    }

    /// Removes accepted messages that no timeline displays although their items would be there by
    /// now if they were in the displayed part. A message whose item is delayed by an outage or a
    /// load stays, since it must not disappear and return.
    fn settle(&mut self, now: MonotonicTime, host: Connectivity, optimistic: &mut Optimistic) {
        let can_come = host == Connectivity::Online;
        let (mut overdue, mut over) = (Vec::new(), Vec::new());
        for agent_id in optimistic.delivered() {
            let messages = optimistic.delivered_to(&agent_id);
            let of = |intent_id| (agent_id.clone(), intent_id);
            match self.open.get(&agent_id) {
                Some(one) if one.is_read() => {
                    if can_come && one.machine.is_exact() {
                        overdue.extend(messages.into_iter().map(of));
                    }
                }
                // It is displayed when the timeline is opened again, until its item is.
                Some(one) if one.machine.has_loaded() => {
                    let many = messages.len().saturating_sub(self.config.kept_delivered);
                    over.extend(messages.into_iter().take(many).map(of));
                }
                // Opening it displays nothing before its item is loaded.
                Some(_) | None if can_come => overdue.extend(messages.into_iter().map(of)),
                Some(_) | None => {}
            }
        }
        let overdue = overdue.into_iter();
        let grace = self.config.settle_grace;
        over.extend(self.overdue.note(now, self.attach, overdue, grace));
        for (agent_id, intent_id) in over {
            optimistic.handle(optimistic::Input::Settled {
                agent_id,
                intent_id,
            });
        }
    }

    /// Call when [`Timelines::poll_timeout`] has passed; an earlier call does nothing.
    pub fn handle_timeout(&mut self, now: MonotonicTime, optimistic: &Optimistic) {
        for one in self.open.values_mut() {
            one.handle_timeout(now, optimistic);
        }
    }

    /// When to call [`Timelines::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<MonotonicTime> {
        let open = self.open.values();
        open.filter_map(|one| one.machine.poll_timeout()).min()
    }

    /// The next effect to execute, with its agent.
    pub fn poll_effect(&mut self) -> Option<(AgentId, timeline::Effect)> {
        // A later subscription of the same agent would undo an unsubscribe, so these come first.
        if let Some(agent_id) = self.effects.pop() {
            return Some((agent_id, timeline::Effect::Unsubscribe));
        }
        self.open.iter_mut().find_map(|(agent_id, one)| {
            let effect = one.machine.poll_effect()?;
            Some((agent_id.clone(), effect))
        })
    }

    /// The next transition record for the log.
    pub fn poll_transition(&mut self) -> Option<Transition> {
        let mut open = self.open.values_mut();
        open.find_map(|one| one.machine.poll_transition())
    }

    /// Builds the newest views, for [`Timelines::poll_view`] and [`Timelines::view`]; each that
    /// differs from its predecessor gets the next revision. Messages whose items they display are
    /// removed from `optimistic` in the same step.
    pub fn publish(&mut self, optimistic: &mut Optimistic, rev: &mut u64) {
        while let Some(agent_id) = optimistic.poll_changed() {
            if let Some(one) = self.open.get_mut(&agent_id) {
                one.touch();
            }
        }
        for (agent_id, one) in &mut self.open {
            if let Some(view) = one.publish(optimistic, rev)
                && one.has_streams
            {
                self.views.push((agent_id.clone(), view));
            }
        }
        // The views just built include messages removed with their items.
        while optimistic.poll_changed().is_some() {}
    }

    /// The next view for the streams of an agent.
    pub fn poll_view(&mut self) -> Option<(AgentId, Arc<TimelineView>)> {
        self.views.pop()
    }

    /// The newest view of an open or kept timeline.
    pub fn view(&self, agent_id: &AgentId) -> Option<&Arc<TimelineView>> {
        self.open.get(agent_id).map(OpenTimeline::view)
    }

    /// Whether it has been read continuously since its creation by this client.
    pub fn read_since_creation(&self, agent_id: &AgentId) -> Option<FreshCreation> {
        self.open.get(agent_id)?.created
    }

    /// Whether the daemon answered that it does not exist.
    pub fn is_gone(&self, agent_id: &AgentId) -> bool {
        self.open.get(agent_id).is_some_and(|one| one.is_gone)
    }

    /// The machine of an open or kept timeline.
    pub fn timeline(&self, agent_id: &AgentId) -> Option<&Timeline> {
        Some(&self.open.get(agent_id)?.machine)
    }

    /// Numbers of timelines that are open, kept, and recorded as loaded.
    pub fn counts(&self) -> (usize, usize, usize) {
        let open = self.open.values();
        let idle = open.filter(|one| one.is_idle()).count();
        (self.open.len() - idle, idle, self.loaded.len())
    }

    /// Results of loads that were over; they changed nothing (INV-10).
    pub fn stale(&self) -> u64 {
        let open = self.open.values();
        open.map(|one| u64::from(one.machine.stale())).sum()
    }
}
