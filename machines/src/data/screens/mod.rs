//! The open screens of a host: the timeline that each reads, and its content (UX-1 … UX-4, INV-14).
//!
//! ```text
//!                     its agent is known
//!  opened on ──────────────────────────────────► reads the agent's timeline ──closed──► gone
//!  an agent                                        ▲
//!                                                  │ confirmed: the same screen goes on (UX-3)
//!  opened on ──► shows the requested agent ────────┤
//!  a creation                                      └ failed: rolled back, until closed
//! ```
//!
//! A screen holds a reader of its agent's timeline ([`Timelines`]) from the time the agent is known
//! until it is closed. Its content is computed from the machines on demand ([`Screens::show`]); its
//! only own state is whether its agent was in the directory, which distinguishes a removed agent
//! from one that is not listed yet.
//!
//! An agent created by this client may be opened as one seen from the start for
//! [`ScreensConfig::fresh_creation`]. Later, other clients may have prompted it, so it is opened
//! like any other (UX-1).

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bowline_protocol::{AgentId, AgentStatus, AgentSummary, IntentId};

use super::{
    directory::Directory,
    optimistic::{CreationStatus, FailedAgent, Optimistic, PendingAgent, PendingMessage},
    screen::{Connectivity, Creation, ReadOnly, Screen, ScreenInput},
    timelines::{FreshCreation, Reader, Timelines, TooManyOpen},
    view::TimelineView,
};
use crate::{MonotonicTime, effects::EffectQueue};

/// Bounds of a host's screens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScreensConfig {
    /// Most open screens; further ones are refused.
    pub most_open: usize,
    /// Time after its creation by this client during which an agent may be opened as one seen from
    /// the start (UX-3): enough for an app to open the screen.
    pub fresh_creation: Duration,
}

impl Default for ScreensConfig {
    fn default() -> Self {
        Self {
            most_open: 256,
            fresh_creation: Duration::from_secs(10),
        }
    }
}

/// Subject of a screen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScreenTarget {
    /// An agent.
    Agent(AgentId),
    /// The agent that this intent creates: displayed at once, and the same screen continues with
    /// the created agent (UX-3).
    Creation(IntentId),
}

impl From<AgentId> for ScreenTarget {
    fn from(agent_id: AgentId) -> Self {
        Self::Agent(agent_id)
    }
}

impl From<IntentId> for ScreenTarget {
    fn from(intent_id: IntentId) -> Self {
        Self::Creation(intent_id)
    }
}

/// Id of one open screen of a host, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScreenId(u64);

/// Why a screen was not opened, or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The creation is unknown.
    UnknownCreation,
    /// The maximum of screens or timelines is open.
    TooMany(usize),
}

/// Content of a screen, except the status of its host.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    /// The agent; `None` until the daemon has assigned the id of a pending one.
    pub agent_id: Option<AgentId>,
    /// Its row in the directory, if known.
    pub agent: Option<Arc<AgentSummary>>,
    /// Whether this client created it.
    pub creation: Creation,
    /// The requested agent, while it is pending.
    pub creating: Option<Arc<PendingAgent>>,
    /// The failed creation.
    pub creation_failed: Option<Arc<FailedAgent>>,
    /// The screen's elements.
    pub screen: Screen,
    /// The timeline.
    pub timeline: Arc<TimelineView>,
}

/// The machines that screens are computed from.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// The host's agents.
    pub directory: &'a Directory,
    /// Their timelines, as of the last publication.
    pub timelines: &'a Timelines,
    /// Pending messages and agents.
    pub optimistic: &'a Optimistic,
    /// Status of the host.
    pub connectivity: Connectivity,
}

#[derive(Clone, Debug)]
struct Slot {
    target: ScreenTarget,
    /// The agent whose timeline it reads.
    reads: Option<AgentId>,
    /// The view of a pending agent: its first prompt.
    preview: Option<Arc<TimelineView>>,
    /// Whether its agent was in the directory.
    had_row: bool,
    /// Whether its agent has left the directory since.
    is_removed: bool,
}

/// The open screens of one host.
#[derive(Clone, Debug, Default)]
pub struct Screens {
    config: ScreensConfig,
    slots: BTreeMap<ScreenId, Slot>,
    last: ScreenId,
    /// Agents created by this client within `fresh_creation`.
    fresh: VecDeque<(AgentId, MonotonicTime, FreshCreation)>,
    refused: EffectQueue<(ScreenId, Refusal)>,
    /// The timeline of an agent that does not exist.
    nothing: Arc<TimelineView>,
}

impl Screens {
    /// No screens; `config` sets the bounds.
    pub fn new(config: ScreensConfig) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// Opens a screen. Call [`Screens::follow`] next.
    ///
    /// # Errors
    /// [`Refusal`] at the bound, or if the creation is unknown; nothing has changed then.
    pub fn open(
        &mut self,
        target: ScreenTarget,
        optimistic: &Optimistic,
    ) -> Result<ScreenId, Refusal> {
        if self.slots.len() >= self.config.most_open {
            return Err(Refusal::TooMany(self.config.most_open));
        }
        if let ScreenTarget::Creation(intent_id) = target
            && optimistic.creation(intent_id).is_none()
        {
            return Err(Refusal::UnknownCreation);
        }
        self.last = ScreenId(self.last.0.saturating_add(1));
        let slot = Slot {
            target,
            reads: None,
            preview: None,
            had_row: false,
            is_removed: false,
        };
        self.slots.insert(self.last, slot);
        Ok(self.last)
    }

    /// Closes a screen.
    pub fn close(&mut self, id: ScreenId, timelines: &mut Timelines) {
        if let Some(slot) = self.slots.remove(&id)
            && let Some(agent_id) = slot.reads
        {
            timelines.screen_closed(&agent_id);
        }
    }

