//! The open screens of a host: each is made of the machines' state alone, once a turn (INV-14).

use std::{collections::VecDeque, sync::Arc};

use bowline_machines::{
    Moment,
    optimistic::{FailedAgent, PendingAgent, PendingMessage, Standing},
    screen::{Connectivity, Creation, ReadOnly, Screen, ScreenInput},
};
use bowline_protocol::{AgentId, AgentStatus, AgentSummary};

use super::driver::Driver;
use crate::{
    screen::{ScreenError, ScreenPublisher, ScreenSnapshot, ScreenTarget},
    settings::{FRESH_CREATION, OPEN_SCREENS, OPEN_TIMELINES},
    snapshot::ErrorView,
    timeline::TimelineView,
};

struct Slot {
    target: ScreenTarget,
    /// The agent whose timeline is followed for it.
    follows: Option<AgentId>,
    /// The view of an agent that is being created: its first prompt.
    preview: Option<Arc<TimelineView>>,
    /// Its agent was in the directory.
    had_row: bool,
    /// It has left the directory since.
    is_removed: bool,
    publisher: ScreenPublisher,
}

/// Every screen that is open.
#[derive(Default)]
pub(super) struct Screens {
    slots: Vec<Slot>,
    /// Agents that were created from here a moment ago: when, and whether with a first prompt.
    fresh: VecDeque<(AgentId, Moment, bool)>,
}

/// What a screen's agent is, besides its timeline.
#[derive(Clone, Copy, Default)]
struct Standpoint {
    creation: Creation,
    /// It was followed since it was created from here: with a first prompt or not.
    followed: Option<bool>,
    read_only: Option<ReadOnly>,
}

/// What all screens of a host have in common in one turn.
struct Surroundings {
    connectivity: Connectivity,
    error: Option<ErrorView>,
}

impl Driver {
    /// Opens a screen. Its first snapshot is published in this turn.
    pub(super) fn open_screen(
        &mut self,
        now: Moment,
        target: ScreenTarget,
        publisher: ScreenPublisher,
    ) {
        // Its creation may have been sent just before.
        self.on_submitted(now);
        // A screen that was closed just now must not count, nor stand between this one and a new attempt to load.
        self.close_screens();
        if self.screens.slots.len() >= OPEN_SCREENS {
            return publisher.end(ScreenError::TooMany(OPEN_SCREENS));
        }
        if let ScreenTarget::Creation(intent_id) = target
            && self.optimistic.creation(intent_id).is_none()
        {
            return publisher.end(ScreenError::UnknownCreation);
        }
        self.screens.slots.push(Slot {
            target,
            follows: None,
            preview: None,
            had_row: false,
            is_removed: false,
            publisher,
        });
        self.follow_screens(now);
    }

    /// Lets the timelines go of screens that nobody looks at any more.
    pub(super) fn close_screens(&mut self) {
        let timelines = &mut self.timelines;
        self.screens.slots.retain(|slot| {
            let is_wanted = slot.publisher.is_wanted();
            if let (false, Some(agent_id)) = (is_wanted, &slot.follows) {
                timelines.screen_closed(agent_id);
            }
            is_wanted
        });
    }

    /// Follows the timelines of screens whose agents are known by now.
    pub(super) fn follow_screens(&mut self, now: Moment) {
        self.note_fresh(now);
        let slots = std::mem::take(&mut self.screens.slots);
        for mut slot in slots {
            if slot.follows.is_none()
                && let Some(agent_id) = self.agent_of(&slot.target)
            {
                let mut fresh = self.screens.fresh.iter();
                let created = fresh.find(|(id, ..)| *id == agent_id);
                let created = created.map(|(_, _, prompted)| *prompted);
                let opened =
                    self.timelines
                        .screen_opened(now, &agent_id, created, &self.optimistic);
                if opened.is_err() {
                    slot.publisher.end(ScreenError::TooMany(OPEN_TIMELINES));
                    continue;
                }
                slot.follows = Some(agent_id);
            }
            self.screens.slots.push(slot);
        }
    }

    /// Takes note of what was created from here, for as long as whoever opens it can be said to have seen it from the start.
    fn note_fresh(&mut self, now: Moment) {
        let fresh = &mut self.screens.fresh;
        while let Some((agent_id, prompted)) = self.optimistic.poll_confirmed() {
            fresh.push_back((agent_id, now, prompted));
        }
        while fresh
            .front()
            .is_some_and(|(_, at, _)| *at + FRESH_CREATION <= now)
        {
            fresh.pop_front();
        }
    }

    fn agent_of(&self, target: &ScreenTarget) -> Option<AgentId> {
        match target {
            ScreenTarget::Agent(agent_id) => Some(agent_id.clone()),
            ScreenTarget::Creation(intent_id) => match self.optimistic.creation(*intent_id)? {
                Standing::Confirmed(agent_id) => Some(agent_id),
                Standing::Pending(_) | Standing::Failed(_) => None,
            },
        }
    }

