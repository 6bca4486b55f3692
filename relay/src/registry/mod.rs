//! Registered daemons, their sessions, and the mailbox of each session's task.
//!
//! One lock guards the whole map. It is taken when sockets open and close, never when bytes pass,
//! and no code blocks while it holds the lock.

pub(crate) mod mailbox;

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use bowline_machines::MonotonicTime;
use bowline_protocol::{
    IdentityError, Reason, RouteKey, ServerId,
    identity::random_bytes,
    relay::{
        CloseText, DataToken, KnownDevices,
        limits::{CONTROL_QUEUE, STRANGERS_PER_DAEMON},
    },
};
use tokio::sync::{mpsc, oneshot};

use crate::{clock, metrics::Gauges, socket::Socket};
use mailbox::{Mail, Mailbox};

/// A message for a daemon's control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Opened(RouteKey),
    Closed(RouteKey),
}

/// The control socket's handle of a registration.
#[derive(Debug)]
pub(crate) struct Registered {
    /// Distinguishes this registration from earlier and later ones.
    pub(crate) generation: u64,
    pub(crate) token: DataToken,
    /// The sessions at registration; `events` has the later changes.
    pub(crate) sessions: Vec<RouteKey>,
    pub(crate) events: mpsc::Receiver<Event>,
    /// Completes with the reason when the socket must end.
    pub(crate) end: oneshot::Receiver<CloseText>,
}

/// Counts one client socket of a daemon until dropped.
#[derive(Debug)]
pub(crate) struct Member(Arc<AtomicU32>);

impl Member {
    fn join(count: &Arc<AtomicU32>, most: u32) -> Option<Self> {
        let within = |now: u32| (most == 0 || now < most).then_some(now + 1);
        count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, within)
            .ok()?;
        Some(Self(Arc::clone(count)))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Result of assigning a client socket.
#[derive(Debug)]
pub(crate) enum Opened {
    /// Passed to the running task of its session.
    Joined,
    /// Passed to a new session; the caller starts its task with this mailbox.
    New(Arc<Mailbox>),
    /// Refused, with the reason.
    Refused(Box<Socket>, Reason),
}

#[derive(Debug, Default)]
pub(crate) struct DaemonRegistry {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    daemons: HashMap<ServerId, Daemon>,
    /// Daemons by the hash of their data token.
    tokens: HashMap<[u8; 32], ServerId>,
    generation: u64,
}

#[derive(Debug, Default)]
struct Daemon {
    control: Option<ControlHandle>,
    /// Time since which there is no control socket.
    orphaned: Option<MonotonicTime>,
    sessions: HashMap<RouteKey, Arc<Mailbox>>,
    clients: Arc<AtomicU32>,
    /// The devices that it knows, once it has said so. In memory only.
    devices: Option<KnownDevices>,
    /// Client sockets of others.
    strangers: Arc<AtomicU32>,
}

#[derive(Debug)]
struct ControlHandle {
    generation: u64,
    token: [u8; 32],
    events: mpsc::Sender<Event>,
    end: Option<oneshot::Sender<CloseText>>,
}

impl ControlHandle {
    fn tell(&mut self, event: Event) {
        // A daemon that does not take its events in time registers again, and `sync` has the full
        // state.
        if self.events.try_send(event).is_err() {
            self.finish(Reason::SlowConsumer.into());
        }
    }

    fn finish(&mut self, text: CloseText) {
        if let Some(end) = self.end.take() {
            let _ = end.send(text);
        }
    }
}

impl Daemon {
    fn is_stranger(&self, session: &RouteKey) -> bool {
        self.devices
            .as_ref()
            .is_some_and(|devices| !devices.contains(session))
    }

