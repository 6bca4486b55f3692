//! The interfaces jobs use: [`Reader`] for a snapshot, [`Tx`] for one atomic change.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bowline_protocol::{Grant, IntentId, PublicKey, RpcReason, error::RpcError, model::UnixMillis};
use rusqlite::Connection;

use super::{
    counters::Counters,
    follow::{Changes, ChangesMark},
    live::{Live, LiveSession, UndoMark},
    replay::Body,
    storage::StorageLimit,
    subject::Subject,
    types::SessionRef,
};
use crate::{
    rpc::{content_bytes, no_session, page_bytes},
    store::{self, fault, sql::run},
};

/// Subjects one session may subscribe to; one more is answered with `overloaded`.
const MAX_SUBSCRIPTIONS: usize = 1_024;

/// A reading job's view: the committed state.
pub struct Reader<'a> {
    pub(super) conn: &'a Connection,
    pub(super) live: &'a Live,
    pub(super) session: Option<&'a SessionRef>,
    /// The store's own time in milliseconds (see `lived.rs`).
    pub(super) lived: i64,
}

impl Reader<'_> {
    /// The session of the request; `None` for the daemon's own work and for probes.
    pub const fn session(&self) -> Option<&SessionRef> {
        self.session
    }

    /// As [`Tx::lived`].
    pub const fn lived(&self) -> i64 {
        self.lived
    }

    /// What the caller may do, as [`Tx::grant`].
    pub fn grant(&self) -> &Grant {
        self.session.map_or(&Grant::OWNER, SessionRef::grant)
    }

    /// The last event number of the requesting session: the state read here includes that event.
    /// Zero without a session.
    pub fn seq(&self) -> u64 {
        self.session
            .and_then(|session| self.live.sessions.get(&session.id))
            .map_or(0, LiveSession::last_seq)
    }

    /// Most bytes of rows in one page of a listing, so that the page fits into a message:
    /// [`PAGE_BYTES`](super::PAGE_BYTES), or less with a small `limits.max_message_bytes`.
    pub fn page_bytes(&self) -> usize {
        page_bytes(self.live.max_message)
    }

    /// Most bytes of a single row or item.
    pub const fn content_bytes(&self) -> usize {
        content_bytes(self.live.max_message)
    }

    pub(crate) fn conn(&self) -> &Connection {
        self.conn
    }
}

/// An event with the sessions that receive it.
pub(super) struct Publication {
    pub(super) body: Arc<Body>,
    pub(super) to: Vec<(i64, u64)>,
}

/// Effects that run after the commit.
#[derive(Default)]
pub(super) struct Staged {
    pub(super) publications: Vec<Publication>,
    pub(super) changes: Changes,
    pub(super) actions: Vec<Box<dyn FnOnce() + Send>>,
}

/// A state to roll back to.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    undo: UndoMark,
    publications: usize,
    changes: ChangesMark,
    actions: usize,
}

/// The request that a job runs for.
#[derive(Clone, Debug, Default)]
pub(super) struct Caller {
    pub(super) session: Option<SessionRef>,
    pub(super) intent: Option<IntentId>,
}

/// The interface of a writing job; its changes are durable all together or not at all.
pub struct Tx<'a> {
    pub(super) conn: &'a Connection,
    pub(super) live: &'a mut Live,
    pub(super) staged: &'a mut Staged,
    pub(super) counters: &'a Counters,
    pub(super) now: UnixMillis,
    /// The store's own time in milliseconds (see `lived.rs`).
    pub(super) lived: i64,
    /// Time until old intents are forgotten next, and make room.
    pub(super) sweep_in: Duration,
    /// Whether recent writes to the store failed.
    pub(super) failing: bool,
    pub(super) storage_limit: StorageLimit,
    pub(super) caller: Caller,
}

