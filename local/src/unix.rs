//! The local socket as a Unix domain socket: a file of mode 0600 whose two ends must be the same user's, or root's.

use std::{
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::SocketAddr,
    },
    path::Path,
};

use tokio::net::{UnixListener, UnixStream};

use crate::{ConnectError, Endpoint, EndpointError, ListenError};

pub(crate) type Stream = UnixStream;

/// Sending nothing fails where nothing can be sent any more, and disturbs nobody.
pub(crate) fn is_peer_gone(stream: &Stream) -> bool {
    use rustix::{
        io::Errno,
        net::{SendFlags, send},
    };

    // Rust's programs ignore the signal; those that embed this may not.
    #[cfg(not(any(target_os = "macos", target_os = "ios")))]
    let quietly = SendFlags::NOSIGNAL;
    #[cfg(any(target_os = "macos", target_os = "ios"))]
    let quietly = SendFlags::empty();
    matches!(
        send(stream, &[], quietly),
        Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN)
    )
}

/// Most bytes of a socket's path with its closing zero, which the systems leave room for: `sun_path` has 108 bytes on
/// Linux and 104 on macOS and the BSDs. Only named in the error; what fits is the system's word.
const PATH_LIMIT: usize = if cfg!(any(target_os = "linux", target_os = "android")) {
    107
} else {
    103
};

pub(crate) fn check(path: &Path) -> Result<(), EndpointError> {
    let bytes = path.as_os_str().as_bytes();
    // Linux reads a leading zero byte, and an empty path, as names outside the file system: no permissions guard them.
    if bytes.is_empty() || bytes.contains(&0) {
        return Err(EndpointError::Malformed {
            path: path.to_owned(),
            expected: "it must be a path without zero bytes",
        });
    }
    match SocketAddr::from_pathname(path) {
        Ok(_) => Ok(()),
        Err(_) => Err(EndpointError::TooLong {
            path: path.to_owned(),
            bytes: bytes.len(),
            limit: PATH_LIMIT,
        }),
    }
}

