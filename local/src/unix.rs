//! The local socket as a Unix domain socket: a file of mode 0600 whose two ends must belong to the
//! same user, or to root.

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

/// Sends zero bytes, which has no effect, and fails if the peer cannot receive any more.
pub(crate) fn is_peer_gone(stream: &Stream) -> bool {
    use rustix::{
        io::Errno,
        net::{SendFlags, send},
    };

    // Rust programs ignore SIGPIPE; programs that embed this library may not.
    #[cfg(not(any(target_os = "macos", target_os = "ios")))]
    let quietly = SendFlags::NOSIGNAL;
    #[cfg(any(target_os = "macos", target_os = "ios"))]
    let quietly = SendFlags::empty();
    matches!(
        send(stream, &[], quietly),
        Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN)
    )
}

/// Longest path of a socket in bytes, with its terminating zero: `sun_path` has 108 bytes on Linux
/// and 104 on macOS and the BSDs. Used in the error text only; the system decides what fits.
const PATH_LIMIT: usize = if cfg!(any(target_os = "linux", target_os = "android")) {
    107
} else {
    103
};

pub(crate) fn check(path: &Path) -> Result<(), EndpointError> {
    let bytes = path.as_os_str().as_bytes();
    // Linux treats an empty path or a leading zero byte as a name outside of the file system, which
    // no permissions protect.
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

pub(crate) async fn connect(endpoint: &Endpoint) -> Result<Stream, ConnectError> {
    let failed = |error| ConnectError::of(endpoint, error);
    let stream = UnixStream::connect(endpoint.path()).await.map_err(failed)?;
    // Of the process that began to listen. Nothing is sent before it is known.
    let peer = stream.peer_cred().map_err(failed)?.uid();
    if is_trusted(peer, own_user()) {
        Ok(stream)
    } else {
        Err(ConnectError::Stranger {
            endpoint: endpoint.clone(),
            user: peer.to_string(),
        })
    }
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Root is always trusted, since it can bypass the check anyway; root itself trusts nobody else.
const fn is_trusted(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

/// Device and inode number of a file, to detect that a path leads to another one.
type FileId = (u64, u64);

fn file_id(path: &Path) -> io::Result<FileId> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// The listening socket. Dropping it removes the file, unless another listener has replaced it.
#[derive(Debug)]
pub(crate) struct Acceptor {
    listener: UnixListener,
    endpoint: Endpoint,
    file: FileId,
}

/// A socket bound in place of one whose file is gone.
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
            // On a blocking thread, since a file system may hang.
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

/// Binds the endpoint, after removing a socket file without a listener.
fn bind(endpoint: &Endpoint) -> Result<Restored, ListenError> {
    let path = endpoint.path();
    let failed = |error| ListenError::Io {
        endpoint: endpoint.clone(),
        error,
    };
    clear(endpoint)?;
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(failed)?;
    let file = file_id(path).map_err(failed)?;
    // Until here only the directory's permissions kept other users out; the check of the peer's
    // user applies at any time.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(Restored { listener, file })
}

/// Removes a socket file without a listener.
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
    match check_listening(path) {
        Ok(()) => Err(ListenError::InUse {
            endpoint: endpoint.clone(),
        }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Succeeds if a process listens at the path, even if it is stopped and its backlog is full.
fn check_listening(path: &Path) -> io::Result<()> {
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
    async fn tr_17_the_same_user_is_let_in_and_lets_itself_be_asked() {
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
