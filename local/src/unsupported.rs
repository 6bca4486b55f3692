//! Platforms without a supported local socket: a typed error.

use std::{io, path::Path};

use crate::{ConnectError, Endpoint, EndpointError, ListenError};

/// Never constructed; a duplex because it implements reading and writing.
pub(crate) type Stream = tokio::io::DuplexStream;

pub(crate) const fn is_peer_gone(_stream: &Stream) -> bool {
    true
}

pub(crate) fn check(_path: &Path) -> Result<(), EndpointError> {
    Ok(())
}

pub(crate) async fn connect(_endpoint: &Endpoint) -> Result<Stream, ConnectError> {
    Err(ConnectError::Unsupported)
}

/// Never constructed.
#[derive(Debug)]
pub(crate) struct Acceptor(std::convert::Infallible);

/// Never constructed.
#[derive(Debug)]
pub(crate) struct Restored(std::convert::Infallible);

impl Acceptor {
    pub(crate) fn bind(_endpoint: &Endpoint) -> Result<Self, ListenError> {
        Err(ListenError::Unsupported)
    }

    pub(crate) fn look(
        &self,
    ) -> impl Future<Output = Result<Option<Restored>, ListenError>> + Send + use<> {
        async { Ok(None) }
    }

    pub(crate) fn take_over(&mut self, restored: Restored) -> io::Result<()> {
        match restored.0 {}
    }

    pub(crate) async fn accept(&mut self) -> io::Result<Stream> {
        match self.0 {}
    }
}
