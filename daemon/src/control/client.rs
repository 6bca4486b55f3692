//! The smallest client of the local socket: one request, one answer. The commands use it.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use bowline_protocol::{
    error::RpcError,
    rpc::{Incoming, Text, parse, write_request},
};
use serde::{Serialize, de::DeserializeOwned};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// Longest answer read, in bytes: the largest a daemon may be set to give.
const MAX_ANSWER: u64 = 64 << 20;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens.
    #[error("no daemon answers at {}; start it with `bowline-daemon run`", path.display())]
    NotReachable {
        /// Where.
        path: PathBuf,
    },
    /// Somebody listens, but we are not let in, or the exchange broke.
    #[error("the daemon at {} could not be asked: {error}", path.display())]
    Broken {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The daemon said no.
    #[error("{0}")]
    Refused(RpcError),
}

/// Calls one method.
///
/// # Errors
/// [`CallError`].
pub fn call<P: Serialize, R: DeserializeOwned>(
    path: &Path,
    method: &str,
    params: &P,
) -> Result<R, CallError> {
    let mut stream = connect(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => CallError::NotReachable {
            path: path.to_owned(),
        },
        _ => CallError::Broken {
            path: path.to_owned(),
            error,
        },
    })?;
    let broken = |error| CallError::Broken {
        path: path.to_owned(),
        error,
    };
    let answer = exchange(&mut stream, method, params).map_err(broken)?;
    match parse(&answer) {
        Ok(Text::Single(Incoming::Response(response))) => match response.outcome {
            Ok(result) => {
                serde_json::from_str(result.get()).map_err(|error| broken(io::Error::other(error)))
            }
            Err(error) => Err(CallError::Refused(error)),
        },
        _ => Err(broken(io::Error::other(
            "its answer is no JSON-RPC response",
        ))),
    }
}

fn exchange<P: Serialize>(
    stream: &mut (impl Read + Write),
    method: &str,
    params: &P,
) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    write_request(&mut line, 1, method, params).map_err(io::Error::other)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    stream.flush()?;
    let mut answer = Vec::new();
    BufReader::new(stream.take(MAX_ANSWER)).read_until(b'\n', &mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::other(
            "it closed the connection without an answer",
        ));
    }
    Ok(answer)
}

#[cfg(unix)]
fn connect(path: &Path) -> io::Result<std::os::unix::net::UnixStream> {
    let stream = std::os::unix::net::UnixStream::connect(path)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    Ok(stream)
}

#[cfg(windows)]
fn connect(path: &Path) -> io::Result<std::fs::File> {
    // Another client may hold the free instance for a moment; the error for that is ERROR_PIPE_BUSY (231).
    let started = std::time::Instant::now();
    loop {
        match std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
        {
            Err(error) if error.raw_os_error() == Some(231) && started.elapsed() < ANSWER => {
                std::thread::sleep(Duration::from_millis(20));
            }
            other => return other,
        }
    }
}

#[cfg(not(any(unix, windows)))]
fn connect(_path: &Path) -> io::Result<std::fs::File> {
    Err(io::ErrorKind::Unsupported.into())
}
