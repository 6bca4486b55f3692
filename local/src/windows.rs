//! The local socket as a named pipe.
//!
//! Access:
//! * The pipe's access list admits the daemon's user, administrators and the system. No other user
//!   can open it, not even for reading.
//! * The pipe rejects clients of other machines.
//! * The daemon creates the first instance of its name or does not start, so no process that took
//!   the name earlier can sit between it and its clients.
//! * A client sends nothing unless the pipe belongs to its own user, to administrators or to the
//!   system, so a process that takes the name while no daemon runs receives nothing.
//! * A client connects at identification level: the other end can identify it, but cannot act in
//!   its name.

use std::{io, path::Path, time::Duration};

use tokio::net::windows::named_pipe::{
    ClientOptions, NamedPipeClient, NamedPipeServer, PipeMode, ServerOptions,
};
use tokio_util::either::Either;
use windows_permissions::{
    LocalBox, SecurityDescriptor, Sid,
    constants::{SeObjectType, SecurityInformation},
    utilities::current_process_sid,
    wrappers::{GetSecurityInfo, SetSecurityInfo},
};

use crate::{ConnectError, Endpoint, EndpointError, ListenError};

/// Prefix of every pipe name.
const PREFIX: &str = r"\\.\pipe\";
/// Longest name of a pipe, in UTF-16 units, prefix included.
const NAME_LIMIT: usize = 256;
/// No instance is free: between a connection and the creation of the next instance.
const ERROR_PIPE_BUSY: i32 = 231;
/// Pause before the next attempt to get a free instance.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// Either end of a pipe: the client's or the server's.
pub(crate) type Stream = Either<NamedPipeClient, NamedPipeServer>;

/// Always `true`: a pipe cannot end one direction, so its end means that the peer is gone.
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

/// The caller sets the timeout.
pub(crate) async fn connect(endpoint: &Endpoint) -> Result<Stream, ConnectError> {
    loop {
        match ClientOptions::new().open(endpoint.path()) {
            Ok(client) => {
                return match untrusted_owner(&client) {
                    Ok(None) => Ok(Stream::Left(client)),
                    Ok(Some(user)) => Err(ConnectError::Stranger {
                        endpoint: endpoint.clone(),
                        user,
                    }),
                    Err(error) => Err(ConnectError::of(endpoint, error)),
                };
            }
            Err(error) if error.raw_os_error() == Some(ERROR_PIPE_BUSY) => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            Err(error) => return Err(ConnectError::of(endpoint, error)),
        }
    }
}

/// The pipe's owner, if it is an untrusted user.
fn untrusted_owner(client: &NamedPipeClient) -> io::Result<Option<String>> {
    let found = GetSecurityInfo(
        client,
        SeObjectType::SE_KERNEL_OBJECT,
        SecurityInformation::Owner,
    )?;
    let Some(owner) = found.owner() else {
        return Ok(Some("nobody".to_owned()));
    };
    let (system, administrators): (LocalBox<Sid>, LocalBox<Sid>) = ("SY".parse()?, "BA".parse()?);
    let trusted = [current_process_sid()?, system, administrators];
    let is_trusted = trusted.iter().any(|trusted| **trusted == *owner);
    Ok((!is_trusted).then(|| owner.to_string()))
}

/// The listening side; holds the pipe's next free instance.
#[derive(Debug)]
pub(crate) struct Acceptor {
    /// `None` after creating an instance failed; the next accept retries.
    next: Option<NamedPipeServer>,
    endpoint: Endpoint,
}

/// Never constructed: a pipe cannot be removed.
#[derive(Debug)]
pub(crate) struct Restored(std::convert::Infallible);

impl Acceptor {
    pub(crate) fn bind(endpoint: &Endpoint) -> Result<Self, ListenError> {
        match first_instance(endpoint) {
            Ok(first) => Ok(Self {
                next: Some(first),
                endpoint: endpoint.clone(),
            }),
            // Another process created the first instance.
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
            none => none.insert(options().create(self.endpoint.path())?),
        };
        if let Err(error) = next.connect().await {
            // The client connected and disconnected, so this instance accepts no other. The new
            // instance is created before this one is dropped, to keep the name.
            self.next = Some(options().create(self.endpoint.path())?);
            return Err(error);
        }
        // A failure here must not affect the client that has just connected.
        let following = options().create(self.endpoint.path()).ok();
        match std::mem::replace(&mut self.next, following) {
            Some(connected) => Ok(Stream::Right(connected)),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

fn options() -> ServerOptions {
    let mut options = ServerOptions::new();
    options
        .reject_remote_clients(true)
        .pipe_mode(PipeMode::Byte);
    options
}

/// Creates the pipe with its owner and access list, which further instances share.
fn first_instance(endpoint: &Endpoint) -> io::Result<NamedPipeServer> {
    let mut first = options()
        .first_pipe_instance(true)
        .write_dac(true)
        .write_owner(true)
        .create(endpoint.path())?;
    let access = access()?;
    SetSecurityInfo(
        &mut first,
        SeObjectType::SE_KERNEL_OBJECT,
        SecurityInformation::Owner | SecurityInformation::Dacl | SecurityInformation::ProtectedDacl,
        access.owner(),
        None,
        access.dacl(),
        None,
    )?;
    // Disconnects a client that opened the pipe before the access list was set; an error if there
    // is none.
    let _ = first.disconnect();
    Ok(first)
}

/// Full access for the system, administrators and this process's user, who is the owner; nothing
/// inherited. The default owner may be a group.
fn access() -> io::Result<LocalBox<SecurityDescriptor>> {
    let user = current_process_sid()?;
    format!("O:{user}D:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FA;;;{user})").parse()
}
