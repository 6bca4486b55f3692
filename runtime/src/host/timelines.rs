//! The timelines of one host that are open or were lately: each is followed once, however many look at it.

use std::{collections::BTreeMap, sync::Arc};

use bowline_machines::{
    Generation, Moment,
    optimistic::{self, Optimistic},
    timeline::{Effect, Input},
};
use bowline_protocol::AgentId;
use tokio::sync::watch;

use super::follow::Follow;
use crate::{
    settings::{KEPT_TIMELINES, OPEN_TIMELINES},
    timeline::{TimelineError, TimelineView},
};

/// Every timeline that somebody follows, and the latest that somebody did.
#[derive(Default)]
pub(super) struct Timelines {
    open: BTreeMap<AgentId, Follow>,
    /// Counts followers' ends.
    leaves: u64,
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
            .or_insert_with(Follow::new);
        if created.is_some() {
            follow.created = created;
        }
        // Whoever opens it wants it up to date, whoever else looks at it: what failed is tried again.
        follow.open(now, agent_id, optimistic);
        Ok(follow)
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
    pub(super) fn sweep(&mut self, now: Moment, optimistic: &mut Optimistic) {
        self.settle(optimistic);
        self.forget();
        for (agent_id, follow) in &mut self.open {
            if !follow.is_followed() && !follow.is_idle() {
                self.leaves += 1;
                follow.left_at = self.leaves;
                follow.close(now, agent_id, optimistic);
            }
        }
    }

    fn forget(&mut self) {
        let kept = self.open.iter();
        let kept = kept.filter(|(_, follow)| follow.is_idle() && !follow.is_followed());
        let mut kept: Vec<_> = kept
            // What never was loaded is not worth keeping.
            .map(|(id, follow)| (follow.machine.has_loaded(), follow.left_at, id.clone()))
            .collect();
        kept.sort();
        let worthless = kept.iter().filter(|(loaded, ..)| !loaded).count();
        let over = kept.len().saturating_sub(KEPT_TIMELINES).max(worthless);
        for (.., agent_id) in kept.into_iter().take(over) {
            self.open.remove(&agent_id);
        }
    }

    /// What the daemon took and no timeline shows since the last sweep has left the window, or nobody looks.
    fn settle(&mut self, optimistic: &mut Optimistic) {
        for agent_id in optimistic.delivered() {
            let follow = self.open.get_mut(&agent_id);
            let follow = follow.filter(|follow| follow.is_followed());
            let is_settled = follow.is_none_or(|follow| {
                let before = std::mem::replace(&mut follow.unsettled, follow.machine.is_exact());
                before && follow.unsettled
            });
            if is_settled {
                optimistic.handle(optimistic::Input::Settled { agent_id });
            }
        }
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
