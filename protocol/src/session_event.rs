//! Events of a session: what the daemon tells every client that holds it.

use serde::{Deserialize, Serialize};

use crate::{AgentId, AgentSummary, ItemId, Permission, TimelineItem};

/// One event of a session. On the wire: `session.event {"seq":n,"event":{"type":…}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum SessionEvent {
    /// An agent is new or has changed.
    #[serde(rename = "agent.updated")]
    AgentUpdated {
        /// Its row as it is now.
        agent: AgentSummary,
    },
    /// An agent is gone.
    #[serde(rename = "agent.removed")]
    AgentRemoved {
        /// Which one.
        agent_id: AgentId,
    },
    /// A timeline grew by one item.
    #[serde(rename = "timeline.appended")]
    TimelineAppended {
        /// Whose timeline.
        agent_id: AgentId,
        /// The item, with its text so far.
        item: TimelineItem,
    },
    /// The text of an item grew.
    #[serde(rename = "timeline.delta")]
    TimelineDelta {
        /// Whose timeline.
        agent_id: AgentId,
        /// Which item.
        item_id: ItemId,
        /// The item's position in the timeline.
        index: u64,
        /// What to append to the item's text.
        text: String,
    },
    /// An agent asks its user something.
    #[serde(rename = "permission.requested")]
    PermissionRequested {
        /// Who asks.
        agent_id: AgentId,
        /// What.
        permission: Permission,
    },
    /// An event of a later daemon. It counts in the sequence and means nothing here.
    #[serde(other, rename = "unknown")]
    Unknown,
}

impl SessionEvent {
    /// Every `type`, for the documentation check.
    pub const TYPES: &'static [&'static str] = &[
        "agent.updated",
        "agent.removed",
        "timeline.appended",
        "timeline.delta",
        "permission.requested",
    ];
}

/// Parameters of a `session.event` notification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequenced {
    /// Position in the session's epoch, from 1, without gaps.
    pub seq: u64,
    /// What happened.
    pub event: SessionEvent,
}
