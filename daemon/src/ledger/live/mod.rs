//! Every session in memory.

mod session;
mod undo;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use bowline_machines::{
    MonotonicTime,
    daemon::session::{Effect, Session, SessionConfig},
};
use bowline_protocol::{
    ExternalSessionKey, Grant, PublicKey, RpcReason, ServerId, error::RpcError,
    identity::PresharedKey, model::UnixMillis,
};

use self::undo::Undo;
pub(super) use self::{
    session::{Durable, LiveSession, Pending},
    undo::UndoMark,
};
use super::{
    follow::Index,
    owner::Account,
    subject::Subject,
    types::{Audience, Name, SessionRef},
    usage::{Accounts, Quotas},
};
use crate::observe;

/// Ratio of capacity to sessions above which the table is shrunk.
const SPARSE: usize = 8;

/// All sessions.
pub(super) struct Live {
    pub(super) sessions: HashMap<i64, LiveSession>,
    by_key: HashMap<ExternalSessionKey, i64>,
    subscribers: HashMap<Subject, BTreeSet<i64>>,
    /// Who follows which rows (LD-2).
    pub(super) followed: Index,
    /// When follows that were not opened again are next looked for.
    pub(super) follows_due: Option<MonotonicTime>,
    /// Most scopes that one session follows; zero = unbounded.
    pub(super) follows_per_session: usize,
    /// Number of the last follow. Begins at random, so that no later process uses one again.
    pub(super) last_follow: u64,
    next_local: i64,
    /// Id of the next stored session.
    pub(super) next_session: i64,
    /// The label shared by all sessions of the local socket.
    local_name: Arc<Name>,
    next_event: i64,
    /// What each account has stored, including the changes of the open transaction.
    pub(super) accounts: Accounts,
    pub(super) quotas: Quotas,
    /// Stored bodies that no log refers to any more.
    pub(super) dead_events: Vec<i64>,
    /// Keys whose first use could not be stored.
    pub(super) used_keys: HashMap<PublicKey, PresharedKey>,
    /// Devices whose revocation could not be stored; they count as revoked until it is.
    pub(super) revoked: HashSet<PublicKey>,
    /// Since when the daemon is locked (TR-15).
    pub(super) locked_at: Option<UnixMillis>,
    /// When the next session's grace period is due for a check.
    pub(super) deadline: Option<MonotonicTime>,
    pub(super) config: SessionConfig,
    pub(super) server_id: ServerId,
    /// `limits.max_message_bytes`.
    pub(super) max_message: usize,
    undo: Vec<Undo>,
}

impl Live {
    pub(super) fn new(
        config: SessionConfig,
        server_id: ServerId,
        max_message: usize,
        next_event: i64,
        accounts: Accounts,
        quotas: Quotas,
    ) -> Self {
        Self {
            max_message,
            sessions: HashMap::new(),
            by_key: HashMap::new(),
            subscribers: HashMap::new(),
            followed: Index::default(),
            follows_due: None,
            follows_per_session: 0,
            last_follow: 0,
            next_local: -1,
            next_session: 1,
            local_name: Name::new("local", Account::local(), Grant::OWNER),
            next_event,
            accounts,
            quotas,
            dead_events: Vec::new(),
            used_keys: HashMap::new(),
            revoked: HashSet::new(),
            locked_at: None,
            deadline: None,
            config,
            server_id,
            undo: Vec::new(),
        }
    }

    pub(super) fn by_key(&self, key: &ExternalSessionKey) -> Option<(i64, &LiveSession, &Durable)> {
        let id = *self.by_key.get(key)?;
        let (session, durable) = self.stored(id)?;
        Some((id, session, durable))
    }

    /// A session that is stored.
    pub(super) fn stored(&self, id: i64) -> Option<(&LiveSession, &Durable)> {
        let session = self.sessions.get(&id)?;
        Some((session, session.durable.as_deref()?))
    }

    /// Checks that a request's session still stands: its device was not revoked, and may do what it
    /// might when the request came (TR-5). What the owner asked for on the local socket is done
    /// even if the connection has ended.
    pub(super) fn check_standing(&self, session: Option<&SessionRef>) -> Result<(), RpcError> {
        let stands = session.is_none_or(|session| {
            let known = self.sessions.get(&session.id);
            session.id < 0
                || (self.locked_at.is_none()
                    && known.is_some_and(|known| known.reference == *session))
        });
        if stands {
            return Ok(());
        }
        Err(RpcError::new(
            RpcReason::Overloaded,
            "the session has ended or what its device may do has changed; connect again",
        ))
    }

    /// The stored part of a session.
    pub(super) fn durable_mut(&mut self, id: i64) -> Option<&mut Durable> {
        self.sessions.get_mut(&id)?.durable.as_deref_mut()
    }

