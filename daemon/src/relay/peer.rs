//! One peer: the data socket of one client session, from its dialling to its end (SV-3, RL-3). While it is open,
//! a [`Switch`] serves its lanes.

use std::{future::poll_fn, sync::Arc, time::Duration};

use bowline_machines::relay::{PeerEnd, PeerId};
use bowline_protocol::{
    Reason, RouteKey,
    identity::short_hash,
    relay::{DataToken, data_path, limits::MAX_DATA_MESSAGE},
};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tracing::{debug, info};

use super::{
    board::RelayEntry,
    dial::{Dialler, Failure},
    switch::Switch,
};
use crate::{config::RelayUrl, connection::Environment};

/// Bytes of one read, and kept by every data socket for as long as it lives.
const READ_BUFFER: usize = 8 * 1024;
/// Frames gather here until it is full or the turn ends.
const WRITE_BUFFER: usize = 32 * 1024;
/// Room for one more frame beside a full buffer.
const MAX_WRITE_BUFFER: usize = WRITE_BUFFER + MAX_DATA_MESSAGE + 64;

/// What a peer tells its link.
#[derive(Debug)]
pub(super) enum PeerNews {
    /// The data socket is there.
    Opened(PeerId),
    /// It is not, or no longer.
    Ended(PeerId, PeerEnd),
}

/// The link's handle to a peer. Dropping it ends the peer.
#[derive(Debug)]
pub(super) struct Orders {
    check: Arc<Notify>,
    _end: oneshot::Sender<()>,
}

impl Orders {
    /// Doubts that the data socket is whole.
    pub(super) fn check(&self) {
        self.check.notify_one();
    }
}

/// A peer before its socket is there.
pub(super) struct Peer {
    id: PeerId,
    session: RouteKey,
    environment: Arc<Environment>,
    places: Arc<Semaphore>,
    entry: Arc<RelayEntry>,
    heartbeat: Duration,
    stopping: watch::Receiver<Option<Reason>>,
    check: Arc<Notify>,
    end: oneshot::Receiver<()>,
}

impl Peer {
    #[allow(
        clippy::too_many_arguments,
        reason = "what a peer shares with its link"
    )]
    pub(super) fn new(
        id: PeerId,
        session: RouteKey,
        environment: Arc<Environment>,
        places: Arc<Semaphore>,
        entry: Arc<RelayEntry>,
        heartbeat: Duration,
        stopping: watch::Receiver<Option<Reason>>,
    ) -> (Orders, Self) {
        let check = Arc::new(Notify::new());
        let (sender, end) = oneshot::channel();
        let orders = Orders {
            check: Arc::clone(&check),
            _end: sender,
        };
        let peer = Self {
            id,
            session,
            environment,
            places,
            entry,
            heartbeat,
            stopping,
            check,
            end,
        };
        (orders, peer)
    }

    /// Dials, serves, and tells the link how it ended.
    pub(super) async fn run(
        mut self,
        dialler: Dialler,
        relay: RelayUrl,
        token: DataToken,
        news: mpsc::Sender<PeerNews>,
    ) {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BUFFER)
            .max_write_buffer_size(MAX_WRITE_BUFFER)
            .max_message_size(Some(MAX_DATA_MESSAGE))
            .max_frame_size(Some(MAX_DATA_MESSAGE));
        let (id, session) = (self.id, short_hash(self.session.as_str()));
        let path = data_path(&self.session);
        let dialling = dialler.dial(&relay, &path, Some(token.to_header()), config);
        let dialled = tokio::select! {
            dialled = Box::pin(dialling) => dialled,
            _ = &mut self.end => return,
            _ = self.stopping.wait_for(Option::is_some) => return,
        };
        let socket = match dialled {
            Ok(socket) => Box::new(socket),
            Err(failure) => {
                debug!(peer = id.get(), session, reason = %failure.reason, "no data socket: {}", failure.message);
                let _ = news.send(PeerNews::Ended(id, of_dial(&failure))).await;
                return;
            }
        };
        let _ = news.send(PeerNews::Opened(id)).await;
        let Self {
            check,
            mut end,
            mut stopping,
            environment,
            places,
            entry,
            heartbeat,
            ..
        } = self;
        let mut switch = Switch::new(socket, environment, places, entry, heartbeat);
        let ended = loop {
            tokio::select! {
                biased;
                ended = poll_fn(|cx| switch.poll(cx)) => break ended,
                () = check.notified() => switch.doubt(),
                Ok(_) = stopping.wait_for(Option::is_some), if !switch.is_stopping() => switch.stop(),
                _ = &mut end => break Ended::Dropped,
            }
        };
        info!(peer = id.get(), session, ?ended, "data socket ended");
        let _ = news.send(PeerNews::Ended(id, ended.into())).await;
        switch.part(ended).await;
    }
}

/// What a refused data socket means.
fn of_dial(failure: &Failure) -> PeerEnd {
    let reason = match failure.status {
        Some(404) => return PeerEnd::Gone,
        // The registration that the token was of is no more.
        Some(401) => Reason::DaemonOffline,
        _ => failure.reason,
    };
    PeerEnd::Lost {
        reason,
        retry_after: failure.retry_after,
    }
}

/// How a data socket ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ended {
    /// The session has no clients, says the relay.
    Gone,
    /// It broke, or the relay closed it.
    Lost {
        reason: Reason,
        retry_after: Option<Duration>,
    },
    /// The relay must hear why.
    Violation(Reason),
    /// The daemon stops, and all lanes have ended.
    Finished,
    /// The link wants no more of it.
    Dropped,
}

impl From<Ended> for PeerEnd {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Gone | Ended::Finished | Ended::Dropped => Self::Gone,
            Ended::Lost {
                reason,
                retry_after,
            } => Self::Lost {
                reason,
                retry_after,
            },
            Ended::Violation(reason) => Self::Lost {
                reason,
                retry_after: None,
            },
        }
    }
}
