//! What the ledger does by itself: acknowledgements, detaches, grace, and writes that can wait.

use std::{collections::HashSet, time::Duration};

use bowline_machines::{
    Moment,
    session::{ConnectionId, Input},
};
use bowline_protocol::Reason;

use super::{core::Core, counters::count, live::Durable};
use crate::store;

/// How long writes are put off that nobody waits for. A killed daemon loses no more than them: a log
/// that is longer than need be, and when a session was last seen.
const LAZY: Duration = Duration::from_secs(5);
/// How long a client is given, once it is back, to ask for the outcomes that it has not heard.
const RECALL: Duration = Duration::from_secs(3_600);
/// How often old intents are looked for …
const SWEEP: Duration = Duration::from_secs(600);
/// … how soon again while there are more …
const SWEEP_ON: Duration = Duration::from_millis(100);
/// … and how many are forgotten at once.
const SWEEP_BATCH: u32 = 2_000;

impl Core {
    /// Notes that writes are put off.
    pub(super) fn put_off(&mut self) {
        let at = self.options.clock.now() + LAZY;
        self.lazy_at.get_or_insert(at);
    }

    /// How long the thread may wait for a job.
    pub(super) fn next_wait(&self) -> Option<Duration> {
        let now = self.options.clock.now();
        [self.live.deadline, self.lazy_at, Some(self.sweep_at)]
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.since(now))
    }

    /// Does what is due.
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
    }

    /// A client has applied every event up to `seq`.
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

    /// A connection has gone.
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
        self.live.drive(id, |machine| machine.handle(now, input));
        self.note_seen(id);
    }

    /// Notes when a session was last seen, to be stored later.
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
            // Feeding the machine also notes when it wants to be called next.
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

    /// Forgets sessions that are over.
    pub(super) fn forget(&mut self, ids: &[i64]) {
        if ids.is_empty() {
            return;
        }
        // A row that cannot be deleted now comes back as a detached session at the next start, and
        // expires again.
        let _ = self.transact(|conn| {
            ids.iter()
                .try_for_each(|id| store::sessions::delete(conn, *id))
        });
        for id in ids {
            if self.live.remove(*id).is_some() {
                count(&self.counters.sessions_expired);
            }
        }
        self.put_off();
    }

    /// Writes what was put off. Failing, it is tried again later.
    pub(super) fn write_lazily(&mut self) {
        self.lazy_at = None;
        let mut seen = Vec::new();
        let mut pending = Vec::new();
        let mut topics = Vec::new();
        let mut trims = Vec::new();
        for (id, session) in &self.live.sessions {
            let Some(durable) = &session.durable else {
                continue;
            };
            pending.extend(session.pending_row());
            if durable.unsaved_topics {
                let names: Vec<_> = session.subscriptions.iter().cloned().collect();
                topics.push((*id, names));
            }
            if durable.unsaved {
                seen.push((
                    *id,
                    durable.last_seen_at,
                    durable.detached_at,
                    durable.device,
                ));
            }
            if durable.untrimmed {
                // The row before the log stays. It tells the next number after a restart, and who made the event.
                trims.push((*id, durable.log.first_seq().saturating_sub(1)));
            }
        }
        let dead = std::mem::take(&mut self.live.dead_events);
        let is_nothing =
            seen.is_empty() && trims.is_empty() && dead.is_empty() && topics.is_empty();
        if is_nothing && pending.is_empty() && !self.health.is_failing() {
            return;
        }
        let lived = self.lived.clone();
        let done = self.transact(|conn| {
            lived.save(conn)?;
            for row in &pending {
                row.store(conn)?;
            }
            for (id, topics) in &topics {
                store::sessions::unsubscribe_all(conn, *id)?;
                for topic in topics {
                    store::sessions::subscribe(conn, *id, topic.as_str())?;
                }
            }
            for (id, last_seen_at, detached_at, device) in &seen {
                store::sessions::seen(conn, *id, *last_seen_at, *detached_at)?;
                store::devices::seen(conn, device, *last_seen_at)?;
            }
            for (id, first) in &trims {
                store::events::trim(conn, *id, *first)?;
            }
            dead.iter()
                .try_for_each(|event| store::events::delete(conn, *event))
        });
        if done.is_err() {
            self.live.dead_events = dead;
            self.put_off();
            return;
        }
        for session in self.live.sessions.values_mut() {
            if let Some(durable) = &mut session.durable {
                durable.pending = None;
                durable.unsaved_topics = false;
                durable.unsaved = false;
                durable.untrimmed = false;
            }
        }
    }

    /// Forgets outcomes whose time is over, by the time that has passed, and not before the clients of their sessions have
    /// been back for a while: until then they may ask for them still (BX-1).
    fn sweep_intents(&mut self) {
        let now = self.options.clock.now();
        let memory = i64::try_from(self.options.intent_memory.as_millis()).unwrap_or(i64::MAX);
        let lived = self.lived.clone();
        let before = lived.now().saturating_sub(memory);
        let later = before.saturating_add(i64::try_from(RECALL.as_millis()).unwrap_or(i64::MAX));
        let asking: HashSet<[u8; 16]> = self
            .live
            .sessions
            .values()
            .filter(|session| session.durable.as_ref().is_some_and(|it| it.may_ask(now)))
            .map(|session| session.reference.name.label)
            .collect();
        let swept = self
            .transact(|conn| {
                lived.save(conn)?;
                store::intents::sweep(conn, before, later, SWEEP_BATCH, |label| {
                    asking.contains(label)
                })
            })
            .unwrap_or_default();
        self.live.intents = self.live.intents.saturating_sub(swept.forgotten);
        self.sweep_at = now
            + if swept.forgotten.saturating_add(swept.kept) >= u64::from(SWEEP_BATCH) {
                SWEEP_ON
            } else {
                SWEEP
            };
    }
}

impl Durable {
    /// Whether the session's client may hold intents whose outcomes it has not heard.
    fn may_ask(&self, now: Moment) -> bool {
        self.attached_at
            .is_none_or(|since| now.since(since) < RECALL)
    }
}
