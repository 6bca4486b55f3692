//! `DaemonClient`: the actor that owns one transport at a time (INV-4) and its machine.
//!
//! The handle only sends: the driver task decides nothing that the machine does not decide.

mod dial;
mod driver;
mod waiters;

pub use dial::{Cursor, Dialer};

use std::{borrow::Cow, sync::Arc, time::Duration};

use bowline_machines::{
    Generation,
    client::{ClientConfig, State},
};
use bowline_protocol::{handshake::Accepted, session_event::Sequenced};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};

use crate::{
    error::{CallError, Failure},
    settings::REQUEST_QUEUE,
};

/// Handle of one client. Dropping every handle disposes of the client.
#[derive(Clone, Debug)]
pub struct DaemonClient {
    calls: mpsc::Sender<Call>,
    control: mpsc::Sender<Control>,
}

/// What a client tells its owner, in order.
#[derive(Clone, Debug)]
pub enum ClientEvent {
    /// The machine's state changed.
    State {
        /// The state now.
        state: State,
        /// The welcome, when connected.
        accepted: Option<Arc<Accepted>>,
        /// What the last attempt failed with, when disconnected.
        failure: Option<Failure>,
    },
    /// Session events, in the order received.
    Events(Vec<Sequenced>),
}

/// Where a client reports to: an owner's inbox, with the owner's number for the client.
pub trait ClientOwner: Clone + Send + Sync + 'static {
    /// What the inbox takes.
    type Item: Send + 'static;

    /// The inbox.
    fn inbox(&self) -> &mpsc::Sender<Self::Item>;

    /// Wraps an event for it.
    fn item(&self, event: ClientEvent) -> Self::Item;
}

/// An owner with one client only.
impl ClientOwner for mpsc::Sender<ClientEvent> {
    type Item = ClientEvent;

    fn inbox(&self) -> &mpsc::Sender<ClientEvent> {
        self
    }

    fn item(&self, event: ClientEvent) -> ClientEvent {
        event
    }
}

pub(crate) struct Call {
    pub(crate) method: Cow<'static, str>,
    pub(crate) params: Box<RawValue>,
    pub(crate) reply: oneshot::Sender<Result<Box<RawValue>, CallError>>,
}

#[derive(Debug)]
pub(crate) enum Control {
    Connect,
    CheckLiveness,
    Promoted,
    Background(bool),
    Ack(u64),
    Dispose { drain: Duration },
}

/// The answer to one request, to be awaited.
pub type Answer = oneshot::Receiver<Result<Box<RawValue>, CallError>>;

impl DaemonClient {
    /// Starts a client on the current tokio runtime. It is idle until [`DaemonClient::ensure_connected`].
    /// `label` is the owner's generation for it, for the log.
    pub fn spawn<O: ClientOwner>(
        dialer: Dialer,
        config: ClientConfig,
        label: Generation,
        owner: O,
    ) -> Self {
        let (calls, calls_in) = mpsc::channel(REQUEST_QUEUE);
        // Commands are few and idempotent; a full queue means that one like it is waiting.
        let (control, control_in) = mpsc::channel(16);
        tokio::spawn(driver::Driver::new(dialer, config, label, owner, calls_in, control_in).run());
        Self { calls, control }
    }

    /// Connects unless connected, connecting or disposed of.
    pub fn ensure_connected(&self) {
        self.tell(Control::Connect);
    }

    /// Checks the connection now, with a deadline of seconds (lesson 3).
    pub fn check_liveness(&self) {
        self.tell(Control::CheckLiveness);
    }

    /// Tells that this client is the active one now: from here on it retries by itself.
    pub fn promoted(&self) {
        self.tell(Control::Promoted);
    }

    /// Tells whether the app is in the background.
    pub fn set_background(&self, background: bool) {
        self.tell(Control::Background(background));
    }

    /// Acknowledges events up to and including `seq`.
    pub fn ack(&self, seq: u64) {
        self.tell(Control::Ack(seq));
    }

    /// Takes no more requests, lets those in flight finish for at most `drain`, then ends for good.
    pub fn dispose(&self, drain: Duration) {
        self.tell(Control::Dispose { drain });
    }

    fn tell(&self, control: Control) {
        if self.control.try_send(control).is_err() {
            tracing::debug!("a client's command queue is full or closed");
        }
    }

    /// Queues a request without waiting; `None` when the queue is full or the client is over.
    pub fn try_request(
        &self,
        method: impl Into<Cow<'static, str>>,
        params: Box<RawValue>,
    ) -> Option<Answer> {
        let (reply, answer) = oneshot::channel();
        let call = Call {
            method: method.into(),
            params,
            reply,
        };
        self.calls.try_send(call).ok().map(|()| answer)
    }

    /// Sends a request and waits for its answer, at most the request deadline.
    ///
    /// # Errors
    /// [`CallError`]; after `Disconnected` and `Timeout` it is unknown whether the request had an effect.
    pub async fn request(
        &self,
        method: impl Into<Cow<'static, str>>,
        params: Box<RawValue>,
    ) -> Result<Box<RawValue>, CallError> {
        let (reply, answer) = oneshot::channel();
        let call = Call {
            method: method.into(),
            params,
            reply,
        };
        self.calls
            .send(call)
            .await
            .map_err(|_| CallError::NotConnected)?;
        answer.await.map_err(|_| CallError::NotConnected)?
    }

    /// [`DaemonClient::request`] with typed parameters and result.
    ///
    /// # Errors
    /// As there, and [`CallError::Malformed`].
    pub async fn call<P: Serialize + ?Sized, R: DeserializeOwned>(
        &self,
        method: impl Into<Cow<'static, str>>,
        params: &P,
    ) -> Result<R, CallError> {
        let result = self.request(method, to_raw(params)?).await?;
        serde_json::from_str(result.get()).map_err(|error| CallError::Malformed(error.to_string()))
    }
}

/// Parameters as JSON text.
pub(crate) fn to_raw<P: Serialize + ?Sized>(params: &P) -> Result<Box<RawValue>, CallError> {
    serde_json::value::to_raw_value(params).map_err(|error| CallError::Malformed(error.to_string()))
}
