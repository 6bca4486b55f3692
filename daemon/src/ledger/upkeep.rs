//! The ledger's periodic work: acknowledgements, detaches, grace periods, deferred writes.

use std::{collections::HashSet, time::Duration};

use bowline_machines::{
    MonotonicTime,
    daemon::session::{ConnectionId, Input},
};
use bowline_protocol::Reason;

use super::{core::Core, counters::count, live::Durable, owner::Owner, usage::Usage};
use crate::store;

/// Delay of deferred writes, which no caller waits for. A killed daemon loses only those: the log
/// is longer than needed, and the last-seen time is older.
const LAZY: Duration = Duration::from_secs(5);
/// Time a client has after it attaches to fetch the outcomes it missed.
const RECALL: Duration = Duration::from_secs(3_600);
/// Interval of the sweep of old intents.
const SWEEP: Duration = Duration::from_secs(600);
/// Interval while more old intents are left.
const SWEEP_ON: Duration = Duration::from_millis(100);
/// Old intents removed in one sweep.
const SWEEP_BATCH: u32 = 2_000;

impl Core {
    /// Schedules the deferred writes.
    pub(super) fn put_off(&mut self) {
        let at = self.options.clock.now() + LAZY;
        self.lazy_at.get_or_insert(at);
    }

    /// Time the thread may wait for a job.
    pub(super) fn next_wait(&self) -> Option<Duration> {
        let now = self.options.clock.now();
        let sweep_at = Some(self.sweep_at);
        [
            self.live.deadline,
            self.lazy_at,
            sweep_at,
            Some(self.ticks.due()),
            self.pairings.due(),
            self.refused.due(),
            self.expiry_due(),
            self.live.follows_due,
        ]
        .into_iter()
        .flatten()
        .min()
        .map(|at| at.since(now))
    }

    /// Runs the work that is due.
    pub(super) fn upkeep(&mut self) {
        let now = self.options.clock.now();
        if self.live.deadline.is_some_and(|at| at <= now) {
            self.check_grace();
        }
        if self.lazy_at.is_some_and(|at| at <= now) {
            self.write_lazily();
        }
        if self.sweep_at <= now {
            self.sweep_intents();
        }
        if self.ticks.due() <= now {
            self.ticks.tell(now);
        }
        if self.pairings.due().is_some_and(|at| at <= now) {
            self.end_expired_pairings(now);
        }
        if self.expiry_due().is_some_and(|at| at <= now) {
            self.end_expired_devices();
        }
        if self.refused.due().is_some_and(|at| at <= now) {
            self.write_refused();
        }
        if self.live.follows_due.is_some_and(|at| at <= now) {
            self.end_old_follows(now);
        }
    }

    /// Records that a client has applied every event up to `seq`.
    pub(super) fn acknowledge(&mut self, session: i64, seq: u64) {
        let Some(session) = self.live.sessions.get_mut(&session) else {
            return;
        };
        if let Some(durable) = &mut session.durable
            && durable.log.acknowledge(seq, &mut self.live.dead_events)
        {
            durable.untrimmed = true;
            self.put_off();
        }
    }

    /// Detaches a closed connection.
    pub(super) fn detach(&mut self, id: i64, connection: u64) {
        let Some(session) = self.live.sessions.get_mut(&id) else {
            return;
        };
        let Some(at) = session.links.iter().position(|link| link.id == connection) else {
            return;
        };
        let link = session.links.remove(at);
        if session.durable.is_none() {
            self.live.remove(id);
            return;
        }
        let reason = link
            .outbound
            .close_reason()
            .unwrap_or(Reason::ConnectionLost);
        let now = self.options.clock.now();
        let input = Input::Detach {
            connection: ConnectionId(connection),
            reason,
        };
        let is_detached = session.links.is_empty();
        self.live.drive(id, |machine| machine.handle(now, input));
        if is_detached {
            self.live.keep_follows(id);
        }
        self.note_seen(id);
    }

    /// Records when a session was last seen, to be stored later.
    pub(super) fn note_seen(&mut self, id: i64) {
        let wall = self.options.clock.unix_millis();
        let lived = self.lived.now();
        if let Some(session) = self.live.sessions.get_mut(&id)
            && let Some(durable) = &mut session.durable
        {
            durable.last_seen_at = wall;
            durable.detached_at = session.links.is_empty().then_some(lived);
            if session.links.is_empty() {
                durable.attached_at = None;
            }
            durable.unsaved = true;
            self.put_off();
        }
    }

