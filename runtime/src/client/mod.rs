//! `DaemonClient`: the actor that owns one transport at a time (INV-4) and its machine.
//!
//! The handle only sends: the driver task decides nothing that the machine does not decide.

mod dial;
mod driver;
mod orders;
mod receive;
mod send;
mod waiters;

pub use dial::{Cursor, Dialer};

use std::{borrow::Cow, sync::Arc, time::Duration};

use bowline_machines::{
    Generation,
    client::{ClientConfig, State},
};
use bowline_protocol::{Reason, Resume, handshake::Accepted, session_event::Sequenced};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use self::orders::{Desk, Handle, Orders};
use crate::{
    error::{CallError, Failure},
    settings::{REQUEST_QUEUE, REQUEST_TIMEOUT},
};

/// Pause before a client that died of a defect is reported, and replaced.
const AFTER_DEFECT: Duration = Duration::from_secs(1);

/// Handle of one client. Dropping every handle disposes of the client.
#[derive(Clone, Debug)]
pub struct DaemonClient {
    calls: mpsc::Sender<Call>,
    orders: Arc<Handle>,
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
        let desk = Arc::new(Desk::default());
        let watcher = owner.clone();
        let driver = driver::Driver::new(dialer, config, label, owner, calls_in, desk.clone());
        tokio::spawn(async move {
            let driving = tokio::spawn(driver.run());
            if let Err(error) = driving.await
                && error.is_panic()
            {
                tracing::error!(%error, "a defect ended a client; another takes its place");
                // Not at once: what it died of may still be there.
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
        let orders = Arc::new(Handle(desk));
        Self { calls, orders }
    }

    /// Connects unless connected, connecting or disposed of.
    pub fn ensure_connected(&self) {
        self.tell(|orders| orders.connect = true);
    }

    /// Checks the connection now, with a deadline of seconds (lesson 3).
    pub fn check_liveness(&self) {
        self.tell(|orders| orders.check_liveness = true);
    }

    /// Tells that the network changed: checks the connection as above, and begins a dial under way anew.
    pub fn network_changed(&self) {
        self.tell(|orders| orders.network_changed = true);
    }

    /// Tells that this client is the active one now: from here on it retries by itself.
    pub fn promoted(&self) {
        self.tell(|orders| orders.promoted = true);
    }

    /// Tells whether the app is in the background.
    pub fn set_background(&self, background: bool) {
        self.tell(|orders| orders.background = Some(background));
    }

    /// Acknowledges events up to and including the cursor's. One of another epoch than the connection's says
    /// nothing about its events and is dropped.
    pub fn ack(&self, cursor: Resume) {
        self.tell(|orders| orders.ack = Some(cursor));
    }

    /// Takes no more requests, lets those in flight finish for at most `drain`, then ends for good.
    pub fn dispose(&self, drain: Duration) {
        self.tell(|orders| {
            let sooner = orders.dispose.map_or(drain, |other| other.min(drain));
            orders.dispose = Some(sooner);
        });
    }

    fn tell(&self, order: impl FnOnce(&mut Orders)) {
        self.orders.0.give(order);
    }

    /// Queues a request without waiting; `None` when the queue is full or the client is over. Whoever drops the
    /// answer before the request was sent takes the request back. The wait for the answer is the caller's to bound.
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

    /// Sends a request and waits for its answer, at most the request deadline, waiting for its turn included.
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
        let answered = async {
            self.calls
                .send(call)
                .await
                .map_err(|_| CallError::NotConnected)?;
            answer.await.map_err(|_| CallError::NotConnected)?
        };
        timeout(REQUEST_TIMEOUT, answered)
            .await
            .unwrap_or(Err(CallError::Timeout))
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
