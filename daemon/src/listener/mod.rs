//! Direct listeners: TCP sockets whose HTTP upgrade yields session sockets (`docs/protocol.md` §2).
//!
//! Everything before the upgrade is bounded: sockets by a semaphore that each one holds until it ends, headers
//! in size and number, and the whole request in time.

mod upgrade;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use tracing::{debug, warn};
use upgrade::Upgrade;

use crate::connection::WebSocket;

/// Most request headers; a request with more is answered with 431.
const MAX_HEADERS: usize = 64;
/// Longest request head in bytes; a longer one is answered with 431. The least that hyper allows.
const MAX_HEAD: usize = 8 * 1024;
/// Pause after a failed accept (no more file descriptors, for instance), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What a socket over the limit is sent.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n";

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else has the port.
    #[error(
        "{address} is in use by another program; stop it, or choose another address with {flag} (port 0 picks a free one)"
    )]
    InUse {
        /// The address asked for.
        address: SocketAddr,
        /// What sets it.
        flag: &'static str,
    },
    /// Anything else.
    #[error("cannot listen on {address}: {error}")]
    Other {
        /// The address asked for.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
}

/// A socket that asked for a session, after its upgrade.
#[derive(Debug)]
pub struct Accepted {
    /// The socket.
    pub socket: WebSocket<TcpStream>,
    /// Who is at its other end.
    pub peer: SocketAddr,
    /// When it was accepted; its deadline runs from there.
    pub accepted_at: Instant,
    /// Its place among the sockets; to be held for as long as it lives.
    pub permit: OwnedSemaphorePermit,
}

/// A bound listener.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds an address.
    ///
    /// # Errors
    /// [`BindError`], which says what to do.
    pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let bound = match TcpListener::bind(address).await {
            Ok(listener) => listener.local_addr().map(|local| (listener, local)),
            Err(error) => Err(error),
        };
        match bound {
            Ok((listener, address)) => Ok(Self { listener, address }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(BindError::InUse {
                address,
                flag: "--listen",
            }),
            Err(error) => Err(BindError::Other { address, error }),
        }
    }

    /// The address bound.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts until dropped, handing every upgraded socket to `accept`. `places` bounds the sockets, and `full` is told
    /// of each that finds none; `deadline` is the time a socket has for its request.
    pub async fn serve<F>(
        self,
        places: Arc<Semaphore>,
        deadline: Duration,
        accept: F,
        full: impl Fn() + Send + Sync,
    ) where
        F: Fn(Accepted) + Clone + Send + Sync + 'static,
    {
        loop {
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, address = %self.address, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&places).try_acquire_owned() else {
                debug!(%peer, "turned away: all places are taken");
                full();
                let _ = stream.try_write(BUSY);
                continue;
            };
            // Small messages are answers people wait for; Nagle's algorithm would hold them back.
            let _ = stream.set_nodelay(true);
            let accept = accept.clone();
            let accepted_at = Instant::now();
            tokio::spawn(async move {
                match timeout(deadline, upgrade(stream)).await {
                    Ok(Some(socket)) => accept(Accepted {
                        socket,
                        peer,
                        accepted_at,
                        permit,
                    }),
                    Ok(None) => {}
                    Err(_) => debug!(%peer, "no complete request in time"),
                }
            });
        }
    }
}

/// Serves the one request of a socket; the socket comes back when it was an upgrade.
async fn upgrade(stream: TcpStream) -> Option<WebSocket<TcpStream>> {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // The deadline of the whole request is the caller's.
        .header_read_timeout(None)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), Upgrade::default());
    let parts = connection.without_shutdown().await.ok()?;
    if !parts.service.accepted() {
        return None;
    }
    Some(WebSocket::accepted(parts.io.into_inner(), &parts.read_buf).await)
}
