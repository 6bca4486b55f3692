//! The bare peer of the local socket: a Unix-socket line echo, with nothing of ours in between.
//!
//! It is made well, so that the comparison is hard: one task a connection, one read and one write for everything that
//! waits, a buffer that belongs to the thread. A quiet connection is a bare tokio task that awaits one socket.

use std::{
    cell::RefCell,
    future::poll_fn,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    task::{Context, Poll, ready},
};

use tokio::net::{UnixListener, UnixStream};

use super::Outcome;

/// Bytes asked for in one read.
const CHUNK: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// The echo's whole life.
///
/// # Errors
/// When it cannot listen.
pub(super) fn serve(path: &Path) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = UnixListener::bind(path)?;
        bowline_program::say!("listening");
        io::stdout().flush()?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(async move {
                let mut rest = Vec::new();
                // An end of any kind ends the connection, and no other.
                let _ = poll_fn(|cx| echo(cx, &stream, &mut rest)).await;
            });
        }
    })
}

/// Echoes the whole lines that wait; ready when the peer has gone. `rest` is what the socket has not taken, or a line
/// that has not ended.
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
                // The load never has more unanswered than the socket holds, so that it always takes everything.
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

/// The echo as a process of its own.
pub(super) struct LineEcho {
    child: Child,
    /// Held open: a process that writes to a closed pipe would die.
    _stdout: ChildStdout,
    path: PathBuf,
}

impl LineEcho {
    /// Starts one in that folder and waits until it listens.
    ///
    /// # Errors
    /// When it does not.
    pub(super) fn start(dir: &Path) -> Outcome<Self> {
        let path = dir.join("echo.sock");
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--line-echo-server")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdout = child.stdout.take().ok_or("an echo without output")?;
        let mut line = [0; 10];
        io::Read::read_exact(&mut stdout, &mut line)?;
        Ok(Self {
            child,
            _stdout: stdout,
            path,
        })
    }

    /// Where it listens.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its process id.
    pub(super) fn pid(&self) -> Option<u32> {
        Some(self.child.id())
    }
}

impl Drop for LineEcho {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.path);
    }
}
