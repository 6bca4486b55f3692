//! Registered daemons, their sessions, and the mailbox of each session's task. [`RelayRegistry`]
//! decides.
//!
//! One lock guards all of it. It is taken when sockets open and close, never when bytes pass, and
//! no code blocks while it holds the lock.

pub(crate) mod mailbox;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use bowline_machines::{
    Generation, MonotonicTime,
    relay::registry::{Effect, Pool, PoolCounts, RelayRegistry, SessionNews},
};
use bowline_protocol::{
    IdentityError, Reason, RouteKey, ServerId,
    identity::random_bytes,
    relay::{CloseText, DataToken, KnownDevices, limits::CONTROL_QUEUE},
};
use tokio::sync::{mpsc, oneshot};

use crate::{clock, metrics::Gauges, socket::Socket};
use mailbox::{Mail, Mailbox};

/// A message for a daemon's control socket.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) session: RouteKey,
    pub(crate) news: SessionNews,
}

/// The control socket's handle of a registration.
#[derive(Debug)]
pub(crate) struct Registered {
    /// Distinguishes this registration from earlier and later ones.
    pub(crate) generation: Generation,
    pub(crate) token: DataToken,
    /// The sessions at registration; `events` has the later changes.
    pub(crate) sessions: Vec<RouteKey>,
    pub(crate) events: mpsc::Receiver<Event>,
    /// Completes with the reason when the socket must end.
    pub(crate) end: oneshot::Receiver<CloseText>,
}

/// Counts one client socket in a pool of its daemon until dropped.
#[derive(Debug)]
pub(crate) struct Member(Arc<AtomicU32>);

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
    machine: RelayRegistry<Arc<Mailbox>>,
    /// One for each daemon of the machine.
    daemons: HashMap<ServerId, DaemonHandles>,
    /// Daemons by the hash of their data token.
    tokens: HashMap<[u8; 32], ServerId>,
}

#[derive(Debug, Default)]
struct DaemonHandles {
    control: Option<ControlHandle>,
    pools: Pools,
}

#[derive(Debug)]
struct ControlHandle {
    token: [u8; 32],
    events: mpsc::Sender<Event>,
    end: Option<oneshot::Sender<CloseText>>,
}

/// The client sockets of one daemon. They join under the lock and leave without it.
#[derive(Clone, Debug, Default)]
struct Pools {
    friends: Arc<AtomicU32>,
    strangers: Arc<AtomicU32>,
}

impl Pools {
    fn counts(&self) -> PoolCounts {
        PoolCounts {
            friends: self.friends.load(Ordering::Relaxed),
            strangers: self.strangers.load(Ordering::Relaxed),
        }
    }

    fn join(&self, pool: Pool) -> Member {
        let count = match pool {
            Pool::Friends => &self.friends,
            Pool::Strangers => &self.strangers,
        };
        count.fetch_add(1, Ordering::Relaxed);
        Member(Arc::clone(count))
    }
}

impl State {
    fn control(&mut self, server: &ServerId) -> Option<&mut ControlHandle> {
        self.daemons.get_mut(server)?.control.as_mut()
    }

    /// All client sockets.
    fn clients(&self) -> usize {
        let pools = self.daemons.values().map(|daemon| daemon.pools.counts());
        pools
            .map(|pool| pool.friends as usize + pool.strangers as usize)
            .sum()
    }

