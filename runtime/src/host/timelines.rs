//! The timelines of one host that are open or were lately: each is followed once, however many look at it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use bowline_machines::{
    Generation, Moment,
    optimistic::{self, Optimistic},
    timeline::{Effect, Input},
};
use bowline_protocol::{AgentId, IntentId};
use tokio::sync::watch;

use super::follow::Follow;
use crate::{
    settings::{
        KEPT_BYTES_LARGEST, KEPT_BYTES_TOTAL, KEPT_DELIVERED, KEPT_LOADED, KEPT_TIMELINES,
        OPEN_BYTES_TOTAL, OPEN_TIMELINES, SETTLE_GRACE,
    },
    timeline::{TimelineError, TimelineView},
};

/// Every timeline that somebody follows, and the latest that somebody did.
#[derive(Default)]
pub(super) struct Timelines {
    open: BTreeMap<AgentId, Follow>,
    /// Counts followers' ends.
    leaves: u64,
    /// Agents whose history was loaded in this run and is kept no more: opened again they are not covered (UX-2).
    loaded: BTreeSet<AgentId>,
    /// The same in the order in which they were let go.
    let_go: VecDeque<AgentId>,
    /// Messages that the daemon took and whose items should be there by now: under which attach, since when.
    overdue: BTreeMap<IntentId, (u64, Moment)>,
}

impl Timelines {
    /// Follows a timeline, opening it if nobody does yet.
    pub(super) fn follow(
        &mut self,
        now: Moment,
        agent_id: &AgentId,
        optimistic: &Optimistic,
    ) -> Result<watch::Receiver<Arc<TimelineView>>, TimelineError> {
        self.opened(now, agent_id, None, optimistic)
            .map(|follow| follow.subscribe())
    }

    /// A screen shows it from now on. `created`: it was created from here just now, with a first prompt or without.
    pub(super) fn screen_opened(
        &mut self,
        now: Moment,
        agent_id: &AgentId,
        created: Option<bool>,
        optimistic: &Optimistic,
    ) -> Result<(), TimelineError> {
        self.opened(now, agent_id, created, optimistic)
            .map(Follow::screen_opened)
    }

    /// A screen that showed it is gone.
    pub(super) fn screen_closed(&mut self, agent_id: &AgentId) {
        if let Some(follow) = self.open.get_mut(agent_id) {
            follow.screen_closed();
        }
    }

    fn opened(
        &mut self,
        now: Moment,
        agent_id: &AgentId,
        created: Option<bool>,
        optimistic: &Optimistic,
    ) -> Result<&mut Follow, TimelineError> {
        let open = self.open.iter();
        let others = open.filter(|(id, follow)| *id != agent_id && follow.is_followed());
        if others.count() >= OPEN_TIMELINES {
            return Err(TimelineError::TooMany(OPEN_TIMELINES));
        }
        let follow = self
            .open
            .entry(agent_id.clone())
            .or_insert_with(|| Follow::new(self.loaded.contains(agent_id)));
        if created.is_some() {
            follow.created = created;
        }
        // Whoever opens it wants it up to date, whoever else looks at it: what failed is tried again.
        follow.open(now, agent_id, optimistic);
        self.share();
        self.open
            .get_mut(agent_id)
            .ok_or(TimelineError::UnknownHost)
    }

    /// Gives each open timeline its share of what all of them may hold.
    fn share(&mut self) {
        let open = self.open.values().filter(|follow| !follow.is_idle());
        let share = OPEN_BYTES_TOTAL / open.count().max(1);
        for follow in self.open.values_mut().filter(|follow| !follow.is_idle()) {
            follow.set_share(share);
        }
    }

    /// The newest view of a timeline.
    pub(super) fn view(&self, agent_id: &AgentId) -> Option<Arc<TimelineView>> {
        self.open.get(agent_id).map(Follow::view)
    }

    /// Whether somebody looks at it, or did until just now.
    pub(super) fn is_wanted(&self, agent_id: &AgentId) -> bool {
        let follow = self.open.get(agent_id);
        follow.is_some_and(|follow| follow.is_followed() || !follow.is_idle())
    }

    /// Whether somebody has looked at it all the time since it was created from here, with a first prompt or without.
    pub(super) fn followed_since_creation(&self, agent_id: &AgentId) -> Option<bool> {
        self.open.get(agent_id)?.created
    }

    /// Whether the daemon said that it does not have it.
    pub(super) fn is_gone(&self, agent_id: &AgentId) -> bool {
        self.open.get(agent_id).is_some_and(|follow| follow.is_gone)
    }

    /// Feeds one input to one timeline, if it is open.
    pub(super) fn handle(
        &mut self,
        now: Moment,
        agent_id: &AgentId,
        input: Input,
        optimistic: &Optimistic,
    ) {
        if let Some(follow) = self.open.get_mut(agent_id) {
            follow.handle(now, agent_id, input, optimistic);
        }
    }

    /// Feeds the same input to all.
    pub(super) fn handle_all(&mut self, now: Moment, input: &Input, optimistic: &Optimistic) {
        for (agent_id, follow) in &mut self.open {
            follow.handle(now, agent_id, input.clone(), optimistic);
        }
    }

    /// Fetches older items of a timeline.
    pub(super) fn load_older(&mut self, now: Moment, agent_id: &AgentId, optimistic: &Optimistic) {
        if let Some(follow) = self.open.get_mut(agent_id) {
            follow.load_older(now, agent_id, optimistic);
        }
    }

    /// Fetches newer items of a timeline that is shown elsewhere than at its end.
    pub(super) fn load_newer(&mut self, now: Moment, agent_id: &AgentId, optimistic: &Optimistic) {
        if let Some(follow) = self.open.get_mut(agent_id) {
            follow.load_newer(now, agent_id, optimistic);
        }
    }

