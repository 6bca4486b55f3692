//! Method names, parameters and results of `docs/protocol.md` §4 and §8.

use serde::{Deserialize, Serialize};

use crate::{
    AgentId, AgentSummary, IntentId, ItemId, PermissionId, ProviderInfo, ServerId, TimelineItem,
    identity::PairingNonce, model::UnixMillis,
};

/// Method names. Each is in `docs/protocol.md`; `protocol/tests/page.rs` compares both.
pub mod name {
    macro_rules! names {
        ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
            $($(#[$doc])* pub const $name: &str = $text;)*

            /// Every name above.
            pub const ALL: &[&str] = &[$($name),*];
        };
    }

    names! {
        /// Liveness; the only method a probe may call (INV-8).
        SYSTEM_PING = "system.ping";
        /// The daemon's identity, name and version.
        SYSTEM_INFO = "system.info";
        /// The providers that agents can be created with.
        PROVIDERS_LIST = "providers.list";
        /// The directory: a page of agents.
        AGENTS_LIST = "agents.list";
        /// Creates an agent (intent).
        AGENTS_CREATE = "agents.create";
        /// Sends a prompt (intent).
        AGENTS_SEND = "agents.send";
        /// Ends the running turn (intent).
        AGENTS_CANCEL = "agents.cancel";
        /// Archives an agent (intent).
        AGENTS_ARCHIVE = "agents.archive";
        /// A page of a timeline.
        AGENTS_HISTORY = "agents.history";
        /// Subscribes to the timeline events of one agent.
        AGENTS_SUBSCRIBE = "agents.subscribe";
        /// Ends such a subscription.
        AGENTS_UNSUBSCRIBE = "agents.unsubscribe";
        /// Answers a permission (intent).
        AGENTS_RESPOND = "agents.respond";
        /// Follows a service's data, and its first page.
        LIVE_OPEN = "live.open";
        /// A page of a service's data, or rows by key.
        LIVE_PAGE = "live.page";
        /// Ends following.
        LIVE_CLOSE = "live.close";
        /// Puts a piece of a blob, or asks how much of it is there.
        BLOBS_PUT = "blobs.put";
        /// Gets a piece of a blob.
        BLOBS_GET = "blobs.get";
        /// What the daemon offers, as an OpenRPC document.
        RPC_DISCOVER = "rpc.discover";
        /// Client → daemon notification: the welcome was accepted; the session may change from here
        /// on.
        SESSION_READY = "session.ready";
        /// Daemon → client notification: one event.
        SESSION_EVENT = "session.event";
        /// Client → daemon notification: events up to `seq` are applied.
        SESSION_ACK = "session.ack";
        /// Local socket only: the daemon's status.
        DAEMON_STATUS = "daemon.status";
        /// Local socket only: the open connections.
        CONNECTIONS_LIST = "connections.list";
        /// Local socket only: the sessions.
        SESSIONS_LIST = "sessions.list";
        /// Local socket only: the paired devices.
        DEVICES_LIST = "devices.list";
        /// Local socket only: revokes a device and closes its connections.
        DEVICES_REVOKE = "devices.revoke";
        /// Local socket only: changes what a device may do.
        DEVICES_SET = "devices.set";
        /// Local socket only: the audit log.
        AUDIT_LIST = "audit.list";
        /// Local socket only: refuses all devices and stops agents until `daemon.unlock`.
        DAEMON_LOCK = "daemon.lock";
        /// Local socket only: ends `daemon.lock`.
        DAEMON_UNLOCK = "daemon.unlock";
        /// Local socket only: creates a pairing offer.
        PAIRING_CREATE = "pairing.create";
        /// Local socket only: the offers that devices can still pair with.
        PAIRING_LIST = "pairing.list";
        /// Local socket only: withdraws an offer.
        PAIRING_CANCEL = "pairing.cancel";
        /// Local socket only: waits until a device asks to pair with an offer.
        PAIRING_WAIT = "pairing.wait";
        /// Local socket only: pairs the device that asks.
        PAIRING_APPROVE = "pairing.approve";
        /// Local socket only: refuses the device that asks, and ends its offer.
        PAIRING_REFUSE = "pairing.refuse";
        /// Daemon → client notification on a pairing connection: the owner is asked.
        PAIRING_ASKED = "pairing.asked";
        /// Daemon → client notification on a pairing connection: the device is paired.
        PAIRING_APPROVED = "pairing.approved";
        /// Daemon → client notification: this connection is about to be closed.
        CONNECTION_CLOSING = "connection.closing";
    }
}

/// Result of `system.ping`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Pong {
    /// The daemon's clock.
    pub server_time: UnixMillis,
}

