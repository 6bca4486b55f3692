//! One request and its resources.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bowline_protocol::{IntentId, error::RpcError};
use serde_json::value::RawValue;

use super::Cancellation;
use crate::{
    ledger::{Ledger, Reader, SessionRef, Tx},
    rpc::{Answer, no_session},
};

/// The origin of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A paired device's session.
    Session,
    /// The local socket: the daemon's owner.
    Local,
    /// A probe; it may only call `system.ping` (INV-8).
    Probe,
}

/// The resources of all requests of one connection.
#[derive(Clone, Debug)]
pub struct Context {
    /// The ledger.
    pub ledger: Ledger,
    /// The session; `None` only for a probe.
    pub session: Option<SessionRef>,
    /// The origin.
    pub origin: Origin,
    /// The number of the connection, as in its [`crate::outbound::ConnectionHandle`].
    pub connection: u64,
    /// Most bytes of a result.
    pub max_message_bytes: u32,
}

/// One request of the asynchronous kind ([`super::Methods::method`]).
///
/// Its future is dropped at the request's deadline and at the end of its connection. Work that must
/// not stop half-way belongs into [`Request::intent`] or [`Request::write`], which complete or
/// change nothing. Work on another task or thread must watch [`Request::cancellation`].
#[derive(Debug)]
pub struct Request {
    pub(super) method: &'static str,
    pub(super) params: Option<Box<RawValue>>,
    pub(super) context: Context,
    pub(super) cancellation: Cancellation,
    pub(super) told: Arc<Told>,
}

/// With which event the intents of a request told their effects.
#[derive(Debug, Default)]
pub(super) struct Told(AtomicU64);

impl Told {
    fn note(&self, seq: u64) {
        self.0.fetch_max(seq.saturating_add(1), Ordering::Relaxed);
    }

    /// The number of that event; `None` if no intent was done.
    pub(super) fn seq(&self) -> Option<u64> {
        self.0.load(Ordering::Relaxed).checked_sub(1)
    }
}

impl Request {
    /// The method's name.
    pub const fn method(&self) -> &'static str {
        self.method
    }

    /// The parameters as sent; absent parameters are `{}`.
    pub fn params_text(&self) -> &str {
        self.params.as_deref().map_or("{}", RawValue::get)
    }

    /// The resources shared by the connection's requests: limits, origin.
    pub const fn context(&self) -> &Context {
        &self.context
    }

    /// The ledger; a clone outlives the request.
    pub const fn ledger(&self) -> &Ledger {
        &self.context.ledger
    }

    /// The session of the request.
    ///
    /// # Errors
    /// `forbidden` for a probe, which has no session.
    pub fn session(&self) -> Result<&SessionRef, RpcError> {
        self.context.session.as_ref().ok_or_else(no_session)
    }

    /// Signals that the answer is no longer needed. For work that runs outside this request's
    /// future.
    pub const fn cancellation(&self) -> &Cancellation {
        &self.cancellation
    }

    /// Runs a reading job on a consistent snapshot.
    ///
    /// # Errors
    /// See [`Ledger::read`].
    pub async fn read<R: Send + 'static>(
        &self,
        job: impl FnOnce(&Reader<'_>) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        let session = self.context.session.clone();
        self.context.ledger.read_as(session, job).await
    }

    /// Runs a writing job; returns after its commit. For changes that may safely repeat; all others
    /// must be intents.
    ///
    /// # Errors
    /// See [`Ledger::write`].
    pub async fn write<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Tx<'_>) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        let session = self.context.session.clone();
        self.context.ledger.write_as(session, job).await
    }

    /// Runs `effect` exactly once for this intent (BX-1), in one transaction with its outcome; the
    /// same intent again gets the stored outcome.
    ///
    /// # Errors
    /// Those of `effect`; `intent_conflict` if the id came with other parameters; `overloaded` when
    /// the daemon is too busy; `storage_unavailable` when it cannot write; `forbidden` for a probe;
    /// −32602 if the parameters are no object.
    pub async fn intent(
        &self,
        intent_id: IntentId,
        effect: impl FnOnce(&mut Tx<'_>) -> Answer + Send + 'static,
    ) -> Answer {
        let (session, params) = (self.session()?, self.params_text());
        // `intentId` has a name: positions of an array are no part of the protocol.
        if !params.starts_with('{') {
            return Err(RpcError::invalid_params(
                "the parameters of a request that changes something are an object with `intentId`",
            ));
        }
        let ledger = self.ledger();
        let done = ledger.intent(session, intent_id, self.method, params, effect);
        let done = done.await?;
        done.seq.into_iter().for_each(|seq| self.told.note(seq));
        done.into_answer()
    }
}
