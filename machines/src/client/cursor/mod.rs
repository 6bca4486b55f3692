//! The client's cursor in its session: the last event applied, the check of each event for repeats
//! and gaps, the effect of an attach on the displayed data, and the time of acknowledgements (BX-2,
//! INV-3).
//!
//! ```text
//!  welcome            numbering      displayed data         cursor
//!  resumed            ours           stays                  stays; missed events are replayed
//!  resumed            another        is fetched (reset)     just before the welcome's next event
//!  reset              any            is fetched (reset)     just before the welcome's next event
//!  new                any            is fetched (new)       just before the welcome's next event
//!
//!  event of           number         verdict                cursor
//!  another numbering  any            stale, dropped         stays
//!  ours               up to cursor   repeated, dropped      stays
//!  ours               cursor + 1     applied                moves there
//!  ours               beyond that    applied after a gap    moves there; displayed data is fetched (reset)
//! ```
//!
//! Events arrive over several connections while a path is switched, so only the number decides. The
//! protocol rules a gap out; the missing events are unknown, so a gap counts as a reset without a
//! welcome.
//!
//! **Acknowledgements.** The daemon deletes events that are acknowledged. While a candidate is
//! connecting, its hello may carry an earlier cursor than the present one, so acknowledgements wait
//! until the candidate is active or gone; otherwise its resume would become a reset.
//!
//! [`SessionCursor::attached`] and [`SessionCursor::receive`] return their result instead of
//! queueing an effect, because the caller holds the welcome or the event.

#[cfg(test)]
mod tests;

use std::time::Duration;

use bowline_protocol::{
    Epoch, Resume, SessionState, Stamp,
    handshake::SessionWelcome,
    limits::{ACK_EVENTS, ACK_INTERVAL},
};

use crate::{
    Attach, MonotonicTime,
    client::paths::{HostRuntimeManager, State},
};

/// How the caller handles an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventCheck {
    /// The next event: apply it.
    Next,
    /// Events before it are missing: apply it; [`Effect::Refetch`] follows.
    AfterGap,
    /// Already applied (BX-2): drop it.
    Repeated,
    /// Of an earlier numbering: drop it.
    Stale,
}

/// Whether acknowledgements may be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AckGate {
    /// No active client is connected.
    #[default]
    Offline,
    /// A candidate is connecting and may resume at an earlier cursor.
    Switching,
    /// Acknowledgements may be sent.
    Open,
}

impl From<&HostRuntimeManager> for AckGate {
    fn from(host: &HostRuntimeManager) -> Self {
        match host.state() {
            State::Online { .. } if host.candidate().is_some() => Self::Switching,
            State::Online { .. } => Self::Open,
            State::Booting
            | State::NoConnections
            | State::SelectingActiveConnection { .. }
            | State::ConnectingActive { .. }
            | State::Degraded { .. }
            | State::Error { .. }
            | State::Stopped => Self::Offline,
        }
    }
}

/// When applied events are acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AckPolicy {
    /// Events applied since the last acknowledgement.
    pub events: u64,
    /// Time since the first of them was applied.
    pub interval: Duration,
}

impl Default for AckPolicy {
    fn default() -> Self {
        Self {
            events: ACK_EVENTS,
            interval: ACK_INTERVAL,
        }
    }
}

/// Effects for the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Fetch all displayed data again, as after an attach whose session was reset.
    Refetch,
    /// Acknowledge up to this event, through the active client.
    Ack(Resume),
}

/// Counters; each only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counts {
    /// Attaches that kept the displayed data.
    pub resumed: u64,
    /// Attaches after which all displayed data is fetched.
    pub reset: u64,
    /// Events applied.
    pub applied: u64,
    /// Events dropped because they were already applied.
    pub repeated: u64,
    /// Events dropped because their numbering is over.
    pub stale: u64,
    /// Gaps before an event; nonzero is a defect of the peer.
    pub gaps: u64,
}

/// The session of one client install, over all its connections (INV-3).
#[derive(Clone, Debug, Default)]
pub struct SessionCursor {
    policy: AckPolicy,
    epoch: Option<Epoch>,
    /// Stamp of the last welcome, which identifies the daemon's store that the applied events came
    /// from.
    stamp: Option<Stamp>,
    last_seq: u64,
    acked: u64,
    /// When the first unacknowledged event was applied.
    unacked_since: Option<MonotonicTime>,
    gate: AckGate,
    /// An acknowledgement is due and is sent once the gate is open.
    is_due: bool,
    has_gap: bool,
    counts: Counts,
    attach: Attach,
}

