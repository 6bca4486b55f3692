//! Who is here: registered daemons, their sessions, and the mail of each session's task.
//!
//! One lock guards the whole map. It is taken when sockets come and go, never when bytes pass, and nothing waits while it
//! is held.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use bowline_protocol::{
    IdentityError, Reason, RouteKey, ServerId,
    relay::{CloseText, DataToken, limits::CONTROL_QUEUE},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::{
    metrics::Gauges,
    session::mailbox::{Mail, Mailbox},
    socket::Socket,
};

/// Something a daemon is to be told on its control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Opened(RouteKey),
    Closed(RouteKey),
}

/// What a control socket holds once its daemon is registered.
#[derive(Debug)]
pub(crate) struct Registered {
    /// Tells this registration from an earlier or later one.
    pub(crate) generation: u64,
    pub(crate) token: DataToken,
    /// The sessions that were here at that moment; events are about what happens after it.
    pub(crate) sessions: Vec<RouteKey>,
    pub(crate) events: mpsc::Receiver<Event>,
    /// Why the socket is to end.
    pub(crate) end: oneshot::Receiver<CloseText>,
}

/// One client socket among those of its daemon; counted until dropped.
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

/// Where a client socket went.
#[derive(Debug)]
pub(crate) enum Opened {
    /// To the task of its session, which is there already.
    Joined,
    /// To a session that has no task yet.
    New(Arc<Mailbox>),
    /// Nowhere.
    Refused(Box<Socket>, Reason),
}

#[derive(Debug, Default)]
pub(crate) struct Registry {
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
    control: Option<Control>,
    /// Since when there is no control socket.
    orphaned: Option<Instant>,
    sessions: HashMap<RouteKey, Arc<Mailbox>>,
    clients: Arc<AtomicU32>,
}

#[derive(Debug)]
struct Control {
    generation: u64,
    token: [u8; 32],
    events: mpsc::Sender<Event>,
    end: Option<oneshot::Sender<CloseText>>,
}

impl Control {
    fn tell(&mut self, event: Event) {
        // A daemon that does not take its events in time registers again, and `sync` tells it everything.
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
    fn is_gone(&self) -> bool {
        self.control.is_none() && self.sessions.is_empty()
    }
}

impl Registry {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a daemon that has proved its identity. It replaces its earlier registration (4430); its sessions stay.
    ///
    /// # Errors
    /// When the system has no randomness for a token.
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
        let earlier = daemon.control.replace(Control {
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

    /// A control socket ended. Nothing happens when a later registration has replaced it.
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
        daemon.orphaned = Some(Instant::now());
        if daemon.is_gone() {
            entry.remove();
        }
        if let Some(token) = token {
            state.tokens.remove(&token);
        }
    }

    /// Brings a client socket to its session.
    pub(crate) fn open(
        &self,
        server: &ServerId,
        session: &RouteKey,
        socket: Box<Socket>,
        most: u32,
    ) -> Opened {
        let mut state = self.state();
        let Some(Daemon {
            control: Some(control),
            sessions,
            clients,
            ..
        }) = state.daemons.get_mut(server)
        else {
            return Opened::Refused(socket, Reason::DaemonOffline);
        };
        let Some(member) = Member::join(clients, most) else {
            return Opened::Refused(socket, Reason::SessionCapacity);
        };
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
                control.tell(Event::Opened(session.clone()));
                Opened::New(mailbox)
            }
        }
    }

    /// The daemon that a data token belongs to, if it has such a session.
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

    /// Brings a data socket to its session; gives it back when the session has gone meanwhile.
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

    /// The task of a session wants to end because its last client is gone. Refused (`false`) when there is mail; with
    /// `afresh` the daemon is then told that it is a new session, whose data socket is still to come.
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

    /// Ends the sessions of daemons that have had no control socket since `before`.
    pub(crate) fn end_orphans(&self, before: Instant) {
        let state = self.state();
        let orphans = state.daemons.values();
        for daemon in orphans.filter(|d| d.orphaned.is_some_and(|since| since <= before)) {
            for mailbox in daemon.sessions.values() {
                mailbox.post(Mail::End(Reason::DaemonOffline.into()));
            }
        }
    }

    /// Ends everything, each daemon and session with a text of its own.
    pub(crate) fn end_all(&self, mut text: impl FnMut() -> CloseText) {
        let mut state = self.state();
        for daemon in state.daemons.values_mut() {
            if let Some(control) = &mut daemon.control {
                control.finish(text());
            }
            for mailbox in daemon.sessions.values() {
                mailbox.post(Mail::End(text()));
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
        }
        gauges
    }
}

/// Why a data socket finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotFound {
    /// No registration in force has that token.
    Token,
    /// The session has no clients.
    Session,
}
