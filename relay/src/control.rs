//! Control sockets: challenge, proof, and then the news about sessions (RL-2, RL-5).

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bowline_protocol::{
    Reason, ServerId,
    relay::{
        CloseText, DaemonMessage, Nonce, Registration, RelayMessage,
        limits::{MAX_CONTROL_MESSAGE, QUEUE_BYTES},
    },
};
use ring::digest::{SHA256, digest};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::{
    hub::Hub,
    registry::{Event, Registered},
    scratch,
    socket::{Lost, Socket},
    websocket::{
        frame::Opcode,
        reader::{Incoming, Reader},
        write_message, write_pong,
    },
};

/// Why a control socket ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It is gone.
    Lost,
    /// The daemon closed it.
    ByDaemon(u16),
    /// The relay closes it.
    ByRelay(CloseText),
}

impl From<Reason> for Ending {
    fn from(reason: Reason) -> Self {
        Self::ByRelay(reason.into())
    }
}

/// Serves a control socket until it ends.
pub(crate) async fn serve(hub: Arc<Hub>, socket: Box<Socket>) {
    let mut control = Control {
        socket,
        reader: Reader::new(MAX_CONTROL_MESSAGE),
        registration: None,
        heard: Instant::now(),
    };
    let ending = match timeout(hub.limits.handshake, control.handshake(&hub)).await {
        Err(_) => Reason::HandshakeTimeout.into(),
        Ok(Err(ending)) => ending,
        Ok(Ok((server, registered))) => {
            hub.metrics.registered.one();
            info!(server_id = %server, generation = registered.generation, sessions = registered.sessions.len(), "daemon registered");
            let generation = registered.generation;
            // Even if this task is cut off, the daemon must not seem to be here.
            let _entry = Entry {
                hub: &hub,
                server: &server,
                generation,
            };
            let ending = Serving::new(control, &hub, registered).await;
            info!(server_id = %server, generation, ?ending, "daemon gone");
            return;
        }
    };
    hub.metrics.refused.one();
    debug!(?ending, "no registration");
    control.part(&hub, ending);
}

/// A registration in force for as long as this lives.
struct Entry<'a> {
    hub: &'a Hub,
    server: &'a ServerId,
    generation: u64,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.hub.registry.unregister(self.server, self.generation);
    }
}

struct Control {
    socket: Box<Socket>,
    reader: Reader,
    /// The daemon's answer, when it has come.
    registration: Option<Registration>,
    /// Any byte counts (lesson 16).
    heard: Instant,
}

impl Control {
    async fn handshake(&mut self, hub: &Hub) -> Result<(ServerId, Registered), Ending> {
        let nonce = Nonce::random().map_err(|error| {
            warn!(%error, "no challenge");
            Ending::from(Reason::ServerRestarting)
        })?;
        self.say(&RelayMessage::Challenge { nonce });
        let registration = poll_fn(|cx| {
            let _ = self.socket.poll_flush(cx);
            if let Poll::Ready(Err(ending)) = self.poll_read(cx) {
                return Poll::Ready(Err(ending));
            }
            match self.registration.take() {
                Some(registration) => Poll::Ready(Ok(registration)),
                None => Poll::Pending,
            }
        })
        .await?;
        if let Err(error) = registration.verify(&nonce) {
            warn!(server_id = %registration.server_id, %error, "an impostor, or a broken daemon");
            return Err(Reason::IdentityMissing.into());
        }
        if !is_right(hub.daemon_token.as_deref(), registration.token.as_deref()) {
            warn!(server_id = %registration.server_id, "a daemon without the token of this relay");
            return Err(Reason::RelayTokenInvalid.into());
        }
        let server = registration.server_id;
        match hub.registry.register(&server) {
            Ok(registered) => Ok((server, registered)),
            Err(error) => {
                warn!(%error, "no data token");
                Err(Reason::ServerRestarting.into())
            }
        }
    }

    /// Reads everything there is. Ready only when the socket ends.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ending>> {
        loop {
            let read = scratch::with(|scratch| {
                let read = match self.socket.poll_read(cx, &mut scratch.input) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(read)) => read,
                    Poll::Ready(Err(Lost)) => return Poll::Ready(Err(Ending::Lost)),
                };
                let mut input = scratch.input.get(..read).unwrap_or_default();
                Poll::Ready(self.take_in(cx, &mut input))
            });
            match read {
                Poll::Ready(Ok(())) => self.heard = Instant::now(),
                Poll::Ready(Err(ending)) => return Poll::Ready(Err(ending)),
                Poll::Pending => {
                    self.reader.rest();
                    return Poll::Pending;
                }
            }
        }
    }

    fn take_in(&mut self, cx: &mut Context<'_>, input: &mut &[u8]) -> Result<(), Ending> {
        let mut pongs = Vec::new();
        loop {
            match self.reader.next(input) {
                Ok(Some(Incoming::Text(text))) => {
                    let message = serde_json::from_slice(&text.to_vec());
                    match message.map_err(|_| Ending::from(Reason::BadRequest))? {
                        // One challenge has one answer.
                        DaemonMessage::Register(_) if self.registration.is_some() => {
                            return Err(Reason::BadRequest.into());
                        }
                        DaemonMessage::Register(registration) => {
                            self.registration = Some(registration);
                        }
                        DaemonMessage::Unknown => {}
                    }
                }
                Ok(Some(Incoming::Binary(_))) => return Err(Reason::BadRequest.into()),
                Ok(Some(Incoming::Ping(payload))) => write_pong(&mut pongs, payload),
                Ok(Some(Incoming::Pong)) => {}
                Ok(Some(Incoming::Close(code))) => {
                    return Err(Ending::ByDaemon(code.unwrap_or(1000)));
                }
                Ok(None) => break,
                Err(violation) => return Err(violation.reason().into()),
            }
        }
        if !pongs.is_empty() && self.socket.queued() <= QUEUE_BYTES {
            self.socket.send(cx, &pongs).map_err(|Lost| Ending::Lost)?;
        }
        Ok(())
    }

    /// Queues a message.
    fn say(&mut self, message: &RelayMessage) {
        let mut frame = Vec::new();
        // None of these messages can fail to be JSON.
        let json = serde_json::to_vec(message).unwrap_or_default();
        write_message(&mut frame, Opcode::Text, &json);
        self.socket.queue(&frame);
    }

    fn part(self, hub: &Hub, ending: Ending) {
        match ending {
            Ending::Lost => {}
            Ending::ByDaemon(code) => self.socket.dismiss_with(code),
            Ending::ByRelay(text) => {
                hub.metrics.closed(text.reason);
                self.socket.dismiss(text);
            }
        }
    }
}

