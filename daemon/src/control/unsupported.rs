//! Platforms without a local socket we know of: a typed error instead of one.

use std::{io, path::Path};

use super::ControlError;

/// Never made.
#[derive(Debug)]
pub(super) struct Acceptor(std::convert::Infallible);

impl Acceptor {
    pub(super) fn bind(path: &Path) -> Result<Self, ControlError> {
        Err(ControlError::Other {
            path: path.to_owned(),
            error: io::ErrorKind::Unsupported.into(),
        })
    }

    pub(super) async fn accept(&mut self) -> io::Result<tokio::io::DuplexStream> {
        match self.0 {}
    }
}
