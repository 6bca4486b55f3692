//! Topics of services: events with a body for whoever follows their key, of which nothing is stored
//! but what has not arrived yet (LD-2).

use std::marker::PhantomData;

use bowline_protocol::{
    RpcReason, SessionEvent,
    error::RpcError,
    limits,
    live::{Json, LiveKind, TopicEvent},
};
use serde::Serialize;

use super::Followed;
use crate::{
    ledger::{MAX_EVENT, Tx},
    rpc::answer,
};

/// Events of one kind, by a key that says what they are about. Clients follow them as
/// [`Methods::topic`](crate::service::Methods::topic) says.
#[derive(Debug)]
pub struct Topic<B> {
    name: &'static str,
    body: PhantomData<fn(&B)>,
}

impl<B> Topic<B> {
    /// The topic with that name, such as `voxel.saved`.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            body: PhantomData,
        }
    }

    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }
}

impl<B: Serialize> Topic<B> {
    /// Tells whoever follows this key, once the job is committed. Each session gets the event once,
    /// in order with all its events. A session that does not follow the key by now never gets it.
    ///
    /// # Errors
    /// `unsupported` for an empty key, one over [`MAX_KEY`](crate::ledger::MAX_KEY) bytes, and an
    /// event over [`MAX_EVENT`] or the size of a message; −32603 if the body does not serialise; as
    /// [`Tx::emit`].
    pub fn emit(&self, tx: &mut Tx<'_>, key: &str, body: &B) -> Result<(), RpcError> {
        if key.is_empty() || key.len() > limits::MAX_KEY {
            return Err(RpcError::new(
                RpcReason::Unsupported,
                format!("the key of an event has 1 to {} bytes", limits::MAX_KEY),
            ));
        }
        let event = TopicEvent {
            name: self.name.to_owned(),
            key: key.to_owned(),
            body: Json::from(answer(body)?),
            intent_id: tx.intent_id(),
        };
        tx.tell_followers((LiveKind::Topic, self.name), event)
    }
}

impl Tx<'_> {
    /// An event that is too large is an error even if nobody follows, so that its author learns it.
    fn tell_followers(&mut self, of: Followed, event: TopicEvent) -> Result<(), RpcError> {
        let followed = &self.live.followed;
        let smallest = followed.smallest(of, &event.key);
        let sessions = smallest.map(|scope| followed.followers(of, scope));
        let event = SessionEvent::TopicEvent(Box::new(event));
        let json =
            serde_json::to_string(&event).map_err(|error| RpcError::internal(error.to_string()))?;
        let most = self.content_bytes().min(MAX_EVENT);
        if json.len() > most {
            let (name, bytes) = (of.1, json.len());
            let text = format!("an event of `{name}` has {bytes} bytes; at most {most}");
            return Err(RpcError::new(RpcReason::Unsupported, text));
        }
        let Some(sessions) = sessions else {
            return Ok(());
        };
        self.tell_changes()?;
        self.publish(sessions, json)
    }
}