    /// Shows the newest items of a timeline.
    pub(super) fn jump_to_newest(&mut self, agent_id: &AgentId, optimistic: &Optimistic) {
        if let Some(follow) = self.open.get_mut(agent_id) {
            follow.jump_to_newest(agent_id, optimistic);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Moment, optimistic: &Optimistic) {
        for (agent_id, follow) in &mut self.open {
            follow.handle_timeout(now, agent_id, optimistic);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Moment> {
        let open = self.open.values();
        open.filter_map(|follow| follow.machine.poll_timeout())
            .min()
    }

    /// Closes what nobody follows any more, and forgets the oldest of what was closed before: by then its subscription has
    /// been ended.
    ///
    /// `attached`: the attach that the host is online under.
    pub(super) fn sweep(
        &mut self,
        now: Moment,
        attached: Option<u64>,
        optimistic: &mut Optimistic,
    ) {
        self.settle(now, attached, optimistic);
        self.forget();
        for (agent_id, follow) in &mut self.open {
            if !follow.is_followed() && !follow.is_idle() {
                self.leaves += 1;
                follow.left_at = self.leaves;
                follow.close(now, agent_id, optimistic);
            }
        }
        self.share();
    }

    /// Lets go of what nobody looks at, from what was left longest ago on, until the rest is few and small enough.
    fn forget(&mut self) {
        let kept = self.open.iter();
        let kept = kept.filter(|(_, follow)| follow.is_idle() && !follow.is_followed());
        let mut kept: Vec<_> = kept
            .map(|(id, follow)| (follow.left_at, id.clone(), follow.bytes()))
            .collect();
        kept.sort();
        let (mut count, mut total, mut is_full) = (0, 0, false);
        for (_, agent_id, bytes) in kept.into_iter().rev() {
            let loaded = self
                .open
                .get(&agent_id)
                .is_some_and(|follow| follow.machine.has_loaded());
            // What never was loaded is not worth keeping, and one that is very large is not worth all others.
            let is_worth_it = loaded && bytes <= KEPT_BYTES_LARGEST;
            is_full |= is_worth_it && (count >= KEPT_TIMELINES || total + bytes > KEPT_BYTES_TOTAL);
            if is_worth_it && !is_full {
                count += 1;
                total += bytes;
                continue;
            }
            self.open.remove(&agent_id);
            if loaded && self.loaded.insert(agent_id.clone()) {
                self.let_go.push_back(agent_id);
            }
        }
        while self.let_go.len() > KEPT_LOADED {
            if let Some(agent_id) = self.let_go.pop_front() {
                self.loaded.remove(&agent_id);
            }
        }
    }

    /// Takes away what the daemon took and no timeline shows, although it would by now if it were in the part that is shown.
    /// A message that an outage or a load still keeps from its place stays: it must not be gone and come back.
    fn settle(&mut self, now: Moment, attached: Option<u64>, optimistic: &mut Optimistic) {
        let mut overdue = BTreeMap::new();
        for agent_id in optimistic.delivered() {
            let messages = optimistic.delivered_to(&agent_id);
            let watched = match self.open.get(&agent_id) {
                Some(follow) if follow.is_followed() => {
                    attached.filter(|_| follow.machine.is_exact())
                }
                // It is shown when this is opened again, until its item is.
                Some(follow) if follow.machine.has_loaded() => {
                    let over = messages.len().saturating_sub(KEPT_DELIVERED);
                    for intent_id in messages.into_iter().take(over) {
                        let agent_id = agent_id.clone();
                        optimistic.handle(optimistic::Input::Settled {
                            agent_id,
                            intent_id,
                        });
                    }
                    continue;
                }
                // Opening it shows nothing before its item is loaded.
                Some(_) | None => attached,
            };
            let Some(attach) = watched else { continue };
            for intent_id in messages {
                let before = self.overdue.get(&intent_id);
                let since = before.filter(|(under, _)| *under == attach);
                let since = since.map_or(now, |(_, since)| *since);
                if since + SETTLE_GRACE <= now {
                    let agent_id = agent_id.clone();
                    optimistic.handle(optimistic::Input::Settled {
                        agent_id,
                        intent_id,
                    });
                } else {
                    overdue.insert(intent_id, (attach, since));
                }
            }
        }
        self.overdue = overdue;
    }

    /// The next thing that any of them wants done.
    pub(super) fn poll_effect(&mut self) -> Option<(AgentId, Effect)> {
        self.open.iter_mut().find_map(|(id, follow)| {
            let effect = follow.machine.poll_effect()?;
            Some((id.clone(), effect))
        })
    }

    /// The next change of state that any of them made.
    pub(super) fn poll_transition(&mut self) -> Option<bowline_machines::Transition> {
        let mut open = self.open.values_mut();
        open.find_map(|follow| follow.machine.poll_transition())
    }

    /// The load that is running for an agent's timeline.
    pub(super) fn running(&self, agent_id: &AgentId) -> Option<Generation> {
        self.open.get(agent_id)?.machine.running()
    }

    /// Results of loads that were over.
    pub(super) fn stale(&self) -> u64 {
        let open = self.open.values();
        open.map(|follow| u64::from(follow.machine.stale())).sum()
    }

    /// Hands the newest views to the followers.
    pub(super) fn publish(&mut self, optimistic: &mut Optimistic, rev: &mut u64) {
        while let Some(agent_id) = optimistic.poll_changed() {
            if let Some(follow) = self.open.get_mut(&agent_id) {
                follow.touch();
            }
        }
        for (agent_id, follow) in &mut self.open {
            follow.publish(agent_id, optimistic, rev);
        }
        // What left with its item is in the view that was just made.
        while optimistic.poll_changed().is_some() {}
    }
}
