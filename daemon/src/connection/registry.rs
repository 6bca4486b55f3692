//! Every open connection, for listings (SV-5), shutdown and the sweep for silent peers.
//!
//! A connection's task writes a few relaxed atomics as it goes; nobody waits for anybody.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_machines::{Moment, Path, connection::State as Standing};
use bowline_protocol::{DeviceId, Reason};
use serde::Serialize;

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

    fn row(&self, now: Moment) -> ConnectionInfo {
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

/// All connections of one kind of path, those that have ended included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections accepted.
    pub opened: u64,
    /// Bytes received, sealed as they are.
    pub bytes_in: u64,
    /// Bytes sent, sealed as they are.
    pub bytes_out: u64,
}

/// All open connections, and what is left of those that have ended.
#[derive(Debug, Default)]
pub struct Registry {
    next: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<u64, Arc<Entry>>,
    /// Of those that have ended.
    totals: BTreeMap<Path, Totals>,
    closed: BTreeMap<Reason, u64>,
    turned_away: BTreeMap<Path, u64>,
}

impl State {
    /// Forgets a connection, but not what it has moved.
    fn remove(&mut self, id: u64) {
        let Some(entry) = self.entries.remove(&id) else {
            return;
        };
        let totals = self.totals.entry(entry.handle.path).or_default();
        totals.opened += 1;
        totals.bytes_in += entry.bytes_in.load(Relaxed);
        totals.bytes_out += entry.bytes_out.load(Relaxed);
        let place = usize::from(entry.reason.load(Relaxed)).checked_sub(1);
        if let Some(reason) = place.and_then(|place| Reason::ALL.get(place)) {
            *self.closed.entry(*reason).or_default() += 1;
        }
    }
}

/// Keeps a connection listed; dropping it ends that.
#[derive(Debug)]
pub struct Listed {
    registry: Arc<Registry>,
    entry: Arc<Entry>,
}

impl Listed {
    /// The entry.
    pub const fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.registry.lock().remove(self.entry.handle.id);
    }
}

