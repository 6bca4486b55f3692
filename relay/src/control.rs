//! Control sockets: challenge, proof of identity, then events about sessions (RL-2, RL-5).

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bowline_machines::{
    liveness::{Liveness, LivenessAction, LivenessConfig},
    relay::session::Ending,
    stalls::WriteStall,
};
use bowline_program::{Stranger, config::Secret};
use bowline_protocol::{
    Reason, ServerId,
    relay::{
        DaemonMessage, KnownDevices, Nonce, Registration, RelayMessage,
        limits::{MAX_CONTROL_MESSAGE, QUEUE_BYTES},
    },
};
use ring::digest::{SHA256, digest};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::{
    clock,
    messages::Messages,
    metrics::Metrics,
    origins::Arrival,
    parts::Parts,
    registry::{Event, Registered, Registry},
    scratch,
    socket::{Lost, Socket},
    timer::Timer,
    websocket::{
        frame::{Masked, Opcode},
        write_message,
    },
};

/// Serves a control socket until it ends.
pub(crate) async fn serve(
    parts: Arc<Parts>,
    socket: Box<Socket>,
    arrival: Arrival,
    stranger: Stranger,
) {
    let Parts {
        registry,
        metrics,
        limits,
        ..
    } = &*parts;
    let mut control = Control {
        messages: Messages::new(socket, Opcode::Text, MAX_CONTROL_MESSAGE),
        registration: None,
        devices: None,
        has_heard: false,
    };
    let handshake = async {
        tokio::select! {
            biased;
            handshake = control.handshake(&parts, &arrival) => handshake,
            // Without a goodbye, which would keep the place that others need.
            () = stranger.dropped() => Err(Ending::Lost),
        }
    };
    let handshake = timeout(limits.handshake_timeout, handshake).await;
    drop(stranger);
    let ending = match handshake {
        Err(_) => Reason::HandshakeTimeout.into(),
        Ok(Err(ending)) => ending,
        Ok(Ok((server, registered))) => {
            metrics.registered.one();
            info!(server_id = %server, generation = registered.generation, sessions = registered.sessions.len(), "daemon registered");
            let generation = registered.generation;
            // Unregisters the daemon also when this task is dropped.
            let _entry = Entry {
                registry,
                server: &server,
                generation,
            };
            let mut serving = Serving::new(control, limits.heartbeat, registered);
            let ending = poll_fn(|cx| {
                let polled = serving.poll(cx);
                if let Some(devices) = serving.control.devices.take() {
                    registry.know(&server, generation, devices);
                }
                polled
            })
            .await;
            serving.control.close(metrics, ending);
            info!(server_id = %server, generation, ?ending, "daemon gone");
            return;
        }
    };
    metrics.refused.one();
    debug!(?ending, "registration failed");
    control.close(metrics, ending);
}

/// Unregisters when dropped.
struct Entry<'a> {
    registry: &'a Registry,
    server: &'a ServerId,
    generation: u64,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.registry.unregister(self.server, self.generation);
    }
}

struct Control {
    messages: Messages,
    /// The daemon's answer, once received.
    registration: Option<Registration>,
    /// Its list of devices, if it sent one since the last look.
    devices: Option<KnownDevices>,
    /// Bytes received since the last liveness check.
    has_heard: bool,
}

impl Control {
    async fn handshake(
        &mut self,
        parts: &Parts,
        arrival: &Arrival,
    ) -> Result<(ServerId, Registered), Ending> {
        let nonce = Nonce::random().map_err(|error| {
            warn!(%error, "the challenge could not be created");
            Ending::from(Reason::ServerRestarting)
        })?;
        self.say(&RelayMessage::Challenge { nonce });
        let registration = poll_fn(|cx| {
            let _ = self.messages.socket.poll_flush(cx);
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
            warn!(server_id = %registration.server_id, %error, "invalid proof of identity");
            return Err(Reason::IdentityMissing.into());
        }
        if !parts.origins.are_meant(&registration.binding, arrival) {
            let origin = &registration.binding.origin;
            warn!(server_id = %registration.server_id, %origin, local = %arrival.local, "a daemon registers at another origin than is known to be this relay's; if it is, add it to `origin` (--origin, BOWLINE_ORIGIN)");
            return Err(Reason::RelayOriginUnknown.into());
        }
        if !is_right(parts.daemon_token.as_ref(), registration.token.as_deref()) {
            warn!(server_id = %registration.server_id, "a daemon sent no valid token");
            return Err(Reason::RelayTokenInvalid.into());
        }
        let server = registration.server_id;
        match parts.registry.register(&server) {
            Ok(registered) => Ok((server, registered)),
            Err(error) => {
                warn!(%error, "the data token could not be created");
                Err(Reason::ServerRestarting.into())
            }
        }
    }

    /// Reads all available bytes. Ready only when the socket ends.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ending>> {
        let Self {
            messages,
            registration,
            devices,
            has_heard,
        } = self;
        loop {
            let read = scratch::with(|scratch| {
                messages.read(cx, &mut scratch.input, |_, text| {
                    take(registration, devices, text)
                })
            });
            ready!(read)?;
            *has_heard = true;
        }
    }

