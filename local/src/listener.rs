//! The listening side: bound to its endpoint, open to its own user only.

use std::io;

use crate::{Endpoint, EndpointError, Stream, platform};

/// Why the endpoint cannot be listened at.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another program answers at the endpoint.
    #[error(
        "another program already answers at {endpoint}; stop it, or choose another path with --socket"
    )]
    InUse {
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// The path exists and is not a socket. It was not changed.
    #[error(
        "{endpoint} exists and is not a socket; remove it, or choose another path with --socket"
    )]
    NotASocket {
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// This platform has no supported local socket.
    #[error("local sockets are not supported on this platform")]
    Unsupported,
    /// The name is not valid for a local socket.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// Any other I/O error.
    #[error("cannot open the local socket {endpoint}: {error}")]
    Io {
        /// The endpoint.
        endpoint: Endpoint,
        /// The I/O error.
        error: io::Error,
    },
}

/// A bound local socket. Dropping it removes its file, unless another listener has replaced it.
#[derive(Debug)]
pub struct Listener {
    acceptor: platform::Acceptor,
    endpoint: Endpoint,
}

impl Listener {
    pub(crate) fn bind(endpoint: &Endpoint) -> Result<Self, ListenError> {
        Ok(Self {
            acceptor: platform::Acceptor::bind(endpoint)?,
            endpoint: endpoint.clone(),
        })
    }

    /// The endpoint.
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Accepts the next connection. Cancel-safe.
    ///
    /// # Errors
    /// `PermissionDenied` concerns a single connection: it came from another user and was closed.
    /// Other errors concern the socket, which may work again later.
    pub async fn accept(&mut self) -> io::Result<Stream> {
        self.acceptor.accept().await
    }

    /// Checks whether the path still leads to this socket, and binds it again if its file is gone;
    /// `None` if all is well. Never waits, so callers check periodically; [`Listener::take_over`]
    /// uses the result. Named pipes cannot be removed.
    ///
    /// # Errors
    /// [`ListenError`] while the path is unavailable: another program answers there, or its folder
    /// is gone.
    pub fn look(
        &self,
    ) -> impl Future<Output = Result<Option<Restored>, ListenError>> + Send + use<> {
        let looked = self.acceptor.look();
        async { Ok(looked.await?.map(Restored)) }
    }

    /// Continues with the socket bound by [`Listener::look`].
    ///
    /// # Errors
    /// When the runtime cannot register the socket.
    pub fn take_over(&mut self, restored: Restored) -> io::Result<()> {
        self.acceptor.take_over(restored.0)
    }
}

/// A socket bound in place of one whose file is gone.
#[derive(Debug)]
pub struct Restored(platform::Restored);
