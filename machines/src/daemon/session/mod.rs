//! The daemon's session: one logical session per `clientSessionKey`, independent of its connections
//! (INV-1…3).
//!
//! ```text
//!              attach                       last detach
//!  Detached ───────────► Attached ──┐◄─┐  ─────────────► Detached
//!     │ grace used up       │   attach/detach (others stay)
//!     ▼                     │ revoke
//!  Expired ◄────────────────┘
//! ```
//!
//! **Attaching takes two steps**, because nothing may change before the client's first transport
//! message has decrypted (`docs/protocol.md` §2): at the hello the driver calls
//! [`Session::plan_attach`], which only reads, and answers with the welcome; at `session.ready` it
//! calls [`Session::confirm`] to check that the welcome still holds, and only then feeds
//! [`Input::Attach`].
//!
//! **Grace** (SV-2) runs only while the session is detached and the daemon is awake (LS-5). It is
//! used up in steps of a 24th of its length; a step whose timer fires more than a step late counts
//! as one. A machine that slept for a week has used up one step, not seven days. After a daemon
//! restart the grace continues ([`Session::restored`], BX-4) with at least one step left, since no
//! client could reconnect while the daemon was down.

mod transitions;

#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use bowline_protocol::{
    Epoch, Reason, Resume,
    limits::{CONNECTIONS_PER_SESSION, SESSION_GRACE},
};

use crate::{
    MonotonicTime, Path,
    machine_core::{MachineCore, outputs},
};

/// The daemon's label of one connection. Local to this process (INV-4).
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
    /// Time that a detached session is kept; zero keeps it for ever.
    pub grace: Duration,
    /// Most connections at once; beyond it the one idle longest is closed with `session_capacity`
    /// (LS-2).
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
    /// Most time that one check of the clock takes off the grace.
    fn step(&self) -> Duration {
        (self.grace / 24)
            .max(Duration::from_secs(1))
            .min(self.grace)
    }
}

/// The events that a session can replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayWindow {
    /// The current numbering.
    pub epoch: Epoch,
    /// Oldest event that can be replayed; equal to `next_seq` if there is none.
    pub first_seq: u64,
    /// Number of the next event.
    pub next_seq: u64,
    /// Events below this number are certainly those that the client's stamp refers to; a store that
    /// was restored to an earlier state has given later numbers to other events. Zero for an
    /// unknown or missing stamp.
    pub shared_to: u64,
}

impl ReplayWindow {
    /// Whether a client that has applied everything up to `last_seq` can resume.
    const fn reaches(&self, last_seq: u64) -> bool {
        self.first_seq <= last_seq.saturating_add(1) && last_seq < self.next_seq
    }
}

/// The kind of an attach, as stated in the welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttachPlan {
    /// The first attach of this session. Welcome: `new`, the window's epoch and `nextSeq`.
    New,
    /// Resumes. Welcome: `resumed`, the window's epoch and `nextSeq`; replay starts after `after`.
    Resumed {
        /// The last event applied by the client.
        after: u64,
    },
    /// The client fetches its displayed data again. Welcome: `reset`.
    Reset {
        /// `false`: the driver creates a new epoch, states it in the welcome with `nextSeq` 1, and
        /// installs it (an empty replay log) when the attach is confirmed. `true`: other
        /// connections use the epoch (INV-3), so it stays, and the client's cursor is the window's
        /// `next_seq`.
        keep_epoch: bool,
    },
}

/// One connection attached to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttachedConnection {
    /// Its label.
    pub id: ConnectionId,
    /// Kind of path.
    pub path: Path,
    /// Time of its latest traffic.
    pub active_at: MonotonicTime,
}

/// State of a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// No connection is attached.
    Detached {
        /// Time of the last detach.
        since: MonotonicTime,
        /// Grace left at `checked_at`.
        grace_left: Duration,
        /// Time up to which the grace has been counted.
        checked_at: MonotonicTime,
    },
    /// At least one connection is attached.
    Attached {
        /// The attached connections, oldest first.
        connections: Vec<AttachedConnection>,
    },
    /// Final; the driver forgets the session.
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