    /// Hands the newest snapshots to the screens.
    pub(super) fn publish_screens(&mut self) {
        if self.screens.slots.is_empty() {
            return;
        }
        let error = self.machine.last_error();
        let surroundings = Surroundings {
            connectivity: Connectivity::from(self.machine.state()),
            error: error.map(|reason| self.describe(reason)),
        };
        let mut slots = std::mem::take(&mut self.screens.slots);
        let mut rev = self.rev;
        for slot in &mut slots {
            let snapshot = match slot.follows.clone() {
                Some(agent_id) => self.agent_screen(agent_id, slot, &surroundings),
                None => self.creation_screen(slot, &surroundings),
            };
            slot.publisher.publish(snapshot, &mut rev);
        }
        self.rev = rev;
        self.screens.slots = slots;
    }

    fn agent_screen(
        &self,
        agent_id: AgentId,
        slot: &mut Slot,
        around: &Surroundings,
    ) -> ScreenSnapshot {
        let creation = if self.optimistic.is_created_here(&agent_id) {
            Creation::Confirmed
        } else {
            Creation::None
        };
        let timeline = self.timelines.view(&agent_id).unwrap_or_default();
        let agent = self.directory.agent(&agent_id).cloned();
        slot.had_row |= agent.is_some();
        let has_left = slot.had_row && self.directory.is_complete();
        slot.is_removed = agent.is_none() && (slot.is_removed || has_left);
        let read_only = if agent.as_deref().is_some_and(is_archived) {
            Some(ReadOnly::Archived)
        } else if slot.is_removed || self.timelines.is_gone(&agent_id) {
            Some(ReadOnly::Removed)
        } else {
            None
        };
        let standpoint = Standpoint {
            creation,
            followed: self.timelines.followed_since_creation(&agent_id),
            read_only,
        };
        ScreenSnapshot {
            agent,
            agent_id: Some(agent_id),
            ..self.snapshot_of(standpoint, timeline, around)
        }
    }

    /// The screen of an agent that has no name yet, or never will have one.
    fn creation_screen(&self, slot: &mut Slot, around: &Surroundings) -> ScreenSnapshot {
        let standing = match slot.target {
            ScreenTarget::Creation(intent_id) => self.optimistic.creation(intent_id),
            ScreenTarget::Agent(_) => None,
        };
        match standing {
            Some(Standing::Pending(agent)) => {
                let preview = slot.preview.get_or_insert_with(|| preview(&agent));
                let timeline = Arc::clone(preview);
                let standpoint = Standpoint {
                    creation: Creation::Pending,
                    followed: Some(agent.prompt.is_some()),
                    read_only: None,
                };
                ScreenSnapshot {
                    creating: Some(agent),
                    ..self.snapshot_of(standpoint, timeline, around)
                }
            }
            Some(Standing::Failed(failed)) => self.rolled_back(Some(failed), around),
            // Dismissed since, or forgotten: nothing of it is left to show.
            Some(Standing::Confirmed(_)) | None => self.rolled_back(None, around),
        }
    }

    fn rolled_back(
        &self,
        creation_failed: Option<Arc<FailedAgent>>,
        around: &Surroundings,
    ) -> ScreenSnapshot {
        let standpoint = Standpoint {
            creation: Creation::Failed,
            ..Standpoint::default()
        };
        ScreenSnapshot {
            creation_failed,
            ..self.snapshot_of(standpoint, Arc::clone(&self.nothing), around)
        }
    }

    fn snapshot_of(
        &self,
        standpoint: Standpoint,
        timeline: Arc<TimelineView>,
        around: &Surroundings,
    ) -> ScreenSnapshot {
        let Standpoint {
            creation,
            followed,
            read_only,
        } = standpoint;
        let screen = Screen::of(&ScreenInput {
            loaded: timeline.loaded,
            known: timeline.known,
            loading: timeline.catching_up,
            creation,
            followed: followed.is_some(),
            prompted: followed == Some(true),
            read_only,
            last_error: timeline.error,
            connectivity: around.connectivity,
            has_items: timeline.has_rows(),
        });
        ScreenSnapshot {
            rev: 0,
            server_id: self.record.server_id.clone(),
            agent_id: None,
            agent: None,
            creation,
            creating: None,
            creation_failed: None,
            screen,
            connectivity: around.connectivity,
            connection_error: around.error.clone(),
            timeline,
        }
    }
}

fn is_archived(agent: &AgentSummary) -> bool {
    agent.status == AgentStatus::Archived
}

/// What the timeline of an agent on its way shows: its first prompt, as it will be.
fn preview(agent: &PendingAgent) -> Arc<TimelineView> {
    let message = agent.prompt.as_ref().map(|prompt| {
        Arc::new(PendingMessage {
            intent_id: agent.intent_id,
            text: prompt.clone(),
            at: agent.at,
            delivered: false,
        })
    });
    Arc::new(TimelineView {
        pending: message.into_iter().collect(),
        ..TimelineView::default()
    })
}
