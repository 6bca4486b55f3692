//! One request, and what it may use.

use bowline_protocol::{IntentId, RpcReason, error::RpcError};
use serde_json::value::RawValue;

use super::{Answer, Cancellation};
use crate::ledger::{Ledger, Reader, SessionRef, Tx};

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A paired device's session.
    Session,
    /// The local socket: the daemon's owner.
    Local,
    /// A probe; it may call `system.ping` and nothing else (INV-8).
    Probe,
}

/// What every request of one connection may use.
#[derive(Clone, Debug)]
pub struct Context {
    /// The state.
    pub ledger: Ledger,
    /// Whose requests; `None` only for a probe.
    pub session: Option<SessionRef>,
    /// Where they come from.
    pub origin: Origin,
    /// The connection they come by, as in its [`crate::outbound::ConnectionHandle`].
    pub connection: u64,
    /// The most bytes a result may have.
    pub max_message_bytes: u32,
}

/// One request of the asynchronous kind ([`super::Methods::method`]).
///
/// Its future is dropped at the request's deadline and at the end of its connection. What must not stop half-way
/// belongs into [`Request::intent`] or [`Request::write`], which complete or do nothing; what was
/// handed to another task or thread watches [`Request::cancellation`].
#[derive(Debug)]
pub struct Request {
    pub(super) method: &'static str,
    pub(super) params: Option<Box<RawValue>>,
    pub(super) context: Context,
    pub(super) cancellation: Cancellation,
}

impl Request {
    /// The method's name.
    pub const fn method(&self) -> &'static str {
        self.method
    }

    /// The parameters as sent; absent ones are `{}`.
    pub fn params_text(&self) -> &str {
        self.params.as_deref().map_or("{}", RawValue::get)
    }

    /// What the connection's requests share: limits, origin.
    pub const fn context(&self) -> &Context {
        &self.context
    }

    /// The state; a clone outlives the request.
    pub const fn ledger(&self) -> &Ledger {
        &self.context.ledger
    }

    /// Whose request it is.
    ///
    /// # Errors
    /// `forbidden` for a probe, which has no session.
    pub fn session(&self) -> Result<&SessionRef, RpcError> {
        self.context.session.as_ref().ok_or_else(no_session)
    }

    /// Tells when nobody waits for the answer any more. For work that runs outside this request's future.
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

    /// Runs a writing job; returns after its commit. For changes that are the same however often they happen; all
    /// others are intents.
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

    /// Runs `effect` exactly once for this intent (BX-1), in one transaction with its outcome; the same
    /// intent again gets the stored outcome.
    ///
    /// # Errors
    /// What `effect` says; `intent_conflict` if the id came with other parameters; `overloaded` when
    /// the daemon is too busy or cannot write; `forbidden` for a probe.
    pub async fn intent(
        &self,
        intent_id: IntentId,
        effect: impl FnOnce(&mut Tx<'_>) -> Answer + Send + 'static,
    ) -> Answer {
        let (session, params) = (self.session()?, self.params_text());
        self.context
            .ledger
            .intent(session, intent_id, self.method, params, effect)
            .await
    }
}

/// What a probe is told that asks for more than a ping.
pub(crate) fn no_session() -> RpcError {
    RpcError::new(
        RpcReason::Forbidden,
        "only a session may do that, and a probe has none",
    )
}