impl Tx<'_> {
    /// Wall-clock time of this batch, for people and the wire.
    pub fn now(&self) -> UnixMillis {
        self.now
    }

    /// The store's own time in milliseconds: it runs while the machine does, and no user sets it.
    /// For what ages.
    pub const fn lived(&self) -> i64 {
        self.lived
    }

    /// The session of the request.
    ///
    /// # Errors
    /// `forbidden` without a session, as in the daemon's own work.
    pub fn session(&self) -> Result<SessionRef, RpcError> {
        self.caller.session.clone().ok_or_else(no_session)
    }

    /// The device of the request; `None` for the owner on the local socket and for the daemon's own
    /// work.
    pub fn device(&self) -> Option<PublicKey> {
        let session = self.caller.session.as_ref()?;
        let (_, durable) = self.live.stored(session.id)?;
        Some(durable.device)
    }

    /// What a device may do now, for work that it asked for earlier; `None` if it never paired, was
    /// revoked, or its pairing has ended.
    ///
    /// # Errors
    /// When the store fails.
    pub fn grant_of(&self, device: &PublicKey) -> Result<Option<Grant>, RpcError> {
        let standing = store::devices::standing(self.conn, device).map_err(fault)?;
        let stands = standing.filter(|standing| {
            !standing.is_revoked
                && !self.live.revoked.contains(device)
                && !standing.is_expired(self.now, self.lived)
        });
        Ok(stands.map(|standing| standing.grant))
    }

    /// Counts bytes of old content that a service dropped to stay within its bounds
    /// (`bowline_timeline_dropped_bytes_total`).
    pub fn note_dropped_bytes(&self, bytes: u64) {
        let dropped = &self.counters.dropped_bytes;
        dropped.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether the daemon is locked, so that no agent runs (TR-15).
    pub const fn is_locked(&self) -> bool {
        self.live.locked_at.is_some()
    }

    /// What the caller may do: everything, except for devices with less (TR-4).
    pub fn grant(&self) -> &Grant {
        let session = self.caller.session.as_ref();
        session.map_or(&Grant::OWNER, SessionRef::grant)
    }

    /// As [`Reader::page_bytes`].
    pub fn page_bytes(&self) -> usize {
        page_bytes(self.live.max_message)
    }

    /// Most bytes of the content of one event, so that it fits into a message.
    pub const fn content_bytes(&self) -> usize {
        content_bytes(self.live.max_message)
    }

    /// The running intent, if any.
    pub const fn intent_id(&self) -> Option<IntentId> {
        self.caller.intent
    }

    pub(crate) fn conn(&self) -> &Connection {
        self.conn
    }

    /// Subscribes a session to a subject, whose events it gets as
    /// [`Audience::Subscribers`](super::Audience) from then on; repeating it changes nothing. The
    /// subscription lasts as long as the session, and survives a restart.
    ///
    /// # Errors
    /// `not_found` if the session has ended; `overloaded` over the limit of subscriptions.
    pub fn subscribe(
        &mut self,
        session: &SessionRef,
        topic: impl Into<Subject>,
    ) -> Result<(), RpcError> {
        let topic = topic.into();
        let Some(live) = self.live.sessions.get(&session.id) else {
            return Err(RpcError::new(RpcReason::NotFound, "the session has ended"));
        };
        if live.subscriptions.contains(&topic) {
            return Ok(());
        }
        if live.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            return Err(RpcError::new(
                RpcReason::Overloaded,
                format!("a session can subscribe to at most {MAX_SUBSCRIPTIONS} subjects"),
            ));
        }
        self.live.subscribe(session.id, &topic);
        if self.is_topic_stored(session) {
            let (conn, id) = (self.conn, session.id);
            let stored = self.live.store_pending(conn, id);
            stored
                .and_then(|()| store::sessions::subscribe(conn, id, topic.as_str()))
                .map_err(fault)?;
        }
        Ok(())
    }

    /// Subscribes the requesting session to a subject: [`Tx::subscribe`].
    ///
    /// # Errors
    /// As [`Tx::session`] and [`Tx::subscribe`].
    pub fn follow(&mut self, topic: impl Into<Subject>) -> Result<(), RpcError> {
        let session = self.session()?;
        self.subscribe(&session, topic)
    }

    /// Ends the subscription of [`Tx::follow`]; without one nothing changes.
    ///
    /// # Errors
    /// As [`Tx::session`]; when the store fails.
    pub fn unfollow(&mut self, topic: impl Into<Subject>) -> Result<(), RpcError> {
        let session = self.session()?;
        self.unsubscribe(&session, topic)
    }

    /// Ends a subscription; without one nothing changes.
    ///
    /// # Errors
    /// When the store fails.
    pub fn unsubscribe(
        &mut self,
        session: &SessionRef,
        topic: impl Into<Subject>,
    ) -> Result<(), RpcError> {
        let topic = topic.into();
        if self.live.unsubscribe(session.id, &topic) && self.is_topic_stored(session) {
            store::sessions::unsubscribe(self.conn, session.id, topic.as_str()).map_err(fault)?;
        }
        Ok(())
    }

    /// Whether a changed subscription of the session is stored now. Subscribing works while the
    /// disk is full (C8): no events occur then, and the change is stored once writes succeed.
    fn is_topic_stored(&mut self, session: &SessionRef) -> bool {
        let Some(durable) = self.live.durable_mut(session.id) else {
            return false;
        };
        durable.unsaved_topics |= self.failing;
        !self.failing
    }

    /// Runs `action` on the ledger's thread after the commit; it must be short. It does not run for
    /// an intent whose outcome was already stored.
    pub fn after_commit(&mut self, action: impl FnOnce() + Send + 'static) {
        self.staged.actions.push(Box::new(action));
    }

    /// Runs a part of the job in its own savepoint: a failure undoes this part only.
    pub(super) fn nested<R>(
        &mut self,
        part: impl FnOnce(&mut Self) -> Result<R, RpcError>,
    ) -> Result<R, RpcError> {
        let mark = self.mark();
        run(self.conn, "SAVEPOINT part", ()).map_err(fault)?;
        let outcome = part(self);
        match &outcome {
            Ok(_) => run(self.conn, "RELEASE part", ()).map_err(fault)?,
            Err(_) => {
                self.roll_back(mark);
                // A store fault may have ended the whole transaction, which the batch detects. The
                // transaction must also end if this part cannot be rolled back separately.
                if !self.conn.is_autocommit()
                    && run(self.conn, "ROLLBACK TO part", ())
                        .and_then(|()| run(self.conn, "RELEASE part", ()))
                        .is_err()
                {
                    let _ = run(self.conn, "ROLLBACK", ());
                }
            }
        }
        outcome
    }

    fn mark(&self) -> Mark {
        Mark {
            undo: self.live.mark(),
            publications: self.staged.publications.len(),
            changes: self.staged.changes.mark(),
            actions: self.staged.actions.len(),
        }
    }

    fn roll_back(&mut self, mark: Mark) {
        self.live.roll_back(mark.undo);
        self.staged.publications.truncate(mark.publications);
        self.staged.changes.roll_back(mark.changes);
        self.staged.actions.truncate(mark.actions);
    }
}
