//! The listener: TCP, TLS if asked for, one HTTP request, and then the socket goes where its request says.
//!
//! Everything before the upgrade is bounded: sockets by their places, headers in size and number, and TLS and the
//! whole request together in time.

mod request;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bowline_protocol::relay::CloseText;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use request::{Answered, Service};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tracing::{debug, info, warn};

use crate::{
    control,
    hub::Hub,
    places::{Place, Standing},
    proxies::is_trusted,
    registry::Opened,
    session::Session,
    socket::Socket,
    stream::{Stream, prepare},
    tls::Tls,
};

/// Most request headers; a request with more is answered with 431.
const MAX_HEADERS: usize = 64;
/// Longest request head in bytes; a longer one is answered with 431. The least that hyper allows.
const MAX_HEAD: usize = 8 * 1024;
/// Pause after a failed accept (no more file descriptors, for instance), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What a socket over the limit of all is sent.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n";

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else has the port.
    #[error(
        "{address} is in use by another program; stop it, or choose another address with --listen (port 0 picks a free one)"
    )]
    InUse {
        /// The address asked for.
        address: SocketAddr,
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

/// A bound listener.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    pub(crate) async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let bound = match TcpListener::bind(address).await {
            Ok(listener) => listener.local_addr().map(|local| (listener, local)),
            Err(error) => Err(error),
        };
        match bound {
            Ok((listener, address)) => Ok(Self { listener, address }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                Err(BindError::InUse { address })
            }
            Err(error) => Err(BindError::Other { address, error }),
        }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts until dropped.
    pub(crate) async fn serve(self, hub: Arc<Hub>, tls: Option<Arc<Tls>>) {
        loop {
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, address = %self.address, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            if let Some(place) = find_place(&hub, &stream, peer) {
                prepare(&stream);
                let (hub, tls) = (Arc::clone(&hub), tls.clone());
                tokio::spawn(welcome(hub, tls, stream, peer, place));
            }
        }
    }
}

/// A place for a socket that was just accepted, if there is one for it.
fn find_place(hub: &Hub, stream: &TcpStream, peer: SocketAddr) -> Option<Place> {
    let Some(mut place) = hub.places.take() else {
        hub.metrics.turned_away.one();
        let _ = stream.try_write(FULL);
        return None;
    };
    // Behind a proxy, whose place it is is known only from the request.
    let standing = if is_trusted(&hub.trusted_proxies, peer.ip()) {
        Standing::Welcome
    } else {
        hub.places.claim(&mut place, peer.ip())
    };
    if standing == Standing::Unheard {
        hub.metrics.turned_away.one();
        return None;
    }
    Some(place)
}

/// Serves one accepted socket up to where its request leads.
async fn welcome(
    hub: Arc<Hub>,
    tls: Option<Arc<Tls>>,
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
) {
    let deadline = hub.limits.handshake;
    let request = async {
        let stream = match tls {
            None => Stream::Plain(stream),
            Some(tls) => Stream::Tls(Box::new(tls.accept(stream).await?)),
        };
        serve_request(Arc::clone(&hub), stream, peer, place).await
    };
    match timeout(deadline, request).await {
        Ok(Ok((socket, answered))) => lead(hub, socket, answered).await,
        Ok(Err(error)) => debug!(%peer, %error, "no request"),
        Err(_) => debug!(%peer, "no complete request in time"),
    }
}

/// Serves the one request of a socket, which comes back when it was an upgrade.
async fn serve_request(
    hub: Arc<Hub>,
    stream: Stream,
    peer: SocketAddr,
    place: Place,
) -> io::Result<(Box<Socket>, Answered)> {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // The deadline of the whole request is the caller's.
        .header_read_timeout(None)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), Service::new(hub, peer.ip(), place));
    let parts = connection
        .without_shutdown()
        .await
        .map_err(io::Error::other)?;
    let mut stream = parts.io.into_inner();
    match parts.service.into_answer() {
        (Some(answered), place) => {
            let early = parts.read_buf.to_vec();
            Ok((Box::new(Socket::new(stream, early, place)), answered))
        }
        (None, _place) => {
            // The peer reads its answer and ends its side; what it says meanwhile is not waited for.
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
            let _ = timeout(Duration::from_millis(500), stream.read(&mut [0; 64])).await;
            Err(io::Error::other("answered without an upgrade"))
        }
    }
}

/// Brings an upgraded socket to where its request leads.
async fn lead(hub: Arc<Hub>, socket: Box<Socket>, answered: Answered) {
    match answered {
        Answered::Refused(text) => refuse(&hub, *socket, text),
        Answered::Control => control::serve(hub, socket).await,
        Answered::Data { server, session } => {
            if let Err(socket) = hub.registry.attach(&server, &session, socket) {
                // The last client left while this socket was being made.
                socket.dismiss_with(1000);
            }
        }
        Answered::Client { server, session } => {
            let most = hub.limits.sockets_per_daemon;
            match hub.registry.open(&server, &session, socket, most) {
                Opened::Joined => hub.metrics.lanes.one(),
                Opened::New(mailbox) => {
                    hub.metrics.lanes.one();
                    let hash = bowline_protocol::identity::short_hash(session.as_str());
                    info!(server_id = %server, session = %hash, "session opened");
                    tokio::spawn(Session::new(hub, server, session, mailbox));
                }
                Opened::Refused(socket, reason) => refuse(&hub, *socket, reason.into()),
            }
        }
    }
}

fn refuse(hub: &Hub, socket: Socket, text: CloseText) {
    hub.metrics.closed(text.reason);
    socket.dismiss(text);
}