impl Registry {
    /// Lists a new connection.
    pub fn open(self: &Arc<Self>, path: Path, peer: Option<SocketAddr>, now: Moment) -> Listed {
        let entry = Arc::new(Entry {
            handle: ConnectionHandle {
                id: self.next.fetch_add(1, Relaxed) + 1,
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
        });
        entry.outbound().touch(now);
        self.lock()
            .entries
            .insert(entry.handle.id, Arc::clone(&entry));
        Listed {
            registry: Arc::clone(self),
            entry,
        }
    }

    /// Every connection, oldest first.
    pub fn list(&self, now: Moment) -> Vec<ConnectionInfo> {
        let entries: Vec<_> = self.lock().entries.values().cloned().collect();
        entries.iter().map(|entry| entry.row(now)).collect()
    }

    /// How many there are, and how many there ever were.
    pub fn counts(&self) -> (usize, u64) {
        (self.lock().entries.len(), self.next.load(Relaxed))
    }

    /// What all connections so far have moved, by path.
    pub fn totals(&self) -> BTreeMap<Path, Totals> {
        let state = self.lock();
        let mut totals = state.totals.clone();
        for entry in state.entries.values() {
            let total = totals.entry(entry.handle.path).or_default();
            total.opened += 1;
            total.bytes_in += entry.bytes_in.load(Relaxed);
            total.bytes_out += entry.bytes_out.load(Relaxed);
        }
        totals
    }

    /// Notes a socket that found no place.
    pub fn turned_away(&self, path: Path) {
        *self.lock().turned_away.entry(path).or_default() += 1;
    }

    /// How many sockets have found no place, by path.
    pub fn turned_away_so_far(&self) -> BTreeMap<Path, u64> {
        self.lock().turned_away.clone()
    }

    /// How many connections have ended, by reason.
    pub fn closed(&self) -> BTreeMap<Reason, u64> {
        self.lock().closed.clone()
    }

    /// Asks every connection to close.
    pub fn close_all(&self, reason: Reason) {
        let entries: Vec<_> = self.lock().entries.values().cloned().collect();
        for entry in entries {
            entry.outbound().close(reason);
        }
    }

    /// Closes remote connections that have been silent for `silence`, and all that have taken no bytes for
    /// `stall` (lessons 2, 6, 19). Wakes those that have rested for too long.
    pub fn sweep(&self, now: Moment, silence: Option<Duration>, stall: Duration) {
        let entries: Vec<_> = self.lock().entries.values().cloned().collect();
        for entry in entries {
            let heard = entry.outbound().last_active();
            let blocked = entry.blocked_since.load(Relaxed);
            if blocked != 0 && now.since(Moment::from_millis(blocked)) > stall {
                entry.outbound().close(Reason::SlowConsumer);
            } else if entry.handle.path != Path::Local
                && silence.is_some_and(|silence| now.since(heard) > silence)
            {
                entry.outbound().close(Reason::HeartbeatTimeout);
            }
            let rest_until = entry.rest_until.load(Relaxed);
            if rest_until != 0 && now >= Moment::from_millis(rest_until) {
                entry.outbound().wake();
            }
        }
    }

    /// Blames nobody for the time this machine slept or this process stood still, `lost` (lesson 5). Silence begins
    /// anew, for the peer has to notice first; a peer that takes no bytes is given what was lost and no more, so
    /// that it is closed however often we are late (lesson 19).
    pub fn forgive(&self, now: Moment, lost: Duration) {
        for entry in self.lock().entries.values() {
            entry.outbound().touch(now);
            // Not cleared: its driver sleeps until the peer reads, and would not say again that it is blocked.
            let blocked = entry.blocked_since.load(Relaxed);
            if blocked != 0 {
                let since = (Moment::from_millis(blocked) + lost).min(now);
                entry.blocked_since.store(since.as_millis().max(1), Relaxed);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held; a poisoned one still holds a valid map.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1_000)
    }

    #[test]
    fn sv_5_a_connection_is_listed_while_it_lives() {
        let registry = Arc::new(Registry::default());
        let first = registry.open(Path::Direct, None, at(1));
        let second = registry.open(Path::Local, None, at(2));
        first.entry().heard(at(3), 10);
        let rows = registry.list(at(5));
        assert_eq!(rows.len(), 2);
        assert_eq!(
            (rows[0].age_ms, rows[0].silent_ms, rows[0].bytes_in),
            (4_000, 2_000, 10)
        );
        drop(first);
        assert_eq!(registry.list(at(5)).len(), 1);
        drop(second);
        assert_eq!(registry.counts(), (0, 2));
    }

    #[test]
    fn sv_4_a_connection_that_has_rested_for_too_long_is_woken_by_the_sweep() {
        use std::{
            sync::atomic::AtomicBool,
            task::{Context, Wake},
        };

        #[derive(Default)]
        struct Woken(AtomicBool);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Relaxed);
            }
        }
        let woken = Arc::new(Woken::default());
        let registry = Arc::new(Registry::default());
        let listed = registry.open(Path::Local, None, at(1));
        let waker = Arc::clone(&woken).into();
        let waits = || {
            let closed = listed
                .entry()
                .outbound()
                .poll_closed(&Context::from_waker(&waker));
            assert!(closed.is_pending());
        };
        let sweep = |second| {
            waits();
            registry.sweep(at(second), None, 100 * SECOND);
            woken.0.swap(false, Relaxed)
        };
        assert!(!sweep(1_000), "it has its own timer, or none");
        listed.entry().rest_until(Some(at(1_300)));
        assert!(!sweep(1_299));
        assert!(sweep(1_300));
        listed.entry().rest_until(None);
        assert!(!sweep(1_400), "something is pending on it again");
    }

    #[test]
    fn sv_5_what_a_connection_has_moved_and_why_it_ended_outlives_it() {
        let registry = Arc::new(Registry::default());
        let ended = registry.open(Path::Direct, None, at(1));
        let open = registry.open(Path::Direct, None, at(2));
        for listed in [&ended, &open] {
            listed.entry().heard(at(3), 10);
            listed.entry().sent(1);
        }
        ended.entry().ended(Reason::IdleTimeout);
        ended.entry().ended(Reason::ConnectionLost);
        drop(ended);
        let total = Totals {
            opened: 2,
            bytes_in: 20,
            bytes_out: 2,
        };
        assert_eq!(registry.totals(), BTreeMap::from([(Path::Direct, total)]));
        assert_eq!(
            registry.closed(),
            BTreeMap::from([(Reason::IdleTimeout, 1)]),
            "the first reason stands"
        );
    }

    #[test]
    fn lessons_2_and_6_a_silent_remote_peer_is_closed_and_a_local_one_is_not() {
        let registry = Arc::new(Registry::default());
        let remote = registry.open(Path::Direct, None, at(0));
        let local = registry.open(Path::Local, None, at(0));
        registry.sweep(at(60), Some(60 * SECOND), 10 * SECOND);
        assert_eq!(remote.entry().outbound().close_reason(), None);
        registry.sweep(at(61), None, 10 * SECOND);
        assert_eq!(
            remote.entry().outbound().close_reason(),
            None,
            "0s is never"
        );
        registry.sweep(at(61), Some(60 * SECOND), 10 * SECOND);
        assert_eq!(
            remote.entry().outbound().close_reason(),
            Some(Reason::HeartbeatTimeout)
        );
        assert_eq!(local.entry().outbound().close_reason(), None);
    }

    #[test]
    fn lesson_19_a_peer_that_takes_no_bytes_is_closed() {
        let registry = Arc::new(Registry::default());
        let slow = registry.open(Path::Local, None, at(0));
        slow.entry().blocked(at(5), 100);
        slow.entry().blocked(at(9), 100);
        registry.sweep(at(15), None, 10 * SECOND);
        assert_eq!(slow.entry().outbound().close_reason(), None);
        slow.entry().unblocked();
        registry.sweep(at(16), None, 10 * SECOND);
        assert_eq!(slow.entry().outbound().close_reason(), None, "it caught up");
        slow.entry().blocked(at(16), 100);
        registry.sweep(at(27), None, 10 * SECOND);
        assert_eq!(
            slow.entry().outbound().close_reason(),
            Some(Reason::SlowConsumer)
        );
    }

    #[test]
    fn lesson_19_a_peer_that_takes_a_few_bytes_now_and_then_is_slow_and_not_stuck() {
        let registry = Arc::new(Registry::default());
        let slow = registry.open(Path::Local, None, at(0));
        for (second, taken) in [(5, 0), (14, 10), (23, 20), (32, 30)] {
            slow.entry().blocked(at(second), taken);
            registry.sweep(at(second + 9), None, 10 * SECOND);
            assert_eq!(slow.entry().outbound().close_reason(), None);
        }
        slow.entry().blocked(at(41), 30);
        registry.sweep(at(43), None, 10 * SECOND);
        assert_eq!(
            slow.entry().outbound().close_reason(),
            Some(Reason::SlowConsumer),
            "it has taken nothing since the second 32"
        );
    }

    #[test]
    fn lesson_5_nobody_expires_for_the_time_this_machine_slept() {
        let registry = Arc::new(Registry::default());
        let remote = registry.open(Path::Direct, None, at(0));
        registry.forgive(at(10_000), 9_995 * SECOND);
        registry.sweep(at(10_001), Some(60 * SECOND), 10 * SECOND);
        assert_eq!(remote.entry().outbound().close_reason(), None);
    }

    #[test]
    fn lessons_5_and_19_a_peer_that_takes_no_bytes_is_forgiven_a_sleep_and_nothing_more() {
        let registry = Arc::new(Registry::default());
        let slow = registry.open(Path::Local, None, at(0));
        slow.entry().blocked(at(5), 100);
        registry.forgive(at(10_000), 9_990 * SECOND);
        registry.forgive(at(10_004), 3 * SECOND);
        registry.sweep(at(10_008), None, 10 * SECOND);
        assert_eq!(slow.entry().outbound().close_reason(), None);
        registry.sweep(at(10_009), None, 10 * SECOND);
        assert_eq!(
            slow.entry().outbound().close_reason(),
            Some(Reason::SlowConsumer)
        );
    }
}