    /// Counts a client socket, in the pool of friends or in that of strangers. A full pool of
    /// strangers makes room by a session of any of them, so that nobody can keep all its places
    /// (TR-10).
    fn admit(&self, session: &RouteKey, most: u32) -> Option<Member> {
        if !self.is_stranger(session) {
            return Member::join(&self.clients, most);
        }
        if self.strangers.load(Ordering::Relaxed) >= STRANGERS_PER_DAEMON {
            let others = || {
                self.sessions
                    .iter()
                    .filter(|(route, _)| self.is_stranger(route))
            };
            let random: [u8; 4] = random_bytes().unwrap_or_default();
            let index = u32::from_ne_bytes(random) as usize % others().count().max(1);
            if let Some((_, mailbox)) = others().nth(index) {
                mailbox.post(Mail::End(Reason::SessionCapacity.into()));
            }
        }
        // Those that were told to end still count for a moment.
        Member::join(&self.strangers, 2 * STRANGERS_PER_DAEMON)
    }

    fn is_gone(&self) -> bool {
        self.control.is_none() && self.sessions.is_empty()
    }
}

impl DaemonRegistry {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a daemon that has proved its identity. An earlier registration ends with close
    /// code 4430; its sessions stay.
    ///
    /// # Errors
    /// If the system provides no randomness for a token.
    pub(crate) fn register(&self, server: &ServerId) -> Result<Registered, IdentityError> {
        let token = DataToken::random()?;
        let (events, receiver) = mpsc::channel(CONTROL_QUEUE);
        let (end, ended) = oneshot::channel();
        let mut state = self.state();
        state.generation += 1;
        let generation = state.generation;
        let daemon = state.daemons.entry(server.clone()).or_default();
        daemon.orphaned = None;
        let sessions = daemon.sessions.keys().cloned().collect();
        let earlier = daemon.control.replace(ControlHandle {
            generation,
            token: token.digest(),
            events,
            end: Some(end),
        });
        if let Some(mut earlier) = earlier {
            earlier.finish(Reason::Replaced.into());
            state.tokens.remove(&earlier.token);
        }
        state.tokens.insert(token.digest(), server.clone());
        Ok(Registered {
            generation,
            token,
            sessions,
            events: receiver,
            end: ended,
        })
    }

    /// Handles the end of a control socket. No effect if a later registration has replaced it.
    pub(crate) fn unregister(&self, server: &ServerId, generation: u64) {
        let mut state = self.state();
        let Entry::Occupied(mut entry) = state.daemons.entry(server.clone()) else {
            return;
        };
        let daemon = entry.get_mut();
        if daemon.control.as_ref().map(|c| c.generation) != Some(generation) {
            return;
        }
        let token = daemon.control.take().map(|control| control.token);
        daemon.orphaned = Some(clock::now());
        if daemon.is_gone() {
            entry.remove();
        }
        if let Some(token) = token {
            state.tokens.remove(&token);
        }
    }

    /// Takes a registered daemon's list of the devices that it knows.
    pub(crate) fn know(&self, server: &ServerId, generation: u64, devices: KnownDevices) {
        let mut state = self.state();
        if let Some(daemon) = state.daemons.get_mut(server)
            && daemon.control.as_ref().map(|c| c.generation) == Some(generation)
        {
            daemon.devices = Some(devices);
        }
    }

    /// Assigns a client socket to its session.
    pub(crate) fn open(
        &self,
        server: &ServerId,
        session: &RouteKey,
        socket: Box<Socket>,
        most: u32,
    ) -> Opened {
        let mut state = self.state();
        let Some(daemon) = state.daemons.get_mut(server) else {
            return Opened::Refused(socket, Reason::DaemonOffline);
        };
        if daemon.control.is_none() {
            return Opened::Refused(socket, Reason::DaemonOffline);
        }
        let Some(member) = daemon.admit(session, most) else {
            return Opened::Refused(socket, Reason::SessionCapacity);
        };
        let Daemon {
            control, sessions, ..
        } = daemon;
        let mail = Mail::Client(socket, member);
        match sessions.entry(session.clone()) {
            Entry::Occupied(mailbox) => {
                mailbox.get().post(mail);
                Opened::Joined
            }
            Entry::Vacant(vacant) => {
                let mailbox = Arc::new(Mailbox::default());
                mailbox.post(mail);
                vacant.insert(Arc::clone(&mailbox));
                if let Some(control) = control {
                    control.tell(Event::Opened(session.clone()));
                }
                Opened::New(mailbox)
            }
        }
    }