    /// Queues a message.
    fn say(&mut self, message: &RelayMessage) {
        let mut frame = Vec::new();
        // None of these messages can fail to be JSON.
        let json = serde_json::to_vec(message).unwrap_or_default();
        write_message(&mut frame, Opcode::Text, &json);
        self.messages.socket.queue(&frame);
    }

    fn close(self, metrics: &Metrics, ending: Ending) {
        if let Ending::ByRelay(text) = ending {
            metrics.closed(text.reason);
        }
        self.messages.socket.end(ending);
    }
}

/// Takes a message of the daemon: its answer to the challenge, of which there is one, or the devices
/// that it knows.
fn take(
    registration: &mut Option<Registration>,
    devices: &mut Option<KnownDevices>,
    text: Masked<'_>,
) -> Result<(), Ending> {
    match serde_json::from_slice(&text.to_vec()) {
        Ok(DaemonMessage::Register(answer)) if registration.is_none() => {
            *registration = Some(*answer);
            Ok(())
        }
        Ok(DaemonMessage::Devices(list)) => {
            *devices = Some(list);
            Ok(())
        }
        Ok(DaemonMessage::Unknown) => Ok(()),
        Ok(DaemonMessage::Register(_)) | Err(_) => Err(Reason::BadRequest.into()),
    }
}

/// A registered daemon's control socket.
struct Serving {
    control: Control,
    registered: Registered,
    liveness: Liveness,
    written: WriteStall,
    timer: Timer,
}

impl Serving {
    fn new(mut control: Control, heartbeat: Duration, mut registered: Registered) -> Self {
        let now = clock::now();
        let heartbeat_ms = u64::try_from(heartbeat.as_millis()).unwrap_or(u64::MAX);
        control.say(&RelayMessage::Registered {
            heartbeat_ms,
            data_token: registered.token.clone(),
        });
        control.say(&RelayMessage::Sync {
            sessions: std::mem::take(&mut registered.sessions),
        });
        Self {
            timer: Timer::default(),
            control,
            registered,
            liveness: Liveness::new(now, heartbeat, &LivenessConfig::SOCKET),
            written: WriteStall::default(),
        }
    }

    /// Serves until the socket ends.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        let control = &mut self.control;
        if let Poll::Ready(Err(ending)) = control.poll_read(cx) {
            return Poll::Ready(ending);
        }
        if control.registration.is_some() {
            // A second answer to the same challenge.
            return Poll::Ready(Reason::BadRequest.into());
        }
        if std::mem::take(&mut control.has_heard) {
            self.liveness.heard(clock::now());
        }
        if let Poll::Ready(text) = Pin::new(&mut self.registered.end).poll(cx) {
            let text = text.unwrap_or_else(|_| Reason::Replaced.into());
            return Poll::Ready(Ending::ByRelay(text));
        }
        while control.messages.socket.queued() <= QUEUE_BYTES {
            let Poll::Ready(Some(event)) = self.registered.events.poll_recv(cx) else {
                break;
            };
            control.say(&match event {
                Event::Opened(session) => RelayMessage::SessionOpened { session },
                Event::Closed(session) => RelayMessage::SessionClosed { session },
            });
        }
        if let Poll::Ready(Err(Lost)) = self.control.messages.socket.poll_flush(cx) {
            return Poll::Ready(Ending::Lost);
        }
        let socket = &self.control.messages.socket;
        let (queued, clear) = (socket.queued(), socket.is_clear());
        self.written.update(clock::now(), queued, clear);
        self.poll_deadlines(cx)
    }

    /// Pings a silent daemon and ends the socket if no answer comes, whatever TCP says (LS-3), or if
    /// the daemon takes nothing, whatever is heard of it (TR-8).
    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        loop {
            let silence = self.liveness.deadline();
            let due = self
                .written
                .deadline()
                .map_or(silence, |at| at.min(silence));
            if !self.timer.is_past(cx, clock::instant(due)) {
                return Poll::Pending;
            }
            let now = clock::now();
            if self.written.is_over(now) {
                return Poll::Ready(Reason::SlowConsumer.into());
            }
            match self.liveness.on_timer(now, false, &LivenessConfig::SOCKET) {
                LivenessAction::Wait => {}
                LivenessAction::Ping => {
                    let mut ping = Vec::new();
                    write_message(&mut ping, Opcode::Ping, &[]);
                    self.control.messages.socket.queue(&ping);
                    if self.control.messages.socket.poll_flush(cx) == Poll::Ready(Err(Lost)) {
                        return Poll::Ready(Ending::Lost);
                    }
                }
                LivenessAction::Dead => return Poll::Ready(Reason::HeartbeatTimeout.into()),
            }
        }
    }
}

/// Whether a daemon sent the token of a private relay. Hashes are compared, so the time does not
/// depend on the token.
fn is_right(wanted: Option<&Secret>, said: Option<&str>) -> bool {
    let hash = |token: &str| digest(&SHA256, token.as_bytes());
    match (wanted, said) {
        (None, _) => true,
        (Some(wanted), Some(said)) => hash(wanted.reveal()).as_ref() == hash(said).as_ref(),
        (Some(_), None) => false,
    }
}
