//! The driver of control sockets: challenge, proof of identity, then events about sessions (RL-2,
//! RL-5). [`ControlSocket`] decides.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bowline_machines::relay::{
    control::{ControlSocket, Effect, Input},
    registry::SessionNews,
    session::Ending,
};
use bowline_program::{Stranger, config::Secret};
use bowline_protocol::{
    Reason, ServerId,
    relay::{
        DaemonMessage, KnownDevices, Nonce, Registration, RelayMessage, limits::MAX_CONTROL_MESSAGE,
    },
};
use ring::digest::{SHA256, digest};
use tracing::{debug, info, warn};

use crate::{
    clock,
    messages::Messages,
    origins::Arrival,
    parts::Parts,
    registry::{Event, Registered},
    scratch,
    socket::{Lost, Socket},
    timer::Timer,
    websocket::{frame::Opcode, write_message},
};

/// Serves a control socket until it ends.
pub(crate) async fn serve(
    parts: Arc<Parts>,
    socket: Box<Socket>,
    arrival: Arrival,
    stranger: Stranger,
) {
    let mut driver = Driver::new(parts, socket, arrival);
    tokio::select! {
        biased;
        () = poll_fn(|cx| driver.poll_registration(cx)) => {}
        // Without a goodbye, which would keep the place that others need.
        () = stranger.dropped() => driver.feed(Input::Closed { ending: Ending::Lost }),
    }
    drop(stranger);
    let ending = poll_fn(|cx| driver.poll(cx)).await;
    driver.end(ending);
}

/// A daemon in the registry, until dropped.
struct Entry {
    parts: Arc<Parts>,
    server: ServerId,
    registered: Registered,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let generation = self.registered.generation;
        self.parts.registry.unregister(&self.server, generation);
    }
}

struct Driver {
    parts: Arc<Parts>,
    arrival: Arrival,
    machine: ControlSocket,
    messages: Messages,
    nonce: Option<Nonce>,
    /// The daemon's answer to the challenge, until it is verified.
    proof: Option<Registration>,
    /// Its list of devices, if it sent one since the last look.
    devices: Option<KnownDevices>,
    entry: Option<Entry>,
    timer: Timer,
}

impl Driver {
    /// A driver whose first poll sends the challenge.
    fn new(parts: Arc<Parts>, socket: Box<Socket>, arrival: Arrival) -> Self {
        let machine = ControlSocket::new(clock::now(), parts.limits.handshake_timeout);
        let mut driver = Self {
            parts,
            arrival,
            machine,
            messages: Messages::new(socket, Opcode::Text, MAX_CONTROL_MESSAGE),
            nonce: None,
            proof: None,
            devices: None,
            entry: None,
            timer: Timer::default(),
        };
        match Nonce::random() {
            Ok(nonce) => {
                driver.nonce = Some(nonce);
                driver.say(&RelayMessage::Challenge { nonce });
            }
            Err(error) => {
                warn!(%error, "the challenge could not be created");
                let reason = Reason::ServerRestarting;
                driver.feed(Input::Refused { reason });
            }
        }
        driver
    }

    /// Ready once the daemon is registered, or the socket has ended.
    fn poll_registration(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.poll(cx) {
            Poll::Pending if !self.machine.is_registered() => Poll::Pending,
            Poll::Pending | Poll::Ready(_) => Poll::Ready(()),
        }
    }

