//! The local socket as a named pipe. Remote clients are rejected by the pipe itself; its default access list lets
//! the daemon's user and administrators write.

use std::{io, path::Path};

use tokio::net::windows::named_pipe::{NamedPipeServer, ServerOptions};

use super::ControlError;

/// The pipe's next free instance.
#[derive(Debug)]
pub(super) struct Acceptor {
    next: NamedPipeServer,
    name: std::ffi::OsString,
}

impl Acceptor {
    pub(super) fn bind(path: &Path) -> Result<Self, ControlError> {
        let name = path.as_os_str().to_owned();
        match options(true).create(&name) {
            Ok(next) => Ok(Self { next, name }),
            // Somebody else made the first instance.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(ControlError::InUse {
                    path: path.to_owned(),
                })
            }
            Err(error) => Err(ControlError::Other {
                path: path.to_owned(),
                error,
            }),
        }
    }

    /// The next connection.
    pub(super) async fn accept(&mut self) -> io::Result<NamedPipeServer> {
        self.next.connect().await?;
        let following = options(false).create(&self.name)?;
        Ok(std::mem::replace(&mut self.next, following))
    }
}

fn options(first: bool) -> ServerOptions {
    let mut options = ServerOptions::new();
    options
        .first_pipe_instance(first)
        .reject_remote_clients(true);
    options
}
