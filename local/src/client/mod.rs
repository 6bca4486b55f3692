//! The client: concurrent requests over one connection, each answered once, in any order.
//!
//! One task owns the connection ([`driver`]); a [`Client`] is a handle to it. Every resource is
//! bounded: pending requests, bytes queued for writing, notifications queued for reading, the
//! length of a line, the time of a request. Dropping the future of a request abandons that request
//! only.

mod batch;
mod driver;
mod notifications;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_protocol::{
    limits::{MAX_BATCH, MAX_IN_FLIGHT, MAX_MESSAGE_BYTES},
    rpc::{write_notification, write_request},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Semaphore, mpsc, oneshot, watch},
    time::timeout,
};

pub use self::{
    batch::Batch,
    notifications::{Notification, NotificationEvent, Notifications},
};
use self::{
    driver::{Driver, Outgoing, Waiter},
    notifications::Inbox,
};
use crate::{CallError, Closed, ConnectError, Endpoint, one_line};

/// Requests queued for the task; a further caller waits.
const HANDED_OVER: usize = 64;

/// Limits of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// Timeout of connecting. 5 s.
    pub connect_timeout: Duration,
    /// Timeout of an answer, including the wait for a permit. 60 s; [`Client::call_within`]
    /// overrides it for one request.
    pub request_timeout: Duration,
    /// Most pending requests; further callers wait. 256, the daemon's default of `max_in_flight`,
    /// beyond which it answers `overloaded`.
    pub max_pending: usize,
    /// Longest request in bytes; a longer one is not sent. 1 MiB, the daemon's default of
    /// `max_message_bytes`, beyond which it closes the connection.
    pub max_request_bytes: usize,
    /// Longest answer in bytes; a longer one ends the connection with `message_too_large`. 64 MiB,
    /// the largest setting of a daemon.
    pub max_answer_bytes: usize,
    /// Most queued notifications; further ones are counted and dropped
    /// ([`NotificationEvent::Missed`]). 1,024.
    pub max_notifications: usize,
    /// Most bytes of queued notifications. 4 MiB.
    pub max_notification_bytes: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(60),
            max_pending: MAX_IN_FLIGHT as usize,
            max_request_bytes: MAX_MESSAGE_BYTES as usize,
            max_answer_bytes: 64 << 20,
            max_notifications: 1_024,
            max_notification_bytes: 4 << 20,
        }
    }
}

/// A connection to a daemon. Clones share it; it ends when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Client(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    outgoing: mpsc::Sender<Outgoing>,
    permits: Arc<Semaphore>,
    closed: watch::Receiver<Option<Closed>>,
    next_id: AtomicU64,
    options: ClientOptions,
}

