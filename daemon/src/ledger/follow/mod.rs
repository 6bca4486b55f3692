//! What sessions follow (LD-2): the scopes of tables, logs and topics, in memory only, and for how
//! long.
//!
//! * [`index`] finds the followers of a key
//! * [`changes`] and [`log_changes`] tell them what a transaction changed, in that transaction
//! * [`open`] answers requests: following and the first page in one turn of the ledger
//! * [`rows`] and [`items`] read pages of a table and of a log for clients
//! * [`topic`] tells them what happened in a topic

mod changes;
mod index;
mod items;
mod log_changes;
mod open;
mod rows;
mod topic;

use std::{collections::BTreeMap, ops::RangeInclusive};

use bowline_machines::MonotonicTime;
use bowline_protocol::{
    RpcReason,
    error::RpcError,
    limits,
    live::{LiveKind, Scope},
};

pub use self::topic::Topic;
pub(super) use self::{
    changes::{Changes, ChangesMark},
    index::Index,
};
pub(crate) use self::{
    items::{Items, Part},
    open::{Answered, Asked, FindScope, Held, Source},
    rows::{Rows, Wanted},
};
use super::{core::Core, live::Live};

/// Shortest time between two looks for follows that were not opened again.
const LAPSE_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

/// A table, log or topic by its name.
pub(crate) type Followed = (LiveKind, &'static str);

/// What one session follows.
#[derive(Default)]
pub(super) struct Follows {
    scopes: BTreeMap<(Followed, Scope), Follow>,
    /// When what was not opened again since the last attach ends.
    again_by: Option<MonotonicTime>,
}

/// One followed scope.
struct Follow {
    /// Its first number and its newest one: each time it is opened it gets another. What happened
    /// between two follows of a scope has no number in the session, so that of an event does not
    /// tell them apart.
    numbers: RangeInclusive<u64>,
    /// Number of the session's last event before it: every later event of the scope was sent.
    since: u64,
    /// Whether it was opened since the last attach that found no other connection.
    is_current: bool,
}

impl Follow {
    fn opened_again(&mut self, last: &mut u64) -> u64 {
        *last += 1;
        self.numbers = *self.numbers.start()..=*last;
        *last
    }
}

impl Follows {
    pub(super) fn len(&self) -> usize {
        self.scopes.len()
    }
}

impl Live {
    /// Has a session follow a scope, from the event after `seq` on unless it already does. Returns
    /// the newest number of the follow.
    ///
    /// # Errors
    /// `quota_exceeded`; `not_found` if the session has ended.
    fn follow(&mut self, id: i64, of: Followed, scope: &Scope, seq: u64) -> Result<u64, RpcError> {
        let limit = self.follows_per_session;
        let Some(session) = self.sessions.get_mut(&id) else {
            return Err(RpcError::new(RpcReason::NotFound, "the session has ended"));
        };
        let key = (of, scope.clone());
        let scopes = &mut session.follows.scopes;
        if let Some(follow) = scopes.get_mut(&key) {
            follow.is_current = true;
            return Ok(follow.opened_again(&mut self.last_follow));
        }
        if limit > 0 && scopes.len() >= limit {
            return Err(session.reference.name.account.over(
                RpcReason::QuotaExceeded,
                "follows_per_session",
                limit as u64,
                "follows as much as one session may; close something first",
            ));
        }
        self.last_follow += 1;
        let follow = Follow {
            numbers: self.last_follow..=self.last_follow,
            since: seq,
            is_current: true,
        };
        scopes.insert(key, follow);
        self.followed.insert(of, scope, id);
        Ok(self.last_follow)
    }

    /// A new number of a session's follow, if the session got every event of the scope after what
    /// it holds; then it follows the scope further.
    fn resume_follow(&mut self, id: i64, of: Followed, scope: &Scope, held: Held) -> Option<u64> {
        let session = self.sessions.get_mut(&id)?;
        let follow = session.follows.scopes.get_mut(&(of, scope.clone()))?;
        let is_same = held
            .follow
            .is_none_or(|number| follow.numbers.contains(&number));
        if !is_same || held.seq < follow.since {
            return None;
        }
        follow.is_current = true;
        Some(follow.opened_again(&mut self.last_follow))
    }

    /// `number`: only if the follow was not opened again since it got this one. A request to end it
    /// may arrive late, by a path that the client has left.
    fn unfollow(&mut self, id: i64, of: Followed, scope: &Scope, number: Option<u64>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let key = (of, scope.clone());
        let follow = session.follows.scopes.get(&key);
        let is_newest = |follow: &Follow| number.is_none_or(|one| one == *follow.numbers.end());
        if follow.is_some_and(is_newest) {
            session.follows.scopes.remove(&key);
            self.followed.remove(of, scope, id);
        }
    }

    /// Ends all that a session follows: its events no longer reach its client without a gap, or its
    /// device may do something else than before.
    pub(super) fn unfollow_all(&mut self, id: i64) {
        if let Some(session) = self.sessions.get_mut(&id) {
            let follows = std::mem::take(&mut session.follows);
            self.drop_follows(id, &follows);
        }
    }

    /// Removes the follows of a session that is gone.
    pub(super) fn drop_follows(&mut self, id: i64, follows: &Follows) {
        for (of, scope) in follows.scopes.keys() {
            self.followed.remove(*of, scope, id);
        }
    }

    /// Notes an attach that finds no other connection: its client opens again what it follows, and
    /// the rest ends.
    pub(super) fn expect_follows(&mut self, id: i64, now: MonotonicTime) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.follows.scopes.is_empty() {
            return;
        }
        for follow in session.follows.scopes.values_mut() {
            follow.is_current = false;
        }
        let due = now + limits::FOLLOW_AGAIN;
        session.follows.again_by = Some(due);
        self.follows_due = Some(self.follows_due.map_or(due, |at| at.min(due)));
    }

    /// Notes that a session has no connection any more: nobody can open anything again.
    pub(super) fn keep_follows(&mut self, id: i64) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.follows.again_by = None;
        }
    }
}

