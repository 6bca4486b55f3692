//! The local socket: the daemon's owner speaks JSON-RPC to it, one text a line (`docs/protocol.md` §8).
//!
//! The same router, machine and driver as for session connections serve it; only the wire and the rights differ. The
//! socket itself, and a client of it, are `bowline-local`.

mod lines;
mod offer;
mod service;

pub use bowline_local::ListenError as ControlError;
pub use offer::OfferMaker;
pub(crate) use service::MAX_PAIRING_TTL;
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
use crate::connection::{Environment, list, serve_local};

/// Pause after a failed accept, so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Pause between two looks whether the socket's file is still there.
const LOOK: Duration = Duration::from_secs(3);
/// How long a connection over the limit may take to hear so. Its socket is empty, so that it takes no time at all.
const TURNING_AWAY: Duration = Duration::from_millis(100);

/// The bound local socket. Dropping it removes the file, if that is still its own.
#[derive(Debug)]
pub struct ControlSocket {
    listener: Listener,
}

impl ControlSocket {
    /// Binds the socket, clearing away what a killed daemon left.
    ///
    /// # Errors
    /// [`ControlError`]. Needs a tokio runtime.
    pub fn bind(path: &FilePath) -> Result<Self, ControlError> {
        let listener = Endpoint::new(path)?.listen()?;
        Ok(Self { listener })
    }

    /// Where it is.
    pub fn path(&self) -> &FilePath {
        self.listener.endpoint().path()
    }

    /// Accepts until dropped. Every connection holds one of `places`; there are `limits.max_local_connections`.
    pub async fn serve(mut self, environment: Arc<Environment>, places: Arc<Semaphore>) {
        let most = environment.limits.max_local_connections;
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
                    warn!(%error, "a local connection was turned away");
                    continue;
                }
                Err(error) => {
                    warn!(%error, "accepting a local connection failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            match Arc::clone(&places).try_acquire_owned() {
                Ok(permit) => spawn(Arc::clone(&environment), stream, permit),
                Err(_) => {
                    environment.registry.turned_away(Path::Local);
                    turn_away(stream, most).await;
                }
            }
        }
    }
}

/// Looks after a while.
async fn later<T>(look: impl Future<Output = T>) -> T {
    tokio::time::sleep(LOOK).await;
    look.await
}

/// Keeps the socket's file where clients look for it, and says what became of it, each thing once.
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
                warn!(socket = %listener.endpoint(), "the local socket was gone and is there again");
            }
            Err(error) => {
                let text = error.to_string();
                if self.said.as_deref() != Some(&text) {
                    warn!(socket = %listener.endpoint(), %error, "the local socket is gone");
                    self.said = Some(text);
                }
            }
        }
    }
}

fn spawn(environment: Arc<Environment>, stream: Stream, permit: OwnedSemaphorePermit) {
    let max_line = environment.limits.max_message_bytes as usize;
    let listed = list(&environment, Path::Local, None);
    let lines = Lines::new(stream, max_line);
    tokio::spawn(serve_local(environment, lines, listed, permit));
}

/// Says why and closes. In the accepting task, so that a crowd before the door costs one socket.
async fn turn_away(mut stream: Stream, most: u32) {
    debug!("a local connection was turned away: {most} are open");
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
