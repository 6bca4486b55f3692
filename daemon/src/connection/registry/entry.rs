//! One open connection: state shared between its task and the registry.

use std::{
    net::SocketAddr,
    sync::{
        OnceLock,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_machines::{MonotonicTime, Path, daemon::connection::State as ConnectionState};
use bowline_protocol::{DeviceId, Reason};
use schemars::JsonSchema;
use serde::Serialize;

use super::Totals;
use crate::outbound::{ConnectionHandle, Outbound};

/// Kind of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A device's connection, attached to its session.
    Session,
    /// A probe, which only measures the path (INV-8).
    Probe,
    /// A device that pairs (TR-3).
    Pairing,
    /// A connection of the local socket.
    Local,
}

impl Kind {
    /// The name in listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Probe => "probe",
            Self::Pairing => "pairing",
            Self::Local => "local",
        }
    }
}

/// The peer of a connection, known after the handshake.
#[derive(Clone, Debug)]
pub struct Who {
    /// The kind of the connection.
    pub kind: Kind,
    /// Short hash of the session key; absent where there is no session.
    pub session: Option<String>,
    /// The paired device.
    pub device: Option<DeviceId>,
    /// Name and version of the client program, as it claims.
    pub client: Option<String>,
}

/// One connection: state shared between its task and the registry.
#[derive(Debug)]
pub struct Entry {
    handle: ConnectionHandle,
    /// Boxed, since local connections have none.
    peer: Option<Box<SocketAddr>>,
    opened_at: MonotonicTime,
    who: OnceLock<Box<Who>>,
    state: AtomicU8,
    /// Close reason: one more than its index in [`Reason::ALL`]; 0 while open.
    reason: AtomicU8,
    /// Time since which the socket accepts no bytes; 0 while it does.
    blocked_since: AtomicU64,
    /// Bytes it had taken by then.
    blocked_at: AtomicU64,
    /// Idle deadline of a quiet connection; 0 for never, or while its task has a timer.
    rest_until: AtomicU64,
    served: AtomicU64,
    pending: AtomicU32,
    /// Bytes that wait for the socket besides the queue.
    kept: AtomicU32,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

/// Names of the machine's states, by the number stored.
const STATES: [&str; 6] = ["new", "active", "processing", "idle", "closing", "closed"];

impl Entry {
    /// A newly accepted connection.
    pub(super) fn new(id: u64, path: Path, peer: Option<SocketAddr>, now: MonotonicTime) -> Self {
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

    /// Adds its traffic to the totals.
    pub(super) fn add_to(&self, totals: &mut Totals) {
        totals.opened += 1;
        totals.bytes_in += self.bytes_in.load(Relaxed);
        totals.bytes_out += self.bytes_out.load(Relaxed);
    }

    /// The close reason, once closed.
    pub(super) fn reason(&self) -> Option<Reason> {
        let place = usize::from(self.reason.load(Relaxed)).checked_sub(1)?;
        Reason::ALL.get(place).copied()
    }

    /// Closes it if its peer has taken no bytes for `stall` or, if remote, has sent none for
    /// `silence` (LS-2, LS-6, LS-19). Wakes its task if its idle deadline has passed.
    pub(super) fn sweep(&self, now: MonotonicTime, silence: Option<Duration>, stall: Duration) {
        let heard = self.outbound().last_active();
        let blocked = self.blocked_since.load(Relaxed);
        if blocked != 0 && now.since(MonotonicTime::from_millis(blocked)) > stall {
            self.outbound().close(Reason::SlowConsumer);
        } else if self.handle.path != Path::Local
            && silence.is_some_and(|silence| now.since(heard) > silence)
        {
            self.outbound().close(Reason::HeartbeatTimeout);
        }
        let rest_until = self.rest_until.load(Relaxed);
        if rest_until != 0 && now >= MonotonicTime::from_millis(rest_until) {
            self.outbound().wake();
        }
    }

    /// Extends the deadlines by the time `lost` to a suspension. Silence starts again, because the
    /// peer has to notice first. A blocked peer gets exactly the lost time, so that repeated delays
    /// still close it (LS-19).
    pub(super) fn extend_deadlines(&self, now: MonotonicTime, lost: Duration) {
        self.outbound().touch(now);
        // Not cleared: its driver sleeps until the peer reads and would not report the block again.
        let blocked = self.blocked_since.load(Relaxed);
        if blocked != 0 {
            let since = (MonotonicTime::from_millis(blocked) + lost).min(now);
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

    /// The peer, once known.
    pub fn who(&self) -> Option<&Who> {
        self.who.get().map(Box::as_ref)
    }

    /// Sets the peer; only the first call has an effect.
    pub fn identify(&self, who: Who) {
        let _ = self.who.set(Box::new(who));
    }

    /// Counts received bytes.
    pub fn heard(&self, now: MonotonicTime, bytes: usize) {
        self.handle.outbound.touch(now);
        self.bytes_in.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts bytes written to the socket.
    pub fn sent(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    /// Records that the socket is blocked after `taken` bytes. A socket that took some since the
    /// last block is slow rather than stalled: its time starts again.
    pub fn blocked(&self, now: MonotonicTime, taken: u64) {
        let moved = self.blocked_at.swap(taken, Relaxed) != taken;
        if moved || self.blocked_since.load(Relaxed) == 0 {
            self.blocked_since.store(now.as_millis().max(1), Relaxed);
        }
    }

    /// Records that the socket has taken all output.
    pub fn unblocked(&self) {
        if self.blocked_since.load(Relaxed) != 0 {
            self.blocked_since.store(0, Relaxed);
        }
    }

    /// Records the machine's state and the bytes outside the queue that wait for the socket.
    pub fn note(&self, state: &ConnectionState, served: u64, pending: u32, kept: usize) {
        let number = match state {
            ConnectionState::New { .. } => 0,
            ConnectionState::Active => 1,
            ConnectionState::Processing { .. } => 2,
            ConnectionState::Idle { .. } => 3,
            ConnectionState::Closing { .. } => 4,
            ConnectionState::Closed { .. } => 5,
        };
        if let ConnectionState::Closing { reason, .. } | ConnectionState::Closed { reason } = state
        {
            self.ended(*reason);
        }
        self.state.store(number, Relaxed);
        self.served.store(served, Relaxed);
        self.pending.store(pending, Relaxed);
        let kept = u32::try_from(kept).unwrap_or(u32::MAX);
        self.kept.store(kept, Relaxed);
    }

    /// Leaves a deadline to the sweep, which wakes the connection's task when it has passed:
    /// thousands of quiet connections share one timer. `None`: no deadline, or the task has its own
    /// timer.
    pub fn rest_until(&self, due: Option<MonotonicTime>) {
        let due = due.map_or(0, |due| due.as_millis().max(1));
        self.rest_until.store(due, Relaxed);
    }

    /// Sets the close reason; only the first call has an effect.
    pub fn ended(&self, reason: Reason) {
        let place = Reason::ALL.iter().position(|other| *other == reason);
        let place = place.and_then(|place| u8::try_from(place + 1).ok());
        let _ = self
            .reason
            .compare_exchange(0, place.unwrap_or_default(), Relaxed, Relaxed);
    }

    /// Whether it is a connection of this device.
    pub(super) fn is_of(&self, device: &DeviceId) -> bool {
        self.who()
            .is_some_and(|who| who.device.as_ref() == Some(device))
    }

    pub(super) fn row(&self, now: MonotonicTime) -> ConnectionInfo {
        let who = self.who();
        let since = |moment: u64| {
            let elapsed = now.since(MonotonicTime::from_millis(moment)).as_millis();
            u64::try_from(elapsed).unwrap_or(u64::MAX)
        };
        ConnectionInfo {
            id: self.handle.id,
            kind: match who {
                Some(who) => Some(who.kind),
                // Local connections need no identification.
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
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionInfo {
    /// Number of the connection in this process; never on a session's wire (INV-4).
    pub id: u64,
    /// Its kind; absent during the handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// State of its machine.
    pub state: &'static str,
    /// Its path.
    #[schemars(with = "String")]
    pub path: Path,
    /// Address of the peer, for a direct one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<SocketAddr>,
    /// Short hash of the session key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The paired device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<DeviceId>,
    /// The client program, as it claims.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Milliseconds since it was accepted.
    pub age_ms: u64,
    /// Milliseconds since bytes were last received.
    pub silent_ms: u64,
    /// Requests received so far.
    pub served: u64,
    /// Requests in progress.
    pub pending: u32,
    /// Bytes received, in sealed form.
    pub bytes_in: u64,
    /// Bytes sent, in sealed form.
    pub bytes_out: u64,
    /// Bytes of events and responses waiting to be sent.
    pub queued_bytes: usize,
}