/// Inputs of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A connection's `session.ready` arrived and [`Session::confirm`] succeeded.
    Attach {
        /// The connection.
        connection: ConnectionId,
        /// Kind of path.
        path: Path,
    },
    /// Traffic on a connection. Cheap, but once a second per connection is enough.
    Activity {
        /// The connection.
        connection: ConnectionId,
    },
    /// A connection ended.
    Detach {
        /// The connection.
        connection: ConnectionId,
        /// The reason.
        reason: Reason,
    },
    /// The device of the session was revoked (LS-18).
    Revoke,
}

/// Effects for the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Close the connection, which is no longer attached.
    Close {
        /// The connection.
        connection: ConnectionId,
        /// The reason.
        reason: Reason,
    },
    /// Forget the session with its replay log, subscriptions and stored row.
    Expire,
}

/// The session machine. Small, because a daemon keeps thousands of detached ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    config: SessionConfig,
    core: MachineCore<State, Effect>,
    ever_attached: bool,
}

impl Session {
    /// Creates a session. Its first attach is [`AttachPlan::New`].
    pub fn new(config: SessionConfig, now: MonotonicTime) -> Self {
        Self::detached(config, now, config.grace, false)
    }

    /// Restores a session from the store after a restart of the daemon. `detached_for`: time since
    /// it lost its last connection, by the wall clock; zero if it was attached when the daemon
    /// stopped. It has been attached before (INV-2, BX-4).
    pub fn restored(config: SessionConfig, now: MonotonicTime, detached_for: Duration) -> Self {
        let left = config.grace.saturating_sub(detached_for).max(config.step());
        Self::detached(config, now, left, true)
    }

    fn detached(
        config: SessionConfig,
        now: MonotonicTime,
        grace_left: Duration,
        before: bool,
    ) -> Self {
        Self {
            config,
            core: MachineCore::new(State::Detached {
                since: now,
                grace_left,
                checked_at: now,
            }),
            ever_attached: before,
        }
    }

    /// The kind of an attach at this time. Reads only: a replayed hello changes nothing.
    ///
    /// A session that is unknown to the driver or has expired is attached as [`AttachPlan::New`].
    pub fn plan_attach(&self, resume: Option<&Resume>, window: &ReplayWindow) -> AttachPlan {
        let keep_epoch = match self.state() {
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

    /// Whether the welcome still holds at `session.ready`: meanwhile other connections may have
    /// attached, or the replay log may have advanced.
    ///
    /// `planned` is the window passed to [`Session::plan_attach`], `window` the present one.
    ///
    /// # Errors
    /// The recoverable reason to close with; the client connects again.
    pub fn confirm(
        &self,
        plan: AttachPlan,
        planned: &ReplayWindow,
        window: &ReplayWindow,
    ) -> Result<(), Reason> {
        let (unheld, fresh) = match self.state() {
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
    pub fn handle(&mut self, now: MonotonicTime, input: Input) {
        if self.is_stale(&input) {
            self.core.count_stale();
            return;
        }
        self.transition(now, input);
    }

    /// When to call [`Session::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<MonotonicTime> {
        match self.state() {
            State::Detached {
                grace_left,
                checked_at,
                ..
            } if self.config.grace > Duration::ZERO => {
                Some(*checked_at + (*grace_left).min(self.config.step()))
            }
            // Zero grace keeps a session for ever; attached and expired sessions have no timer.
            State::Detached { .. } | State::Attached { .. } | State::Expired => None,
        }
    }

    outputs!(State, Effect);

    /// The attached connections.
    pub fn connections(&self) -> &[AttachedConnection] {
        match self.state() {
            State::Attached { connections } => connections,
            State::Detached { .. } | State::Expired => &[],
        }
    }

    /// Whether the session has expired.
    pub const fn is_expired(&self) -> bool {
        matches!(*self.state(), State::Expired)
    }

    /// Time of the last detach, while no connection is attached.
    pub const fn detached_since(&self) -> Option<MonotonicTime> {
        match self.state() {
            State::Detached { since, .. } => Some(*since),
            State::Attached { .. } | State::Expired => None,
        }
    }
}
