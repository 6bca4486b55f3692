//! One open connection, as its task and everybody else see it.

use std::{
    net::SocketAddr,
    sync::{
        OnceLock,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_machines::{Moment, Path, connection::State as Standing};
use bowline_protocol::{DeviceId, Reason};
use serde::Serialize;

use super::Totals;
use crate::outbound::{ConnectionHandle, Outbound};

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A device's, attached to its session.
    Session,
    /// Measures the path only (INV-8).
    Probe,
    /// On the local socket.
    Local,
}

impl Kind {
    /// The name in listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Probe => "probe",
            Self::Local => "local",
        }
    }
}

/// Who is at the other end, known once the handshake is done.
#[derive(Clone, Debug)]
pub struct Who {
    /// What the connection is for.
    pub kind: Kind,
    /// Short hash of the session key; absent where there is no session.
    pub session: Option<String>,
    /// The paired device.
    pub device: Option<DeviceId>,
    /// Name and version of the client program, as it says.
    pub client: Option<String>,
}

/// One connection, as its task and everybody else see it.
#[derive(Debug)]
pub struct Entry {
    handle: ConnectionHandle,
    /// Boxed, since local connections have none.
    peer: Option<Box<SocketAddr>>,
    opened_at: Moment,
    who: OnceLock<Box<Who>>,
    state: AtomicU8,
    /// Why it ends: one more than the place in [`Reason::ALL`]; 0 until it does.
    reason: AtomicU8,
    /// Since when the socket takes no more bytes; 0 while it does.
    blocked_since: AtomicU64,
    /// How many it had taken by then.
    blocked_at: AtomicU64,
    /// When a quiet connection has been idle for too long; 0 for never, or while its task sees to that.
    rest_until: AtomicU64,
    served: AtomicU64,
    pending: AtomicU32,
    /// Bytes that wait for the socket beside the queue.
    kept: AtomicU32,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

/// Names of the machine's states, by the number stored.
const STATES: [&str; 6] = ["new", "active", "processing", "idle", "closing", "closed"];

impl Entry {
    /// A connection that was just accepted.
    pub(super) fn new(id: u64, path: Path, peer: Option<SocketAddr>, now: Moment) -> Self {
        let entry = Self {
            handle: ConnectionHandle {
                id,
                path,
                outbound: Outbound::new(),
            },
            peer: peer.map(Box::new),
            opened_at: now,
            who: OnceLock::new(),
            state: AtomicU8::new(0),
            reason: AtomicU8::new(0),
            blocked_since: AtomicU64::new(0),
            blocked_at: AtomicU64::new(0),
            rest_until: AtomicU64::new(0),
            served: AtomicU64::new(0),
            pending: AtomicU32::new(0),
            kept: AtomicU32::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
        };
        entry.outbound().touch(now);
        entry
    }

    /// Adds what it has moved.
    pub(super) fn add_to(&self, totals: &mut Totals) {
        totals.opened += 1;
        totals.bytes_in += self.bytes_in.load(Relaxed);
        totals.bytes_out += self.bytes_out.load(Relaxed);
    }

    /// Why it ended, once it has.
    pub(super) fn reason(&self) -> Option<Reason> {
        let place = usize::from(self.reason.load(Relaxed)).checked_sub(1)?;
        Reason::ALL.get(place).copied()
    }

    /// Closes it if its peer has taken no bytes for `stall`, or, if remote, has been silent for `silence` (lessons 2, 6, 19).
    /// Wakes it if it has rested for too long.
    pub(super) fn sweep(&self, now: Moment, silence: Option<Duration>, stall: Duration) {
        let heard = self.outbound().last_active();
        let blocked = self.blocked_since.load(Relaxed);
        if blocked != 0 && now.since(Moment::from_millis(blocked)) > stall {
            self.outbound().close(Reason::SlowConsumer);
        } else if self.handle.path != Path::Local
            && silence.is_some_and(|silence| now.since(heard) > silence)
        {
            self.outbound().close(Reason::HeartbeatTimeout);
        }
        let rest_until = self.rest_until.load(Relaxed);
        if rest_until != 0 && now >= Moment::from_millis(rest_until) {
            self.outbound().wake();
        }
    }

    /// Blames its peer for nothing in the time that was `lost`. Silence begins anew, for the peer has to notice first; a peer that
    /// takes no bytes is given what was lost and no more, so that it is closed however often we are late (lesson 19).
    pub(super) fn forgive(&self, now: Moment, lost: Duration) {
        self.outbound().touch(now);
        // Not cleared: its driver sleeps until the peer reads, and would not say again that it is blocked.
        let blocked = self.blocked_since.load(Relaxed);
        if blocked != 0 {
            let since = (Moment::from_millis(blocked) + lost).min(now);
            self.blocked_since.store(since.as_millis().max(1), Relaxed);
        }
    }

    /// Number and queue, for the ledger.
    pub const fn handle(&self) -> &ConnectionHandle {
        &self.handle
    }

