//! The daemon's session: one logical session per `clientSessionKey`, whatever connections come and go (INV-1…3).
//!
//! ```text
//!              attach                       last detach
//!  Detached ───────────► Attached ──┐◄─┐  ─────────────► Detached
//!     │ grace used up       │   attach/detach (others stay)
//!     ▼                     │ revoke
//!  Expired ◄────────────────┘
//! ```
//!
//! **Attaching takes two steps**, because nothing may change before the client's first transport message has
//! decrypted (`docs/protocol.md` §2): at the hello the driver asks [`Session::plan_attach`], which only reads, and answers
//! with the welcome; at `session.ready` it asks [`Session::confirm`] whether the promise still holds, and only then
//! feeds [`Input::Attach`].
//!
//! **Grace** (SV-2) runs only while detached, and only while the daemon is awake (lesson 5): it is used up in steps of a
//! 24th of its length, and a step whose timer comes late by more than a step counts as one step. A machine that slept for a
//! week has used up one step, not seven days. After a daemon restart the grace runs on ([`Session::restored`], BX-4),
//! but at least one step is always left, since no client could have come back while the daemon was down.

mod transitions;

#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use bowline_protocol::{
    Epoch, Reason, Resume,
    limits::{CONNECTIONS_PER_SESSION, SESSION_GRACE},
};

use crate::{Moment, Path, Transition, outbox::Outbox};

/// The daemon's label of one connection. It never leaves the process (INV-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Bounds of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionConfig {
    /// How long a detached session is kept; zero is for ever.
    pub grace: Duration,
    /// Most connections at once; over it the one idle for longest is closed with `session_capacity` (lesson 2).
    pub max_connections: u16,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            grace: SESSION_GRACE,
            max_connections: u16::try_from(CONNECTIONS_PER_SESSION).unwrap_or(u16::MAX),
        }
    }
}

impl SessionConfig {
    /// Longest time that one check of the clock may take off the grace.
    fn step(&self) -> Duration {
        (self.grace / 24)
            .max(Duration::from_secs(1))
            .min(self.grace)
    }
}

/// Which events a session can replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayWindow {
    /// The numbering in force.
    pub epoch: Epoch,
    /// Oldest event that can be replayed; equal to `next_seq` when there is none.
    pub first_seq: u64,
    /// Number of the next event that will be made.
    pub next_seq: u64,
    /// Numbers below this were given to the events that the client's stamp vouches for: a store that went back to an
    /// earlier state gives the later ones to other events. Zero for a stamp that the store does not know, or none.
    pub shared_to: u64,
}

impl ReplayWindow {
    /// Whether a client that has applied everything up to `last_seq` can go on from there.
    const fn reaches(&self, last_seq: u64) -> bool {
        self.first_seq <= last_seq.saturating_add(1) && last_seq < self.next_seq
    }
}

/// What an attach would be, as told in the welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttachPlan {
    /// Nobody has ever held this session. Welcome: `new`, the window's epoch and `nextSeq`.
    New,
    /// Goes on. Welcome: `resumed`, the window's epoch and `nextSeq`; replay begins after `after`.
    Resumed {
        /// The last event the client has applied.
        after: u64,
    },
    /// The client refetches what it shows. Welcome: `reset`.
    Reset {
        /// `false`: the driver makes a new epoch, promises it with `nextSeq` 1, and installs it (an empty replay
        /// log) when the attach is confirmed. `true`: other connections rely on the epoch (INV-3), so it stays, and the
        /// client's cursor is the window's `next_seq`.
        keep_epoch: bool,
    },
}

/// One connection that holds the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// Its label.
    pub id: ConnectionId,
    /// Which way it goes.
    pub path: Path,
    /// When it was last heard of.
    pub active_at: Moment,
}

/// Where a session stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// No connection.
    Detached {
        /// Since when.
        since: Moment,
        /// What is left of the grace at `checked_at`.
        grace_left: Duration,
        /// Up to when the grace has been counted.
        checked_at: Moment,
    },
    /// Held by these connections, oldest first, at least one.
    Attached {
        /// Who holds it.
        connections: Vec<Link>,
    },
    /// Over for good; the driver forgets it.
    Expired,
}

impl State {
    /// The name in logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Detached { .. } => "detached",
            Self::Attached { .. } => "attached",
            Self::Expired => "expired",
        }
    }
}

/// What can happen to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A connection's `session.ready` arrived and [`Session::confirm`] agreed.
    Attach {
        /// Which.
        connection: ConnectionId,
        /// Which way it goes.
        path: Path,
    },
    /// A connection was heard of. Cheap, but once a second for each connection is enough.
    Activity {
        /// Which.
        connection: ConnectionId,
    },
    /// A connection ended.
    Detach {
        /// Which.
        connection: ConnectionId,
        /// Why.
        reason: Reason,
    },
    /// The device that holds the session was revoked (lesson 18).
    Revoke,
}

/// What the driver must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Close that connection. It no longer holds the session.
    Close {
        /// Which.
        connection: ConnectionId,
        /// Why.
        reason: Reason,
    },
    /// Forget the session with its replay log, subscriptions and stored row.
    Expire,
}

