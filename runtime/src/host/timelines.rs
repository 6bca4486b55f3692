//! The open timelines of one host: a machine each, and the newest view for its followers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bowline_machines::{
    Generation, Moment,
    timeline::{Effect, Input, State, Timeline, TimelineConfig, Update},
};
use bowline_protocol::{AgentId, TimelineItem};
use tokio::sync::watch;

use crate::{
    settings::OPEN_TIMELINES,
    timeline::{TimelineError, TimelineView},
};

struct Open {
    machine: Timeline,
    view: watch::Sender<Arc<TimelineView>>,
    /// The machine's window as followers have it. Brought up to date by what changed, so that a view costs what is
    /// new in it, not all the text there is (BX-6).
    items: Vec<Arc<TimelineItem>>,
    /// Items whose text grew since the last view.
    grown: BTreeSet<u64>,
    /// The items must be taken from the machine as a whole.
    rebuild: bool,
    /// How often the daemon turned out to have another timeline than the one shown.
    replaced: u64,
    changed: bool,
}

impl Open {
    fn new() -> Self {
        Self {
            machine: Timeline::new(TimelineConfig::default()),
            view: watch::channel(Arc::default()).0,
            items: Vec::new(),
            grown: BTreeSet::new(),
            rebuild: false,
            replaced: 0,
            changed: false,
        }
    }

    fn is_followed(&self) -> bool {
        self.view.receiver_count() > 0
    }

    fn handle(&mut self, now: Moment, input: Input) {
        // A page may know more of an item than that its text grew.
        self.rebuild |= matches!(input, Input::Loaded { .. });
        self.machine.handle(now, input);
        self.take_updates();
    }

    fn take_updates(&mut self) {
        self.changed = true;
        while let Some(update) = self.machine.poll_update() {
            match update {
                Update::Appended(item) => self.items.push(item),
                Update::Grown { index, .. } => {
                    self.grown.insert(index);
                }
                Update::Prepended(_) => self.rebuild = true,
                Update::Cleared => {
                    self.rebuild = true;
                    self.replaced += 1;
                }
            }
        }
    }

    /// Makes `items` what the machine's window is.
    fn update_items(&mut self) {
        let grown = std::mem::take(&mut self.grown);
        if std::mem::take(&mut self.rebuild) {
            self.items = self.machine.restart_consumer();
            return;
        }
        let held = |item: &Arc<TimelineItem>| self.machine.item(item.index).is_some();
        let left = self.items.iter().take_while(|item| !held(item)).count();
        self.items.drain(..left);
        let Some(first) = self.items.first().map(|item| item.index) else {
            return;
        };
        for index in grown {
            let place = index.checked_sub(first).map(usize::try_from);
            if let Some(Ok(place)) = place
                && let Some(shown) = self.items.get_mut(place)
                && let Some(item) = self.machine.item(index)
            {
                *shown = Arc::new(item.clone());
            }
        }
    }

    fn publish(&mut self) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        self.update_items();
        let view = TimelineView {
            items: self.items.clone(),
            loaded: self.machine.has_loaded(),
            catching_up: self.machine.is_catching_up(),
            has_older: self.items.first().is_some_and(|item| item.index > 0),
            complete_to: self.machine.complete_to(),
            replaced: self.replaced,
            error: self.machine.error(),
        };
        self.view.send_replace(Arc::new(view));
    }
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
        let others = self
            .open
            .iter()
            .filter(|(id, open)| *id != agent_id && open.is_followed());
        if others.count() >= OPEN_TIMELINES {
            return Err(TimelineError::TooMany(OPEN_TIMELINES));
        }
        let open = self.open.entry(agent_id.clone()).or_insert_with(Open::new);
        if !open.is_followed() {
            open.handle(now, Input::Open);
        }
        Ok(open.view.subscribe())
    }

    /// Feeds one input to one timeline, if it is open.
    pub(super) fn handle(&mut self, now: Moment, agent_id: &AgentId, input: Input) {
        if let Some(open) = self.open.get_mut(agent_id) {
            open.handle(now, input);
        }
    }

    /// Feeds the same input to all.
    pub(super) fn handle_all(&mut self, now: Moment, input: &Input) {
        for open in self.open.values_mut() {
            open.handle(now, input.clone());
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Moment) {
        for open in self.open.values_mut() {
            let deadline = open.machine.poll_timeout();
            if deadline.is_some_and(|deadline| deadline <= now) {
                open.machine.handle_timeout(now);
                open.take_updates();
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Moment> {
        let open = self.open.values();
        open.filter_map(|open| open.machine.poll_timeout()).min()
    }

    /// Closes what nobody follows any more, and forgets what was closed before: by then its subscription has been
    /// ended.
    pub(super) fn sweep(&mut self, now: Moment) {
        self.open
            .retain(|_, open| open.is_followed() || *open.machine.state() != State::Idle);
        for open in self.open.values_mut().filter(|open| !open.is_followed()) {
            open.handle(now, Input::Close);
        }
    }

    /// The next thing that any of them wants done.
    pub(super) fn poll_effect(&mut self) -> Option<(AgentId, Effect)> {
        self.open.iter_mut().find_map(|(id, open)| {
            let effect = open.machine.poll_effect()?;
            Some((id.clone(), effect))
        })
    }

    /// The next change of state that any of them made.
    pub(super) fn poll_transition(&mut self) -> Option<bowline_machines::Transition> {
        self.open
            .values_mut()
            .find_map(|open| open.machine.poll_transition())
    }

    /// The load that is running for an agent's timeline.
    pub(super) fn running(&self, agent_id: &AgentId) -> Option<Generation> {
        self.open.get(agent_id)?.machine.running()
    }

    /// Results of loads that were over.
    pub(super) fn stale(&self) -> u64 {
        let open = self.open.values();
        open.map(|open| u64::from(open.machine.stale())).sum()
    }

    /// Hands the newest views to the followers.
    pub(super) fn publish(&mut self) {
        for open in self.open.values_mut() {
            open.publish();
        }
    }
}
