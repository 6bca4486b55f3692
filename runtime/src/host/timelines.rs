//! The open timelines of one host: a machine each, and the newest view for its followers.

use std::{collections::BTreeMap, sync::Arc};

use bowline_machines::{
    Moment,
    timeline::{Effect, Input, Timeline, TimelineConfig},
};
use bowline_protocol::AgentId;
use tokio::sync::watch;

use crate::{
    settings::OPEN_TIMELINES,
    timeline::{TimelineError, TimelineView},
};

struct Open {
    machine: Timeline,
    view: watch::Sender<Arc<TimelineView>>,
    changed: bool,
}

/// Every timeline that somebody follows.
#[derive(Default)]
pub(super) struct Timelines {
    open: BTreeMap<AgentId, Open>,
}

impl Timelines {
    /// Follows a timeline, opening it if nobody does yet.
    pub(super) fn follow(
        &mut self,
        now: Moment,
        agent_id: &AgentId,
    ) -> Result<watch::Receiver<Arc<TimelineView>>, TimelineError> {
        self.open.retain(|_, open| open.view.receiver_count() > 0);
        if self.open.len() >= OPEN_TIMELINES && !self.open.contains_key(agent_id) {
            return Err(TimelineError::TooMany(OPEN_TIMELINES));
        }
        let open = self.open.entry(agent_id.clone()).or_insert_with(|| Open {
            machine: Timeline::new(TimelineConfig::default()),
            view: watch::channel(Arc::default()).0,
            changed: false,
        });
        if open.view.receiver_count() == 0 {
            open.machine.handle(now, Input::Open);
        }
        Ok(open.view.subscribe())
    }

    /// Feeds one input to one timeline, if it is open.
    pub(super) fn handle(&mut self, now: Moment, agent_id: &AgentId, input: Input) {
        if let Some(open) = self.open.get_mut(agent_id) {
            open.machine.handle(now, input);
            open.changed = true;
        }
    }

    /// Feeds the same input to all.
    pub(super) fn handle_all(&mut self, now: Moment, input: &Input) {
        for open in self.open.values_mut() {
            open.machine.handle(now, input.clone());
            open.changed = true;
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Moment) {
        for open in self.open.values_mut() {
            if open
                .machine
                .poll_timeout()
                .is_some_and(|deadline| deadline <= now)
            {
                open.machine.handle_timeout(now);
                open.changed = true;
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Moment> {
        self.open
            .values()
            .filter_map(|open| open.machine.poll_timeout())
            .min()
    }

    /// Closes what nobody follows any more.
    pub(super) fn sweep(&mut self, now: Moment) {
        for open in self
            .open
            .values_mut()
            .filter(|open| open.view.receiver_count() == 0)
        {
            open.machine.handle(now, Input::Close);
        }
    }

    /// The next thing that any of them wants done.
    pub(super) fn poll_effect(&mut self) -> Option<(AgentId, Effect)> {
        self.open.iter_mut().find_map(|(id, open)| {
            open.machine
                .poll_effect()
                .map(|effect| (id.clone(), effect))
        })
    }

    /// The next change of state that any of them made.
    pub(super) fn poll_transition(&mut self) -> Option<bowline_machines::Transition> {
        self.open
            .values_mut()
            .find_map(|open| open.machine.poll_transition())
    }

    /// Results of loads that were over.
    pub(super) fn stale(&self) -> u64 {
        self.open
            .values()
            .map(|open| u64::from(open.machine.stale()))
            .sum()
    }

    /// Hands the newest views to the followers.
    pub(super) fn publish(&mut self) {
        for open in self.open.values_mut() {
            if !std::mem::take(&mut open.changed) {
                continue;
            }
            // Followers compare views with what they have; the machine's own updates are for consumers
            // that take each one.
            let view = TimelineView {
                items: open.machine.restart_consumer(),
                loaded: open.machine.has_loaded(),
                catching_up: open.machine.is_catching_up(),
                has_older: open.machine.has_older(),
                error: open.machine.error(),
            };
            open.view.send_replace(Arc::new(view));
        }
        self.open.retain(|_, open| open.view.receiver_count() > 0);
    }
}
