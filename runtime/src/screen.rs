//! One agent's screen as a value: its content is decided here and not in views (UX-1 … UX-4,
//! INV-7).

use std::sync::Arc;

use bowline_machines::{
    data::optimistic::{FailedAgent, PendingAgent},
    data::screen::{Connectivity, Creation, Screen},
    data::view::TimelineView,
};
use bowline_protocol::{AgentId, AgentSummary, ServerId};

use crate::{
    snapshot::ErrorView,
    subscription::{Publisher, Subscription},
};

/// The whole content of an agent's screen at one time. The newest replaces all earlier ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScreenSnapshot {
    /// Increases with every change; a smaller one is older.
    pub rev: u64,
    /// The agent's host.
    pub server_id: ServerId,
    /// The agent; `None` while it is being created and the daemon has not assigned its id.
    pub agent_id: Option<AgentId>,
    /// Its row in the directory, once known.
    pub agent: Option<Arc<AgentSummary>>,
    /// Whether this client created it.
    pub creation: Creation,
    /// The creation request, while in progress.
    pub creating: Option<Arc<PendingAgent>>,
    /// The failed creation request, with the error.
    pub creation_failed: Option<Arc<FailedAgent>>,
    /// What the screen displays.
    pub screen: Screen,
    /// Connectivity of the host.
    pub connectivity: Connectivity,
    /// Why the host is not online, with advice.
    pub connection_error: Option<ErrorView>,
    /// The timeline.
    pub timeline: Arc<TimelineView>,
}

/// A screen that could not be opened, or has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScreenError {
    /// Unknown host.
    #[error("the host is not known here")]
    UnknownHost,
    /// Unknown creation: it was never sent by this client, or concluded in an earlier run of the
    /// app.
    #[error("no creation with that intent is known here")]
    UnknownCreation,
    /// The host's limit of open screens or timelines is reached.
    #[error("{0} are open already; close one first")]
    TooMany(usize),
    /// The host's queue is full; try again.
    #[error("the host is busy")]
    Busy,
    /// The host was forgotten or the runtime was closed.
    #[error("the host is gone")]
    Gone,
    /// The runtime is closed.
    #[error("the runtime is closed")]
    Closed,
}

/// Snapshots of one screen, latest only: a slow reader receives fewer. Dropping it closes the
/// screen; the agent's timeline is followed until its last reader is dropped.
pub type ScreenSubscription = Subscription<ScreenSnapshot, ScreenError>;

/// The driver's side of a screen.
pub(crate) type ScreenPublisher = Publisher<ScreenSnapshot, ScreenError>;

impl ScreenPublisher {
    /// Publishes a snapshot if it differs from the last, also in constant time for a long timeline:
    /// an unchanged view is the same shared value, and a changed one differs in its revision.
    pub(crate) fn show(&self, mut snapshot: ScreenSnapshot, rev: &mut u64) {
        if let Some(last) = self.last() {
            snapshot.rev = last.rev;
            if *last == snapshot {
                return;
            }
        }
        *rev += 1;
        snapshot.rev = *rev;
        self.publish(Arc::new(snapshot));
    }
}