/// The session machine. Small on purpose: a daemon keeps thousands of detached ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    config: SessionConfig,
    state: State,
    ever_attached: bool,
    stale: u32,
    refused: u32,
    effects: Outbox<Effect>,
    transitions: Outbox<Transition>,
}

impl Session {
    /// A session that begins now. Its first attach is [`AttachPlan::New`].
    pub fn new(config: SessionConfig, now: Moment) -> Self {
        Self::detached(config, now, config.grace, false)
    }

    /// A session found in the store after a restart of the daemon, `detached_for` after it lost its last connection
    /// (by the wall clock; zero when it was attached as the daemon went away). It has been attached before (INV-2, BX-4).
    pub fn restored(config: SessionConfig, now: Moment, detached_for: Duration) -> Self {
        let left = config.grace.saturating_sub(detached_for).max(config.step());
        Self::detached(config, now, left, true)
    }

    fn detached(config: SessionConfig, now: Moment, grace_left: Duration, before: bool) -> Self {
        Self {
            config,
            state: State::Detached {
                since: now,
                grace_left,
                checked_at: now,
            },
            ever_attached: before,
            stale: 0,
            refused: 0,
            effects: Outbox::default(),
            transitions: Outbox::default(),
        }
    }

    /// What an attach would be now. Reads only: a replayed hello changes nothing.
    ///
    /// A session that the driver does not know yet, or that has expired, is attached as [`AttachPlan::New`].
    pub fn plan_attach(&self, resume: Option<&Resume>, window: &ReplayWindow) -> AttachPlan {
        let keep_epoch = match &self.state {
            State::Expired => return AttachPlan::New,
            State::Detached { .. } if !self.ever_attached => return AttachPlan::New,
            State::Detached { .. } => false,
            State::Attached { .. } => true,
        };
        match resume {
            Some(resume)
                if resume.epoch == window.epoch
                    && window.reaches(resume.last_seq)
                    && resume.last_seq < window.shared_to =>
            {
                AttachPlan::Resumed {
                    after: resume.last_seq,
                }
            }
            Some(_) | None => AttachPlan::Reset { keep_epoch },
        }
    }

    /// Whether what the welcome promised can still be kept at `session.ready`: between the two, other connections may
    /// have attached, or the replay log may have moved on.
    ///
    /// `planned` is the window that [`Session::plan_attach`] saw, `window` the one now.
    ///
    /// # Errors
    /// The reason to close with, a recoverable one: the client was overtaken and connects again.
    pub fn confirm(
        &self,
        plan: AttachPlan,
        planned: &ReplayWindow,
        window: &ReplayWindow,
    ) -> Result<(), Reason> {
        let (unheld, fresh) = match &self.state {
            State::Detached { .. } => (true, !self.ever_attached),
            State::Attached { .. } => (false, false),
            State::Expired => return Err(Reason::SessionChanged),
        };
        let holds = planned.epoch == window.epoch
            && match plan {
                AttachPlan::New => fresh,
                AttachPlan::Resumed { after } => window.reaches(after),
                AttachPlan::Reset { keep_epoch: true } => {
                    window.reaches(planned.next_seq.saturating_sub(1))
                }
                AttachPlan::Reset { keep_epoch: false } => unheld,
            };
        if holds {
            Ok(())
        } else {
            Err(Reason::SessionChanged)
        }
    }

    /// Feeds one input.
    pub fn handle(&mut self, now: Moment, input: Input) {
        if self.is_stale(&input) {
            self.stale = self.stale.saturating_add(1);
            return;
        }
        self.transition(now, input);
    }

    /// To be called when [`Session::poll_timeout`] has passed.
    pub fn handle_timeout(&mut self, now: Moment) {
        self.check_grace(now);
    }

    /// When [`Session::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Moment> {
        match &self.state {
            State::Detached {
                grace_left,
                checked_at,
                ..
            } if self.config.grace > Duration::ZERO => {
                Some(*checked_at + (*grace_left).min(self.config.step()))
            }
            // Zero grace keeps a session for ever; a held one is its connections' matter; an expired one is over.
            State::Detached { .. } | State::Attached { .. } | State::Expired => None,
        }
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop()
    }

    /// The next record for the log.
    pub fn poll_transition(&mut self) -> Option<Transition> {
        self.transitions.pop()
    }

    /// Where the session stands.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Who holds the session.
    pub fn connections(&self) -> &[Link] {
        match &self.state {
            State::Attached { connections } => connections,
            State::Detached { .. } | State::Expired => &[],
        }
    }

    /// Whether the session is over.
    pub const fn is_expired(&self) -> bool {
        matches!(self.state, State::Expired)
    }

    /// Since when no connection has held it.
    pub const fn detached_since(&self) -> Option<Moment> {
        match &self.state {
            State::Detached { since, .. } => Some(*since),
            State::Attached { .. } | State::Expired => None,
        }
    }

    /// How many inputs named a connection that does not hold the session; they changed nothing.
    pub const fn stale(&self) -> u32 {
        self.stale
    }

    /// How many changes of state were not in the table and did not happen: a defect if not zero.
    pub const fn refused(&self) -> u32 {
        self.refused
    }
}