impl SessionCursor {
    /// The cursor of an install that has never attached.
    pub fn new(policy: AckPolicy) -> Self {
        Self {
            policy,
            ..Self::default()
        }
    }

    /// Begins where an earlier run of the app kept what it displayed (LD-5): the hello resumes
    /// there.
    pub fn restore(&mut self, position: Resume) {
        self.last_seq = position.last_seq;
        self.acked = position.last_seq;
        self.stamp = position.stamp;
        self.epoch = Some(position.epoch);
    }

    /// Handles the active client's welcome. Returns its effect on the displayed data.
    pub fn attached(&mut self, now: MonotonicTime, welcome: &SessionWelcome) -> SessionState {
        self.attach = self.attach.next();
        self.stamp.clone_from(&welcome.stamp);
        let is_ours = self.epoch.as_ref() == Some(&welcome.epoch);
        let session = match (welcome.state, is_ours) {
            (SessionState::Resumed, true) => SessionState::Resumed,
            // A resume into another numbering violates the protocol: fetch everything, to be safe.
            (SessionState::Resumed, false) | (SessionState::Reset, true | false) => {
                SessionState::Reset
            }
            (SessionState::New, true | false) => SessionState::New,
        };
        match session {
            SessionState::Resumed => {
                self.counts.resumed = self.counts.resumed.saturating_add(1);
                // The last acknowledgement may be lost, and a hello does not acknowledge.
                if self.last_seq > 0 {
                    self.unacked_since.get_or_insert(now);
                }
            }
            SessionState::New | SessionState::Reset => {
                self.counts.reset = self.counts.reset.saturating_add(1);
                self.epoch = Some(welcome.epoch.clone());
                self.last_seq = welcome.next_seq.saturating_sub(1);
                self.acked = self.last_seq;
                self.unacked_since = None;
                self.is_due = false;
                // Everything is fetched anyway.
                self.has_gap = false;
            }
        }
        session
    }

    /// Checks an event of a connection that was welcomed into `epoch`.
    pub fn receive(&mut self, now: MonotonicTime, epoch: Option<&Epoch>, seq: u64) -> EventCheck {
        if epoch.is_none() || epoch != self.epoch.as_ref() {
            self.counts.stale = self.counts.stale.saturating_add(1);
            return EventCheck::Stale;
        }
        if seq <= self.last_seq {
            self.counts.repeated = self.counts.repeated.saturating_add(1);
            return EventCheck::Repeated;
        }
        let is_next = seq.saturating_sub(self.last_seq) == 1;
        self.last_seq = seq;
        self.unacked_since.get_or_insert(now);
        self.note_due(now);
        if is_next {
            self.counts.applied = self.counts.applied.saturating_add(1);
            EventCheck::Next
        } else {
            self.counts.gaps = self.counts.gaps.saturating_add(1);
            self.has_gap = true;
            EventCheck::AfterGap
        }
    }

    /// Sets whether acknowledgements may be sent.
    pub fn set_gate(&mut self, now: MonotonicTime, gate: AckGate) {
        self.gate = gate;
        self.note_due(now);
    }

    /// Call when [`SessionCursor::poll_timeout`] has passed; an earlier call does nothing.
    pub fn handle_timeout(&mut self, now: MonotonicTime) {
        self.note_due(now);
    }

    fn note_due(&mut self, now: MonotonicTime) {
        let unacked = self.last_seq.saturating_sub(self.acked);
        self.is_due |= unacked >= self.policy.events
            || self.deadline().is_some_and(|deadline| deadline <= now);
    }

    fn deadline(&self) -> Option<MonotonicTime> {
        self.unacked_since.map(|since| since + self.policy.interval)
    }

    /// When to call [`SessionCursor::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<MonotonicTime> {
        self.deadline().filter(|_| self.gate == AckGate::Open)
    }

    /// The next effect to execute.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        if std::mem::take(&mut self.has_gap) {
            return Some(Effect::Refetch);
        }
        if !self.is_due || self.gate != AckGate::Open {
            return None;
        }
        self.is_due = false;
        self.acked = self.last_seq;
        self.unacked_since = None;
        self.position().map(Effect::Ack)
    }

    /// The latest attach of an active client.
    pub const fn attach(&self) -> Attach {
        self.attach
    }

    /// Position that the next hello resumes from; `None` before the first attach.
    pub fn position(&self) -> Option<Resume> {
        self.epoch.clone().map(|epoch| Resume {
            epoch,
            last_seq: self.last_seq,
            stamp: self.stamp.clone(),
        })
    }

    /// Number of the last event applied.
    pub const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// The counters.
    pub const fn counts(&self) -> Counts {
        self.counts
    }
}