    /// Opens the timelines of screens whose agents are known by now. Those over the bound end
    /// ([`Screens::poll_refused`]).
    pub fn follow(
        &mut self,
        now: MonotonicTime,
        timelines: &mut Timelines,
        optimistic: &mut Optimistic,
    ) {
        self.note_fresh(now, optimistic);
        let fresh = &self.fresh;
        let refused = &mut self.refused;
        self.slots.retain(|id, slot| {
            if slot.reads.is_some() {
                return true;
            }
            let Some(agent_id) = agent_of(&slot.target, optimistic) else {
                return true;
            };
            let created = fresh.iter().find(|(of, ..)| *of == agent_id);
            let created = created.map(|(_, _, fresh)| *fresh);
            match timelines.open(now, &agent_id, Reader::Screen { created }, optimistic) {
                Ok(()) => {
                    slot.reads = Some(agent_id);
                    true
                }
                Err(TooManyOpen { most }) => {
                    refused.push((*id, Refusal::TooMany(most)));
                    false
                }
            }
        });
    }

    /// The next screen that ended because its timeline was over the bound.
    pub fn poll_refused(&mut self) -> Option<(ScreenId, Refusal)> {
        self.refused.pop()
    }

    /// Records agents created by this client, for as long as they can be opened as seen from the
    /// start.
    fn note_fresh(&mut self, now: MonotonicTime, optimistic: &mut Optimistic) {
        while let Some((agent_id, prompted)) = optimistic.poll_confirmed() {
            self.fresh
                .push_back((agent_id, now, FreshCreation { prompted }));
        }
        let oldest = self.config.fresh_creation;
        while self
            .fresh
            .front()
            .is_some_and(|(_, at, _)| *at + oldest <= now)
        {
            self.fresh.pop_front();
        }
    }

    /// Content of a screen; `None` if it is not open.
    pub fn show(&mut self, id: ScreenId, sources: &Sources<'_>) -> Option<Content> {
        let slot = self.slots.get_mut(&id)?;
        Some(match slot.reads.clone() {
            Some(agent_id) => agent_content(agent_id, slot, sources),
            None => creation_content(slot, &self.nothing, sources),
        })
    }
}

fn agent_of(target: &ScreenTarget, optimistic: &Optimistic) -> Option<AgentId> {
    match target {
        ScreenTarget::Agent(agent_id) => Some(agent_id.clone()),
        ScreenTarget::Creation(intent_id) => match optimistic.creation(*intent_id)? {
            CreationStatus::Confirmed(agent_id) => Some(agent_id),
            CreationStatus::Pending(_) | CreationStatus::Failed(_) => None,
        },
    }
}

fn agent_content(agent_id: AgentId, slot: &mut Slot, sources: &Sources<'_>) -> Content {
    let creation = if sources.optimistic.is_created_here(&agent_id) {
        Creation::Confirmed
    } else {
        Creation::None
    };
    let timelines = sources.timelines;
    let agent = sources.directory.agent(&agent_id).cloned();
    slot.had_row |= agent.is_some();
    let has_left = slot.had_row && sources.directory.is_complete();
    slot.is_removed = agent.is_none() && (slot.is_removed || has_left);
    let status = agent.as_ref().map(|agent| agent.status);
    let read_only = if status == Some(AgentStatus::Archived) {
        Some(ReadOnly::Archived)
    } else if slot.is_removed || timelines.is_gone(&agent_id) {
        Some(ReadOnly::Removed)
    } else {
        None
    };
    let timeline = timelines.view(&agent_id).cloned().unwrap_or_default();
    let seen = timelines.read_since_creation(&agent_id);
    Content {
        agent,
        agent_id: Some(agent_id),
        ..content(creation, seen, read_only, timeline, sources.connectivity)
    }
}

/// The screen of an agent without an id, pending or failed.
fn creation_content(
    slot: &mut Slot,
    nothing: &Arc<TimelineView>,
    sources: &Sources<'_>,
) -> Content {
    let status = match slot.target {
        ScreenTarget::Creation(intent_id) => sources.optimistic.creation(intent_id),
        ScreenTarget::Agent(_) => None,
    };
    let connectivity = sources.connectivity;
    if let Some(CreationStatus::Pending(agent)) = status {
        let timeline = Arc::clone(slot.preview.get_or_insert_with(|| preview(&agent)));
        let prompted = agent.prompt.is_some();
        let seen = Some(FreshCreation { prompted });
        return Content {
            creating: Some(agent),
            ..content(Creation::Pending, seen, None, timeline, connectivity)
        };
    }
    let creation_failed = match status {
        Some(CreationStatus::Failed(agent)) => Some(agent),
        // Dismissed or forgotten: nothing is left to display.
        _ => None,
    };
    let timeline = Arc::clone(nothing);
    Content {
        creation_failed,
        ..content(Creation::Failed, None, None, timeline, connectivity)
    }
}

/// `seen`: set if the agent has been read since its creation by this client.
fn content(
    creation: Creation,
    seen: Option<FreshCreation>,
    read_only: Option<ReadOnly>,
    timeline: Arc<TimelineView>,
    connectivity: Connectivity,
) -> Content {
    let screen = Screen::of(&ScreenInput {
        loaded: timeline.loaded,
        known: timeline.known,
        loading: timeline.catching_up,
        creation,
        followed: seen.is_some(),
        prompted: seen.is_some_and(|seen| seen.prompted),
        read_only,
        last_error: timeline.error,
        connectivity,
        has_items: timeline.has_rows(),
    });
    Content {
        agent_id: None,
        agent: None,
        creation,
        creating: None,
        creation_failed: None,
        screen,
        timeline,
    }
}

/// The timeline of a pending agent: its first prompt, as it will be displayed.
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
