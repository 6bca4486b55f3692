//! How a topic is doing: the states of the machine, and what an app is told of them.

use serde::Serialize;

use crate::{MonotonicTime, data::load::LoadError, machine_core::Table};

/// State of the follow of one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum State {
    /// Never attached, and the host is connecting.
    #[default]
    Idle,
    /// `live.open` is on its way.
    Opening {
        /// Its deadline.
        deadline: MonotonicTime,
        /// Whether the topic was followed until this attach, without a loss of the connection.
        is_switch: bool,
    },
    /// The session follows the topic.
    Following,
    /// Opening failed, or the connection ended.
    Failed {
        /// The error.
        error: LoadError,
        /// Time of the retry; `None`: at the next attach or subscription.
        retry_at: Option<MonotonicTime>,
    },
}

impl Table for State {
    const MACHINE: &'static str = "topic_sync";

    fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Opening { .. } => "opening",
            Self::Following => "following",
            Self::Failed { .. } => "failed",
        }
    }

    fn may_become(&self, to: &Self) -> bool {
        match self {
            Self::Idle | Self::Following | Self::Failed { .. } => {
                matches!(to, Self::Opening { .. } | Self::Failed { .. })
            }
            Self::Opening { .. } => !matches!(to, Self::Idle),
        }
    }
}

/// What an app shows of a topic, besides its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TopicState {
    /// It is being opened for the first time, or the host is connecting.
    #[default]
    Opening,
    /// Every event from here on arrives. What is loaded after this lacks nothing.
    Following,
    /// It was followed; the connection ended, or following on failed
    /// ([`TopicStatus::error`]). It goes on by itself.
    Interrupted,
    /// It could not be opened ([`TopicStatus::error`]). It is tried again.
    Failed,
    /// The daemon refuses it ([`TopicStatus::error`] says why). Not tried again before the next
    /// attach or subscription.
    Refused,
}

impl TopicState {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Opening,
        Self::Following,
        Self::Interrupted,
        Self::Failed,
        Self::Refused,
    ];

    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Following => "following",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// How a topic is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct TopicStatus {
    /// The state.
    pub state: TopicState,
    /// Why it is not followed.
    pub error: Option<LoadError>,
}

impl TopicStatus {
    /// A status without an error.
    pub const fn of(state: TopicState) -> Self {
        Self { state, error: None }
    }

    /// Of a machine's state. `again`: whether it was followed before.
    pub(super) const fn new(state: &State, again: bool) -> Self {
        match state {
            State::Following
            | State::Opening {
                is_switch: true, ..
            } => Self::of(TopicState::Following),
            State::Opening { .. } if again => Self::of(TopicState::Interrupted),
            State::Idle | State::Opening { .. } => Self::of(TopicState::Opening),
            State::Failed { error, .. } => {
                let state = match error {
                    error if error.is_refusal() => TopicState::Refused,
                    _ if again => TopicState::Interrupted,
                    _ => TopicState::Failed,
                };
                Self {
                    state,
                    error: Some(*error),
                }
            }
        }
    }
}
