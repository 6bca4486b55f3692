//! The handle of a `DaemonClient`: the actor that owns one transport at a time (INV-4) and its
//! machine.
//!
//! The handle only sends commands: all decisions are the machine's, executed by the driver task.

mod commands;
mod dial;
mod driver;
mod holding;
mod queue;
mod receive;
mod send;
mod waiters;

pub use dial::{Cursor, Dialer};

use std::{borrow::Cow, sync::Arc, time::Duration};

use bowline_machines::{
    Generation,
    client::connection::{ClientConfig, State},
};
use bowline_protocol::{
    Reason, Resume,
    handshake::Accepted,
    rpc::{raw, text},
    session_event::Sequenced,
};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    time::{Instant, timeout_at},
};

use self::{
    commands::{Commands, ControlSlot, Handle},
    holding::Holding,
};
use crate::{
    error::{CallError, Failure},
    settings::{REQUEST_QUEUE, REQUEST_TIMEOUT},
};

/// Delay before a client ended by a defect is reported and replaced.
const AFTER_DEFECT: Duration = Duration::from_secs(1);

/// Handle of one client. Dropping every handle disposes of the client.
#[derive(Clone, Debug)]
pub struct ClientHandle {
    calls: mpsc::Sender<Call>,
    commands: Arc<Handle>,
    holding: Holding,
}

/// Events of a client, in order.
#[derive(Clone, Debug)]
pub enum ClientEvent {
    /// The machine's state changed.
    State {
        /// The current state.
        state: State,
        /// The welcome, if connected.
        accepted: Option<Arc<Accepted>>,
        /// The failure of the last attempt, if disconnected.
        failure: Option<Failure>,
    },
    /// Session events, in the order received.
    Events(Vec<Sequenced>),
    /// The daemon is silent while a caller waits (true), or has answered again (false) (SP-1).
    Suspected(bool),
}

/// Receiver of a client's events: an owner's inbox, with the owner's number of the client.
pub trait ClientOwner: Clone + Send + Sync + 'static {
    /// The inbox's item type.
    type Item: Send + 'static;

    /// The inbox.
    fn inbox(&self) -> &mpsc::Sender<Self::Item>;

    /// Wraps an event as an item.
    fn item(&self, event: ClientEvent) -> Self::Item;
}

/// An owner with a single client.
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
    /// JSON.
    pub(crate) params: Cow<'static, str>,
    /// Bytes that the request carries (LD-8).
    pub(crate) bytes: Option<Bytes>,
    pub(crate) reply: oneshot::Sender<Result<Reply, CallError>>,
    /// When it was made; `None` if that is when the driver took it. The driver answers it by the
    /// request timeout after this, also while it is not sent.
    asked: Option<Instant>,
}

impl Call {
    pub(crate) fn new(
        method: impl Into<Cow<'static, str>>,
        params: Cow<'static, str>,
    ) -> (Self, Answer) {
        let (reply, answer) = oneshot::channel();
        let method = method.into();
        let call = Self {
            method,
            params,
            bytes: None,
            reply,
            asked: None,
        };
        (call, answer)
    }

    pub(crate) fn answer(self, answer: Result<Reply, CallError>) {
        // The caller may have stopped waiting.
        let _ = self.reply.send(answer);
    }
}

/// The pending answer of one request.
pub type Answer = oneshot::Receiver<Result<Reply, CallError>>;

/// What a daemon answers to a request that it does not refuse.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The result, unparsed.
    pub result: Box<RawValue>,
    /// Of an intent: the number of the session's event by which its effects have been told.
    pub seq: Option<u64>,
    /// Bytes that the response carried (LD-8).
    pub bytes: Option<Bytes>,
}

impl ClientHandle {
    /// Starts a client on the current tokio runtime. It is idle until
    /// [`ClientHandle::ensure_connected`]. `label` is the owner's generation of the client, for the
    /// log.
    pub fn spawn<O: ClientOwner>(
        dialer: Dialer,
        config: ClientConfig,
        label: Generation,
        owner: O,
    ) -> Self {
        let (calls, calls_in) = mpsc::channel(REQUEST_QUEUE);
        let control = Arc::new(ControlSlot::default());
        let watcher = owner.clone();
        let holding = Holding::default();
        let queue = queue::Queue::new(calls_in, holding.clone());
        let driver = driver::Driver::new(dialer, config, label, owner, queue, control.clone());
        tokio::spawn(async move {
            let driving = tokio::spawn(driver.run());
            if let Err(error) = driving.await
                && error.is_panic()
            {
                tracing::error!(%error, "a defect ended a client; it is replaced");
                // Delayed, because the cause may still be present.
                tokio::time::sleep(AFTER_DEFECT).await;
                let gone = ClientEvent::State {
                    state: State::Disposed,
                    accepted: None,
                    failure: Some(Failure::new(
                        Reason::Defect,
                        "a defect ended the connection",
                    )),
                };
                let _ = watcher.inbox().send(watcher.item(gone)).await;
            }
        });
        let commands = Arc::new(Handle(control));
        Self {
            calls,
            commands,
            holding,
        }
    }

    /// Connects unless connected, connecting or disposed.
    pub fn ensure_connected(&self) {
        self.tell(|commands| commands.client.connect = true);
    }

    /// Checks the connection now, with a deadline of seconds (LS-3).
    pub fn check_liveness(&self) {
        self.tell(|commands| commands.client.check_liveness = true);
    }

    /// Reports a network change: checks the connection as above, and restarts a dial in progress.
    pub fn network_changed(&self) {
        self.tell(|commands| commands.client.network_changed = true);
    }

