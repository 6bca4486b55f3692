//! A bare peer as a separate process: this program in another role.

use std::{
    error::Error,
    fmt::Display,
    io::{BufRead, BufReader, Write},
    net::Ipv4Addr,
    process::{Child, ChildStdout, Command, Stdio},
    str::FromStr,
    time::{Duration, Instant},
};

use tokio::net::TcpListener;

use super::Outcome;

/// A running peer; killed when dropped.
pub(super) struct PeerProcess<A> {
    child: Child,
    /// Held open: writing to a closed pipe would end the process.
    _stdout: BufReader<ChildStdout>,
    /// Where it listens.
    pub(super) address: A,
    /// Time from its start to its line with the address.
    pub(super) ready_after: Duration,
}

impl<A: FromStr<Err: Error + Send + Sync + 'static>> PeerProcess<A> {
    /// Starts this program with an argument that gives it a role, and waits until it prints the
    /// address at which it listens.
    ///
    /// # Errors
    /// The process does not start or listen.
    pub(super) fn start(role: &str) -> Outcome<Self> {
        let start = Instant::now();
        let mut child = Command::new(std::env::current_exe()?)
            .arg(role)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().ok_or("a peer without output")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        Ok(Self {
            child,
            _stdout: stdout,
            address: line.trim().parse()?,
            ready_after: start.elapsed(),
        })
    }
}

impl<A> PeerProcess<A> {
    /// Its process id.
    pub(super) fn pid(&self) -> Option<u32> {
        Some(self.child.id())
    }
}

impl<A> Drop for PeerProcess<A> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Listens on a free port, as a peer, and prints the address.
///
/// # Errors
/// No port is free.
pub(super) async fn listen() -> Outcome<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    announce(&listener.local_addr()?)?;
    Ok(listener)
}

/// Prints the address at which a peer listens.
///
/// # Errors
/// The output has closed.
pub(super) fn announce(address: &impl Display) -> Outcome<()> {
    bowline_program::say!("{address}");
    Ok(std::io::stdout().flush()?)
}
