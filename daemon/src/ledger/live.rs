//! Every session in memory, and the journal that takes back what a failed transaction did.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use bowline_machines::{
    Moment,
    session::{Effect, Session, SessionConfig},
};
use bowline_protocol::{Epoch, ExternalSessionKey, PublicKey, ServerId, model::UnixMillis};
use rusqlite::Connection;

use super::{
    replay::ReplayLog,
    topic::Topic,
    types::{Audience, Name, SessionRef},
};
use crate::{observe, outbound::ConnectionHandle, store};

/// A table of so many times more places than sessions is made smaller.
const SPARSE: usize = 8;

/// One session.
pub(super) struct LiveSession {
    pub(super) reference: SessionRef,
    /// Absent for a session of the local socket, which is not stored.
    /// Boxed, so that those of the local socket are small.
    pub(super) durable: Option<Box<Durable>>,
    /// Number of the next event, those of the open transaction included.
    pub(super) next_seq: u64,
    pub(super) links: Vec<ConnectionHandle>,
    pub(super) subscriptions: BTreeSet<Topic>,
}

/// What only a stored session has.
pub(super) struct Durable {
    pub(super) key: ExternalSessionKey,
    pub(super) device: PublicKey,
    pub(super) epoch: Epoch,
    pub(super) machine: Session,
    pub(super) log: ReplayLog,
    pub(super) created_at: UnixMillis,
    pub(super) last_seen_at: UnixMillis,
    /// In milliseconds that the store had lived.
    pub(super) detached_at: Option<i64>,
    /// When the first of its connections came; `None` while it has none.
    pub(super) attached_at: Option<Moment>,
    /// Whether `last_seen_at` and `detached_at` are newer than in the store.
    pub(super) unsaved: bool,
    /// Whether the log has lost entries that the store still has.
    pub(super) untrimmed: bool,
    /// What the store could not be told of this session yet, because the disk took nothing.
    pub(super) pending: Option<Pending>,
    /// Whether its subscriptions are others than in the store, for the same reason.
    pub(super) unsaved_topics: bool,
}

/// What became of a session that the store does not know. It is told before anything else of the session: a daemon that is
/// killed first has lost nothing, since its client then finds another epoch and fetches what it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pending {
    /// It has begun.
    Begun,
    /// It has another numbering.
    Reset,
}

/// What is to be stored of a session then.
pub(super) struct PendingRow {
    pub(super) id: i64,
    pending: Pending,
    key: String,
    device: PublicKey,
    epoch: Epoch,
    created_at: UnixMillis,
    last_seen_at: UnixMillis,
}

impl PendingRow {
    pub(super) fn store(&self, conn: &Connection) -> rusqlite::Result<()> {
        let (id, epoch) = (self.id, self.epoch.as_str());
        match self.pending {
            Pending::Begun => {
                store::sessions::delete_key(conn, &self.key)?;
                let made = self.created_at;
                store::sessions::insert(conn, id, &self.key, &self.device, epoch, made)
            }
            Pending::Reset => store::sessions::reset(conn, id, epoch, self.last_seen_at),
        }
    }
}

impl LiveSession {
    /// What the store does not know yet of this session.
    pub(super) fn pending_row(&self) -> Option<PendingRow> {
        let durable = self.durable.as_deref()?;
        Some(PendingRow {
            id: self.reference.id,
            pending: durable.pending?,
            key: durable.key.as_str().to_owned(),
            device: durable.device,
            epoch: durable.epoch.clone(),
            created_at: durable.created_at,
            last_seen_at: durable.last_seen_at,
        })
    }
}

/// One step back.
enum Undo {
    NextSeq(i64, u64),
    Subscribe(i64, Topic),
    Unsubscribe(i64, Topic),
    Intent,
    Pending(i64, Pending),
}

