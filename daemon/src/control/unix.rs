//! The local socket as a Unix domain socket: a file of mode 0600 whose peers must be the same user.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixStream};

use super::ControlError;

/// The listening socket.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: UnixListener,
    path: PathBuf,
}

impl Acceptor {
    pub(super) fn bind(path: &Path) -> Result<Self, ControlError> {
        let failed = |error| ControlError::Other {
            path: path.to_owned(),
            error,
        };
        clear(path)?;
        let listener = UnixListener::bind(path).map_err(failed)?;
        let acceptor = Self {
            listener,
            path: path.to_owned(),
        };
        // Until here only the directory kept others out; the check of the peer's user does so at any time.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(acceptor)
    }

    /// The next connection. `PermissionDenied` is about that one alone.
    pub(super) async fn accept(&mut self) -> io::Result<UnixStream> {
        let (stream, _) = self.listener.accept().await?;
        let peer = stream.peer_cred()?.uid();
        let own = rustix::process::geteuid().as_raw();
        // Root can do all of this without asking us.
        if peer == own || peer == 0 {
            Ok(stream)
        } else {
            Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("user {peer} is not the daemon's user"),
            ))
        }
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes a socket that nobody answers on any more.
fn clear(path: &Path) -> Result<(), ControlError> {
    let owned = || path.to_owned();
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(ControlError::Other {
                path: owned(),
                error,
            });
        }
    };
    if !kind.is_socket() {
        return Err(ControlError::NotASocket { path: owned() });
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(ControlError::InUse { path: owned() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|error| ControlError::Other {
                path: owned(),
                error,
            }),
        Err(error) => Err(ControlError::Other {
            path: owned(),
            error,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_left_behind_is_cleared_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "left behind");
        let first = Acceptor::bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert!(matches!(
            Acceptor::bind(&path),
            Err(ControlError::InUse { .. })
        ));
        drop(first);
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        assert!(matches!(
            Acceptor::bind(&path),
            Err(ControlError::NotASocket { .. })
        ));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn the_same_user_is_let_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.sock");
        let mut acceptor = Acceptor::bind(&path).unwrap();
        let client = UnixStream::connect(&path).await.unwrap();
        acceptor.accept().await.unwrap();
        drop(client);
    }
}
