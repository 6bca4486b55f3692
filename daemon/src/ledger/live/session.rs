//! One session in memory, and what of it the store does not have yet.

use std::collections::BTreeSet;

use bowline_machines::{MonotonicTime, daemon::session::Session};
use bowline_protocol::{Epoch, ExternalSessionKey, PublicKey, model::UnixMillis};
use rusqlite::Connection;

use crate::{
    ledger::{follow::Follows, replay::ReplayLog, subject::Subject, types::SessionRef},
    outbound::ConnectionHandle,
    store,
};

/// One session.
pub(in crate::ledger) struct LiveSession {
    pub(in crate::ledger) reference: SessionRef,
    /// Absent for a session of the local socket, which is not stored.
    /// Boxed, so that sessions of the local socket stay small.
    pub(in crate::ledger) durable: Option<Box<Durable>>,
    /// Number of the next event, including events of the open transaction.
    pub(in crate::ledger) next_seq: u64,
    pub(in crate::ledger) links: Vec<ConnectionHandle>,
    pub(in crate::ledger) subscriptions: BTreeSet<Subject>,
    pub(in crate::ledger) follows: Follows,
}

impl LiveSession {
    /// Number of the last event, including events of the open transaction.
    pub(in crate::ledger) const fn last_seq(&self) -> u64 {
        self.next_seq.saturating_sub(1)
    }
}

/// The part of a session that only stored sessions have.
pub(in crate::ledger) struct Durable {
    pub(in crate::ledger) key: ExternalSessionKey,
    pub(in crate::ledger) device: PublicKey,
    pub(in crate::ledger) epoch: Epoch,
    pub(in crate::ledger) machine: Session,
    pub(in crate::ledger) log: ReplayLog,
    pub(in crate::ledger) created_at: UnixMillis,
    pub(in crate::ledger) last_seen_at: UnixMillis,
    /// Milliseconds of the store's own clock.
    pub(in crate::ledger) detached_at: Option<i64>,
    /// When the first of its current connections attached; `None` without a connection.
    pub(in crate::ledger) attached_at: Option<MonotonicTime>,
    /// Whether `last_seen_at` and `detached_at` are newer than in the store.
    pub(in crate::ledger) unsaved: bool,
    /// Whether the log has lost entries that the store still has.
    pub(in crate::ledger) untrimmed: bool,
    /// The session's change that could not be stored yet because the disk is full.
    pub(in crate::ledger) pending: Option<Pending>,
    /// Whether its subscriptions differ from the stored ones, for the same reason.
    pub(in crate::ledger) unsaved_topics: bool,
}

/// A session's change that is not stored yet. It is stored before any other row of the session. If
/// the daemon is killed first, nothing is lost: the client then gets another epoch and fetches its
/// content again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ledger) enum Pending {
    /// The session began.
    Begun,
    /// The session got a new epoch.
    Reset,
}

impl Durable {
    /// Whether the store has everything of the session.
    pub(in crate::ledger) const fn is_saved(&self) -> bool {
        self.pending.is_none() && !(self.unsaved_topics || self.unsaved || self.untrimmed)
    }

    /// Records that the store has everything of the session.
    pub(in crate::ledger) const fn note_saved(&mut self) {
        self.pending = None;
        (self.unsaved_topics, self.unsaved, self.untrimmed) = (false, false, false);
    }

    pub(super) fn store(
        &self,
        conn: &Connection,
        id: i64,
        change: Pending,
    ) -> rusqlite::Result<()> {
        let epoch = self.epoch.as_str();
        match change {
            Pending::Begun => {
                let (key, made) = (self.key.as_str(), self.created_at);
                store::sessions::delete_key(conn, key)?;
                store::sessions::insert(conn, id, key, &self.device, epoch, made)
            }
            Pending::Reset => store::sessions::reset(conn, id, epoch, self.last_seen_at),
        }
    }
}

impl LiveSession {
    /// Stores what the store does not have yet.
    pub(in crate::ledger) fn save(&self, conn: &Connection) -> rusqlite::Result<()> {
        let id = self.reference.id;
        let Some(durable) = &self.durable else {
            return Ok(());
        };
        if let Some(change) = durable.pending {
            durable.store(conn, id, change)?;
        }
        if durable.unsaved_topics {
            store::sessions::unsubscribe_all(conn, id)?;
            for topic in &self.subscriptions {
                store::sessions::subscribe(conn, id, topic.as_str())?;
            }
        }
        if durable.unsaved {
            let seen_at = durable.last_seen_at;
            store::sessions::seen(conn, id, seen_at, durable.detached_at)?;
            store::devices::seen(conn, &durable.device, seen_at)?;
        }
        if durable.untrimmed {
            // The row before the log stays: after a restart it gives the next number and the start
            // that made the event.
            let first = durable.log.first_seq().saturating_sub(1);
            store::events::trim(conn, id, first)?;
        }
        Ok(())
    }
}
