//! Events of a session, sent by the daemon to every client attached to it.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use serde_json::value::RawValue;

use crate::{
    AgentId, AgentSummary, DeviceId, ItemId, Permission, Role, TimelineItem,
    live::{LogAppended, LogGrown, LogReplaced, TableChanged, TopicEvent},
    model::UnixMillis,
};

/// One event of a session. On the wire: `session.event {"seq":n,"event":{"type":…}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase", remote = "Self")]
pub enum SessionEvent {
    /// An agent is new or has changed.
    #[serde(rename = "agent.updated")]
    AgentUpdated {
        /// Its current row.
        agent: AgentSummary,
    },
    /// An agent is gone.
    #[serde(rename = "agent.removed")]
    AgentRemoved {
        /// The agent.
        agent_id: AgentId,
    },
    /// A timeline grew by one item.
    #[serde(rename = "timeline.appended")]
    TimelineAppended {
        /// The timeline's agent.
        agent_id: AgentId,
        /// The item, with its text so far.
        item: TimelineItem,
    },
    /// The text of an item grew.
    #[serde(rename = "timeline.delta")]
    TimelineDelta {
        /// The timeline's agent.
        agent_id: AgentId,
        /// The item.
        item_id: ItemId,
        /// The item's position in the timeline.
        index: u64,
        /// What to append to the item's text.
        text: String,
    },
    /// An item is no longer as it was: the daemon dropped its text.
    #[serde(rename = "timeline.updated")]
    TimelineUpdated {
        /// The timeline's agent.
        agent_id: AgentId,
        /// The item as it is now; it replaces the one of that index.
        item: TimelineItem,
    },
    /// An agent requests a permission from its user.
    #[serde(rename = "permission.requested")]
    PermissionRequested {
        /// The requesting agent.
        agent_id: AgentId,
        /// The request.
        permission: Permission,
    },
    /// Another device has paired with the daemon (TR-3): for a notice to the user, who may not have
    /// wanted that.
    #[serde(rename = "device.paired")]
    DevicePaired {
        /// The device.
        device: PairedDevice,
    },
    /// Rows of a table that the session follows have changed.
    #[serde(rename = "table.changed")]
    TableChanged(Box<TableChanged>),
    /// Items of a log that the session follows are new, or no longer kept.
    #[serde(rename = "log.appended")]
    LogAppended(Box<LogAppended>),
    /// The text of an item of a log that the session follows grew.
    #[serde(rename = "log.grown")]
    LogGrown(Box<LogGrown>),
    /// An item of a log that the session follows has another value.
    #[serde(rename = "log.replaced")]
    LogReplaced(Box<LogReplaced>),
    /// Something happened in a topic that the session follows.
    #[serde(rename = "topic.event")]
    TopicEvent(Box<TopicEvent>),
    /// An event of a later daemon. It counts in the sequence and has no effect here.
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
        "timeline.updated",
        "permission.requested",
        "device.paired",
        TABLE_CHANGED,
        LOG_APPENDED,
        LOG_GROWN,
        LOG_REPLACED,
        TOPIC_EVENT,
    ];
}

/// The events whose values are kept as they came.
const TABLE_CHANGED: &str = "table.changed";
const LOG_APPENDED: &str = "log.appended";
const LOG_GROWN: &str = "log.grown";
const LOG_REPLACED: &str = "log.replaced";
const TOPIC_EVENT: &str = "topic.event";

impl<'de> Deserialize<'de> for SessionEvent {
    /// Reads the type first: the derived form of a tagged enum copies an event into values before
    /// it knows the type, and JSON would no longer be as it came.
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Typed<'a> {
            #[serde(borrow)]
            r#type: Cow<'a, str>,
        }
        let raw = Box::<RawValue>::deserialize(json)?;
        let typed: Typed<'_> = serde_json::from_str(raw.get()).map_err(D::Error::custom)?;
        let event = match &*typed.r#type {
            TABLE_CHANGED => serde_json::from_str(raw.get()).map(Self::TableChanged),
            LOG_APPENDED => serde_json::from_str(raw.get()).map(Self::LogAppended),
            LOG_GROWN => serde_json::from_str(raw.get()).map(Self::LogGrown),
            LOG_REPLACED => serde_json::from_str(raw.get()).map(Self::LogReplaced),
            TOPIC_EVENT => serde_json::from_str(raw.get()).map(Self::TopicEvent),
            kind if Self::TYPES.contains(&kind) => {
                Self::deserialize(&mut serde_json::Deserializer::from_str(raw.get()))
            }
            _ => Ok(Self::Unknown),
        };
        event.map_err(D::Error::custom)
    }
}

impl Serialize for SessionEvent {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, to)
    }
}

/// A device that has paired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PairedDevice {
    /// The device.
    pub device_id: DeviceId,
    /// Name of the client program, as it identified itself.
    pub name: String,
    /// Its platform.
    pub platform: String,
    /// Its role.
    pub role: Role,
    /// When it paired.
    pub paired_at: UnixMillis,
}

/// Parameters of a `session.event` notification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequenced {
    /// Position in the session's epoch, from 1, without gaps.
    pub seq: u64,
    /// What happened.
    pub event: SessionEvent,
}