/// A registered daemon's control socket.
struct Serving<'a> {
    /// There until it ends.
    control: Option<Control>,
    hub: &'a Hub,
    registered: Registered,
    /// Silence that makes the relay ask whether somebody is there.
    heartbeat: Duration,
    asked: bool,
    timer: Pin<Box<Sleep>>,
}

impl<'a> Serving<'a> {
    fn new(mut control: Control, hub: &'a Hub, mut registered: Registered) -> Self {
        let heartbeat = hub.limits.heartbeat;
        let heartbeat_ms = u64::try_from(heartbeat.as_millis()).unwrap_or(u64::MAX);
        control.say(&RelayMessage::Registered {
            heartbeat_ms,
            data_token: registered.token.clone(),
        });
        control.say(&RelayMessage::Sync {
            sessions: std::mem::take(&mut registered.sessions),
        });
        Self {
            timer: Box::pin(sleep_until(control.heard + heartbeat)),
            control: Some(control),
            hub,
            registered,
            heartbeat,
            asked: false,
        }
    }

    fn poll_ending(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        let Some(control) = &mut self.control else {
            return Poll::Pending;
        };
        let heard = control.heard;
        if let Poll::Ready(Err(ending)) = control.poll_read(cx) {
            return Poll::Ready(ending);
        }
        if control.registration.is_some() {
            // A second answer to a challenge that is used up.
            return Poll::Ready(Reason::BadRequest.into());
        }
        if control.heard != heard {
            self.asked = false;
        }
        if let Poll::Ready(text) = Pin::new(&mut self.registered.end).poll(cx) {
            let text = text.unwrap_or_else(|_| Reason::Replaced.into());
            return Poll::Ready(Ending::ByRelay(text));
        }
        while control.socket.queued() <= QUEUE_BYTES {
            let Poll::Ready(Some(event)) = self.registered.events.poll_recv(cx) else {
                break;
            };
            control.say(&match event {
                Event::Opened(session) => RelayMessage::SessionOpened { session },
                Event::Closed(session) => RelayMessage::SessionClosed { session },
            });
        }
        if let Poll::Ready(ending) = self.poll_liveness(cx) {
            return Poll::Ready(ending);
        }
        let Some(control) = &mut self.control else {
            return Poll::Pending;
        };
        if let Poll::Ready(Err(Lost)) = control.socket.poll_flush(cx) {
            return Poll::Ready(Ending::Lost);
        }
        Poll::Pending
    }

    /// After one heartbeat of silence a ping; after two the socket is dead, whatever TCP says (lesson 3).
    fn poll_liveness(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        let Some(control) = &mut self.control else {
            return Poll::Pending;
        };
        loop {
            let patience = if self.asked { 2 } else { 1 };
            let mut deadline = control.heard + self.heartbeat * patience;
            if self.timer.deadline() < deadline && !self.timer.is_elapsed() {
                // It fires early and is set again then: cheaper than moving it with every byte.
                deadline = self.timer.deadline();
            } else if self.timer.deadline() != deadline {
                self.timer.as_mut().reset(deadline);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            let late = now.saturating_duration_since(deadline);
            let silence = now.saturating_duration_since(control.heard);
            if late > self.heartbeat / 2 {
                // We slept, not the daemon (lesson 5): the silence was ours.
                control.heard = now;
                self.asked = false;
            } else if silence >= self.heartbeat * 2 && self.asked {
                return Poll::Ready(Reason::HeartbeatTimeout.into());
            } else if silence >= self.heartbeat && !self.asked {
                self.asked = true;
                let mut ping = Vec::new();
                write_message(&mut ping, Opcode::Ping, &[]);
                control.socket.queue(&ping);
            }
        }
    }
}

impl Future for Serving<'_> {
    type Output = Ending;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ending> {
        let serving = self.get_mut();
        let Poll::Ready(ending) = serving.poll_ending(cx) else {
            return Poll::Pending;
        };
        if let Some(control) = serving.control.take() {
            control.part(serving.hub, ending);
        }
        Poll::Ready(ending)
    }
}

/// Whether a daemon said the token of a private relay. Compared by hash, which takes no time that depends on the token.
fn is_right(wanted: Option<&str>, said: Option<&str>) -> bool {
    let hash = |token: &str| digest(&SHA256, token.as_bytes());
    match (wanted, said) {
        (None, _) => true,
        (Some(wanted), Some(said)) => hash(wanted).as_ref() == hash(said).as_ref(),
        (Some(_), None) => false,
    }
}
