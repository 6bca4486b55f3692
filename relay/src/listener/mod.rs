//! The listener: accepts TCP, does TLS if configured, serves one HTTP request, and passes on the
//! upgraded socket.
//!
//! Everything before the upgrade is bounded: the number of sockets, the size and number of headers,
//! and the time for TLS and the request together.

mod request;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bowline_program::{Listener, Stranger, WebAccess};
use bowline_protocol::relay::CloseText;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use request::{Answered, Ends, Service};
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};
use tracing::{debug, info};

use crate::{
    connection_limits::{ConnectionPermit, Denied},
    control,
    metrics::Metrics,
    parts::Parts,
    registry::Opened,
    session::SessionTask,
    socket::Socket,
    stream::{Stream, prepare},
    tls::{Tls, exporter},
    websocket::NORMAL,
};

/// Most request headers; a request with more is answered with 431.
const MAX_HEADERS: usize = 64;
/// Longest request head in bytes; a longer one is answered with 431. The least that hyper allows.
const MAX_HEAD: usize = 8 * 1024;
/// The answer to a socket over the limit of all sockets.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n";

/// Accepts until dropped.
pub(crate) async fn serve(listener: Listener, parts: Arc<Parts>, tls: Option<Arc<Tls>>) {
    let web = parts.web.at(listener.address());
    loop {
        let (stream, peer) = listener.accept().await;
        if let Some(permit) = take_permit(&parts, &stream, peer) {
            prepare(&stream);
            let (parts, tls) = (Arc::clone(&parts), tls.clone());
            tokio::spawn(welcome(parts, tls, web.clone(), stream, peer, permit));
        }
    }
}

/// A permit for a newly accepted socket, if the limits allow one.
fn take_permit(parts: &Parts, stream: &TcpStream, peer: SocketAddr) -> Option<ConnectionPermit> {
    let denied = match parts.admission.accept(peer.ip()) {
        Ok(permit) => return Some(permit),
        Err(denied) => denied,
    };
    parts.metrics.turned_away.one();
    if denied == Denied::Full {
        let _ = stream.try_write(FULL);
    }
    None
}

/// Serves one accepted socket until it is passed on or refused.
async fn welcome(
    parts: Arc<Parts>,
    tls: Option<Arc<Tls>>,
    web: WebAccess,
    stream: TcpStream,
    peer: SocketAddr,
    permit: ConnectionPermit,
) {
    let deadline = parts.limits.handshake_timeout;
    let stranger = parts.admission.welcome(peer.ip());
    let request = async {
        let local = stream.local_addr()?;
        let secure = tls.is_some();
        let (stream, exporter) = match tls {
            None => (Stream::Left(stream), None),
            Some(tls) => {
                let stream = tls.accept(stream).await?;
                let exporter = exporter(&stream);
                (Stream::Right(Box::new(stream)), exporter)
            }
        };
        let ends = Ends {
            peer: peer.ip(),
            local,
            secure,
            exporter,
        };
        let service = Service::new(Arc::clone(&parts), web, ends, permit);
        serve_request(service, stream).await
    };
    let request = async {
        tokio::select! {
            biased;
            request = timeout(deadline, request) => request,
            () = stranger.dropped() => Ok(Err(io::Error::other("dropped for others"))),
        }
    };
    match Box::pin(request).await {
        Ok(Ok((socket, answered))) => lead(parts, socket, answered, stranger).await,
        Ok(Err(error)) => debug!(%peer, %error, "no request"),
        Err(_) => debug!(%peer, "no complete request in time"),
    }
}

/// Serves the one request of a socket; returns the socket if that was an upgrade.
async fn serve_request(service: Service, stream: Stream) -> io::Result<(Box<Socket>, Answered)> {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // The caller bounds the whole request.
        .header_read_timeout(None)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let parts = connection
        .without_shutdown()
        .await
        .map_err(io::Error::other)?;
    let mut stream = parts.io.into_inner();
    match parts.service.into_answer() {
        (Some(answered), permit) => {
            let early = parts.read_buf.to_vec();
            Ok((Box::new(Socket::new(stream, early, permit)), answered))
        }
        (None, _permit) => {
            // The peer reads the response and closes its side; bytes it still sends are not read.
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
            let _ = timeout(Duration::from_millis(500), stream.read(&mut [0; 64])).await;
            Err(io::Error::other("answered without an upgrade"))
        }
    }
}

/// Passes an upgraded socket to its control task or session.
async fn lead(parts: Arc<Parts>, socket: Box<Socket>, answered: Answered, stranger: Stranger) {
    match answered {
        Answered::Refused(text) => refuse(&parts.metrics, *socket, text),
        Answered::Control(arrival) => control::serve(parts, socket, *arrival, stranger).await,
        Answered::Data { server, session } => {
            if let Err(socket) = parts.registry.attach(&server, &session, socket) {
                // The last client left during the upgrade of this socket.
                socket.close_with(NORMAL);
            }
        }
        Answered::Client { server, session } => {
            let most = parts.limits.sockets_per_daemon;
            match parts.registry.open(&server, &session, socket, most) {
                Opened::Joined => parts.metrics.lanes.one(),
                Opened::New(mailbox) => {
                    parts.metrics.lanes.one();
                    let hash = bowline_protocol::identity::short_hash(session.as_str());
                    info!(server_id = %server, session = %hash, "session opened");
                    tokio::spawn(SessionTask::new(parts, server, session, mailbox));
                }
                Opened::Refused(socket, reason) => refuse(&parts.metrics, *socket, reason.into()),
            }
        }
    }
}

fn refuse(metrics: &Metrics, socket: Socket, text: CloseText) {
    metrics.closed(text.reason);
    socket.close(text);
}
