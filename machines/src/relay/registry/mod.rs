//! The daemons of a relay: the registration in force of each, its sessions, and who may join them
//! (RL-2).
//!
//! ```text
//!  of one daemon
//!               register                    unregister, by the registration in force
//!  (unknown) ─────────────► Registered ─────────────────────► Orphaned
//!     ▲                      │  ▲   ▲                           │  │ absent for too long:
//!     │             register │  │   └───────── register ────────┘  │ its sessions end
//!     │     (the earlier one └──┘                                  │
//!     │                ends)                                       │
//!     └──────────────── neither a control socket nor a session ────┘
//! ```
//!
//! **Registrations.** Each is one generation up from all before it. A control socket that ends
//! later than its replacement changes nothing.
//!
//! **Sessions.** A session opens with its first client and exists until its task retires it. It
//! outlives the control socket for a while; clients are refused meanwhile. The daemon is sent each
//! change, and one that does not take them in time registers again: `sync` has the full state.
//!
//! **Pools.** Client sockets count in one of two pools: those of devices that the daemon knows, and
//! those of strangers. Strangers cannot take the places of the others, and a full pool of them
//! makes room by a session of any of them, so that nobody can keep all its places (TR-10).
//!
//! `S` is the relay's handle of a session, which this machine only stores and returns. Sockets
//! leave their pools without this machine, so the relay counts them and passes the numbers. Each
//! call costs the same however many daemons and sessions there are, except an eviction, an end of
//! orphans and the end of all.

mod daemon;
mod restart;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, hash_map::Entry};

use bowline_protocol::{
    Reason, RouteKey, ServerId,
    relay::{CloseText, KnownDevices},
};

use self::{
    daemon::{Daemon, Presence},
    restart::Restart,
};
use crate::{Generation, MonotonicTime, effects::EffectQueue};

/// News of a session for its daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionNews {
    /// It has its first client.
    Opened,
    /// It has no more clients.
    Closed,
}

/// A pool of client sockets of one daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Of the devices that the daemon knows; of all while it has not said which.
    Friends,
    /// Of all others.
    Strangers,
}

/// Client sockets of one daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCounts {
    /// In the pool of friends.
    pub friends: u32,
    /// In the pool of strangers.
    pub strangers: u32,
}

/// A place for a client socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<S> {
    /// Its session.
    pub session: S,
    /// Whether it is the session's first one.
    pub is_new: bool,
    /// The pool that it counts in.
    pub pool: Pool,
}

/// Effects for the relay, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<S> {
    /// Queue news for the control socket of a daemon. If there is no room, call
    /// [`RelayRegistry::queue_full`].
    Tell {
        /// The daemon.
        server: ServerId,
        /// The session.
        session: RouteKey,
        /// The news.
        news: SessionNews,
    },
    /// End the control socket of a daemon's registration.
    EndControl {
        /// The daemon.
        server: ServerId,
        /// The close text.
        text: CloseText,
    },
    /// A registration is no longer in force: its data token is void.
    Revoke {
        /// The daemon.
        server: ServerId,
    },
    /// End a session.
    EndSession {
        /// The session.
        session: S,
        /// The close text.
        text: CloseText,
    },
    /// Nothing of a daemon is left.
    Forget {
        /// The daemon.
        server: ServerId,
    },
}

/// The machine.
#[derive(Clone, Debug)]
pub struct RelayRegistry<S> {
    daemons: HashMap<ServerId, Daemon<S>>,
    /// Of the latest registration of any daemon.
    generation: Generation,
    effects: EffectQueue<Effect<S>>,
}

impl<S> Default for RelayRegistry<S> {
    fn default() -> Self {
        Self {
            daemons: HashMap::new(),
            generation: Generation::ZERO,
            effects: EffectQueue::default(),
        }
    }
}

impl<S: Clone> RelayRegistry<S> {
    /// Registers a daemon that has proved its identity, and returns the registration's generation.
    /// An earlier registration ends with `replaced`; its sessions stay.
    pub fn register(&mut self, server: &ServerId) -> Generation {
        self.generation = self.generation.next();
        let generation = self.generation;
        match self.daemons.entry(server.clone()) {
            Entry::Occupied(mut entry) => {
                let daemon = entry.get_mut();
                if let Presence::Registered { .. } = daemon.presence {
                    daemon.end_control(server, Reason::Replaced.into(), &mut self.effects);
                    let server = server.clone();
                    self.effects.push(Effect::Revoke { server });
                }
                daemon.presence = Presence::registered(generation);
            }
            Entry::Vacant(entry) => {
                entry.insert(Daemon::new(generation));
            }
        }
        generation
    }

    /// Handles the end of a control socket. No effect if a later registration has replaced it.
    pub fn unregister(&mut self, now: MonotonicTime, server: &ServerId, generation: Generation) {
        if let Some(daemon) = self.registered(server, generation) {
            daemon.presence = Presence::Orphaned { since: now };
            let revoked = server.clone();
            self.effects.push(Effect::Revoke { server: revoked });
            self.forget(server);
        }
    }