impl Core {
    /// Ends what clients did not open again in time.
    pub(super) fn end_old_follows(&mut self, now: MonotonicTime) {
        let live = &mut self.live;
        live.follows_due = None;
        let (mut over, mut next) = (Vec::new(), None::<MonotonicTime>);
        for (id, session) in &mut live.sessions {
            let follows = &mut session.follows;
            match follows.again_by {
                Some(at) if at <= now => {
                    follows.again_by = None;
                    let old = follows
                        .scopes
                        .extract_if(.., |_, follow| !follow.is_current);
                    over.extend(old.map(|((of, scope), _)| (*id, of, scope)));
                }
                Some(at) => next = Some(next.map_or(at, |next| next.min(at))),
                None => {}
            }
        }
        for (id, of, scope) in over {
            live.followed.remove(of, &scope, id);
        }
        live.follows_due = next.map(|at| at.max(now + LAPSE_PAUSE));
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, mem::size_of};

    use super::*;

    /// Whatever the key and however alone its follower. A node of a B-tree has room for 11 entries
    /// and is at least 5 full, unless it is the only one.
    #[test]
    fn ld_2_a_follow_takes_at_most_a_kibibyte_at_rest() {
        const NODE: usize = 11;
        const LEAST: usize = 5;
        const HEAD: usize = 16;
        let shared = |entry: usize| (NODE * entry + HEAD).div_ceil(LEAST);
        let of_session = shared(size_of::<((Followed, Scope), Follow)>());
        let of_index = shared(size_of::<(Scope, BTreeSet<i64>)>());
        let sessions = NODE * size_of::<i64>() + HEAD;
        let text = limits::MAX_KEY + 1 + HEAD;
        let all = of_session + of_index + sessions + text;
        assert!(all <= 1_024, "{all} bytes");
    }
}
