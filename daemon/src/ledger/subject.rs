//! What a session subscribes to: an agent.

use std::{borrow::Borrow, fmt, sync::Arc};

use bowline_protocol::AgentId;

/// The subject of events. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(Arc<str>);

impl Subject {
    /// A subject read from the store.
    pub(super) fn stored(text: &str) -> Self {
        Self(text.into())
    }

    /// The full text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&AgentId> for Subject {
    fn from(agent: &AgentId) -> Self {
        Self(agent.as_str().into())
    }
}

impl From<&Self> for Subject {
    fn from(subject: &Self) -> Self {
        subject.clone()
    }
}

impl Borrow<str> for Subject {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({})", &self.0)
    }
}