pub(crate) async fn connect(endpoint: &Endpoint) -> Result<crate::Stream, ConnectError> {
    let failed = |error| ConnectError::of(endpoint, error);
    let stream = UnixStream::connect(endpoint.path()).await.map_err(failed)?;
    let peer = stream.peer_cred().map_err(failed)?.uid();
    // Root may ask anybody's daemon.
    let own = own_user();
    if own == 0 || is_trusted(peer, own) {
        Ok(crate::Stream::new(stream))
    } else {
        Err(ConnectError::Stranger {
            endpoint: endpoint.clone(),
            uid: peer,
        })
    }
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Root can do all of this without asking us.
const fn is_trusted(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

/// Device and number of a file: whether a path still leads to the same one.
type FileId = (u64, u64);

fn file_id(path: &Path) -> io::Result<FileId> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// The listening socket. Dropping it removes the file, if that is still its own.
#[derive(Debug)]
pub(crate) struct Acceptor {
    listener: UnixListener,
    endpoint: Endpoint,
    file: FileId,
}

/// A socket bound in the place of one whose file is gone.
#[derive(Debug)]
pub(crate) struct Restored {
    listener: std::os::unix::net::UnixListener,
    file: FileId,
}

impl Acceptor {
    pub(crate) fn bind(endpoint: &Endpoint) -> Result<Self, ListenError> {
        let Restored { listener, file } = bind(endpoint)?;
        let listener = UnixListener::from_std(listener).map_err(|error| ListenError::Io {
            endpoint: endpoint.clone(),
            error,
        })?;
        Ok(Self {
            listener,
            endpoint: endpoint.clone(),
            file,
        })
    }

    pub(crate) fn look(
        &self,
    ) -> impl Future<Output = Result<Option<Restored>, ListenError>> + Send + use<> {
        let (endpoint, file) = (self.endpoint.clone(), self.file);
        async move {
            let look = move || match file_id(endpoint.path()) {
                Ok(found) if found == file => Ok(None),
                _ => bind(&endpoint).map(Some),
            };
            // It may hang as long as its file system does.
            let looked = tokio::task::spawn_blocking(look).await;
            looked.unwrap_or(Ok(None))
        }
    }

    pub(crate) fn take_over(&mut self, restored: Restored) -> io::Result<()> {
        self.listener = UnixListener::from_std(restored.listener)?;
        self.file = restored.file;
        Ok(())
    }

    pub(crate) async fn accept(&mut self) -> io::Result<UnixStream> {
        let (stream, _) = self.listener.accept().await?;
        let peer = stream.peer_cred()?.uid();
        if is_trusted(peer, own_user()) {
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
        let path = self.endpoint.path();
        if file_id(path).is_ok_and(|file| file == self.file) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Binds the place, clearing away a socket that nobody answers on.
fn bind(endpoint: &Endpoint) -> Result<Restored, ListenError> {
    let path = endpoint.path();
    let failed = |error| ListenError::Io {
        endpoint: endpoint.clone(),
        error,
    };
    clear(endpoint)?;
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(failed)?;
    let file = file_id(path).map_err(failed)?;
    // Until here only the directory kept others out; the check of the peer's user does so at any time.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(Restored { listener, file })
}

/// Removes a socket that nobody answers on any more.
fn clear(endpoint: &Endpoint) -> Result<(), ListenError> {
    let path = endpoint.path();
    let failed = |error| ListenError::Io {
        endpoint: endpoint.clone(),
        error,
    };
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !kind.is_socket() {
        return Err(ListenError::NotASocket {
            endpoint: endpoint.clone(),
        });
    }
    match knock(path) {
        Ok(()) => Err(ListenError::InUse {
            endpoint: endpoint.clone(),
        }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Whether somebody listens there, also somebody who is stopped and has a crowd before the door.
fn knock(path: &Path) -> io::Result<()> {
    use rustix::{
        io::{Errno, ioctl_fionbio},
        net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket},
    };
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    ioctl_fionbio(&socket, true)?;
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) | Err(Errno::AGAIN | Errno::INPROGRESS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn place(dir: &tempfile::TempDir) -> Endpoint {
        Endpoint::new(dir.path().join("daemon.sock")).unwrap()
    }

    #[tokio::test]
    async fn a_socket_left_behind_is_cleared_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = place(&dir);
        let path = endpoint.path();
        drop(std::os::unix::net::UnixListener::bind(path).unwrap());
        assert!(path.exists(), "left behind");
        assert!(matches!(
            endpoint.connect(SOON).await,
            Err(ConnectError::NotReachable { .. })
        ));
        let first = endpoint.listen().unwrap();
        let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert!(matches!(endpoint.listen(), Err(ListenError::InUse { .. })));
        drop(first);
        assert!(!path.exists());
        fs::write(path, "precious").unwrap();
        assert!(matches!(
            endpoint.listen(),
            Err(ListenError::NotASocket { .. })
        ));
        assert_eq!(fs::read(path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn case_c6_only_the_own_file_is_removed_and_a_removed_one_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = place(&dir);
        let path = endpoint.path();
        let mut first = Acceptor::bind(&endpoint).unwrap();
        assert!(first.look().await.unwrap().is_none());
        fs::remove_file(path).unwrap();
        let second = Acceptor::bind(&endpoint).unwrap();
        let error = first.look().await.unwrap_err();
        assert!(matches!(error, ListenError::InUse { .. }), "{error}");
        drop(second);
        let restored = first.look().await.unwrap().unwrap();
        first.take_over(restored).unwrap();
        let (client, served) = tokio::join!(endpoint.connect(SOON), first.accept());
        client.unwrap();
        served.unwrap();
        fs::remove_file(path).unwrap();
        let other = Acceptor::bind(&endpoint).unwrap();
        drop(first);
        assert!(path.exists(), "it is the other one's");
        drop(other);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn the_same_user_is_let_in_and_lets_itself_be_asked() {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = place(&dir);
        let mut listener = endpoint.listen().unwrap();
        let (client, served) = tokio::join!(endpoint.connect(SOON), listener.accept());
        client.unwrap();
        served.unwrap();
        assert!(is_trusted(0, 7) && is_trusted(7, 7) && !is_trusted(8, 7) && !is_trusted(8, 0));
    }

    #[tokio::test]
    async fn nobody_there_says_how_to_start_somebody() {
        let dir = tempfile::tempdir().unwrap();
        let error = place(&dir).connect(SOON).await.unwrap_err();
        assert!(
            error.to_string().contains("no daemon answers at"),
            "{error}"
        );
    }
}
