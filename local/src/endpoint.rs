//! The address of a local socket, one type for every platform.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::timeout;

use crate::{ConnectError, ListenError, Listener, Stream, platform};

/// The address of a local socket: the path of a Unix domain socket, or on Windows the name of a
/// pipe (`\\.\pipe\…`). Constructing one does no I/O.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint(PathBuf);

/// Why a path cannot be a local socket.
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
        /// Its length in bytes.
        bytes: usize,
        /// Longest path in bytes.
        limit: usize,
    },
    /// Windows: the name does not begin with `\\.\pipe\`. Unix: the path is empty or contains a
    /// zero byte.
    #[error("{} cannot be a local socket here: {expected}", path.display())]
    Malformed {
        /// The path.
        path: PathBuf,
        /// The expected form.
        expected: &'static str,
    },
}

impl Endpoint {
    /// The endpoint of a path or pipe name.
    ///
    /// # Errors
    /// [`EndpointError`] when no local socket of this platform can have that name.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, EndpointError> {
        let path = path.into();
        platform::check(&path)?;
        Ok(Self(path))
    }

    /// The path or pipe name.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Connects within `deadline`. The process at the other end must belong to this user or to root
    /// (on Windows: to administrators or the system); otherwise any user able to create a socket at
    /// the path, or a pipe of that name, could pose as the daemon (TR-17).
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

    /// Listens at the endpoint, after removing the socket file of a dead listener.
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

#[cfg(all(test, unix))]
mod tests {
    use super::*;

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
}
