//! Method names, parameters and results of `docs/protocol.md` §3 and §5.

use serde::{Deserialize, Serialize};

use crate::{
    AgentId, AgentSummary, IntentId, ItemId, PermissionId, ProviderInfo, ServerId, TimelineItem,
    model::UnixMillis,
};

/// Method names. Every one is in `docs/protocol.md`; the tidy check compares both.
pub mod name {
    /// Liveness; the only method a probe may call (INV-8).
    pub const SYSTEM_PING: &str = "system.ping";
    /// Who the daemon is.
    pub const SYSTEM_INFO: &str = "system.info";
    /// What agents can be made of.
    pub const PROVIDERS_LIST: &str = "providers.list";
    /// The directory.
    pub const AGENTS_LIST: &str = "agents.list";
    /// Makes an agent (intent).
    pub const AGENTS_CREATE: &str = "agents.create";
    /// Sends a prompt (intent).
    pub const AGENTS_SEND: &str = "agents.send";
    /// Ends the running turn (intent).
    pub const AGENTS_CANCEL: &str = "agents.cancel";
    /// Puts an agent away (intent).
    pub const AGENTS_ARCHIVE: &str = "agents.archive";
    /// A page of a timeline.
    pub const AGENTS_HISTORY: &str = "agents.history";
    /// Asks for the timeline events of one agent.
    pub const AGENTS_SUBSCRIBE: &str = "agents.subscribe";
    /// Ends that.
    pub const AGENTS_UNSUBSCRIBE: &str = "agents.unsubscribe";
    /// Answers a permission (intent).
    pub const AGENTS_RESPOND: &str = "agents.respond";
    /// Client → daemon notification: the welcome was accepted; from here on the daemon may change.
    pub const SESSION_READY: &str = "session.ready";
    /// Daemon → client notification: one event.
    pub const SESSION_EVENT: &str = "session.event";
    /// Client → daemon notification: events up to `seq` are applied.
    pub const SESSION_ACK: &str = "session.ack";
    /// Local socket only: how the daemon is.
    pub const DAEMON_STATUS: &str = "daemon.status";
    /// Local socket only: open connections.
    pub const CONNECTIONS_LIST: &str = "connections.list";
    /// Local socket only: sessions.
    pub const SESSIONS_LIST: &str = "sessions.list";
    /// Local socket only: paired devices.
    pub const DEVICES_LIST: &str = "devices.list";
    /// Local socket only: revokes a device and cuts its connections.
    pub const DEVICES_REVOKE: &str = "devices.revoke";
    /// Local socket only: makes a pairing offer.
    pub const PAIRING_CREATE: &str = "pairing.create";
    /// Daemon → client notification: this connection is about to be closed.
    pub const CONNECTION_CLOSING: &str = "connection.closing";

    /// Every name above.
    pub const ALL: &[&str] = &[
        SYSTEM_PING,
        SYSTEM_INFO,
        PROVIDERS_LIST,
        AGENTS_LIST,
        AGENTS_CREATE,
        AGENTS_SEND,
        AGENTS_CANCEL,
        AGENTS_ARCHIVE,
        AGENTS_HISTORY,
        AGENTS_SUBSCRIBE,
        AGENTS_UNSUBSCRIBE,
        AGENTS_RESPOND,
        SESSION_READY,
        SESSION_EVENT,
        SESSION_ACK,
        DAEMON_STATUS,
        CONNECTIONS_LIST,
        SESSIONS_LIST,
        DEVICES_LIST,
        DEVICES_REVOKE,
        PAIRING_CREATE,
        CONNECTION_CLOSING,
    ];
}

/// Result of `system.ping`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pong {
    /// The daemon's clock.
    pub server_time: UnixMillis,
}

/// Result of `system.info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SystemInfo {
    /// Stable identity of the daemon.
    pub server_id: ServerId,
    /// Its name, for people.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// What it can do beyond protocol version 1.
    pub capabilities: Vec<String>,
}

/// Result of `providers.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Providers {
    /// In the order of the configuration.
    pub providers: Vec<ProviderInfo>,
}

/// Parameters of `agents.list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListAgents {
    /// `nextCursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Most agents wanted; the daemon may give fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The newest first, for those who keep a bounded number. A cursor goes on in the order it was given in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub newest_first: bool,
}

/// Result of `agents.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentsPage {
    /// Oldest first, unless asked for otherwise.
    pub agents: Vec<AgentSummary>,
    /// Present when there are more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// How many agents there are.
    #[serde(default)]
    pub total: u64,
    /// The state is as of this event of the session: later events apply on top.
    pub seq: u64,
}

/// Parameters of `agents.create`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateAgent {
    /// Names this request for ever (BX-1).
    pub intent_id: IntentId,
    /// A provider's configured name.
    pub provider: String,
    /// Absolute working directory on the daemon's machine.
    pub cwd: String,
    /// For people; made from the prompt when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// First prompt; without one the agent waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
}

/// Result of `agents.create`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentCreated {
    /// The new agent.
    pub agent: AgentSummary,
}

/// Parameters of `agents.send`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SendPrompt {
    /// Names this request for ever (BX-1).
    pub intent_id: IntentId,
    /// To whom.
    pub agent_id: AgentId,
    /// The prompt.
    pub text: String,
}

/// Result of `agents.send`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromptSent {
    /// The user item in the timeline.
    pub item_id: ItemId,
}

/// Parameters of `agents.cancel` and `agents.archive`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentIntent {
    /// Names this request for ever (BX-1).
    pub intent_id: IntentId,
    /// Which agent.
    pub agent_id: AgentId,
}

/// Parameters of `agents.respond`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Respond {
    /// Names this request for ever (BX-1).
    pub intent_id: IntentId,
    /// Who asked.
    pub agent_id: AgentId,
    /// What was asked.
    pub permission_id: PermissionId,
    /// The chosen answer.
    pub option_id: String,
}

/// Parameters of `agents.history`. Without `before` and `after`: the newest page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct History {
    /// Whose timeline.
    pub agent_id: AgentId,
    /// Only items of a smaller index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Only items of a larger index; the page then begins at the smallest of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Most items wanted; the daemon may give fewer (it also bounds the page in bytes).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Result of `agents.history`: a run of the timeline, in order of index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryPage {
    /// Ascending indices.
    pub items: Vec<TimelineItem>,
    /// Whether the timeline goes on in the direction asked (older without `after`, newer with it).
    pub has_more: bool,
    /// The items are as of this event of the session: later events apply on top.
    pub seq: u64,
}

/// Parameters of `agents.subscribe` and `agents.unsubscribe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentRef {
    /// Which agent.
    pub agent_id: AgentId,
}

/// The empty object: parameters or result of methods that need none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// Parameters of `session.ack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Every event up to and including this one is applied.
    pub seq: u64,
}
