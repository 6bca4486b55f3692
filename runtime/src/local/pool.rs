//! A pool of connections to one local socket, each used by one caller at a time
//! (`docs/adr/0010-local-crate.md`).

use std::{fmt, ops::Deref, time::Duration};

use bowline_local::{Client, ClientOptions, ConnectError, Endpoint};
use bowline_protocol::methods::{Empty, Pong, name};
use deadpool::managed::{
    self, Manager, Metrics, Object, QueueMode, RecycleError, RecycleResult, TimeoutType,
};

/// Limits of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Maximum connections; further callers wait. Default 8.
    pub max_connections: usize,
    /// Longest wait for a free connection; zero does not wait. Default 10 s.
    pub wait_timeout: Duration,
    /// A connection unused for longer is checked with a ping before use. Default 30 s.
    pub check_after: Duration,
    /// Timeout of that ping; without an answer the connection is replaced. Default 2 s.
    pub check_timeout: Duration,
    /// Limits of each connection.
    pub client: ClientOptions,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            max_connections: 8,
            wait_timeout: Duration::from_secs(10),
            check_after: Duration::from_secs(30),
            check_timeout: Duration::from_secs(2),
            client: ClientOptions::default(),
        }
    }
}

/// Why no connection was available.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// None is free, and connecting failed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// All are in use, and none became free in time.
    #[error(
        "all {max} connections were in use for {waited:?}; allow more, or hold each for less time"
    )]
    Exhausted {
        /// `max_connections`.
        max: usize,
        /// `wait_timeout`.
        waited: Duration,
    },
    /// [`Pool::close`] was called.
    #[error("the pool was closed")]
    Closed,
    /// Invalid [`PoolOptions`].
    #[error("a pool needs room for at least one connection")]
    NoRoom,
}

/// Current state of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolStatus {
    /// Connections, in use or free.
    pub connections: usize,
    /// Free connections.
    pub free: usize,
    /// Waiting callers.
    pub waiting: usize,
}

/// Connections to one local socket. Clones share them. There is no background task: connections are
/// opened on demand, checked before use, and closed by the daemon's idle timeout.
#[derive(Clone)]
pub struct Pool {
    inner: managed::Pool<Connections>,
    endpoint: Endpoint,
    max: usize,
    wait: Duration,
}

/// A connection in use; dropping it returns it to the pool. A clone of its client is outside the
/// pool's limits.
pub struct Pooled(Object<Connections>);

struct Connections {
    endpoint: Endpoint,
    options: PoolOptions,
}

impl Manager for Connections {
    type Type = Client;
    type Error = ConnectError;

    async fn create(&self) -> Result<Client, ConnectError> {
        Client::connect_with(&self.endpoint, self.options.client.clone()).await
    }

    async fn recycle(&self, client: &mut Client, metrics: &Metrics) -> RecycleResult<ConnectError> {
        if let Some(closed) = client.closed() {
            return Err(RecycleError::message(closed.to_string()));
        }
        if metrics.last_used() < self.options.check_after {
            return Ok(());
        }
        let sign = client
            .call_within::<Pong>(self.options.check_timeout, name::SYSTEM_PING, &Empty {})
            .await;
        match sign {
            Ok(_) => Ok(()),
            Err(error) => Err(RecycleError::message(error.to_string())),
        }
    }
}

impl Pool {
    /// Creates an empty pool without any I/O.
    ///
    /// # Errors
    /// [`PoolError::NoRoom`].
    pub fn new(endpoint: Endpoint, options: PoolOptions) -> Result<Self, PoolError> {
        let (max, wait) = (options.max_connections, options.wait_timeout);
        if max == 0 {
            return Err(PoolError::NoRoom);
        }
        let manager = Connections {
            endpoint: endpoint.clone(),
            options,
        };
        let inner = managed::Pool::builder(manager)
            .max_size(max)
            // Connecting and checking have their own deadlines.
            .wait_timeout(Some(wait))
            // Keeps few connections active and lets the others idle out.
            .queue_mode(QueueMode::Lifo)
            .runtime(deadpool::Runtime::Tokio1)
            .build()
            .map_err(|_| PoolError::NoRoom)?;
        Ok(Self {
            inner,
            endpoint,
            max,
            wait,
        })
    }

    /// A connection: a live free one, a new one, or one returned while waiting. Cancel-safe.
    ///
    /// # Errors
    /// [`PoolError`].
    pub async fn get(&self) -> Result<Pooled, PoolError> {
        self.inner
            .get()
            .await
            .map(Pooled)
            .map_err(|error| match error {
                managed::PoolError::Backend(error) => PoolError::Connect(error),
                managed::PoolError::Timeout(TimeoutType::Wait) => PoolError::Exhausted {
                    max: self.max,
                    waited: self.wait,
                },
                // Other variants cannot occur: there is a runtime, and there are no hooks or
                // further timeouts.
                managed::PoolError::Closed
                | managed::PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle)
                | managed::PoolError::NoRuntimeSpecified
                | managed::PoolError::PostCreateHook(_) => PoolError::Closed,
            })
    }

    /// Current state. Removes connections that have ended.
    pub fn status(&self) -> PoolStatus {
        self.inner.retain(|client, _| client.closed().is_none());
        let status = self.inner.status();
        PoolStatus {
            connections: status.size,
            free: status.available,
            waiting: status.waiting,
        }
    }

    /// Closes free connections at once, and others when they are returned. Waiting callers get
    /// [`PoolError::Closed`].
    pub fn close(&self) {
        self.inner.close();
    }

    /// The endpoint of its connections.
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Deref for Pooled {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.0
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("endpoint", &self.endpoint)
            .field("status", &self.inner.status())
            .finish()
    }
}

impl fmt::Debug for Pooled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pooled({:?})", **self)
    }
}
