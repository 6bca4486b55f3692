//! The bare peer of the local socket: a Unix-socket line echo without Bowline code.
//!
//! It is optimised, so that the comparison is demanding: one task per connection, one read and one
//! write for all pending data, one buffer per thread. An idle connection is a bare tokio task that
//! awaits one socket.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    path::{Path, PathBuf},
    task::{Context, Poll, ready},
};

use tokio::net::{UnixListener, UnixStream};

use super::{
    Outcome,
    peer::{PeerProcess, announce},
};

/// Bytes of one read.
const CHUNK: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// Runs the echo server.
///
/// # Errors
/// The server cannot listen.
pub(super) async fn serve(path: &Path) -> Outcome<()> {
    // Left behind by an earlier one in this folder.
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    announce(&path.display())?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut rest = Vec::new();
            // An error ends this connection only.
            let _ = poll_fn(|cx| echo(cx, &stream, &mut rest)).await;
        });
    }
}

/// Echoes all complete pending lines; ready when the peer has closed. `rest` holds unwritten bytes
/// or an incomplete line.
fn echo(cx: &mut Context<'_>, stream: &UnixStream, rest: &mut Vec<u8>) -> Poll<io::Result<()>> {
    BUFFER.with_borrow_mut(|buffer| {
        loop {
            ready!(stream.poll_read_ready(cx))?;
            let bytes = match stream.try_read(buffer) {
                Ok(0) => return Poll::Ready(Ok(())),
                Ok(read) => buffer.get(..read).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Poll::Ready(Err(error)),
            };
            let lines = bytes.iter().rposition(|byte| *byte == b'\n');
            let (lines, more) = bytes.split_at(lines.map_or(0, |at| at + 1));
            if rest.is_empty() {
                // The load keeps its unanswered requests below the socket's capacity, so every
                // write is complete.
                if !lines.is_empty() && stream.try_write(lines)? < lines.len() {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
            } else if !lines.is_empty() {
                rest.extend_from_slice(lines);
                if stream.try_write(rest)? < rest.len() {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                *rest = Vec::new();
            }
            rest.extend_from_slice(more);
        }
    })
}

/// Starts an echo with its socket in a folder, as a separate process.
///
/// # Errors
/// The process does not start or listen.
pub(super) fn start(dir: &Path) -> Outcome<PeerProcess<PathBuf>> {
    let path = dir.join("echo.sock");
    PeerProcess::start(&format!("--line-echo-server={}", path.display()))
}