    /// The daemon of a data token, if it has that session.
    pub(crate) fn find(&self, token: &DataToken, session: &RouteKey) -> Result<ServerId, NotFound> {
        let state = self.state();
        let server = state.tokens.get(&token.digest()).ok_or(NotFound::Token)?;
        let daemon = state.daemons.get(server).ok_or(NotFound::Token)?;
        if daemon.sessions.contains_key(session) {
            Ok(server.clone())
        } else {
            Err(NotFound::Session)
        }
    }

    /// Assigns a data socket to its session; returns the socket if the session has ended.
    pub(crate) fn attach(
        &self,
        server: &ServerId,
        session: &RouteKey,
        socket: Box<Socket>,
    ) -> Result<(), Box<Socket>> {
        let state = self.state();
        let daemon = state.daemons.get(server);
        match daemon.and_then(|daemon| daemon.sessions.get(session)) {
            Some(mailbox) => {
                mailbox.post(Mail::Data(socket));
                Ok(())
            }
            None => Err(socket),
        }
    }

    /// Removes a session without clients. Returns `false` if its mailbox is not empty: the session
    /// stays, and with `afresh` the daemon is sent that it closed and opened, so that it dials a
    /// new data socket.
    pub(crate) fn retire(
        &self,
        server: &ServerId,
        session: &RouteKey,
        mailbox: &Mailbox,
        afresh: bool,
    ) -> bool {
        let mut state = self.state();
        let Entry::Occupied(mut entry) = state.daemons.entry(server.clone()) else {
            return true;
        };
        let daemon = entry.get_mut();
        let retired = mailbox.is_empty();
        if let Some(control) = &mut daemon.control
            && (retired || afresh)
        {
            control.tell(Event::Closed(session.clone()));
            if !retired {
                control.tell(Event::Opened(session.clone()));
            }
        }
        if retired {
            daemon.sessions.remove(session);
            if daemon.is_gone() {
                entry.remove();
            }
        }
        retired
    }

    /// Ends the sessions of daemons that have had no control socket for too long.
    pub(crate) fn end_orphans(&self, is_over: impl Fn(MonotonicTime) -> bool) {
        let state = self.state();
        let orphans = state.daemons.values();
        for daemon in orphans.filter(|d| d.orphaned.is_some_and(&is_over)) {
            for mailbox in daemon.sessions.values() {
                mailbox.post(Mail::End(Reason::DaemonOffline.into()));
            }
        }
    }

    /// Ends all control sockets and sessions, each with its own text.
    pub(crate) fn end_all(
        &self,
        mut daemons: impl FnMut() -> CloseText,
        mut sessions: impl FnMut() -> CloseText,
    ) {
        let mut state = self.state();
        for daemon in state.daemons.values_mut() {
            if let Some(control) = &mut daemon.control {
                control.finish(daemons());
            }
            for mailbox in daemon.sessions.values() {
                mailbox.post(Mail::End(sessions()));
            }
        }
    }

    pub(crate) fn gauges(&self) -> Gauges {
        let state = self.state();
        let mut gauges = Gauges::default();
        for daemon in state.daemons.values() {
            gauges.daemons += usize::from(daemon.control.is_some());
            gauges.sessions += daemon.sessions.len();
            gauges.clients += daemon.clients.load(Ordering::Relaxed) as usize;
            gauges.clients += daemon.strangers.load(Ordering::Relaxed) as usize;
        }
        gauges
    }
}

/// Refusal of a data socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotFound {
    /// No current registration has that token.
    Token,
    /// The session has no clients.
    Session,
}
