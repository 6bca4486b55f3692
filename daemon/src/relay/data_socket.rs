//! The task of one client session's data socket, from its dialling to its end (SV-3, RL-3). While
//! the socket is open, a [`LaneServer`] serves its lanes.

use std::{future::poll_fn, sync::Arc, time::Duration};

use bowline_machines::{
    daemon::registration::{DataSocketEnd, DataSocketId, Input},
    relay::data,
};
use bowline_protocol::{
    RouteKey,
    identity::short_hash,
    relay::{DataToken, data_path, limits::MAX_DATA_MESSAGE},
};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tracing::{debug, info};

use super::{RelayContext, lane_server::LaneServer};

/// Read buffer of every data socket, in bytes; kept for its whole life.
const READ_BUFFER: usize = 8 * 1024;
/// Write buffer in bytes; written when full and at the end of a turn.
const WRITE_BUFFER: usize = 32 * 1024;
/// Limit of the write buffer: a full one and one more frame.
const MAX_WRITE_BUFFER: usize = WRITE_BUFFER + MAX_DATA_MESSAGE + 64;

/// The registration's handle to a data socket. Dropping it ends the data socket.
#[derive(Debug)]
pub(super) struct Commands {
    check: Arc<Notify>,
    _end: oneshot::Sender<()>,
}

impl Commands {
    /// Probes the data socket, which may be half-open.
    pub(super) fn check(&self) {
        self.check.notify_one();
    }
}

/// The data socket of one session.
pub(super) struct DataSocket {
    pub(super) id: DataSocketId,
    pub(super) session: RouteKey,
    pub(super) token: DataToken,
    pub(super) heartbeat: Duration,
    /// Whether the session is that of an unknown device.
    pub(super) is_stranger: bool,
}

impl DataSocket {
    /// Its handle, and its task: it dials and serves, and reports both to the registration.
    pub(super) fn start(
        self,
        context: Arc<RelayContext>,
        events: mpsc::Sender<Input>,
    ) -> (Commands, impl Future<Output = ()>) {
        let check = Arc::new(Notify::new());
        let (sender, end) = oneshot::channel();
        let commands = Commands {
            check: Arc::clone(&check),
            _end: sender,
        };
        (commands, self.run(context, events, check, end))
    }

    async fn run(
        self,
        context: Arc<RelayContext>,
        events: mpsc::Sender<Input>,
        check: Arc<Notify>,
        mut end: oneshot::Receiver<()>,
    ) {
        let mut stopping = context.stopping.clone();
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BUFFER)
            .max_write_buffer_size(MAX_WRITE_BUFFER)
            .max_message_size(Some(MAX_DATA_MESSAGE))
            .max_frame_size(Some(MAX_DATA_MESSAGE));
        let (socket, session) = (self.id, short_hash(self.session.as_str()));
        let path = data_path(&self.session);
        let RelayContext { dialler, relay, .. } = &*context;
        let dialling = dialler.dial(relay, &path, Some(self.token.to_header()), config);
        let dialled = tokio::select! {
            dialled = Box::pin(dialling) => dialled,
            _ = &mut end => return,
            _ = stopping.wait_for(Option::is_some) => return,
        };
        let opened = match dialled {
            Ok(opened) => opened,
            Err(failure) => {
                debug!(socket = socket.get(), session, reason = %failure.reason, "no data socket: {}", failure.message);
                let end =
                    DataSocketEnd::of_dial(failure.status, failure.reason, failure.retry_after);
                let _ = events.send(Input::DataEnded { socket, end }).await;
                return;
            }
        };
        let _ = events.send(Input::DataOpened { socket }).await;
        let mut server = LaneServer::new(
            opened.socket,
            opened.count,
            context,
            self.heartbeat,
            self.is_stranger,
        );
        let ended = loop {
            tokio::select! {
                biased;
                ended = poll_fn(|cx| server.poll(cx)) => break ended,
                () = check.notified() => server.feed(data::Input::ProbeNow),
                Ok(_) = stopping.wait_for(Option::is_some), if !server.is_stopping() => {
                    server.feed(data::Input::Stop);
                }
                _ = &mut end => server.feed(data::Input::Dropped),
            }
        };
        info!(socket = socket.get(), session, ?ended, "data socket ended");
        let end = ended.into();
        let _ = events.send(Input::DataEnded { socket, end }).await;
        server.close(ended).await;
    }
}
