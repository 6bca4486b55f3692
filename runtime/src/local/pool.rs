//! Several connections to one local socket, lent out one at a time (`docs/adr/0010-local-crate.md`).

use std::{fmt, ops::Deref, time::Duration};

use bowline_local::{Client, ClientOptions, ConnectError, Endpoint};
use bowline_protocol::methods::{Empty, Pong, name};
use deadpool::managed::{
    self, Manager, Metrics, Object, QueueMode, RecycleError, RecycleResult, TimeoutType,
};

/// Bounds of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Most connections at once; whoever wants one more waits. 8.
    pub max_connections: usize,
    /// How long to wait for a connection to come back; zero does not wait. 10 s.
    pub wait_timeout: Duration,
    /// A connection last lent out longer ago is asked for a sign of life first. 30 s.
    pub check_after: Duration,
    /// How long that sign may take; without it the connection is replaced. 2 s.
    pub check_timeout: Duration,
    /// Bounds of each connection.
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

/// Why the pool gave no connection.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// None is free, and no new one could be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// All are in use, and none came back in time.
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
    /// [`PoolOptions`] that no pool can have.
    #[error("a pool needs room for at least one connection")]
    NoRoom,
}

/// How a pool is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolStatus {
    /// Connections, lent out or not.
    pub connections: usize,
    /// Of those, not lent out.
    pub free: usize,
    /// Callers waiting for one.
    pub waiting: usize,
}

/// Connections to one local socket. Clones share them. Nothing runs in the background: connections are made when asked
/// for, checked when lent out, and while unused end by the daemon's own idle deadline.
#[derive(Clone)]
pub struct Pool {
    inner: managed::Pool<Connections>,
    endpoint: Endpoint,
    max: usize,
    wait: Duration,
}

/// A connection on loan; dropping it gives it back. A clone of the client in it is outside the pool's bounds.
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
    /// A pool without connections; touches nothing.
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
            // Connecting and checking have deadlines of their own.
            .wait_timeout(Some(wait))
            // Few warm connections instead of many lukewarm ones.
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

    /// A connection: a free one that is alive, a new one, or after a wait one that came back. Cancel-safe.
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
                // The others cannot be: there is a runtime, there are no hooks and no other time limits.
                managed::PoolError::Closed
                | managed::PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle)
                | managed::PoolError::NoRuntimeSpecified
                | managed::PoolError::PostCreateHook(_) => PoolError::Closed,
            })
    }

    /// How it is. Connections that have ended meanwhile are let go of.
    pub fn status(&self) -> PoolStatus {
        self.inner.retain(|client, _| client.closed().is_none());
        let status = self.inner.status();
        PoolStatus {
            connections: status.size,
            free: status.available,
            waiting: status.waiting,
        }
    }

    /// Ends the free connections, and those on loan when they come back. Whoever waits gets [`PoolError::Closed`].
    pub fn close(&self) {
        self.inner.close();
    }

    /// Where its connections lead.
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