    pub(super) fn insert(&mut self, session: LiveSession) {
        let id = session.reference.id;
        if let Some(durable) = &session.durable {
            self.by_key.insert(durable.key.clone(), id);
            let timeout = durable.machine.poll_timeout();
            self.wake_at(timeout);
        }
        for topic in &session.subscriptions {
            self.subscribers
                .entry(topic.clone())
                .or_default()
                .insert(id);
        }
        self.sessions.insert(id, session);
    }

    /// Removes a session from memory. The caller deletes its stored rows and closes its
    /// connections.
    pub(super) fn remove(&mut self, id: i64) -> Option<LiveSession> {
        let mut session = self.sessions.remove(&id)?;
        // The table shrinks after many sessions ended; rarely enough to be cheap.
        if self.sessions.capacity() > SPARSE * self.sessions.len().max(SPARSE) {
            self.sessions.shrink_to(2 * self.sessions.len());
        }
        if let Some(durable) = &mut session.durable {
            self.by_key.remove(&durable.key);
            durable.log.clear(&mut self.dead_events);
        }
        for topic in &session.subscriptions {
            remove_subscriber(&mut self.subscribers, topic, id);
        }
        self.drop_follows(id, &session.follows);
        Some(session)
    }

    /// Takes a reference for a session that is not stored.
    pub(super) fn local_session(&mut self) -> SessionRef {
        let id = self.next_local;
        self.next_local = id.saturating_sub(1);
        SessionRef {
            id,
            name: Arc::clone(&self.local_name),
        }
    }

    /// Takes an id for an event; unused ids are skipped.
    pub(super) fn event_id(&mut self) -> i64 {
        let id = self.next_event;
        self.next_event = id.saturating_add(1);
        id
    }

    pub(super) fn wake_at(&mut self, moment: Option<MonotonicTime>) {
        if let Some(moment) = moment {
            self.deadline = Some(self.deadline.map_or(moment, |at| at.min(moment)));
        }
    }

    /// The sessions that receive an event.
    pub(super) fn audience(&self, audience: Audience<'_>) -> Vec<i64> {
        let followers = |topic: &str| -> Vec<i64> {
            let ids = self.subscribers.get(topic);
            ids.map(|ids| ids.iter().copied().collect())
                .unwrap_or_default()
        };
        let stored = |or: &dyn Fn(&LiveSession) -> bool| {
            let sessions = self.sessions.iter();
            let mut ids: Vec<i64> = sessions
                .filter(|(_, session)| session.durable.is_some() || or(session))
                .map(|(id, _)| *id)
                .collect();
            ids.sort_unstable();
            ids
        };
        match audience {
            Audience::Subscribers(subject) => followers(subject),
            Audience::Everyone(subject) => {
                stored(&|session| session.subscriptions.contains(subject))
            }
            Audience::Devices => stored(&|_| false),
            Audience::Session(session) => {
                let there = self.sessions.contains_key(&session.id);
                there.then_some(session.id).into_iter().collect()
            }
        }
    }

    fn link(&mut self, id: i64, topic: &Subject) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else {
            return false;
        };
        let new = session.subscriptions.insert(topic.clone());
        if new {
            self.subscribers
                .entry(topic.clone())
                .or_default()
                .insert(id);
        }
        new
    }

    fn unlink(&mut self, id: i64, topic: &Subject) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else {
            return false;
        };
        let was = session.subscriptions.remove(topic);
        if was {
            remove_subscriber(&mut self.subscribers, topic, id);
        }
        was
    }

    /// Feeds a session's machine and runs its effects, except removing the session: the return
    /// value says whether the caller has to remove it.
    pub(super) fn drive(&mut self, id: i64, feed: impl FnOnce(&mut Session)) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else {
            return false;
        };
        let Some(durable) = &mut session.durable else {
            return false;
        };
        feed(&mut durable.machine);
        let mut expired = false;
        while let Some(effect) = durable.machine.poll_effect() {
            match effect {
                Effect::Close { connection, reason } => {
                    session.links.retain(|link| {
                        let stays = link.id != connection.0;
                        if !stays {
                            link.outbound.close(reason);
                        }
                        stays
                    });
                }
                Effect::Expire => expired = true,
            }
        }
        if let Some(first) = durable.machine.poll_transition() {
            let hash = session.reference.log_hash();
            observe::transition(&self.server_id, &hash, &first);
            while let Some(next) = durable.machine.poll_transition() {
                observe::transition(&self.server_id, &hash, &next);
            }
        }
        let timeout = durable.machine.poll_timeout();
        self.wake_at(timeout);
        expired
    }
}

fn remove_subscriber(
    subscribers: &mut HashMap<Subject, BTreeSet<i64>>,
    topic: &Subject,
    session: i64,
) {
    if let Some(ids) = subscribers.get_mut(topic) {
        ids.remove(&session);
        if ids.is_empty() {
            subscribers.remove(topic);
        }
    }
}