/// Result of `system.info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// Capabilities beyond protocol version 1.
    pub capabilities: Vec<String>,
}

/// Parameters of `pairing.asked`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PairingAsked {
    /// The daemon's part of the code: drawn when the device asks, and kept for it.
    pub nonce: PairingNonce,
}

/// Result of `providers.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Providers {
    /// In the order of the configuration.
    pub providers: Vec<ProviderInfo>,
}

/// Parameters of `agents.list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListAgents {
    /// `nextCursor` of the previous page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Largest page wanted, in agents; the daemon may return fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Newest first, for clients that keep a bounded number. A cursor continues in the order it was
    /// issued for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub newest_first: bool,
}

/// Result of `agents.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AgentsPage {
    /// Oldest first, unless `newestFirst` was set.
    pub agents: Vec<AgentSummary>,
    /// Present when there are more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// Number of all agents.
    #[serde(default)]
    pub total: u64,
    /// The page reflects the session up to this event; later events apply on top.
    pub seq: u64,
}

/// Parameters of `agents.create`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateAgent {
    /// Id of the intent; a repeated request with the same id has no further effect (BX-1).
    pub intent_id: IntentId,
    /// A provider's configured name.
    pub provider: String,
    /// Absolute working directory on the daemon's machine.
    pub cwd: String,
    /// Title for people; derived from the prompt when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// First prompt; without one the agent is idle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
}

/// Result of `agents.create`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AgentCreated {
    /// The new agent.
    pub agent: AgentSummary,
}

/// Parameters of `agents.send`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SendPrompt {
    /// Id of the intent (BX-1).
    pub intent_id: IntentId,
    /// The agent that receives the prompt.
    pub agent_id: AgentId,
    /// The prompt.
    pub text: String,
}

/// Result of `agents.send`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PromptSent {
    /// The user item in the timeline.
    pub item_id: ItemId,
}

/// Parameters of `agents.cancel` and `agents.archive`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentIntent {
    /// Id of the intent (BX-1).
    pub intent_id: IntentId,
    /// The agent.
    pub agent_id: AgentId,
}

/// Parameters of `agents.respond`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Respond {
    /// Id of the intent (BX-1).
    pub intent_id: IntentId,
    /// The agent that requested the permission.
    pub agent_id: AgentId,
    /// The permission request.
    pub permission_id: PermissionId,
    /// The chosen answer.
    pub option_id: String,
}

/// Parameters of `agents.history`. Without `before` and `after`: the newest page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct History {
    /// The timeline's agent.
    pub agent_id: AgentId,
    /// Only items with a smaller index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Only items with a larger index; the page then begins at the smallest of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Largest page wanted, in items; the daemon may return fewer (it also bounds the page in
    /// bytes).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Result of `agents.history`: a run of the timeline, in order of index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct HistoryPage {
    /// Ascending indices.
    pub items: Vec<TimelineItem>,
    /// Whether more items follow in the requested direction (older without `after`, newer with it).
    pub has_more: bool,
    /// The page reflects the session up to this event; later events apply on top.
    pub seq: u64,
}

/// Parameters of `agents.subscribe` and `agents.unsubscribe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentRef {
    /// The agent.
    pub agent_id: AgentId,
}

/// The empty object: parameters or result of methods without any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Empty {}

/// Parameters of `session.ack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Ack {
    /// Every event up to and including this one is applied.
    pub seq: u64,
}
