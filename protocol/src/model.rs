//! What sessions talk about: agents, their timelines, providers, permissions (`docs/protocol.md` §3).

use serde::{Deserialize, Serialize};

use crate::{AgentId, ItemId, PermissionId};

/// Milliseconds since the Unix epoch, UTC, by the daemon's clock.
pub type UnixMillis = i64;

/// Where an agent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    /// Its program is being started.
    Starting,
    /// It waits for a prompt.
    Idle,
    /// It works on a prompt.
    Running,
    /// It waits for its user (a permission).
    Waiting,
    /// Its last turn could not run to its end.
    Failed,
    /// Put away; it takes no more prompts.
    Archived,
}

/// One row of the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentSummary {
    /// Name for every request about it.
    pub id: AgentId,
    /// For people.
    pub title: String,
    /// Configured provider name.
    pub provider: String,
    /// Working directory on the daemon's machine.
    pub cwd: String,
    /// Where it stands.
    pub status: AgentStatus,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When anything of it last changed.
    pub updated_at: UnixMillis,
    /// Why its user should look, if they should: `"permission"`, `"failed"` or `"finished"`; or `"queued"`, while its
    /// prompt waits because the daemon runs as many turns as it may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention: Option<String>,
    /// The intent that created it, so that a client reconciles what it showed in advance (UX-3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent_id: Option<crate::IntentId>,
}

/// What a timeline item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemKind {
    /// What the user said.
    User,
    /// What the agent said.
    Message,
    /// What the agent thought aloud.
    Thought,
    /// A tool call.
    Tool,
    /// Output of a process.
    Output,
    /// A plan.
    Plan,
    /// A question to the user.
    Permission,
    /// Something went wrong; `text` says what.
    Error,
    /// The end of a turn; `status` says how, `exit_code` with which exit status.
    TurnEnd,
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnStatus {
    /// By itself and well.
    Completed,
    /// By itself, with a failure.
    Failed,
    /// The user cancelled it.
    Cancelled,
    /// The daemon went away under it.
    Interrupted,
}

/// One entry of an agent's durable timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimelineItem {
    /// Stable name.
    pub id: ItemId,
    /// Position in the timeline, from 0, without gaps.
    pub index: u64,
    /// What it is.
    pub kind: ItemKind,
    /// When it began.
    pub at: UnixMillis,
    /// Text so far; `timeline.delta` appends to it. On [`ItemKind::TurnEnd`]: what is missing from the timeline, for
    /// people; empty if nothing is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// `stdout` or `stderr`, for [`ItemKind::Output`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<OutputStream>,
    /// How the turn ended, for [`ItemKind::TurnEnd`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<TurnStatus>,
    /// Exit status of the process, for [`ItemKind::TurnEnd`] of a `command` agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The intent that caused it, so that a client reconciles what it showed in advance (UX-3). On
    /// [`ItemKind::TurnEnd`] the one whose prompt the turn was for: prompts queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent_id: Option<crate::IntentId>,
}

/// Which output of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A question an agent asks its user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Permission {
    /// Name for `agents.respond`.
    pub id: PermissionId,
    /// For people.
    pub title: String,
    /// The answers to choose from.
    pub options: Vec<PermissionOption>,
}

/// One answer to a [`Permission`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PermissionOption {
    /// Name for `agents.respond`.
    pub id: String,
    /// For people.
    pub title: String,
}

/// A provider a client may choose by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderInfo {
    /// Configured name.
    pub name: String,
    /// `command` or `acp`.
    pub kind: String,
    /// For people.
    pub title: String,
}

impl TimelineItem {
    /// An item of that kind with nothing in it yet.
    pub fn new(id: ItemId, index: u64, kind: ItemKind, at: UnixMillis) -> Self {
        Self {
            id,
            index,
            kind,
            at,
            text: String::new(),
            stream: None,
            status: None,
            exit_code: None,
            intent_id: None,
        }
    }
}