    /// Sets whether another path to the daemon works, so that a silent failure of this one is
    /// detected early (SP-1).
    pub fn alternative_known(&self, is_known: bool) {
        self.tell(|commands| commands.client.alternative_known = Some(is_known));
    }

    /// Makes this the active client, which retries by itself.
    pub fn promoted(&self) {
        self.tell(|commands| commands.client.promoted = true);
    }

    /// Reports whether the app is in the background.
    pub fn set_background(&self, background: bool) {
        self.tell(|commands| commands.client.background = Some(background));
    }

    /// Acknowledges events up to and including the cursor's. A cursor of another epoch than the
    /// connection's is ignored.
    pub fn ack(&self, cursor: Resume) {
        self.tell(|commands| commands.ack = Some(cursor));
    }

    /// Refuses further requests, lets those in flight finish for at most `drain`, then ends
    /// permanently. Unanswered requests then fail with `Disconnected` and this reason.
    pub fn dispose(&self, drain: Duration, reason: Reason) {
        self.tell(|commands| {
            if commands.dispose.is_none_or(|(other, _)| drain < other) {
                commands.dispose = Some((drain, reason));
            }
        });
    }

    fn tell(&self, order: impl FnOnce(&mut Commands)) {
        self.commands.0.update(order);
    }

    /// Queues a request without waiting; `None` if the queue is full or the client has ended.
    pub fn try_request(
        &self,
        method: impl Into<Cow<'static, str>>,
        params: Box<RawValue>,
    ) -> Option<Answer> {
        Some(self.reserve()?.request(method, params))
    }

    /// A place in the queue of requests; `None` if the queue is full or the client has ended.
    pub(crate) fn reserve(&self) -> Option<Reserved<'_>> {
        let place = self.calls.try_reserve().ok()?;
        Some(Reserved {
            place,
            holding: &self.holding,
        })
    }

    /// Sends a request and waits for its answer, at most the request timeout, including time in the
    /// queue.
    ///
    /// # Errors
    /// [`CallError`]; after `Disconnected` and `Timeout` it is unknown whether the request took
    /// effect.
    pub async fn request(
        &self,
        method: impl Into<Cow<'static, str>>,
        params: Box<RawValue>,
    ) -> Result<Box<RawValue>, CallError> {
        self.send(method, shared(params)).await
    }

    /// [`ClientHandle::request`] with parameters as JSON text.
    pub(crate) async fn send(
        &self,
        method: impl Into<Cow<'static, str>>,
        params: Cow<'static, str>,
    ) -> Result<Box<RawValue>, CallError> {
        let reply = self.send_with(method, params, None).await?;
        Ok(reply.result)
    }

    /// [`ClientHandle::send`] with bytes that the request carries, and the whole reply.
    pub(crate) async fn send_with(
        &self,
        method: impl Into<Cow<'static, str>>,
        params: Cow<'static, str>,
        bytes: Option<Bytes>,
    ) -> Result<Reply, CallError> {
        let (mut call, answer) = Call::new(method, params);
        call.bytes = bytes;
        call.asked = self.holding.asked();
        match self.calls.try_send(call) {
            Ok(()) => {}
            Err(TrySendError::Full(mut call)) => {
                let asked = *call.asked.get_or_insert_with(Instant::now);
                timeout_at(asked + REQUEST_TIMEOUT, self.calls.send(call))
                    .await
                    .map_err(|_| CallError::Timeout)?
                    .map_err(|_| CallError::NotConnected)?;
            }
            Err(TrySendError::Closed(_)) => return Err(CallError::NotConnected),
        }
        // No timer: the driver has one for all calls.
        answer.await.map_err(|_| CallError::NotConnected)?
    }

    /// [`ClientHandle::request`] with typed parameters and result.
    ///
    /// # Errors
    /// As [`ClientHandle::request`], and [`CallError::Malformed`].
    pub async fn call<P: Serialize + ?Sized, R: DeserializeOwned>(
        &self,
        method: impl Into<Cow<'static, str>>,
        params: &P,
    ) -> Result<R, CallError> {
        let params = text(params).map_err(|error| CallError::Malformed(error.to_string()))?;
        let result = self.send(method, shared(params)).await?;
        serde_json::from_str(result.get()).map_err(|error| CallError::Malformed(error.to_string()))
    }
}

/// A place in a client's queue of requests.
pub(crate) struct Reserved<'a> {
    place: mpsc::Permit<'a, Call>,
    holding: &'a Holding,
}

impl Reserved<'_> {
    /// Queues a request. Dropping the answer before the request is sent withdraws it. The caller
    /// bounds the wait for the answer.
    pub(crate) fn request(
        self,
        method: impl Into<Cow<'static, str>>,
        params: Box<RawValue>,
    ) -> Answer {
        self.send(Call::new(method, shared(params)))
    }

    /// Queues the same request as another call, which is answered by its caller.
    pub(crate) fn send_as(self, other: &Call) -> Answer {
        let (mut call, answer) = Call::new(other.method.clone(), other.params.clone());
        call.bytes.clone_from(&other.bytes);
        self.send((call, answer))
    }

    fn send(self, (mut call, answer): (Call, Answer)) -> Answer {
        call.asked = self.holding.asked();
        self.place.send(call);
        answer
    }
}

/// Parameters as a call holds them: those of many methods are empty and take no memory.
pub(crate) fn shared(params: impl Into<Box<str>>) -> Cow<'static, str> {
    let params = params.into();
    match &*params {
        "{}" => Cow::Borrowed("{}"),
        _ => Cow::Owned(params.into()),
    }
}

/// Parameters as JSON text.
pub(crate) fn to_raw<P: Serialize + ?Sized>(params: &P) -> Result<Box<RawValue>, CallError> {
    raw(params).map_err(|error| CallError::Malformed(error.to_string()))
}
