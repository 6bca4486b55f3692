//! Changes of the open transaction in memory, and the journal that undoes them if it fails.

use rusqlite::Connection;

use super::{Live, Pending};
use crate::ledger::{
    owner::Owner,
    subject::Subject,
    usage::{Fund, Usage},
};

/// One entry of the undo journal.
pub(super) enum Undo {
    NextSeq(i64, u64),
    Subscribe(i64, Subject),
    Unsubscribe(i64, Subject),
    Charge(Owner, Fund, Usage),
    Pending(i64, Pending),
}

/// A position in the undo journal.
#[derive(Clone, Copy)]
pub(in crate::ledger) struct UndoMark(usize);

impl Live {
    /// Takes the next number of a session; also returns whether the session is stored.
    pub(in crate::ledger) fn take_seq(&mut self, id: i64) -> Option<(u64, bool)> {
        let session = self.sessions.get_mut(&id)?;
        let seq = session.next_seq;
        session.next_seq = seq.saturating_add(1);
        self.undo.push(Undo::NextSeq(id, seq));
        Some((seq, session.durable.is_some()))
    }

    /// Stores a session's pending row before any row that refers to it.
    pub(in crate::ledger) fn store_pending(
        &mut self,
        conn: &Connection,
        id: i64,
    ) -> rusqlite::Result<()> {
        let Some(durable) = self
            .sessions
            .get_mut(&id)
            .and_then(|it| it.durable.as_mut())
        else {
            return Ok(());
        };
        let Some(change) = durable.pending.take() else {
            return Ok(());
        };
        self.undo.push(Undo::Pending(id, change));
        durable.store(conn, id, change)
    }

    /// Records a subscription; returns whether it is new.
    pub(in crate::ledger) fn subscribe(&mut self, id: i64, topic: &Subject) -> bool {
        let new = self.link(id, topic);
        if new {
            self.undo.push(Undo::Subscribe(id, topic.clone()));
        }
        new
    }

    /// Removes a subscription; returns whether it existed.
    pub(in crate::ledger) fn unsubscribe(&mut self, id: i64, topic: &Subject) -> bool {
        let was = self.unlink(id, topic);
        if was {
            self.undo.push(Undo::Unsubscribe(id, topic.clone()));
        }
        was
    }

    /// Charges an account for what a job stores.
    pub(in crate::ledger) fn charge(&mut self, owner: Owner, fund: Fund, change: Usage) {
        self.accounts.add_to(owner, fund, change);
        self.undo.push(Undo::Charge(owner, fund, change));
    }

    pub(in crate::ledger) fn mark(&self) -> UndoMark {
        UndoMark(self.undo.len())
    }

    /// Undoes every change after the mark.
    pub(in crate::ledger) fn roll_back(&mut self, mark: UndoMark) {
        while self.undo.len() > mark.0 {
            match self.undo.pop() {
                Some(Undo::NextSeq(id, seq)) => {
                    if let Some(session) = self.sessions.get_mut(&id) {
                        session.next_seq = seq;
                    }
                }
                Some(Undo::Subscribe(id, topic)) => {
                    self.unlink(id, &topic);
                }
                Some(Undo::Unsubscribe(id, topic)) => {
                    self.link(id, &topic);
                }
                Some(Undo::Charge(owner, fund, change)) => {
                    self.accounts.add_to(owner, fund, -change);
                }
                Some(Undo::Pending(id, pending)) => {
                    if let Some(durable) = self.durable_mut(id) {
                        durable.pending = Some(pending);
                    }
                }
                None => break,
            }
        }
    }

    /// Makes every change so far final.
    pub(in crate::ledger) fn settle(&mut self) {
        self.undo.clear();
    }
}