    /// The outbound queue.
    pub const fn outbound(&self) -> &Outbound {
        &self.handle.outbound
    }

    /// Who is at the other end, once known.
    pub fn who(&self) -> Option<&Who> {
        self.who.get().map(Box::as_ref)
    }

    /// Notes who it is; the first word stands.
    pub fn identify(&self, who: Who) {
        let _ = self.who.set(Box::new(who));
    }

    /// Notes bytes received.
    pub fn heard(&self, now: Moment, bytes: usize) {
        self.handle.outbound.touch(now);
        self.bytes_in.fetch_add(bytes as u64, Relaxed);
    }

    /// Notes bytes handed to the socket.
    pub fn sent(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    /// Notes that the socket takes no more bytes for now, of which it has taken so many. One that took some since
    /// it was last blocked is slow, not stuck: its time begins anew.
    pub fn blocked(&self, now: Moment, taken: u64) {
        let moved = self.blocked_at.swap(taken, Relaxed) != taken;
        if moved || self.blocked_since.load(Relaxed) == 0 {
            self.blocked_since.store(now.as_millis().max(1), Relaxed);
        }
    }

    /// Notes that the socket has taken all there was.
    pub fn unblocked(&self) {
        if self.blocked_since.load(Relaxed) != 0 {
            self.blocked_since.store(0, Relaxed);
        }
    }

    /// Notes where the machine stands, and how many bytes have left the queue, or never were in it, and wait for
    /// the socket.
    pub fn note(&self, state: &Standing, served: u64, pending: u32, kept: usize) {
        let number = match state {
            Standing::New { .. } => 0,
            Standing::Active => 1,
            Standing::Processing { .. } => 2,
            Standing::Idle { .. } => 3,
            Standing::Closing { .. } => 4,
            Standing::Closed { .. } => 5,
        };
        if let Standing::Closing { reason, .. } | Standing::Closed { reason } = state {
            self.ended(*reason);
        }
        self.state.store(number, Relaxed);
        self.served.store(served, Relaxed);
        self.pending.store(pending, Relaxed);
        let kept = u32::try_from(kept).unwrap_or(u32::MAX);
        self.kept.store(kept, Relaxed);
    }

    /// Leaves a deadline to the sweep, which wakes the connection's task when it has passed: thousands of quiet
    /// connections share one timer. `None`: there is none, or the task has its own.
    pub fn rest_until(&self, due: Option<Moment>) {
        let due = due.map_or(0, |due| due.as_millis().max(1));
        self.rest_until.store(due, Relaxed);
    }

    /// Notes why it ends; the first reason stands.
    pub fn ended(&self, reason: Reason) {
        let place = Reason::ALL.iter().position(|other| *other == reason);
        let place = place.and_then(|place| u8::try_from(place + 1).ok());
        let _ = self
            .reason
            .compare_exchange(0, place.unwrap_or_default(), Relaxed, Relaxed);
    }

    pub(super) fn row(&self, now: Moment) -> ConnectionInfo {
        let who = self.who();
        let since = |moment: u64| {
            let elapsed = now.since(Moment::from_millis(moment)).as_millis();
            u64::try_from(elapsed).unwrap_or(u64::MAX)
        };
        ConnectionInfo {
            id: self.handle.id,
            kind: match who {
                Some(who) => Some(who.kind),
                // Nobody has to say who it is on the local socket.
                None => (self.handle.path == Path::Local).then_some(Kind::Local),
            },
            state: STATES
                .get(usize::from(self.state.load(Relaxed)))
                .copied()
                .unwrap_or("closed"),
            path: self.handle.path,
            peer: self.peer.as_deref().copied(),
            session: who.and_then(|who| who.session.clone()),
            device_id: who.and_then(|who| who.device.clone()),
            client: who.and_then(|who| who.client.clone()),
            age_ms: since(self.opened_at.as_millis()),
            silent_ms: since(self.handle.outbound.last_active().as_millis()),
            served: self.served.load(Relaxed),
            pending: self.pending.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            queued_bytes: self.handle.outbound.queued_bytes() + self.kept.load(Relaxed) as usize,
        }
    }
}

/// One row of `connections.list`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionInfo {
    /// Number of the connection in this process; never on a session's wire (INV-4).
    pub id: u64,
    /// What it is for; absent during the handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Where its machine stands.
    pub state: &'static str,
    /// Which way it came.
    pub path: Path,
    /// Address of the other end, for a direct one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<SocketAddr>,
    /// Short hash of the session key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The paired device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<DeviceId>,
    /// The client program, as it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Milliseconds since it was accepted.
    pub age_ms: u64,
    /// Milliseconds since anything was received.
    pub silent_ms: u64,
    /// Requests taken so far.
    pub served: u64,
    /// Requests being worked on.
    pub pending: u32,
    /// Bytes received, sealed as they are.
    pub bytes_in: u64,
    /// Bytes sent, sealed as they are.
    pub bytes_out: u64,
    /// Bytes of events and answers waiting to be sent.
    pub queued_bytes: usize,
}
