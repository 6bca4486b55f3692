//! The local socket: the daemon's owner uses JSON-RPC on it, one text per line (`docs/protocol.md`
//! §8).
//!
//! The router, machine and driver of session connections serve it too; only the wire and the
//! permissions differ. `bowline-local` has the socket itself and a client.

mod devices;
mod lines;
mod offer;
mod pairing;
mod service;

pub use bowline_local::ListenError as ControlError;
pub use offer::OfferMaker;
pub(crate) use pairing::MAX_PAIRING_TTL;
pub use service::{About, ControlService};

use std::{io, path::Path as FilePath, sync::Arc, time::Duration};

use bowline_local::{Endpoint, Listener, Restored, Stream};
use bowline_machines::Path;
use bowline_protocol::{
    Reason, RpcReason,
    error::RpcError,
    rpc::{Id, write_error},
};
use tokio::{
    io::AsyncWriteExt,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tracing::{debug, warn};

use self::lines::Lines;
use crate::{
    caller::{Caller, Callers},
    connection::{Acceptor, serve_local},
};

/// Pause after a failed accept, so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Interval of the check whether the socket's file still exists.
const LOOK: Duration = Duration::from_secs(3);
/// Time to send the error to a connection over the limit. Its socket buffer is empty, so the write
/// completes at once.
const TURNING_AWAY: Duration = Duration::from_millis(100);

/// The bound local socket. Dropping it removes the file, if that is still its own.
#[derive(Debug)]
pub struct ControlSocket {
    listener: Listener,
}

impl ControlSocket {
    /// Binds the socket, and removes the file that a killed daemon left.
    ///
    /// # Errors
    /// [`ControlError`]. Needs a tokio runtime.
    pub fn bind(path: &FilePath) -> Result<Self, ControlError> {
        let listener = Endpoint::new(path)?.listen()?;
        Ok(Self { listener })
    }

    /// Its endpoint.
    pub fn path(&self) -> &FilePath {
        self.listener.endpoint().path()
    }

    /// Accepts until dropped. Every connection holds one permit of `places`; there are
    /// `limits.max_local_connections`. `callers` tells the owner from programs of services.
    pub(crate) async fn serve(
        mut self,
        acceptor: Arc<Acceptor>,
        places: Arc<Semaphore>,
        callers: Callers,
    ) {
        let most = acceptor.limits.max_local_connections;
        let mut keeper = Keeper::default();
        let mut look = Box::pin(later(self.listener.look()));
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                found = &mut look => {
                    keeper.found(&mut self.listener, found);
                    look.set(later(self.listener.look()));
                    continue;
                }
            };
            let stream = match accepted {
                Ok(stream) => stream,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    warn!(%error, "a local connection was refused");
                    continue;
                }
                Err(error) => {
                    warn!(%error, "accepting a local connection failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            match Arc::clone(&places).try_acquire_owned() {
                Ok(permit) => {
                    let caller = callers.of(&stream);
                    spawn(Arc::clone(&acceptor), stream, permit, caller);
                }
                Err(_) => {
                    acceptor.turned_away(Path::Local);
                    turn_away(stream, most).await;
                }
            }
        }
    }
}

/// Runs a check after the interval.
async fn later<T>(look: impl Future<Output = T>) -> T {
    tokio::time::sleep(LOOK).await;
    look.await
}

/// Restores the socket's file at its path, and logs each problem once.
#[derive(Default)]
struct Keeper {
    said: Option<String>,
}

impl Keeper {
    fn found(&mut self, listener: &mut Listener, found: Result<Option<Restored>, ControlError>) {
        let taken = found.and_then(|restored| {
            let Some(restored) = restored else {
                return Ok(false);
            };
            let endpoint = listener.endpoint().clone();
            let taken = listener.take_over(restored);
            taken.map_err(|error| ControlError::Io { endpoint, error })?;
            Ok(true)
        });
        match taken {
            Ok(false) => self.said = None,
            Ok(true) => {
                self.said = None;
                warn!(socket = %listener.endpoint(), "the local socket was removed and is there again");
            }
            Err(error) => {
                let text = error.to_string();
                if self.said.as_deref() != Some(&text) {
                    warn!(socket = %listener.endpoint(), %error, "the local socket was removed");
                    self.said = Some(text);
                }
            }
        }
    }
}

fn spawn(acceptor: Arc<Acceptor>, stream: Stream, permit: OwnedSemaphorePermit, caller: Caller) {
    let max_line = acceptor.limits.max_message_bytes as usize;
    let listed = acceptor.list(Path::Local, None);
    let lines = Lines::new(stream, max_line);
    tokio::spawn(serve_local(acceptor, lines, listed, permit, caller));
}

/// Sends the error and closes. It runs in the accepting task, so that a flood of connections costs
/// one socket.
async fn turn_away(mut stream: Stream, most: u32) {
    debug!("a local connection was refused: {most} are open");
    let mut text = Vec::new();
    let error = RpcError::new(
        RpcReason::Overloaded,
        format!(
            "{most} local connections are open, and `limits.max_local_connections` allows no more; close one or raise it"
        ),
    );
    write_error(&mut text, &Id::NULL, &error);
    text.push(b'\n');
    lines::write_closing(&mut text, Reason::SessionCapacity);
    let _ = timeout(TURNING_AWAY, stream.write_all(&text)).await;
}
