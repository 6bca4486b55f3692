//! The local socket as a named pipe.
//!
//! Who can do what, as far as safe code reaches:
//! * The pipe's default access list lets the daemon's user, administrators and the system write. Everyone else on the
//!   machine may at most open it for reading, and is told nothing: the daemon speaks when spoken to.
//! * Clients of other machines are rejected by the pipe itself.
//! * The daemon must make the first instance of its name, or it does not start: nobody who took the name before can
//!   sit between it and its clients.
//! * A client connects at identification level: the other end may learn who it is, but not act in its name.

use std::{
    io,
    path::Path,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::windows::named_pipe::{
        ClientOptions, NamedPipeClient, NamedPipeServer, PipeMode, ServerOptions,
    },
};

use crate::{ConnectError, Endpoint, EndpointError, ListenError};

/// How every pipe's name begins.
const PREFIX: &str = r"\\.\pipe\";
/// Longest name of a pipe, in UTF-16 units, prefix included.
const NAME_LIMIT: usize = 256;
/// All instances are in use for the moment between a connection and the next instance.
const ERROR_PIPE_BUSY: i32 = 231;
/// Pause before asking again for a free instance.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// Either end of a pipe.
#[derive(Debug)]
pub(crate) enum Stream {
    Client(NamedPipeClient),
    Server(NamedPipeServer),
}

/// A pipe cannot end one direction: whoever has ended is gone.
pub(crate) const fn is_peer_gone(_stream: &Stream) -> bool {
    true
}

pub(crate) fn check(path: &Path) -> Result<(), EndpointError> {
    use std::os::windows::ffi::OsStrExt;

    let malformed = || EndpointError::Malformed {
        path: path.to_owned(),
        expected: r"it must be the name of a pipe: \\.\pipe\ and one more part",
    };
    let name = path
        .to_str()
        .and_then(|text| text.strip_prefix(PREFIX))
        .ok_or_else(malformed)?;
    if name.is_empty() || name.contains(['\\', '\0']) {
        return Err(malformed());
    }
    if path.as_os_str().encode_wide().count() > NAME_LIMIT {
        return Err(EndpointError::TooLong {
            bytes: path.as_os_str().len(),
            path: path.to_owned(),
            limit: NAME_LIMIT,
        });
    }
    Ok(())
}

/// The caller bounds the time.
pub(crate) async fn connect(endpoint: &Endpoint) -> Result<crate::Stream, ConnectError> {
    loop {
        match ClientOptions::new().open(endpoint.path()) {
            Ok(client) => return Ok(crate::Stream::new(Stream::Client(client))),
            Err(error) if error.raw_os_error() == Some(ERROR_PIPE_BUSY) => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            Err(error) => return Err(ConnectError::of(endpoint, error)),
        }
    }
}

/// The pipe's next free instance.
#[derive(Debug)]
pub(crate) struct Acceptor {
    /// `None` after an instance could not be made; the next accept tries again.
    next: Option<NamedPipeServer>,
    endpoint: Endpoint,
}

/// Never made: the place cannot be taken away.
#[derive(Debug)]
pub(crate) struct Restored(std::convert::Infallible);

impl Acceptor {
    pub(crate) fn bind(endpoint: &Endpoint) -> Result<Self, ListenError> {
        match instance(endpoint, true) {
            Ok(first) => Ok(Self {
                next: Some(first),
                endpoint: endpoint.clone(),
            }),
            // Somebody else made the first instance.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(ListenError::InUse {
                    endpoint: endpoint.clone(),
                })
            }
            Err(error) => Err(ListenError::Io {
                endpoint: endpoint.clone(),
                error,
            }),
        }
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
        let next = match &mut self.next {
            Some(next) => next,
            none => none.insert(instance(&self.endpoint, false)?),
        };
        if let Err(error) = next.connect().await {
            // A client that came and went leaves an instance that takes no other. The fresh one is made before it
            // goes, so that the name stays ours.
            self.next = Some(instance(&self.endpoint, false)?);
            return Err(error);
        }
        // A failure here must not cost the client that has just connected.
        let following = instance(&self.endpoint, false).ok();
        match std::mem::replace(&mut self.next, following) {
            Some(connected) => Ok(Stream::Server(connected)),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

fn instance(endpoint: &Endpoint, first: bool) -> io::Result<NamedPipeServer> {
    ServerOptions::new()
        .first_pipe_instance(first)
        .reject_remote_clients(true)
        .pipe_mode(PipeMode::Byte)
        .create(endpoint.path())
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Client(pipe) => Pin::new(pipe).poll_read(cx, buffer),
            Self::Server(pipe) => Pin::new(pipe).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Client(pipe) => Pin::new(pipe).poll_write(cx, bytes),
            Self::Server(pipe) => Pin::new(pipe).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Client(pipe) => Pin::new(pipe).poll_flush(cx),
            Self::Server(pipe) => Pin::new(pipe).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Client(pipe) => Pin::new(pipe).poll_shutdown(cx),
            Self::Server(pipe) => Pin::new(pipe).poll_shutdown(cx),
        }
    }
}
