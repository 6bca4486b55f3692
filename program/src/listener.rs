//! TCP listeners: an error of binding names the remedy, and accepting never ends.

use std::{io, net::SocketAddr, time::Duration};

use tokio::net::{TcpListener, TcpStream};

/// Pause after a failed accept (no more file descriptors, for instance), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Failure to bind a listener.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The port is in use.
    #[error(
        "{address} is in use by another program; stop it, or choose another address with {flag} (port 0 picks a free one)"
    )]
    InUse {
        /// The configured address.
        address: SocketAddr,
        /// The setting.
        flag: &'static str,
    },
    /// Any other error.
    #[error("cannot listen on {address}: {error}")]
    Other {
        /// The configured address.
        address: SocketAddr,
        /// The error of the system.
        error: io::Error,
    },
}

/// A bound listener.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds an address, which is set by `flag`.
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn bind(address: SocketAddr, flag: &'static str) -> Result<Self, BindError> {
        let bound = match TcpListener::bind(address).await {
            Ok(listener) => listener.local_addr().map(|local| (listener, local)),
            Err(error) => Err(error),
        };
        match bound {
            Ok((listener, address)) => Ok(Self { listener, address }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                Err(BindError::InUse { address, flag })
            }
            Err(error) => Err(BindError::Other { address, error }),
        }
    }

    /// The address bound.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection. A failure is logged, and accepting continues after a pause.
    pub async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    tracing::warn!(%error, address = %self.address, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}
