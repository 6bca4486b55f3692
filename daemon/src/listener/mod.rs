//! Direct listeners: TCP sockets whose HTTP upgrade yields session sockets (`docs/protocol.md` §2).
//!
//! All steps before the upgrade are bounded: the number of sockets by a semaphore, whose permit
//! each holds until it closes, the headers in size and number, and the whole request in time.

mod upgrade;

use std::{net::SocketAddr, sync::Arc};

use bowline_machines::Path;
use bowline_program::{Listener, Stranger, StrangerLimits, Strangers, WebAccess};
use bowline_protocol::identity::random_bytes;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tracing::debug;
use upgrade::Upgrade;

use crate::connection::{self, Acceptor, WebSocket};

/// Most request headers; a request with more is answered with 431.
const MAX_HEADERS: usize = 64;
/// Longest request head in bytes; a longer one is answered with 431. The least that hyper allows.
const MAX_HEAD: usize = 8 * 1024;
/// Response to a socket over the limit.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n";

/// Sockets that have not proved a device, of all direct listeners together. A handshake takes
/// milliseconds, so that these many at once are a flood (TR-10).
pub(crate) const STRANGERS: StrangerLimits = StrangerLimits {
    start: 64,
    rate: 30,
    full: 256,
    per_address: 128,
    per_region: 192,
};

/// Accepts until dropped. `places` bounds the sockets, `strangers` those of nobody yet.
pub(crate) async fn serve(
    listener: Listener,
    acceptor: Arc<Acceptor>,
    places: Arc<Semaphore>,
    strangers: Arc<Strangers>,
    web: WebAccess,
) {
    loop {
        let (stream, peer) = listener.accept().await;
        let random = random_bytes().map_or(0, u64::from_ne_bytes);
        let stranger = strangers.enter(Some(peer.ip()), random);
        let Ok(permit) = Arc::clone(&places).try_acquire_owned() else {
            debug!(%peer, "refused: the connection limit is reached");
            acceptor.turned_away(Path::Direct);
            let _ = stream.try_write(BUSY);
            continue;
        };
        // Small messages are responses that people wait for; Nagle's algorithm would delay them.
        let _ = stream.set_nodelay(true);
        let upgrade = Upgrade::new(web.clone());
        tokio::spawn(welcome(
            Arc::clone(&acceptor),
            stream,
            peer,
            permit,
            stranger,
            upgrade,
        ));
    }
}

/// Serves one accepted socket until it is a connection or refused.
async fn welcome(
    acceptor: Arc<Acceptor>,
    stream: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
    stranger: Stranger,
    service: Upgrade,
) {
    // One deadline covers the time from the accepted socket to `session.ready`; the upgrade uses
    // some of it.
    let accepted_at = acceptor.clock.now();
    let upgraded = async {
        tokio::select! {
            biased;
            upgraded = upgrade(stream, service) => upgraded,
            () = stranger.dropped() => None,
        }
    };
    match timeout(acceptor.limits.handshake_timeout, upgraded).await {
        Ok(Some(socket)) => {
            let listed = acceptor.list(Path::Direct, Some(peer));
            let listed = listed.of_stranger(stranger);
            // A separate task, which frees the memory of the upgrade.
            tokio::spawn(async move {
                connection::serve(acceptor, socket, listed, accepted_at).await;
                drop(permit);
            });
        }
        Ok(None) => {}
        Err(_) => debug!(%peer, "no complete request in time"),
    }
}

/// Serves the one request of a socket, and returns the socket after an upgrade.
async fn upgrade(stream: TcpStream, service: Upgrade) -> Option<WebSocket<TcpStream>> {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // The caller bounds the whole request.
        .header_read_timeout(None)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let parts = connection.without_shutdown().await.ok()?;
    if !parts.service.accepted() {
        return None;
    }
    Some(WebSocket::accepted(parts.io.into_inner(), &parts.read_buf).await)
}