impl Client {
    /// Connects with the default limits. Notifications are dropped.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, ConnectError> {
        Self::connect_with(endpoint, ClientOptions::default()).await
    }

    /// Connects with other limits. Notifications are dropped.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect_with(
        endpoint: &Endpoint,
        options: ClientOptions,
    ) -> Result<Self, ConnectError> {
        let stream = endpoint.connect(options.connect_timeout).await?;
        Ok(Self::start(stream, options, None))
    }

    /// Connects. The second value receives the daemon's notifications, from the first one on.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn listen(
        endpoint: &Endpoint,
        options: ClientOptions,
    ) -> Result<(Self, Notifications), ConnectError> {
        let stream = endpoint.connect(options.connect_timeout).await?;
        Ok(Self::over(stream, options))
    }

    /// A client over any byte stream: a tunnel, or a test. Needs a tokio runtime.
    pub fn over<S>(stream: S, options: ClientOptions) -> (Self, Notifications)
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let inbox = Inbox::new(options.max_notifications, options.max_notification_bytes);
        let client = Self::start(stream, options, Some(inbox.clone()));
        (client, Notifications::new(inbox))
    }

    fn start<S>(stream: S, options: ClientOptions, inbox: Option<Inbox>) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (outgoing, incoming) = mpsc::channel(HANDED_OVER);
        let (closed_sender, closed) = watch::channel(None);
        let permits = Arc::new(Semaphore::new(options.max_pending.max(1)));
        let driver = Driver::new(
            stream,
            incoming,
            closed_sender,
            inbox,
            Arc::clone(&permits),
            &options,
        );
        tokio::spawn(driver.run());
        Self(Arc::new(Shared {
            outgoing,
            permits,
            closed,
            next_id: AtomicU64::new(1),
            options,
        }))
    }

    /// Calls a method and returns its result.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call<R: DeserializeOwned>(
        &self,
        method: &str,
        params: &(impl Serialize + ?Sized),
    ) -> Result<R, CallError> {
        self.call_within(self.0.options.request_timeout, method, params)
            .await
    }

    /// As [`Client::call`], with its own timeout.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call_within<R: DeserializeOwned>(
        &self,
        deadline: Duration,
        method: &str,
        params: &(impl Serialize + ?Sized),
    ) -> Result<R, CallError> {
        let result = self.call_raw(deadline, method, params).await?;
        serde_json::from_str(result.get()).map_err(|error| CallError::Result {
            method: method.to_owned(),
            error,
        })
    }

    /// Calls a method and returns the JSON of its result.
    ///
    /// # Errors
    /// [`CallError`], all but [`CallError::Result`].
    pub async fn call_raw(
        &self,
        deadline: Duration,
        method: &str,
        params: &(impl Serialize + ?Sized),
    ) -> Result<Box<RawValue>, CallError> {
        let id = self.0.next_id.fetch_add(1, Relaxed);
        let mut line = Vec::with_capacity(128);
        write_request(&mut line, id, method, params).map_err(CallError::Params)?;
        self.check(&line)?;
        let exchange = self.exchange(line, id, 1, None);
        let mut answers = timed(deadline, method, exchange).await??;
        answers.pop().unwrap_or_else(|| Err(self.gone()))
    }

    /// Sends a notification. On return it is queued, not yet delivered.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn notify(
        &self,
        method: &str,
        params: &(impl Serialize + ?Sized),
    ) -> Result<(), CallError> {
        let mut line = Vec::with_capacity(128);
        write_notification(&mut line, method, params).map_err(CallError::Params)?;
        self.check(&line)?;
        let deadline = self.0.options.request_timeout;
        timed(deadline, method, self.send(line, Vec::new())).await?
    }

    /// Sends a batch as one text and returns the answers in the order of the calls.
    ///
    /// # Errors
    /// [`CallError`] of the batch as a whole; the errors of single calls are among the answers.
    pub async fn batch(
        &self,
        batch: Batch,
    ) -> Result<Vec<Result<Box<RawValue>, CallError>>, CallError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let calls = batch.calls();
        if batch.len() > MAX_BATCH {
            return Err(CallError::TooMany {
                calls: batch.len(),
                limit: MAX_BATCH,
            });
        }
        let first = self.0.next_id.fetch_add(calls.max(1), Relaxed);
        let line = batch.text(first)?;
        self.check(&line)?;
        let exchange = self.exchange(line, first, calls, Some(first));
        timed(self.0.options.request_timeout, "a batch", exchange).await?
    }

    /// Why the connection has ended or is about to, if so.
    pub fn closed(&self) -> Option<Closed> {
        self.0.closed.borrow().clone()
    }

    /// Waits for the end of the connection.
    pub async fn ended(&self) -> Closed {
        let mut closed = self.0.closed.clone();
        match closed.wait_for(Option::is_some).await {
            Ok(closed) => closed.clone().unwrap_or_else(driver::lost),
            Err(_) => driver::lost(),
        }
    }

    /// Number of pending requests, including abandoned ones, which the daemon may still process.
    pub fn pending(&self) -> usize {
        let most = self.0.options.max_pending.max(1);
        most.saturating_sub(self.0.permits.available_permits())
    }

    fn check(&self, line: &[u8]) -> Result<(), CallError> {
        let limit = self.0.options.max_request_bytes;
        if line.len() > limit {
            return Err(CallError::TooLong {
                bytes: line.len(),
                limit,
            });
        }
        Ok(())
    }

    /// Acquires permits for pending requests: `wanted`, or all there are if that is fewer.
    async fn permits(&self, wanted: u64) -> Result<driver::CallPermit, CallError> {
        let most = self.0.options.max_pending.clamp(1, u32::MAX as usize);
        let wanted = usize::try_from(wanted).unwrap_or(most).min(most);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let permits = Arc::clone(&self.0.permits).acquire_many_owned(wanted).await;
        permits.map(Arc::new).map_err(|_| self.gone())
    }

    /// Sends a text with `calls` calls, whose ids count up from `first`, and waits for their
    /// answers.
    async fn exchange(
        &self,
        line: Vec<u8>,
        first: u64,
        calls: u64,
        batch: Option<u64>,
    ) -> Result<Vec<Result<Box<RawValue>, CallError>>, CallError> {
        let permit = self.permits(calls).await?;
        let (waiters, answers): (Vec<_>, Vec<_>) = (first..first + calls)
            .map(|id| {
                let (answer, answered) = oneshot::channel();
                let waiter = Waiter {
                    id,
                    answer,
                    _permit: permit.clone(),
                    batch,
                };
                (waiter, answered)
            })
            .unzip();
        drop(permit);
        self.send(line, waiters).await?;
        let mut results = Vec::with_capacity(answers.len());
        for answered in answers {
            results.push(match answered.await {
                Ok(answer) => answer.map_err(CallError::Rpc),
                Err(_) => Err(self.gone()),
            });
        }
        Ok(results)
    }

    async fn send(&self, mut line: Vec<u8>, waiters: Vec<Waiter>) -> Result<(), CallError> {
        if self.closed().is_some() {
            return Err(self.gone());
        }
        one_line(&mut line);
        line.push(b'\n');
        let sent = self.0.outgoing.send(Outgoing { line, waiters }).await;
        sent.map_err(|_| self.gone())
    }

    fn gone(&self) -> CallError {
        CallError::Closed(self.closed().unwrap_or_else(driver::lost))
    }
}

async fn timed<T>(
    deadline: Duration,
    method: &str,
    work: impl Future<Output = T>,
) -> Result<T, CallError> {
    timeout(deadline, work)
        .await
        .map_err(|_| CallError::Timeout {
            method: method.to_owned(),
            deadline,
        })
}
