//! What jobs get to work with: [`Reader`] for a snapshot, [`Tx`] for one atomic change.

use std::sync::Arc;

use bowline_protocol::{IntentId, RpcReason, error::RpcError, model::UnixMillis};
use rusqlite::Connection;

use super::{
    counters::Counters,
    live::{Live, UndoMark},
    replay::Body,
    topic::Topic,
    types::SessionRef,
};
use crate::{
    service::{content_bytes, no_session, page_bytes},
    store::{self, fault},
};

/// Topics one session may follow; one more is answered with `overloaded`.
const MAX_SUBSCRIPTIONS: usize = 1_024;

/// What a reading job sees: the state as committed.
pub struct Reader<'a> {
    pub(super) conn: &'a Connection,
    pub(super) live: &'a Live,
    pub(super) session: Option<&'a SessionRef>,
}

impl Reader<'_> {
    /// Whose request it is; `None` for the daemon's own work and for probes.
    pub const fn session(&self) -> Option<&SessionRef> {
        self.session
    }

    /// The last event number of the session that asks: the state read here is as of it. Zero without one.
    pub fn seq(&self) -> u64 {
        self.session
            .and_then(|session| self.live.sessions.get(&session.id))
            .map_or(0, |session| session.next_seq.saturating_sub(1))
    }

    /// Bytes that the rows of one page of a listing may have, so that the page fits into a message:
    /// [`PAGE_BYTES`](super::PAGE_BYTES), or less where `limits.max_message_bytes` is.
    pub fn page_bytes(&self) -> usize {
        page_bytes(self.live.max_message)
    }

    /// Bytes that a single row or item may have.
    pub(crate) const fn content_bytes(&self) -> usize {
        content_bytes(self.live.max_message)
    }

    pub(crate) fn conn(&self) -> &Connection {
        self.conn
    }
}

/// An event on its way to its sessions.
pub(super) struct Publication {
    pub(super) body: Arc<Body>,
    pub(super) to: Vec<(i64, u64)>,
}

/// What happens after the commit.
#[derive(Default)]
pub(super) struct Staged {
    pub(super) publications: Vec<Publication>,
    pub(super) actions: Vec<Box<dyn FnOnce() + Send>>,
}

/// A place to go back to.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    undo: UndoMark,
    publications: usize,
    actions: usize,
}

/// On whose behalf a job runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Caller {
    pub(super) session: Option<SessionRef>,
    pub(super) intent: Option<IntentId>,
}

/// What a writing job may do; all of it happens, durably, or none.
pub struct Tx<'a> {
    pub(super) conn: &'a Connection,
    pub(super) live: &'a mut Live,
    pub(super) staged: &'a mut Staged,
    pub(super) counters: &'a Counters,
    pub(super) now: UnixMillis,
    /// Milliseconds that the store has lived.
    pub(super) lived: i64,
    /// Whether the store could not be written lately.
    pub(super) failing: bool,
    pub(super) caller: Caller,
}

impl Tx<'_> {
    /// The time of this turn, for people and the wire.
    pub fn now(&self) -> UnixMillis {
        self.now
    }

    /// Whose request it is.
    ///
    /// # Errors
    /// `forbidden` where there is none: in work of the daemon's own.
    pub fn session(&self) -> Result<SessionRef, RpcError> {
        self.caller.session.clone().ok_or_else(no_session)
    }

    /// As [`Reader::page_bytes`].
    pub fn page_bytes(&self) -> usize {
        page_bytes(self.live.max_message)
    }

    /// Bytes that the content of one event may have, so that it fits into a message.
    pub(crate) const fn content_bytes(&self) -> usize {
        content_bytes(self.live.max_message)
    }

    /// The intent that runs, if one does.
    pub const fn intent_id(&self) -> Option<IntentId> {
        self.caller.intent
    }

    pub(crate) fn conn(&self) -> &Connection {
        self.conn
    }

    /// Lets a session follow a topic, such as an agent; a second time changes nothing. It lasts as long as the session.
    ///
    /// # Errors
    /// `not_found` if the session has ended; `overloaded` at the bound of subscriptions.
    pub fn subscribe(
        &mut self,
        session: &SessionRef,
        topic: impl Into<Topic>,
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
                format!("a session follows at most {MAX_SUBSCRIPTIONS} things"),
            ));
        }
        let durable = live.durable.is_some();
        self.live.subscribe(session.id, &topic);
        if durable && self.failing {
            // Reading goes on while the disk takes nothing (C8): there are no events then, and it is stored once there are.
            self.live.note_unsaved_topics(session.id);
        } else if durable {
            self.live
                .store_pending(self.conn, session.id)
                .map_err(fault)?;
            store::sessions::subscribe(self.conn, session.id, topic.as_str()).map_err(fault)?;
        }
        Ok(())
    }

    /// Lets the session that asks follow a topic: [`Tx::subscribe`].
    ///
    /// # Errors
    /// As [`Tx::session`] and [`Tx::subscribe`].
    pub fn follow(&mut self, topic: impl Into<Topic>) -> Result<(), RpcError> {
        let session = self.session()?;
        self.subscribe(&session, topic)
    }

    /// Ends what [`Tx::follow`] began; else nothing changes.
    ///
    /// # Errors
    /// As [`Tx::session`]; when the store fails.
    pub fn unfollow(&mut self, topic: impl Into<Topic>) -> Result<(), RpcError> {
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
        topic: impl Into<Topic>,
    ) -> Result<(), RpcError> {
        let topic = topic.into();
        let durable = self
            .live
            .sessions
            .get(&session.id)
            .is_some_and(|live| live.durable.is_some());
        let was = self.live.unsubscribe(session.id, &topic);
        if was && durable && self.failing {
            self.live.note_unsaved_topics(session.id);
        } else if was && durable {
            store::sessions::unsubscribe(self.conn, session.id, topic.as_str()).map_err(fault)?;
        }
        Ok(())
    }

    /// Runs `action` on the ledger's thread after the commit; it must be short. Not run for an intent
    /// whose outcome was already stored.
    pub fn after_commit(&mut self, action: impl FnOnce() + Send + 'static) {
        self.staged.actions.push(Box::new(action));
    }

    /// Runs a part of the job that is undone by itself when it fails.
    pub(super) fn nested<R>(
        &mut self,
        part: impl FnOnce(&mut Self) -> Result<R, RpcError>,
    ) -> Result<R, RpcError> {
        let mark = self.mark();
        run(self.conn, "SAVEPOINT part").map_err(fault)?;
        let outcome = part(self);
        match &outcome {
            Ok(_) => run(self.conn, "RELEASE part").map_err(fault)?,
            Err(_) => {
                self.roll_back(mark);
                // A store fault may have ended the whole transaction. The turn notices that, and it also has
                // to end if the part cannot be undone by itself.
                if !self.conn.is_autocommit()
                    && run(self.conn, "ROLLBACK TO part")
                        .and_then(|()| run(self.conn, "RELEASE part"))
                        .is_err()
                {
                    let _ = run(self.conn, "ROLLBACK");
                }
            }
        }
        outcome
    }

    fn mark(&self) -> Mark {
        Mark {
            undo: self.live.mark(),
            publications: self.staged.publications.len(),
            actions: self.staged.actions.len(),
        }
    }

    fn roll_back(&mut self, mark: Mark) {
        self.live.roll_back(mark.undo);
        self.staged.publications.truncate(mark.publications);
        self.staged.actions.truncate(mark.actions);
    }
}

/// Runs a statement without parameters or rows.
pub(super) fn run(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.execute([]).map(|_| ())
}