    fn check_grace(&mut self) {
        let now = self.options.clock.now();
        self.live.deadline = None;
        let mut expired = Vec::new();
        let ids: Vec<i64> = self.live.sessions.keys().copied().collect();
        for id in ids {
            // Feeding the machine also updates its next deadline.
            if self.live.drive(id, |machine| {
                if machine.poll_timeout().is_some_and(|at| at <= now) {
                    machine.handle_timeout(now);
                }
            }) {
                expired.push(id);
            }
        }
        self.forget(&expired);
    }

    /// Removes ended sessions.
    pub(super) fn forget(&mut self, ids: &[i64]) {
        if ids.is_empty() {
            return;
        }
        // A row that cannot be deleted now is restored as a detached session at the next start, and
        // expires again.
        let _ = self.transact(|core| {
            ids.iter()
                .try_for_each(|id| store::sessions::delete(&core.conn, *id))
        });
        for id in ids {
            if self.live.remove(*id).is_some() {
                count(&self.counters.sessions_expired);
            }
        }
        self.put_off();
    }

    /// Runs the deferred writes. A failure is retried later.
    pub(super) fn write_lazily(&mut self) {
        self.lazy_at = None;
        let mut sessions = self.live.sessions.values();
        let all_saved = sessions.all(|it| it.durable.as_deref().is_none_or(Durable::is_saved));
        let nothing_else = self.live.dead_events.is_empty() && self.live.used_keys.is_empty();
        if all_saved && nothing_else && !self.health.is_failing() {
            return;
        }
        let done = self.transact(|core| {
            core.lived.save(&core.conn)?;
            core.store_used_keys()?;
            for session in core.live.sessions.values() {
                session.save(&core.conn)?;
            }
            let mut dead = core.live.dead_events.iter();
            dead.try_for_each(|event| store::events::delete(&core.conn, *event))
        });
        if done.is_err() {
            self.put_off();
            return;
        }
        self.live.dead_events = Vec::new();
        self.live.used_keys.clear();
        let sessions = self.live.sessions.values_mut();
        for durable in sessions.filter_map(|it| it.durable.as_deref_mut()) {
            durable.note_saved();
        }
    }

    /// Removes outcomes past their retention time, measured by the store's own clock, and only
    /// after the session's client has been back for a while: until then it may still ask for them
    /// (BX-1).
    fn sweep_intents(&mut self) {
        let now = self.options.clock.now();
        let memory = i64::try_from(self.options.intent_memory.as_millis()).unwrap_or(i64::MAX);
        let before = self.lived.now().saturating_sub(memory);
        let later = before.saturating_add(i64::try_from(RECALL.as_millis()).unwrap_or(i64::MAX));
        let asking: HashSet<[u8; 16]> = self
            .live
            .sessions
            .values()
            .filter(|session| session.durable.as_ref().is_some_and(|it| it.may_ask(now)))
            .map(|session| session.reference.name.label)
            .collect();
        let sweep = |core: &Self| {
            core.lived.save(&core.conn)?;
            store::intents::sweep(&core.conn, before, later, SWEEP_BATCH, |label| {
                asking.contains(label)
            })
        };
        let swept = self.with_reserve(|core| core.transact(sweep));
        let swept = swept.unwrap_or_default();
        for (owner, bytes) in &swept.forgotten {
            let bytes = usize::try_from(*bytes).unwrap_or(0);
            self.live.accounts.add(Owner(*owner), -Usage::intent(bytes));
        }
        let is_trimmed = !self.with_reserve(Self::trim_audit);
        let is_more = swept.forgotten.len().saturating_add(swept.kept) >= SWEEP_BATCH as usize;
        self.sweep_at = now
            + if is_more || !is_trimmed {
                SWEEP_ON
            } else {
                SWEEP
            };
    }
}

impl Durable {
    /// Whether the session's client may still ask for outcomes that it missed.
    fn may_ask(&self, now: MonotonicTime) -> bool {
        self.attached_at
            .is_none_or(|since| now.since(since) < RECALL)
    }
}