/// A place in the journal.
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
    /// What sessions of the local socket are called, once for all of them.
    local_name: Arc<Name>,
    next_event: i64,
    /// Remembered intents, those of the open transaction included.
    pub(super) intents: u64,
    /// Stored bodies that no log holds any more.
    pub(super) dead_events: Vec<i64>,
    /// When a session's grace is to be looked at next.
    pub(super) deadline: Option<Moment>,
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
        intents: u64,
    ) -> Self {
        Self {
            max_message,
            sessions: HashMap::new(),
            by_key: HashMap::new(),
            subscribers: HashMap::new(),
            next_local: -1,
            next_session: 1,
            local_name: Name::new("local"),
            next_event,
            intents,
            dead_events: Vec::new(),
            deadline: None,
            config,
            server_id,
            undo: Vec::new(),
        }
    }

    pub(super) fn by_key(&self, key: &ExternalSessionKey) -> Option<(i64, &LiveSession, &Durable)> {
        let id = *self.by_key.get(key)?;
        let session = self.sessions.get(&id)?;
        Some((id, session, session.durable.as_deref()?))
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

    /// Forgets a session. Its stored rows are the caller's business, its connections as well.
    pub(super) fn remove(&mut self, id: i64) -> Option<LiveSession> {
        let mut session = self.sessions.remove(&id)?;
        // A crowd that has left must not leave its table behind. Seldom enough to cost nothing for each.
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

    /// A session that is not stored.
    pub(super) fn local_session(&mut self) -> SessionRef {
        let id = self.next_local;
        self.next_local = id.saturating_sub(1);
        SessionRef {
            id,
            name: Arc::clone(&self.local_name),
        }
    }

    /// An id for an event; one that is not used in the end is skipped.
    pub(super) fn event_id(&mut self) -> i64 {
        let id = self.next_event;
        self.next_event = id.saturating_add(1);
        id
    }

    pub(super) fn wake_at(&mut self, moment: Option<Moment>) {
        if let Some(moment) = moment {
            self.deadline = Some(self.deadline.map_or(moment, |at| at.min(moment)));
        }
    }

    /// The sessions an event goes to.
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

    /// Takes the next number of a session; tells also whether the session is stored.
    pub(super) fn take_seq(&mut self, id: i64) -> Option<(u64, bool)> {
        let session = self.sessions.get_mut(&id)?;
        let seq = session.next_seq;
        session.next_seq = seq.saturating_add(1);
        self.undo.push(Undo::NextSeq(id, seq));
        Some((seq, session.durable.is_some()))
    }

    /// Tells the store what it does not know yet of a session, before anything that refers to it.
    pub(super) fn store_pending(&mut self, conn: &Connection, id: i64) -> rusqlite::Result<()> {
        let row = self.sessions.get(&id).and_then(LiveSession::pending_row);
        let Some(row) = row else {
            return Ok(());
        };
        self.note_stored(id);
        self.undo.push(Undo::Pending(id, row.pending));
        row.store(conn)
    }

    /// The store knows of a session what there is to know.
    pub(super) fn note_stored(&mut self, id: i64) {
        let durable = self
            .sessions
            .get_mut(&id)
            .and_then(|it| it.durable.as_mut());
        if let Some(durable) = durable {
            durable.pending = None;
        }
    }

    /// Notes that the subscriptions of a session could not be stored.
    pub(super) fn note_unsaved_topics(&mut self, id: i64) {
        let durable = self
            .sessions
            .get_mut(&id)
            .and_then(|it| it.durable.as_mut());
        if let Some(durable) = durable {
            durable.unsaved_topics = true;
        }
    }

    /// Notes a subscription; tells whether it is new.
    pub(super) fn subscribe(&mut self, id: i64, topic: &Topic) -> bool {
        let new = self.link(id, topic);
        if new {
            self.undo.push(Undo::Subscribe(id, topic.clone()));
        }
        new
    }

    /// Notes the end of a subscription; tells whether there was one.
    pub(super) fn unsubscribe(&mut self, id: i64, topic: &Topic) -> bool {
        let was = self.unlink(id, topic);
        if was {
            self.undo.push(Undo::Unsubscribe(id, topic.clone()));
        }
        was
    }

    /// Counts one more remembered intent.
    pub(super) fn add_intent(&mut self) {
        self.intents = self.intents.saturating_add(1);
        self.undo.push(Undo::Intent);
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

    /// Takes everything back that was done after the mark.
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
                Some(Undo::Intent) => self.intents = self.intents.saturating_sub(1),
                Some(Undo::Pending(id, pending)) => {
                    let durable = self
                        .sessions
                        .get_mut(&id)
                        .and_then(|it| it.durable.as_mut());
                    if let Some(durable) = durable {
                        durable.pending = Some(pending);
                    }
                }
                None => break,
            }
        }
    }

    /// Makes everything done so far final.
    pub(super) fn settle(&mut self) {
        self.undo.clear();
    }

    /// Feeds a session's machine and does what it asks, except forgetting the session: whether that is to
    /// be done is the answer.
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
    pub(super) fn new(id: i64, key: &str) -> Self {
        Self {
            id,
            name: Name::new(key),
        }
    }
}

impl Name {
    fn new(key: &str) -> Arc<Self> {
        let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
        let mut label = [0; 16];
        for (to, from) in label.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        Arc::new(Self {
            key: key.into(),
            label,
        })
    }
}
