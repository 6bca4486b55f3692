//! One agent's screen as a value: what to show, decided here and not in views (UX-1 … UX-4, INV-7).

use std::sync::{Arc, OnceLock};

use bowline_machines::{
    optimistic::{FailedAgent, PendingAgent},
    screen::{Connectivity, Creation, Screen},
};
use bowline_protocol::{AgentId, AgentSummary, IntentId, ServerId};
use tokio::sync::watch;

use crate::{snapshot::ErrorView, timeline::TimelineView};

/// What a screen shows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScreenTarget {
    /// An agent.
    Agent(AgentId),
    /// The agent that this intent creates: shown at once, and the same screen goes on when it is there (UX-3).
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

/// Everything an agent's screen shows, as of one moment. The newest one replaces all before it.
#[derive(Clone, Debug, PartialEq)]
pub struct ScreenSnapshot {
    /// Grows with every change; a smaller one is older.
    pub rev: u64,
    /// Whose agent.
    pub server_id: ServerId,
    /// The agent; `None` until the daemon has named the one that is being created.
    pub agent_id: Option<AgentId>,
    /// Its row in the directory, once that is known.
    pub agent: Option<Arc<AgentSummary>>,
    /// Whether it was created from here.
    pub creation: Creation,
    /// What was asked for, while it is being created.
    pub creating: Option<Arc<PendingAgent>>,
    /// Why it could not be created, with what was asked for.
    pub creation_failed: Option<Arc<FailedAgent>>,
    /// What to show.
    pub screen: Screen,
    /// How the host stands.
    pub connectivity: Connectivity,
    /// Why the host is not online, with what to do about it.
    pub connection_error: Option<ErrorView>,
    /// The timeline.
    pub timeline: Arc<TimelineView>,
}

impl ScreenSnapshot {
    /// Whether both say the same, whatever their revisions. Costs nothing for timelines of any length.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.timeline, &other.timeline)
            && self.server_id == other.server_id
            && self.agent_id == other.agent_id
            && self.agent == other.agent
            && self.creation == other.creation
            && self.creating == other.creating
            && self.creation_failed == other.creation_failed
            && self.screen == other.screen
            && self.connectivity == other.connectivity
            && self.connection_error == other.connection_error
    }
}

/// A screen could not be opened, or has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScreenError {
    /// No such host.
    #[error("the host is not known here")]
    UnknownHost,
    /// Nothing of that creation is known here: it was never sent from here, or it was concluded in an earlier run of the app.
    #[error("no creation with that intent is known here")]
    UnknownCreation,
    /// The host has its most screens or timelines open.
    #[error("{0} are open already; close one first")]
    TooMany(usize),
    /// The host's driver has more to do than it takes; try again.
    #[error("the host is busy")]
    Busy,
    /// The host was forgotten or the runtime was closed.
    #[error("the host is gone")]
    Gone,
    /// The runtime is closed.
    #[error("the runtime is closed")]
    Closed,
}

/// Snapshots of one screen, the newest only: a slow reader gets fewer of them. Dropping it ends it; the agent's timeline is
/// followed until its last reader is gone.
#[derive(Debug)]
pub struct ScreenSubscription {
    snapshots: watch::Receiver<Option<Arc<ScreenSnapshot>>>,
    ended: Arc<OnceLock<ScreenError>>,
}

impl ScreenSubscription {
    pub(crate) fn new() -> (Self, ScreenPublisher) {
        let (publisher, snapshots) = watch::channel(None);
        let ended = Arc::new(OnceLock::new());
        let subscription = Self {
            snapshots,
            ended: Arc::clone(&ended),
        };
        let publisher = ScreenPublisher {
            snapshots: publisher,
            ended,
        };
        (subscription, publisher)
    }

    /// The newest snapshot; `None` until the first, which comes at once.
    pub fn current(&self) -> Option<Arc<ScreenSnapshot>> {
        self.snapshots.borrow().clone()
    }

    /// Waits for a snapshot that was not returned yet and returns the newest. Cancel-safe.
    ///
    /// # Errors
    /// [`ScreenError`] when there will be no other.
    pub async fn next(&mut self) -> Result<Arc<ScreenSnapshot>, ScreenError> {
        loop {
            let changed = self.snapshots.changed().await;
            if changed.is_err() {
                return Err(self.ended.get().cloned().unwrap_or(ScreenError::Gone));
            }
            if let Some(snapshot) = self.snapshots.borrow_and_update().clone() {
                return Ok(snapshot);
            }
        }
    }
}

/// The driver's end of a subscription.
#[derive(Debug)]
pub(crate) struct ScreenPublisher {
    snapshots: watch::Sender<Option<Arc<ScreenSnapshot>>>,
    ended: Arc<OnceLock<ScreenError>>,
}

impl ScreenPublisher {
    pub(crate) fn is_wanted(&self) -> bool {
        !self.snapshots.is_closed()
    }

    /// Tells the subscriber why there will be no other snapshot.
    pub(crate) fn end(self, error: ScreenError) {
        // Set once: a publisher ends once.
        let _ = self.ended.set(error);
    }

    /// Publishes a snapshot that says something new.
    pub(crate) fn publish(&self, mut snapshot: ScreenSnapshot, rev: &mut u64) {
        let is_new = {
            let last = self.snapshots.borrow();
            last.as_ref()
                .is_none_or(|last| !last.says_the_same(&snapshot))
        };
        if is_new {
            *rev += 1;
            snapshot.rev = *rev;
            self.snapshots.send_replace(Some(Arc::new(snapshot)));
        }
    }
}
