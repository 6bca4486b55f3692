//! The local socket: the daemon's owner speaks JSON-RPC to it, one text a line (`docs/protocol.md` §8).
//!
//! The same router, machine and driver as for session connections serve it; only the wire and the rights differ.

pub mod client;
mod lines;
mod offer;
mod service;

#[cfg(not(any(unix, windows)))]
#[path = "unsupported.rs"]
mod platform;
#[cfg(unix)]
#[path = "unix.rs"]
mod platform;
#[cfg(windows)]
#[path = "windows.rs"]
mod platform;

pub use offer::OfferMaker;
pub use service::{About, ControlService};

use std::{
    io,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
    time::Duration,
};

use bowline_machines::Path;
use tokio::sync::Semaphore;
use tracing::warn;

use self::lines::Lines;
use crate::connection::{Environment, list, serve_local};

/// Most local connections at once; one more is closed at once.
const MAX_LOCAL: usize = 64;
/// Pause after a failed accept, so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no local socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Somebody answers there.
    #[error("another program already answers at {}; stop it, or choose another place with --socket", path.display())]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// Something that is no socket lies there.
    #[error("{} exists and is no socket; remove it, or choose another place with --socket", path.display())]
    NotASocket {
        /// Where.
        path: PathBuf,
    },
    /// Anything else.
    #[error("cannot open the local socket {}: {error}", path.display())]
    Other {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// The bound local socket. Dropping it removes the file.
#[derive(Debug)]
pub struct ControlSocket {
    acceptor: platform::Acceptor,
    path: PathBuf,
}

impl ControlSocket {
    /// Binds the socket, clearing away what a killed daemon left.
    ///
    /// # Errors
    /// [`ControlError`]. Needs a tokio runtime.
    pub fn bind(path: &FilePath) -> Result<Self, ControlError> {
        Ok(Self {
            acceptor: platform::Acceptor::bind(path)?,
            path: path.to_owned(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &FilePath {
        &self.path
    }

    /// Accepts until dropped.
    pub async fn serve(mut self, environment: Arc<Environment>) {
        let places = Arc::new(Semaphore::new(MAX_LOCAL));
        loop {
            let stream = match self.acceptor.accept().await {
                Ok(stream) => stream,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    warn!(%error, "a local connection was turned away");
                    continue;
                }
                Err(error) => {
                    warn!(%error, "accepting a local connection failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&places).try_acquire_owned() else {
                warn!("a local connection was turned away: {MAX_LOCAL} are open");
                continue;
            };
            let environment = Arc::clone(&environment);
            tokio::spawn(async move {
                let max_line = environment.limits.max_message_bytes as usize;
                let listed = list(&environment, Path::Local, None);
                serve_local(environment, Lines::new(stream, max_line), listed).await;
                drop(permit);
            });
        }
    }
}
