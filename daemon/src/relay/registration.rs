//! The driver of one relay registration: it selects events, feeds the machine and executes its
//! effects.

use std::{
    collections::BTreeMap,
    future::{pending, poll_fn},
    sync::Arc,
    time::Duration,
};

use bowline_machines::{
    MonotonicTime,
    daemon::failure_log::{FailureLine, FailureLog},
    daemon::registration::{
        DataSocketEnd, DataSocketId, Effect, Input, RelayConfig, RelayRegistration, State,
    },
};
use bowline_program::watch::caught;
use bowline_protocol::{
    Reason, RouteKey,
    identity::short_hash,
    model::UnixMillis,
    relay::{DataToken, KnownDevices, RelayMessage, limits::HEARTBEAT},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tracing::{Instrument, debug, info, info_span, warn};

use super::{
    RelayContext, Routes,
    control::{ControlEvent, ControlSocket},
    data_socket::{Commands, DataSocket},
    dial::Failure,
};
use crate::observe;

/// Queued events of data sockets; beyond it data sockets wait. Each sends two.
const DATA_EVENTS: usize = 64;

/// An event of a registration.
enum Event {
    Control(ControlEvent),
    DataSocket(Input),
    /// A data socket's task has ended, by a panic with this message if there is one.
    Over(DataSocketId, Option<String>),
    Timer,
    Hurry,
    /// The daemon knows other devices than before.
    Devices,
    Stop(Reason),
}

/// The registration with one relay, and its data sockets.
pub(super) struct RegistrationDriver {
    context: Arc<RelayContext>,
    machine: RelayRegistration,
    zero: Instant,
    control: Option<ControlSocket>,
    /// The relay's last settings, used for new data sockets.
    heartbeat: Duration,
    token: Option<DataToken>,
    sockets: BTreeMap<DataSocketId, Commands>,
    tasks: JoinSet<(DataSocketId, Option<String>)>,
    events: mpsc::Receiver<Input>,
    sender: mpsc::Sender<Input>,
    /// Routes of the devices that the daemon knows.
    devices: watch::Receiver<Option<Routes>>,
    stopping: watch::Receiver<Option<Reason>>,
    stopped: bool,
    /// Text for people about the end that is fed to the machine next.
    message: Option<String>,
    failures: FailureLog,
}

impl RegistrationDriver {
    pub(super) fn new(context: Arc<RelayContext>, seed: u64) -> Self {
        let (sender, events) = mpsc::channel(DATA_EVENTS);
        Self {
            devices: context.devices.clone(),
            stopping: context.stopping.clone(),
            context,
            machine: RelayRegistration::new(RelayConfig::new(seed)),
            zero: Instant::now(),
            control: None,
            heartbeat: HEARTBEAT,
            token: None,
            sockets: BTreeMap::new(),
            tasks: JoinSet::new(),
            events,
            sender,
            stopped: false,
            message: None,
            failures: FailureLog::default(),
        }
    }

    /// Runs until the daemon stops and the last data socket has closed.
    pub(super) async fn run(self) {
        // With several relays, every log line names its relay.
        let span = info_span!("relay", url = self.context.relay.as_str());
        self.keep().instrument(span).await;
    }

    async fn keep(mut self) {
        self.on_devices();
        self.feed(Input::Start);
        while !(self.stopped && self.tasks.is_empty()) {
            match self.next().await {
                Event::Control(events) => self.on_control_event(events),
                Event::DataSocket(input) => self.feed(input),
                Event::Over(socket, defect) => self.reap(socket, defect),
                Event::Timer => {}
                Event::Hurry => self.feed(Input::Hurry),
                Event::Devices => self.on_devices(),
                Event::Stop(reason) => {
                    self.stopped = true;
                    self.feed(Input::Stop { reason });
                }
            }
            // After every event: a relay that never stops speaking holds no deadline up (TR-8).
            let now = self.now();
            if self.machine.poll_timeout().is_some_and(|due| due <= now) {
                self.machine.handle_timeout(now);
                self.execute();
            }
        }
    }

    /// Waits for the first event. Cancel-safe.
    async fn next(&mut self) -> Event {
        let due = self.machine.poll_timeout();
        let at = due.map(|due| self.zero + Duration::from_millis(due.as_millis()));
        let control = &mut self.control;
        tokio::select! {
            biased;
            reason = stop(&mut self.stopping), if !self.stopped => Event::Stop(reason),
            Some(Ok((socket, defect))) = self.tasks.join_next() => Event::Over(socket, defect),
            Some(input) = self.events.recv() => Event::DataSocket(input),
            events = async {
                match control {
                    Some(control) => poll_fn(|cx| control.poll_event(cx)).await,
                    None => pending().await,
                }
            } => Event::Control(events),
            Ok(()) = self.devices.changed() => Event::Devices,
            () = self.context.entry.hurried() => Event::Hurry,
            () = async {
                match at {
                    Some(at) => sleep_until(at).await,
                    None => pending().await,
                }
            } => Event::Timer,
        }
    }

    fn on_control_event(&mut self, events: ControlEvent) {
        let Some(control) = &self.control else {
            return;
        };
        let generation = control.generation();
        let (sent, clear) = control.written();
        if !matches!(events, ControlEvent::Ended(_)) {
            self.feed(Input::Received { generation });
            self.feed(Input::Wrote {
                generation,
                sent,
                clear,
            });
        }
        let input = match events {
            ControlEvent::Alive | ControlEvent::Said(RelayMessage::Unknown) => return,
            ControlEvent::Said(RelayMessage::Challenge { .. }) => Input::Challenged { generation },
            ControlEvent::Said(RelayMessage::Registered {
                heartbeat_ms,
                data_token,
            }) => {
                self.heartbeat = Duration::from_millis(heartbeat_ms);
                self.token = Some(data_token);
                Input::Registered {
                    generation,
                    heartbeat: self.heartbeat,
                }
            }
            ControlEvent::Said(RelayMessage::Sync { sessions }) => Input::Sync {
                generation,
                sessions,
            },
            ControlEvent::Said(RelayMessage::SessionOpened { session }) => Input::SessionOpened {
                generation,
                session,
            },
            ControlEvent::Said(RelayMessage::SessionClosed { session }) => Input::SessionClosed {
                generation,
                session,
            },
            ControlEvent::Ended(Failure {
                reason,
                retry_after,
                message,
                ..
            }) => {
                self.message = Some(message);
                self.control = None;
                Input::Ended {
                    generation,
                    reason,
                    retry_after,
                }
            }
        };
        self.feed(input);
    }

    fn on_devices(&mut self) {
        let routes = self.devices.borrow_and_update().clone();
        if let Some(routes) = routes {
            self.feed(Input::Known { routes });
        }
    }

    fn feed(&mut self, input: Input) {
        let now = self.now();
        self.machine.handle(now, input);
        self.execute();
    }

    fn execute(&mut self) {
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::Connect { generation } => {
                    self.control = Some(ControlSocket::dial(generation, Arc::clone(&self.context)));
                }
                Effect::Answer => {
                    if let Some(control) = &mut self.control {
                        let RelayContext {
                            acceptor, relay, ..
                        } = &*self.context;
                        control.answer(&acceptor.identity, relay.token());
                    }
                }
                Effect::Ping => {
                    if let Some(control) = &mut self.control {
                        control.ping();
                    }
                }
                Effect::Disconnect { reason } => {
                    if let Some(control) = self.control.take() {
                        control.close(reason);
                    }
                }
                Effect::TellDevices { routes } => {
                    if let Some(control) = &mut self.control {
                        match KnownDevices::of(&*routes) {
                            Ok(devices) => control.tell_devices(devices),
                            Err(error) => warn!(%error, "the relay is not told of the devices"),
                        }
                    }
                }
                Effect::HurryOthers => self.context.status.hurry(),
                Effect::OpenData {
                    socket,
                    session,
                    is_stranger,
                } => self.open(socket, session, is_stranger),
                Effect::CheckData { socket } => {
                    if let Some(commands) = self.sockets.get(&socket) {
                        commands.check();
                    }
                }
                // Dropping its handle closes the data socket.
                Effect::CloseData { socket } => drop(self.sockets.remove(&socket)),
            }
        }
        self.log();
    }

    fn open(&mut self, id: DataSocketId, session: RouteKey, is_stranger: bool) {
        let Some(token) = self.token.clone() else {
            return;
        };
        debug!(
            socket = id.get(),
            session = short_hash(session.as_str()),
            "data socket"
        );
        let socket = DataSocket {
            id,
            session,
            token,
            heartbeat: self.heartbeat,
            is_stranger,
        };
        let (commands, task) = socket.start(Arc::clone(&self.context), self.sender.clone());
        let task = async move { (id, caught(task).await.err()) };
        self.tasks.spawn(task.in_current_span());
        self.sockets.insert(id, commands);
    }

    /// Handles the end of a data socket's task, which has reported its end before unless it
    /// panicked.
    fn reap(&mut self, socket: DataSocketId, defect: Option<String>) {
        self.sockets.remove(&socket);
        if let Some(defect) = defect {
            tracing::error!(
                defect,
                socket = socket.get(),
                "a data socket's task ended by itself"
            );
            let end = DataSocketEnd::Lost {
                reason: Reason::ConnectionLost,
                retry_after: None,
            };
            self.feed(Input::DataEnded { socket, end });
        }
    }

    /// Updates log and status after the machine has run.
    fn log(&mut self) {
        let wall = self.context.acceptor.clock.unix_millis();
        let server_id = self.context.acceptor.identity.server_id().clone();
        while let Some(transition) = self.machine.poll_transition() {
            let registered = matches!(self.machine.state(), State::Registered { .. });
            if self.failures.is_on() && !registered {
                observe::repeated(&server_id, &transition);
            } else {
                observe::transition(&server_id, "", &transition);
            }
            self.context
                .entry
                .set_state(self.machine.state().into(), wall);
            // One input changes the state once, so this is the state after the transition.
            match *self.machine.state() {
                State::Registered { .. } => {
                    info!(relay = self.context.entry.url(), "registered with a relay");
                    self.failures.over();
                }
                State::Waiting { reason, .. } => self.on_failed(reason, wall),
                State::Idle | State::Connecting { .. } | State::Stopped => {}
            }
        }
        self.message = None;
        self.context.entry.sessions(self.machine.sessions());
    }

    fn on_failed(&mut self, reason: Reason, wall: UnixMillis) {
        let message = self.message.take();
        let message = message.unwrap_or_else(|| silence(reason));
        self.tell(reason, &message);
        let shown = match advice(reason) {
            Some(advice) => format!("{advice} ({message})"),
            None => message,
        };
        self.context.entry.failed(reason, shown, wall);
    }

    /// Logs a missing registration, as often as [`FailureLog`] allows.
    fn tell(&mut self, reason: Reason, message: &str) {
        let now = self.now();
        let relay = self.context.entry.url();
        let next = match self.machine.state() {
            State::Waiting { until, .. } => until.since(now).as_secs(),
            _ => 0,
        };
        let words = match (self.failures.failed(now, reason), advice(reason)) {
            (None, _) => return,
            (Some(FailureLine::First), None) => {
                info!(relay, %reason, "no relay: {message}");
                return;
            }
            (Some(FailureLine::First), Some(advice)) => format!("{advice}: {message}"),
            (Some(FailureLine::Still { tries, lasting }), _) => format!(
                "still no relay after {tries} tries in {} min: {message}",
                lasting.as_secs() / 60
            ),
        };
        warn!(relay, %reason, "{words}; next try in {next} s");
    }

    fn now(&self) -> MonotonicTime {
        monotonic(self.zero)
    }
}

