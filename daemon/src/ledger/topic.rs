//! Topics that a session can follow: an agent, or an object of a service.

use std::{borrow::Borrow, fmt, sync::Arc};

use bowline_protocol::{AgentId, error::RpcError};

/// Longest topic in bytes.
const MAX_TOPIC: usize = 256;

/// The subject of events. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

impl Topic {
    /// A topic of a service: `group` is the first word of its method names, `key` names the object.
    ///
    /// # Errors
    /// −32602 for an empty key, one with control characters, or one too long.
    pub fn new(group: &'static str, key: &str) -> Result<Self, RpcError> {
        let text = format!("{group}/{key}");
        if key.is_empty() || key.chars().any(char::is_control) || text.len() > MAX_TOPIC {
            return Err(RpcError::invalid_params(format!(
                "what is followed must be named by 1 to {MAX_TOPIC} bytes of printable text"
            )));
        }
        Ok(Self(text.into()))
    }

    /// A topic read from the store.
    pub(super) fn stored(text: &str) -> Self {
        Self(text.into())
    }

    /// The full text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&AgentId> for Topic {
    fn from(agent: &AgentId) -> Self {
        // Agent ids contain no slash, so the two kinds never collide.
        Self(agent.as_str().into())
    }
}

impl From<&Self> for Topic {
    fn from(topic: &Self) -> Self {
        topic.clone()
    }
}

impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topic({})", &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_of_a_service_is_bounded_and_never_an_agent() {
        let topic = Topic::new("voxel", "castle").unwrap();
        assert_eq!(topic.as_str(), "voxel/castle");
        assert!(Topic::new("voxel", "").is_err());
        assert!(Topic::new("voxel", "a\nb").is_err());
        assert!(Topic::new("voxel", &"x".repeat(MAX_TOPIC)).is_err());
        let agent = AgentId::from_uuid(uuid::Uuid::nil());
        assert!(!Topic::from(&agent).as_str().contains('/'));
    }
}
