//! Every session in memory, and the undo journal for failed transactions.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use bowline_machines::{
    MonotonicTime,
    daemon::session::{Effect, Session, SessionConfig},
};
use bowline_protocol::{
    Epoch, ExternalSessionKey, Grant, PublicKey, RpcReason, ServerId, error::RpcError,
    model::UnixMillis,
};
use rusqlite::Connection;

use super::{
    owner::{Account, Owner},
    replay::ReplayLog,
    retention::Overfull,
    topic::Topic,
    types::{Audience, Name, SessionRef},
    usage::{Accounts, Quotas, Usage},
};
use crate::{observe, outbound::ConnectionHandle, store};

/// Ratio of capacity to sessions above which the table is shrunk.
const SPARSE: usize = 8;

/// One session.
pub(super) struct LiveSession {
    pub(super) reference: SessionRef,
    /// Absent for a session of the local socket, which is not stored.
    /// Boxed, so that sessions of the local socket stay small.
    pub(super) durable: Option<Box<Durable>>,
    /// Number of the next event, including events of the open transaction.
    pub(super) next_seq: u64,
    pub(super) links: Vec<ConnectionHandle>,
    pub(super) subscriptions: BTreeSet<Topic>,
}

/// The part of a session that only stored sessions have.
pub(super) struct Durable {
    pub(super) key: ExternalSessionKey,
    pub(super) device: PublicKey,
    pub(super) epoch: Epoch,
    pub(super) machine: Session,
    pub(super) log: ReplayLog,
    pub(super) created_at: UnixMillis,
    pub(super) last_seen_at: UnixMillis,
    /// Milliseconds of the store's own clock.
    pub(super) detached_at: Option<i64>,
    /// When the first of its current connections attached; `None` without a connection.
    pub(super) attached_at: Option<MonotonicTime>,
    /// Whether `last_seen_at` and `detached_at` are newer than in the store.
    pub(super) unsaved: bool,
    /// Whether the log has lost entries that the store still has.
    pub(super) untrimmed: bool,
    /// The session's change that could not be stored yet because the disk is full.
    pub(super) pending: Option<Pending>,
    /// Whether its subscriptions differ from the stored ones, for the same reason.
    pub(super) unsaved_topics: bool,
}

/// A session's change that is not stored yet. It is stored before any other row of the session. If
/// the daemon is killed first, nothing is lost: the client then gets another epoch and fetches its
/// content again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pending {
    /// The session began.
    Begun,
    /// The session got a new epoch.
    Reset,
}

impl Durable {
    /// Whether the store has everything of the session.
    pub(super) const fn is_saved(&self) -> bool {
        self.pending.is_none() && !(self.unsaved_topics || self.unsaved || self.untrimmed)
    }

    /// Records that the store has everything of the session.
    pub(super) const fn note_saved(&mut self) {
        self.pending = None;
        (self.unsaved_topics, self.unsaved, self.untrimmed) = (false, false, false);
    }