    /// Executes the machine's effects.
    fn execute(&mut self) {
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::Tell {
                    server,
                    session,
                    news,
                } => {
                    let event = Event { session, news };
                    let control = self.control(&server);
                    if control.is_some_and(|control| control.events.try_send(event).is_err()) {
                        self.machine.queue_full(&server);
                    }
                }
                Effect::EndControl { server, text } => {
                    if let Some(end) = self.control(&server).and_then(|one| one.end.take()) {
                        let _ = end.send(text);
                    }
                }
                Effect::Revoke { server } => {
                    let daemon = self.daemons.get_mut(&server);
                    if let Some(control) = daemon.and_then(|daemon| daemon.control.take()) {
                        self.tokens.remove(&control.token);
                    }
                }
                Effect::EndSession { session, text } => session.post(Mail::End(text)),
                Effect::Forget { server } => drop(self.daemons.remove(&server)),
            }
        }
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
        let generation = state.machine.register(server);
        state.execute();
        let digest = token.digest();
        state.tokens.insert(digest, server.clone());
        let daemon = state.daemons.entry(server.clone()).or_default();
        daemon.control = Some(ControlHandle {
            token: digest,
            events,
            end: Some(end),
        });
        Ok(Registered {
            generation,
            token,
            sessions: state.machine.sessions(server).cloned().collect(),
            events: receiver,
            end: ended,
        })
    }

    /// Handles the end of a control socket. No effect if a later registration has replaced it.
    pub(crate) fn unregister(&self, server: &ServerId, generation: Generation) {
        let mut state = self.state();
        state.machine.unregister(clock::now(), server, generation);
        state.execute();
    }

    /// Takes a registered daemon's list of the devices that it knows.
    pub(crate) fn know(&self, server: &ServerId, generation: Generation, devices: KnownDevices) {
        self.state().machine.know(server, generation, devices);
    }

    /// Assigns a client socket to its session.
    pub(crate) fn open(
        &self,
        server: &ServerId,
        session: &RouteKey,
        socket: Box<Socket>,
        most: u32,
    ) -> Opened {
        let random = u32::from_ne_bytes(random_bytes().unwrap_or_default());
        let mut state = self.state();
        let pools = state.daemons.get(server).map(|one| one.pools.clone());
        let pools = pools.unwrap_or_default();
        let place = state
            .machine
            .open(server, session, pools.counts(), most, random, Arc::default);
        state.execute();
        match place {
            Err(reason) => Opened::Refused(socket, reason),
            Ok(place) => {
                let mailbox = place.session;
                mailbox.post(Mail::Client(socket, pools.join(place.pool)));
                if place.is_new {
                    Opened::New(mailbox)
                } else {
                    Opened::Joined
                }
            }
        }
    }

    /// The daemon of a data token, if it has that session.
    pub(crate) fn find(&self, token: &DataToken, session: &RouteKey) -> Result<ServerId, NotFound> {
        let state = self.state();
        let server = state.tokens.get(&token.digest()).ok_or(NotFound::Token)?;
        let session = state.machine.session(server, session);
        session.map(|_| server.clone()).ok_or(NotFound::Session)
    }

    /// Assigns a data socket to its session; returns the socket if the session has ended.
    pub(crate) fn attach(
        &self,
        server: &ServerId,
        session: &RouteKey,
        socket: Box<Socket>,
    ) -> Result<(), Box<Socket>> {
        match self.state().machine.session(server, session) {
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
        let is_joining = !mailbox.is_empty();
        let retired = state.machine.retire(server, session, is_joining, afresh);
        state.execute();
        retired
    }

    /// Ends the sessions of daemons that have had no control socket for too long.
    pub(crate) fn end_orphans(&self, is_over: impl Fn(MonotonicTime) -> bool) {
        let mut state = self.state();
        state.machine.end_orphans(is_over);
        state.execute();
    }

    /// Ends all control sockets and sessions, each with its own time to return.
    pub(crate) fn end_all(&self) {
        let seed = u64::from_ne_bytes(random_bytes().unwrap_or_default());
        let mut state = self.state();
        let clients = state.clients();
        state.machine.end_all(clients, seed);
        state.execute();
    }

    pub(crate) fn gauges(&self) -> Gauges {
        let state = self.state();
        let (daemons, sessions) = state.machine.counts();
        Gauges {
            daemons,
            sessions,
            clients: state.clients(),
            ..Gauges::default()
        }
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
