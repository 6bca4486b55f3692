//! Emits events to sessions: the daemon's own, and those of services.

use std::sync::{Arc, atomic::Ordering};

use bowline_protocol::{RpcReason, SessionEvent, error::RpcError, extension::is_extension};
use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{
    replay::Body,
    tx::{Publication, Tx},
    types::Audience,
};
use crate::store::{self, fault};

/// Largest event of a service in bytes. Clients fetch larger content after the event.
pub const MAX_EVENT: usize = 64 * 1024;

impl Tx<'_> {
    /// Emits an event to sessions once this job is committed.
    ///
    /// # Errors
    /// When the event cannot be stored. The caller must pass the error on, so that the whole job is
    /// undone.
    pub fn emit(&mut self, audience: Audience<'_>, event: &SessionEvent) -> Result<(), RpcError> {
        let sessions = self.live.audience(audience);
        if sessions.is_empty() {
            return Ok(());
        }
        let json =
            serde_json::to_string(event).map_err(|error| RpcError::internal(error.to_string()))?;
        self.tell_changes()?;
        self.publish(sessions, json)
    }

    /// Emits an event of a service: `{"type":kind, …members of body}`. It is numbered, kept and
    /// replayed like every event; a client that does not support the kind ignores it
    /// (docs/protocol.md §4, extensions).
    ///
    /// # Errors
    /// `unsupported` over [`MAX_EVENT`], or over the size of a message; −32603 if `kind` is not a
    /// valid name for a service's event, or `body` is not an object or has a member `type`; as
    /// [`Tx::emit`].
    pub fn emit_custom(
        &mut self,
        audience: Audience<'_>,
        kind: &'static str,
        body: &impl Serialize,
    ) -> Result<(), RpcError> {
        let most = self.content_bytes().min(MAX_EVENT);
        let json = custom(kind, body, most)?;
        let sessions = self.live.audience(audience);
        if sessions.is_empty() {
            return Ok(());
        }
        self.tell_changes()?;
        self.publish(sessions, json)
    }

    /// Numbers an event in each session and stores it for sessions that are stored.
    pub(super) fn publish(&mut self, sessions: Vec<i64>, json: String) -> Result<(), RpcError> {
        self.counters
            .events_serialised
            .fetch_add(1, Ordering::Relaxed);
        let mut event = 0;
        let mut to = Vec::with_capacity(sessions.len());
        for session in sessions {
            let Some((seq, durable)) = self.live.take_seq(session) else {
                continue;
            };
            if durable {
                self.live.store_pending(self.conn, session).map_err(fault)?;
                if event == 0 {
                    event = self.live.event_id();
                    store::events::insert(self.conn, event, &json).map_err(fault)?;
                }
                store::events::append(self.conn, session, seq, event).map_err(fault)?;
            }
            to.push((session, seq));
        }
        self.staged.publications.push(Publication {
            body: Arc::new(Body {
                event,
                json: json.into(),
            }),
            to,
        });
        Ok(())
    }
}

/// Builds the JSON of a service's event.
fn custom(kind: &str, body: &impl Serialize, most: usize) -> Result<String, RpcError> {
    #[derive(Serialize)]
    struct Typed<'a, B> {
        r#type: &'a str,
        #[serde(flatten)]
        body: &'a B,
    }
    /// Parsing the text again detects a second `type`.
    #[derive(Deserialize)]
    struct OneType {
        #[serde(rename = "type")]
        _type: IgnoredAny,
    }
    let defect = |problem: &dyn std::fmt::Display| {
        RpcError::internal(format!("the event `{kind}` cannot be emitted: {problem}"))
    };
    if !is_extension(kind) {
        return Err(defect(&"its name is not one for a service's event"));
    }
    let json =
        serde_json::to_string(&Typed { r#type: kind, body }).map_err(|error| defect(&error))?;
    serde_json::from_str::<OneType>(&json).map_err(|error| defect(&error))?;
    if json.len() > most {
        return Err(RpcError::new(
            RpcReason::Unsupported,
            format!(
                "an event of {} bytes cannot be emitted; at most {most}",
                json.len()
            ),
        ));
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_of_a_service_is_its_type_and_its_members() {
        assert_eq!(
            custom("voxel.changed", &json!({"layer": 3}), MAX_EVENT).unwrap(),
            r#"{"type":"voxel.changed","layer":3}"#
        );
        let event: SessionEvent = serde_json::from_str(
            &custom("voxel.changed", &json!({"layer": 3}), MAX_EVENT).unwrap(),
        )
        .unwrap();
        assert_eq!(event, SessionEvent::Unknown, "an older client ignores it");
    }

    #[test]
    fn what_is_no_event_of_a_service_is_refused() {
        let error = |kind: &str, body| custom(kind, &body, MAX_EVENT).unwrap_err();
        for kind in ["agent.updated", "timeline.repainted", "voxel", "Voxel.x"] {
            assert!(
                error(kind, json!({})).message.contains("its name"),
                "{kind}"
            );
        }
        assert!(
            error("voxel.x", json!([1]))
                .message
                .contains("cannot be emitted")
        );
        assert!(
            error("voxel.x", json!({"type": "agent.removed"}))
                .message
                .contains("type")
        );
        let big = error("voxel.x", json!({"text": "x".repeat(MAX_EVENT)}));
        assert_eq!(big.reason(), Some(RpcReason::Unsupported));
        let over = custom("voxel.x", &json!({"text": "x".repeat(4_000)}), 3_584).unwrap_err();
        assert!(over.message.contains("at most 3584"), "{}", over.message);
    }
}