    fn store(&self, conn: &Connection, id: i64, change: Pending) -> rusqlite::Result<()> {
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
    pub(super) fn save(&self, conn: &Connection) -> rusqlite::Result<()> {
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

/// One entry of the undo journal.
enum Undo {
    NextSeq(i64, u64),
    Subscribe(i64, Topic),
    Unsubscribe(i64, Topic),
    Charge(Owner, Usage),
    Pending(i64, Pending),
}

/// A position in the undo journal.
#[derive(Clone, Copy)]
pub(super) struct UndoMark(usize);

/// All sessions.
pub(super) struct Live {
    pub(super) sessions: HashMap<i64, LiveSession>,
    by_key: HashMap<ExternalSessionKey, i64>,
    subscribers: HashMap<Topic, BTreeSet<i64>>,
    next_local: i64,
    /// Id of the next stored session.
    pub(super) next_session: i64,
    /// The label shared by all sessions of the local socket.
    local_name: Arc<Name>,
    next_event: i64,
    /// What each account has stored, including the changes of the open transaction.
    pub(super) accounts: Accounts,
    pub(super) quotas: Quotas,
    /// Most bytes of one agent's timeline; zero = unbounded.
    pub(super) timeline_bytes: u64,
    pub(super) overfull: Overfull,
    /// Stored bodies that no log refers to any more.
    pub(super) dead_events: Vec<i64>,
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
            next_local: -1,
            next_session: 1,
            local_name: Name::new("local", Account::local(), Grant::OWNER),
            next_event,
            accounts,
            quotas,
            timeline_bytes: 0,
            overfull: Overfull::default(),
            dead_events: Vec::new(),
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
    /// might when the request came (TR-5). What the owner asked for on the local socket is done even
    /// if the connection has ended.
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
            Audience::Subscribers(agent) => followers(agent.as_str()),
            Audience::Followers(topic) => followers(topic.as_str()),
            Audience::Everyone(agent) => {
                stored(&|session| session.subscriptions.contains(agent.as_str()))
            }
            Audience::Devices => stored(&|_| false),
            Audience::Session(session) => {
                let there = self.sessions.contains_key(&session.id);
                there.then_some(session.id).into_iter().collect()
            }
        }
    }

    /// Takes the next number of a session; also returns whether the session is stored.
    pub(super) fn take_seq(&mut self, id: i64) -> Option<(u64, bool)> {
        let session = self.sessions.get_mut(&id)?;
        let seq = session.next_seq;
        session.next_seq = seq.saturating_add(1);
        self.undo.push(Undo::NextSeq(id, seq));
        Some((seq, session.durable.is_some()))
    }

    /// Stores a session's pending row before any row that refers to it.
    pub(super) fn store_pending(&mut self, conn: &Connection, id: i64) -> rusqlite::Result<()> {
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
    pub(super) fn subscribe(&mut self, id: i64, topic: &Topic) -> bool {
        let new = self.link(id, topic);
        if new {
            self.undo.push(Undo::Subscribe(id, topic.clone()));
        }
        new
    }

    /// Removes a subscription; returns whether it existed.
    pub(super) fn unsubscribe(&mut self, id: i64, topic: &Topic) -> bool {
        let was = self.unlink(id, topic);
        if was {
            self.undo.push(Undo::Unsubscribe(id, topic.clone()));
        }
        was
    }

    /// Charges an account for what a job stores.
    pub(super) fn charge(&mut self, owner: Owner, change: Usage) {
        self.accounts.add(owner, change);
        self.undo.push(Undo::Charge(owner, change));
    }

    fn link(&mut self, id: i64, topic: &Topic) -> bool {
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

    fn unlink(&mut self, id: i64, topic: &Topic) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else {
            return false;
        };
        let was = session.subscriptions.remove(topic);
        if was {
            remove_subscriber(&mut self.subscribers, topic, id);
        }
        was
    }

    pub(super) fn mark(&self) -> UndoMark {
        UndoMark(self.undo.len())
    }

    /// Undoes every change after the mark.
    pub(super) fn roll_back(&mut self, mark: UndoMark) {
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
                Some(Undo::Charge(owner, change)) => self.accounts.add(owner, -change),
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
    pub(super) fn settle(&mut self) {
        self.undo.clear();
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

fn remove_subscriber(subscribers: &mut HashMap<Topic, BTreeSet<i64>>, topic: &Topic, session: i64) {
    if let Some(ids) = subscribers.get_mut(topic) {
        ids.remove(&session);
        if ids.is_empty() {
            subscribers.remove(topic);
        }
    }
}

impl SessionRef {
    pub(super) fn new(id: i64, key: &str, account: Account) -> Self {
        Self {
            id,
            name: Name::new(key, account, Grant::OWNER),
        }
    }

    pub(super) fn with_grant(self, grant: Grant) -> Self {
        Self {
            name: Name::new(&self.name.key, self.name.account.clone(), grant),
            ..self
        }
    }
}

impl Name {
    fn new(key: &str, account: Account, grant: Grant) -> Arc<Self> {
        let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
        let mut label = [0; 16];
        for (to, from) in label.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        Arc::new(Self {
            key: key.into(),
            label,
            grant,
            account,
        })
    }
}
