//! What the relay is compared with: a forwarder of two sockets, made of nothing but tokio-tungstenite as it comes.
//!
//! It joins the sockets it accepts two by two and hands messages from one to the other with `StreamExt::forward`, which
//! writes all that waits before it flushes. It knows no daemons, no lanes, no limits.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, Stdio},
};

use futures_util::StreamExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{WebSocketStream, accept_async};

use super::Outcome;

/// What is told of it beside every figure.
pub(super) const ABOUT: &str = "a forwarder of two tokio-tungstenite sockets with the library's defaults (read buffer 128 KiB, \
     write buffer 128 KiB)";

/// The forwarder's whole life.
///
/// # Errors
/// When it cannot listen or accept.
pub(super) fn serve() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        bowline_program::say!("{}", listener.local_addr()?);
        std::io::stdout().flush()?;
        loop {
            let (one, other) = (accept(&listener).await?, accept(&listener).await?);
            tokio::spawn(join(one, other));
        }
    })
}

async fn accept(listener: &TcpListener) -> Outcome<WebSocketStream<TcpStream>> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok(accept_async(stream).await?)
}

/// Until either has gone.
async fn join(one: WebSocketStream<TcpStream>, other: WebSocketStream<TcpStream>) {
    let (to_one, from_one) = one.split();
    let (to_other, from_other) = other.split();
    tokio::select! {
        _ = from_one.forward(to_other) => {}
        _ = from_other.forward(to_one) => {}
    }
}

/// The forwarder as a process of its own.
pub(super) struct ForwarderProcess {
    child: Child,
    /// Held open: a process that writes to a closed pipe would die.
    _stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl ForwarderProcess {
    /// Starts one and waits until it listens.
    ///
    /// # Errors
    /// When it does not.
    pub(super) fn start() -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--forwarder")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take();
        let mut stdout = BufReader::new(stdout.ok_or("a forwarder without output")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        Ok(Self {
            child,
            _stdout: stdout,
            address: line.trim().parse()?,
        })
    }

    /// Where it listens.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub(super) fn pid(&self) -> Option<u32> {
        Some(self.child.id())
    }
}

impl Drop for ForwarderProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
