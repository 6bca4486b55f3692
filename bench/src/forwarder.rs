//! The bare peer of the relay: a forwarder between pairs of sockets, with unmodified
//! tokio-tungstenite.
//!
//! It pairs the sockets it accepts and passes messages with `StreamExt::forward`, which writes all
//! pending messages before it flushes. It has no daemons, lanes or limits.

use std::net::SocketAddr;

use futures_util::StreamExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{WebSocketStream, accept_async};

use super::{
    Outcome,
    peer::{PeerProcess, listen},
};

/// Description printed with every figure.
pub(super) const ABOUT: &str = "a forwarder of two tokio-tungstenite sockets with the library's defaults (read buffer 128 KiB, \
     write buffer 128 KiB)";

/// Runs the forwarder.
///
/// # Errors
/// The forwarder cannot listen or accept.
pub(super) async fn serve() -> Outcome<()> {
    let listener = listen().await?;
    loop {
        let (one, other) = (accept(&listener).await?, accept(&listener).await?);
        tokio::spawn(join(one, other));
    }
}

async fn accept(listener: &TcpListener) -> Outcome<WebSocketStream<TcpStream>> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok(accept_async(stream).await?)
}

/// Forwards both ways until either socket closes.
async fn join(one: WebSocketStream<TcpStream>, other: WebSocketStream<TcpStream>) {
    let (to_one, from_one) = one.split();
    let (to_other, from_other) = other.split();
    tokio::select! {
        _ = from_one.forward(to_other) => {}
        _ = from_other.forward(to_one) => {}
    }
}

/// Starts a forwarder as a separate process.
///
/// # Errors
/// The process does not start or listen.
pub(super) fn start() -> Outcome<PeerProcess<SocketAddr>> {
    PeerProcess::start("--forwarder")
}