    /// Ready once the socket has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        self.read(cx);
        self.execute();
        loop {
            let is_full = self.tell(cx);
            self.flush(cx);
            // Room that is made at once is followed by no wake-up.
            if !is_full || !self.machine.may_tell(self.messages.socket.queued()) {
                break;
            }
        }
        self.expire(cx);
        self.machine.ended().map_or(Poll::Pending, Poll::Ready)
    }

    fn feed(&mut self, input: Input) {
        self.machine.handle(clock::now(), input);
    }

    /// Reads all available bytes.
    fn read(&mut self, cx: &mut Context<'_>) {
        let Self {
            messages,
            machine,
            proof,
            devices,
            ..
        } = self;
        while machine.ended().is_none() {
            let now = clock::now();
            let read = scratch::with(|scratch| {
                messages.read(cx, &mut scratch.input, |_, text| {
                    match serde_json::from_slice(&text.to_vec()) {
                        Ok(DaemonMessage::Register(answer)) => {
                            *proof = Some(*answer);
                            machine.handle(now, Input::Proof);
                        }
                        Ok(DaemonMessage::Devices(list)) => *devices = Some(list),
                        Ok(DaemonMessage::Unknown) => {}
                        Err(_) => return Err(Reason::BadRequest.into()),
                    }
                    Ok(())
                })
            });
            match read {
                Poll::Pending => break,
                Poll::Ready(Ok(())) => machine.on_received(now),
                Poll::Ready(Err(ending)) => machine.handle(now, Input::Closed { ending }),
            }
        }
        if let Some(entry) = &self.entry
            && let Some(devices) = self.devices.take()
        {
            let generation = entry.registered.generation;
            self.parts.registry.know(&entry.server, generation, devices);
        }
    }

    fn execute(&mut self) {
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::Verify => {
                    let verified = match self.register() {
                        Ok(heartbeat) => Input::Accepted { heartbeat },
                        Err(reason) => Input::Refused { reason },
                    };
                    self.feed(verified);
                }
                Effect::Ping => {
                    let mut ping = Vec::new();
                    write_message(&mut ping, Opcode::Ping, &[]);
                    self.messages.socket.queue(&ping);
                }
            }
        }
    }

    /// Verifies the proof and registers the daemon. Returns the heartbeat that it is told.
    fn register(&mut self) -> Result<Duration, Reason> {
        let parts = &self.parts;
        let (Some(proof), Some(nonce)) = (self.proof.take(), self.nonce.take()) else {
            return Err(Reason::BadRequest);
        };
        let server = &proof.server_id;
        if let Err(error) = proof.verify(&nonce) {
            warn!(server_id = %server, %error, "invalid proof of identity");
            return Err(Reason::IdentityMissing);
        }
        if !parts.origins.are_meant(&proof.binding, &self.arrival) {
            let origin = &proof.binding.origin;
            warn!(server_id = %server, %origin, local = %self.arrival.local, "a daemon registers at another origin than is known to be this relay's; if it is, add it to `origin` (--origin, BOWLINE_ORIGIN)");
            return Err(Reason::RelayOriginUnknown);
        }
        if !is_right(parts.daemon_token.as_ref(), proof.token.as_deref()) {
            warn!(server_id = %server, "a daemon sent no valid token");
            return Err(Reason::RelayTokenInvalid);
        }
        let mut registered = parts.registry.register(server).map_err(|error| {
            warn!(%error, "the data token could not be created");
            Reason::ServerRestarting
        })?;
        parts.metrics.registered.one();
        info!(server_id = %server, generation = registered.generation.get(), sessions = registered.sessions.len(), "daemon registered");
        let heartbeat = parts.limits.heartbeat;
        let sessions = std::mem::take(&mut registered.sessions);
        let told = RelayMessage::Registered {
            heartbeat_ms: u64::try_from(heartbeat.as_millis()).unwrap_or(u64::MAX),
            data_token: registered.token.clone(),
        };
        self.entry = Some(Entry {
            parts: Arc::clone(parts),
            server: proof.server_id,
            registered,
        });
        self.say(&told);
        self.say(&RelayMessage::Sync { sessions });
        Ok(heartbeat)
    }

    /// Tells the daemon of its sessions. Returns whether there is no room for more.
    fn tell(&mut self, cx: &mut Context<'_>) -> bool {
        while let Some(Entry { registered, .. }) = &mut self.entry
            && self.machine.is_registered()
        {
            if let Poll::Ready(text) = Pin::new(&mut registered.end).poll(cx) {
                let text = text.unwrap_or_else(|_| Reason::Replaced.into());
                self.machine.handle(clock::now(), Input::End { text });
                break;
            }
            if !self.machine.may_tell(self.messages.socket.queued()) {
                return true;
            }
            let Poll::Ready(Some(event)) = registered.events.poll_recv(cx) else {
                break;
            };
            let Event { session, news } = event;
            self.say(&match news {
                SessionNews::Opened => RelayMessage::SessionOpened { session },
                SessionNews::Closed => RelayMessage::SessionClosed { session },
            });
        }
        false
    }

    /// Queues a message.
    fn say(&mut self, message: &RelayMessage) {
        let mut frame = Vec::new();
        // None of these messages can fail to be JSON.
        let json = serde_json::to_vec(message).unwrap_or_default();
        write_message(&mut frame, Opcode::Text, &json);
        self.messages.socket.queue(&frame);
    }

    fn flush(&mut self, cx: &mut Context<'_>) {
        if self.machine.ended().is_some() {
            return;
        }
        let socket = &mut self.messages.socket;
        let now = clock::now();
        if socket.poll_flush(cx) == Poll::Ready(Err(Lost)) {
            let ending = Ending::Lost;
            self.machine.handle(now, Input::Closed { ending });
        } else {
            self.machine
                .on_write(now, socket.queued(), socket.is_clear());
        }
    }

    fn expire(&mut self, cx: &mut Context<'_>) {
        while let Some(due) = self.machine.poll_timeout() {
            if !self.timer.is_past(cx, clock::instant(due)) {
                return;
            }
            self.machine.handle_timeout(clock::now());
            self.execute();
            self.flush(cx);
        }
    }

    /// Closes the socket and leaves the registry.
    fn end(self, ending: Ending) {
        let metrics = &self.parts.metrics;
        if let Ending::ByRelay(text) = ending {
            metrics.closed(text.reason);
        }
        self.messages.socket.end(ending);
        match &self.entry {
            Some(entry) => {
                let generation = entry.registered.generation.get();
                info!(server_id = %entry.server, generation, ?ending, "daemon gone");
            }
            None => {
                metrics.refused.one();
                debug!(?ending, "registration failed");
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
