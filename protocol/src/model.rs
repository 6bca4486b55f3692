//! The data of sessions: agents, their timelines, providers, permissions (`docs/protocol.md` §4).

use serde::{Deserialize, Serialize};

use crate::{AgentId, ItemId, PermissionId};

/// Milliseconds since the Unix epoch, UTC, by the daemon's clock.
pub type UnixMillis = i64;

/// Status of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    /// The agent's program starts.
    Starting,
    /// The agent waits for a prompt.
    Idle,
    /// The agent works on a prompt.
    Running,
    /// The agent waits for its user (a permission).
    Waiting,
    /// The last turn failed.
    Failed,
    /// Archived; accepts no more prompts.
    Archived,
}

/// One row of the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AgentSummary {
    /// Id used in every request about the agent.
    pub id: AgentId,
    /// Title for people.
    pub title: String,
    /// Configured provider name.
    pub provider: String,
    /// Working directory on the daemon's machine.
    pub cwd: String,
    /// Status.
    pub status: AgentStatus,
    /// When it was created.
    pub created_at: UnixMillis,
    /// Time of the last change.
    pub updated_at: UnixMillis,
    /// Why the user should look at the agent, if there is a reason: `"permission"`, `"failed"` or
    /// `"finished"`; or `"queued"` while its prompt waits because the daemon runs the maximum of
    /// turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention: Option<String>,
    /// The intent that created it, so that a client replaces its optimistic row (UX-3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent_id: Option<crate::IntentId>,
}

/// Kind of a timeline item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ItemKind {
    /// A prompt of the user.
    User,
    /// A message of the agent.
    Message,
    /// Reasoning of the agent.
    Thought,
    /// A tool call.
    Tool,
    /// Output of a process.
    Output,
    /// A plan.
    Plan,
    /// A permission request to the user.
    Permission,
    /// An error; `text` describes it.
    Error,
    /// The end of a turn; `status` says how it ended, `exit_code` with which exit status.
    TurnEnd,
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TurnStatus {
    /// Completed successfully.
    Completed,
    /// Failed.
    Failed,
    /// Cancelled by the user.
    Cancelled,
    /// The daemon ended during the turn.
    Interrupted,
}

/// One entry of an agent's durable timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TimelineItem {
    /// Stable id.
    pub id: ItemId,
    /// Position in the timeline, from 0, without gaps.
    pub index: u64,
    /// Kind of the item.
    pub kind: ItemKind,
    /// Time at which it began.
    pub at: UnixMillis,
    /// Text so far; `timeline.delta` appends to it. On [`ItemKind::TurnEnd`]: a description for
    /// people of what the timeline lacks; empty if it is complete.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Bytes of text that the daemon no longer keeps: there was a text of that size, and `text` is
    /// empty (TR-12). Zero while it is kept.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped_bytes: u64,
    /// `stdout` or `stderr`, for [`ItemKind::Output`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<OutputStream>,
    /// How the turn ended, for [`ItemKind::TurnEnd`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<TurnStatus>,
    /// Exit status of the process, for [`ItemKind::TurnEnd`] of a `command` agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The intent that caused it, so that a client replaces its optimistic item (UX-3). On
    /// [`ItemKind::TurnEnd`]: the intent of the turn's prompt, since prompts queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent_id: Option<crate::IntentId>,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

/// Output stream of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A permission request of an agent to its user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Permission {
    /// Id for `agents.respond`.
    pub id: PermissionId,
    /// Title for people.
    pub title: String,
    /// The answers to choose from.
    pub options: Vec<PermissionOption>,
}

/// One answer to a [`Permission`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PermissionOption {
    /// Id for `agents.respond`.
    pub id: String,
    /// Title for people.
    pub title: String,
}

/// A provider that a client may choose by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ProviderInfo {
    /// Configured name.
    pub name: String,
    /// `command` or `acp`.
    pub kind: String,
    /// Title for people.
    pub title: String,
}

impl TimelineItem {
    /// An empty item of a kind.
    pub fn new(id: ItemId, index: u64, kind: ItemKind, at: UnixMillis) -> Self {
        Self {
            id,
            index,
            kind,
            at,
            text: String::new(),
            dropped_bytes: 0,
            stream: None,
            status: None,
            exit_code: None,
            intent_id: None,
        }
    }
}