/// Milliseconds since `zero`, for machines.
pub(super) fn monotonic(zero: Instant) -> MonotonicTime {
    let elapsed = zero.elapsed().as_millis();
    MonotonicTime::from_millis(u64::try_from(elapsed).unwrap_or(u64::MAX))
}

/// Ready when the daemon stops.
async fn stop(stopping: &mut watch::Receiver<Option<Reason>>) -> Reason {
    match stopping.wait_for(Option::is_some).await {
        Ok(reason) => reason.unwrap_or(Reason::ShuttingDown),
        // The sender was dropped without a reason.
        Err(_) => Reason::ShuttingDown,
    }
}

/// Failure of a registration that ended without a message of the relay.
fn silence(reason: Reason) -> String {
    match reason {
        Reason::HandshakeTimeout => "it did not answer in time".to_owned(),
        Reason::HeartbeatTimeout => "it fell silent".to_owned(),
        Reason::BadRequest => "it does not keep to the protocol".to_owned(),
        other => other.to_string(),
    }
}

/// Advice to the owner if the relay refuses this daemon; `None` if only waiting helps.
const fn advice(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::Replaced => {
            "another daemon with this identity is registered there: a copy of the state folder is in use, on another machine \
             perhaps; stop one of the two, or give it a state folder of its own"
        }
        Reason::RelayTokenInvalid => "the relay is private",
        Reason::RelayOriginUnknown => "the relay does not take the registration for its own",
        Reason::IdentityMissing => "the relay does not accept this daemon's proof of identity",
        reason if reason.is_recoverable() => return None,
        _ => "the relay and this daemon do not understand each other",
    })
}