    /// Handles a list of the devices that a daemon knows, if its registration is in force.
    pub fn know(&mut self, server: &ServerId, generation: Generation, devices: KnownDevices) {
        if let Some(daemon) = self.registered(server, generation) {
            daemon.devices = Some(devices);
        }
    }

    /// Handles a control socket's queue that had no room: a daemon that does not take its news in
    /// time ends, and registers again.
    pub fn queue_full(&mut self, server: &ServerId) {
        if let Some(daemon) = self.daemons.get_mut(server) {
            daemon.end_control(server, Reason::SlowConsumer.into(), &mut self.effects);
        }
    }

    /// Assigns a client socket to its session, which `fresh` creates if there is none. `counts`:
    /// the daemon's client sockets now; `most`: the bound of friends, 0: none; `random`: chooses
    /// who makes room.
    ///
    /// # Errors
    /// The reason for which it is refused: `daemon_offline`, `session_capacity`.
    pub fn open(
        &mut self,
        server: &ServerId,
        session: &RouteKey,
        counts: PoolCounts,
        most: u32,
        random: u32,
        fresh: impl FnOnce() -> S,
    ) -> Result<Place<S>, Reason> {
        let daemon = self.daemons.get_mut(server);
        let daemon = daemon.filter(|daemon| daemon.is_registered());
        let daemon = daemon.ok_or(Reason::DaemonOffline)?;
        let pool = daemon.admit(session, counts, most, random, &mut self.effects)?;
        if let Some(session) = daemon.sessions.get(session) {
            return Ok(Place {
                session: session.clone(),
                is_new: false,
                pool,
            });
        }
        let handle = fresh();
        daemon.sessions.insert(session.clone(), handle.clone());
        daemon.tell(server, session, SessionNews::Opened, &mut self.effects);
        Ok(Place {
            session: handle,
            is_new: true,
            pool,
        })
    }

    /// Removes a session without clients and returns whether it did. If a socket `is_joining`, the
    /// session stays, and with `afresh` the daemon is sent that it closed and opened, so that it
    /// dials a new data socket.
    pub fn retire(
        &mut self,
        server: &ServerId,
        session: &RouteKey,
        is_joining: bool,
        afresh: bool,
    ) -> bool {
        let Some(daemon) = self.daemons.get_mut(server) else {
            return true;
        };
        if !is_joining || afresh {
            daemon.tell(server, session, SessionNews::Closed, &mut self.effects);
        }
        if is_joining {
            if afresh {
                daemon.tell(server, session, SessionNews::Opened, &mut self.effects);
            }
            return false;
        }
        daemon.sessions.remove(session);
        self.forget(server);
        true
    }

    /// Ends the sessions of daemons whose absence, since the time passed, is over.
    pub fn end_orphans(&mut self, is_over: impl Fn(MonotonicTime) -> bool) {
        for daemon in self.daemons.values() {
            if let Presence::Orphaned { since } = daemon.presence
                && is_over(since)
            {
                daemon.end_sessions(|| Reason::DaemonOffline.into(), &mut self.effects);
            }
        }
    }

    /// Ends all control sockets and sessions, since the relay restarts. Each is told its own time
    /// to return, daemons an earlier one than clients. `clients`: all client sockets; `seed`: of
    /// the times.
    pub fn end_all(&mut self, clients: usize, seed: u64) {
        let mut restart = Restart::new(clients, seed);
        for (server, daemon) in &mut self.daemons {
            daemon.end_control(server, restart.daemon(), &mut self.effects);
            daemon.end_sessions(|| restart.session(), &mut self.effects);
        }
    }

    /// The next effect to execute.
    pub fn poll_effect(&mut self) -> Option<Effect<S>> {
        self.effects.pop()
    }

    /// The session of that name.
    pub fn session(&self, server: &ServerId, session: &RouteKey) -> Option<&S> {
        self.daemons.get(server)?.sessions.get(session)
    }

    /// Names of the daemon's sessions, in no order.
    pub fn sessions(&self, server: &ServerId) -> impl Iterator<Item = &RouteKey> {
        let daemon = self.daemons.get(server).into_iter();
        daemon.flat_map(|daemon| daemon.sessions.keys())
    }

    /// Number of daemons with a registration in force, and of sessions of all daemons.
    pub fn counts(&self) -> (usize, usize) {
        let daemons = self.daemons.values();
        daemons.fold((0, 0), |(registered, sessions), daemon| {
            let is_registered = usize::from(daemon.is_registered());
            (registered + is_registered, sessions + daemon.sessions.len())
        })
    }

    /// The daemon, if the registration of this generation is in force.
    fn registered(&mut self, server: &ServerId, of: Generation) -> Option<&mut Daemon<S>> {
        let daemon = self.daemons.get_mut(server)?;
        match daemon.presence {
            Presence::Registered { generation, .. } if generation == of => Some(daemon),
            Presence::Registered { .. } | Presence::Orphaned { .. } => None,
        }
    }

    /// Forgets a daemon of which nothing is left.
    fn forget(&mut self, server: &ServerId) {
        if self.daemons.get(server).is_some_and(Daemon::is_gone) {
            self.daemons.remove(server);
            let server = server.clone();
            self.effects.push(Effect::Forget { server });
        }
    }
}
