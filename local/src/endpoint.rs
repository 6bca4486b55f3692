//! Where a local socket is: one type for every platform.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::timeout;

use crate::{ConnectError, ListenError, Listener, Stream, platform};

/// The place of a local socket: the path of a Unix domain socket, or on Windows the name of a pipe
/// (`\\.\pipe\…`). Making one touches nothing.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint(PathBuf);

/// Why a path can be no local socket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The operating system bounds the length of a socket's path (about 100 bytes).
    #[error(
        "{} cannot be a socket: its path has {bytes} bytes and the system allows {limit}; choose a shorter one with --socket",
        path.display()
    )]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its bytes.
        bytes: usize,
        /// Most bytes.
        limit: usize,
    },
    /// Windows: it does not begin with `\\.\pipe\`. Unix: it holds a zero byte or is empty.
    #[error("{} cannot be a local socket here: {expected}", path.display())]
    Malformed {
        /// The path.
        path: PathBuf,
        /// What would be right.
        expected: &'static str,
    },
}

impl Endpoint {
    /// Takes a path or pipe name.
    ///
    /// # Errors
    /// [`EndpointError`]: what no local socket of this platform can be called.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, EndpointError> {
        let path = path.into();
        platform::check(&path)?;
        Ok(Self(path))
    }

    /// The path or pipe name.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Connects, within `deadline`. On Unix the other end must be our own user's or root's process: whoever could put a
    /// socket of their own in this place would otherwise be taken for the daemon.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(&self, deadline: Duration) -> Result<Stream, ConnectError> {
        match timeout(deadline, platform::connect(self)).await {
            Ok(connected) => connected,
            Err(_) => Err(ConnectError::Timeout {
                endpoint: self.clone(),
                deadline,
            }),
        }
    }

    /// Listens there, clearing away what a killed listener left.
    ///
    /// # Errors
    /// [`ListenError`]. Needs a tokio runtime.
    pub fn listen(&self) -> Result<Listener, ListenError> {
        Listener::bind(self)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.0.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_path_the_system_cannot_bind_is_refused_with_its_limit() {
        let long = format!("/{}", "x".repeat(200));
        let error = Endpoint::new(long).unwrap_err();
        assert!(
            matches!(
                error,
                EndpointError::TooLong {
                    limit: 90..=120,
                    ..
                }
            ),
            "{error}"
        );
        assert!(error.to_string().contains("--socket"));
        assert!(matches!(
            Endpoint::new(""),
            Err(EndpointError::Malformed { .. })
        ));
        assert!(matches!(
            Endpoint::new("a\0b"),
            Err(EndpointError::Malformed { .. })
        ));
        assert_eq!(
            Endpoint::new("/run/x.sock").unwrap().to_string(),
            "/run/x.sock"
        );
    }

    #[cfg(windows)]
    #[test]
    fn only_a_pipe_name_is_an_endpoint() {
        assert!(Endpoint::new(r"\\.\pipe\bowline").is_ok());
        assert!(matches!(
            Endpoint::new(r"C:\bowline"),
            Err(EndpointError::Malformed { .. })
        ));
        assert!(matches!(
            Endpoint::new(r"\\.\pipe\"),
            Err(EndpointError::Malformed { .. })
        ));
    }
}
