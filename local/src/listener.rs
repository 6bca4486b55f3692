//! The listening side: bound to its place, and letting in nobody but the user it belongs to.

use std::io;

use crate::{Endpoint, EndpointError, Stream, platform};

/// Why nothing listens.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody answers there.
    #[error(
        "another program already answers at {endpoint}; stop it, or choose another place with --socket"
    )]
    InUse {
        /// Where.
        endpoint: Endpoint,
    },
    /// Something that is no socket lies there. It was left alone.
    #[error("{endpoint} exists and is no socket; remove it, or choose another place with --socket")]
    NotASocket {
        /// Where.
        endpoint: Endpoint,
    },
    /// This platform has no local socket we know of.
    #[error("local sockets are not supported on this platform")]
    Unsupported,
    /// No local socket can be called so.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// Anything else.
    #[error("cannot open the local socket {endpoint}: {error}")]
    Io {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        error: io::Error,
    },
}

/// A bound local socket. Dropping it removes its file, if that is still its own.
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

    /// Where it is.
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The next connection. Cancel-safe.
    ///
    /// # Errors
    /// `PermissionDenied` is about that one connection: it was another user's, and is closed. Others are about the
    /// socket; it may work again a moment later.
    pub async fn accept(&mut self) -> io::Result<Stream> {
        self.acceptor.accept().await.map(Stream::new)
    }

    /// Looks whether the place still leads here, and binds it anew where its file is gone: `None` if all is well. Waits for
    /// nothing here, so look now and then; [`Listener::take_over`] makes use of what was found. Named pipes cannot be taken
    /// away.
    ///
    /// # Errors
    /// [`ListenError`] while the place cannot be had: another program answers there, or its folder is gone.
    pub fn look(
        &self,
    ) -> impl Future<Output = Result<Option<Restored>, ListenError>> + Send + use<> {
        let looked = self.acceptor.look();
        async { Ok(looked.await?.map(Restored)) }
    }

    /// Goes on with what [`Listener::look`] has bound.
    ///
    /// # Errors
    /// When the runtime cannot wait for it.
    pub fn take_over(&mut self, restored: Restored) -> io::Result<()> {
        self.acceptor.take_over(restored.0)
    }
}

/// A socket bound in the place of one whose file is gone.
#[derive(Debug)]
pub struct Restored(platform::Restored);
