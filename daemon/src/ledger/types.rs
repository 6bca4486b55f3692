//! What goes in and out of the ledger.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use bowline_machines::session::{AttachPlan, ReplayWindow};
use bowline_program::Vital;
use bowline_protocol::{
    AgentId, DeviceId, Epoch, ExternalSessionKey, Hello, PublicKey, ServerId,
    handshake::SessionWelcome, limits, model::UnixMillis, offer::PairingToken,
};
use serde::Serialize;

use super::{
    queue::{Job, Queue},
    topic::Topic,
};
use crate::{clock::Clock, outbound::Frame};

/// Settings of the ledger, each with its default.
#[derive(Clone, Debug)]
pub struct LedgerOptions {
    /// The database file; its directory must exist.
    pub path: PathBuf,
    /// Whose ledger it is, for the log.
    pub server_id: ServerId,
    /// Clock.
    pub clock: Clock,
    /// A session detached longer than this expires; zero = never.
    pub session_grace: Duration,
    /// Bytes of one session's replay log; older events leave it.
    pub replay_bytes: usize,
    /// Events of one session's replay log; older events leave it.
    pub replay_events: usize,
    /// Connections of one session; over it the oldest idle one is closed with `session_capacity`.
    pub connections_per_session: usize,
    /// Sessions kept; over it the one detached longest is forgotten, and if none is detached a new one
    /// is refused with `session_capacity`.
    pub max_sessions: usize,
    /// Jobs waiting; a job over it is answered with `overloaded`.
    pub queue: usize,
    /// Intent outcomes remembered; a new intent over it is answered with `overloaded`.
    pub max_intents: u64,
    /// How long an outcome is remembered.
    pub intent_memory: Duration,
    /// Largest text of a message to a client in bytes: pages and events are cut by it.
    pub max_message_bytes: u32,
    /// Largest size of the database in pages of 4 KiB; over it writes fail as on a full disk.
    pub max_pages: Option<u32>,
    /// Who hears that the ledger's thread died.
    pub vital: Vital,
}

impl LedgerOptions {
    /// The defaults.
    pub fn new(path: PathBuf, server_id: ServerId) -> Self {
        Self {
            path,
            server_id,
            clock: Clock::system(),
            session_grace: limits::SESSION_GRACE,
            replay_bytes: limits::REPLAY_BYTES,
            replay_events: limits::REPLAY_EVENTS,
            connections_per_session: limits::CONNECTIONS_PER_SESSION,
            max_sessions: 10_000,
            queue: 8_192,
            max_intents: 2_000_000,
            intent_memory: limits::INTENT_MEMORY,
            max_message_bytes: limits::MAX_MESSAGE_BYTES,
            max_pages: None,
            vital: Vital::default(),
        }
    }
}

/// Names a session inside the daemon. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionRef {
    pub(crate) id: i64,
    pub(super) name: Arc<Name>,
}

/// What a session is called.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Name {
    /// `session:csk_…`, or `local` for a connection of the local socket; what intents are kept by.
    pub(super) key: Box<str>,
    /// Half the hash of `key`, the first half of the names of its intents.
    pub(super) label: [u8; 16],
}

impl SessionRef {
    /// Short hash for logs (OB).
    pub fn log_hash(&self) -> String {
        bowline_protocol::identity::short_hash(&self.name.key)
    }
}

impl fmt::Debug for SessionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionRef({}, #{})", self.id, self.log_hash())
    }
}

/// What a hello was promised.
#[derive(Clone, Debug)]
pub struct Admission {
    pub(crate) device: PublicKey,
    pub(crate) hello: Hello,
    pub(crate) welcome: Option<SessionWelcome>,
    pub(crate) promise: Promise,
}

/// What an attach is to do.
#[derive(Clone, Debug)]
pub(crate) enum Promise {
    /// Nothing.
    Probe,
    /// Begin a session with that epoch.
    New {
        /// Made for it.
        epoch: Epoch,
    },
    /// Go on with a session.
    Known {
        /// Which.
        id: i64,
        /// How.
        plan: AttachPlan,
        /// What could be replayed when it was planned.
        window: ReplayWindow,
        /// The epoch of a new numbering, if the plan needs one.
        epoch: Epoch,
    },
}

impl Admission {
    /// `welcome.session`; absent for a probe.
    pub fn session(&self) -> Option<&SessionWelcome> {
        self.welcome.as_ref()
    }

    /// Whether it is a probe's.
    pub fn is_probe(&self) -> bool {
        matches!(self.promise, Promise::Probe)
    }

    /// The device's name in listings.
    pub fn device_id(&self) -> DeviceId {
        DeviceId::of_public_key(&self.device)
    }
}

/// A connection that is attached.
#[derive(Debug)]
pub struct Attached {
    /// Detaches when dropped; absent for a probe.
    pub attachment: Option<Attachment>,
    /// The events after the client's cursor, in order; to be sent before anything from the connection's
    /// queue.
    pub replay: Vec<Frame>,
}

/// Keeps a connection attached to its session; dropping it detaches (INV-4).
pub struct Attachment {
    pub(super) session: SessionRef,
    pub(super) connection: u64,
    pub(super) queue: Arc<Queue>,
}

impl Attachment {
    /// The session, for requests.
    pub fn session(&self) -> &SessionRef {
        &self.session
    }

    /// The connection attached.
    pub fn connection(&self) -> u64 {
        self.connection
    }

    /// The client has applied every event up to `seq`. Never waits; at a full queue it is forgotten, as the
    /// next one says the same and more.
    pub fn ack(&self, seq: u64) {
        let session = self.session.id;
        let job = Job::Now(Box::new(move |core| core.acknowledge(session, seq)));
        let _ = self.queue.push(job);
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let (session, connection) = (self.session.id, self.connection);
        let job = Job::Now(Box::new(move |core| core.detach(session, connection)));
        // A ledger that has stopped has no connections.
        let _ = self.queue.push_always(job);
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attachment({:?}, {})", self.session, self.connection)
    }
}

/// Who is told.
#[derive(Clone, Copy, Debug)]
pub enum Audience<'a> {
    /// Every session; on the local socket those subscribed to this agent.
    Everyone(&'a AgentId),
    /// The sessions subscribed to this agent.
    Subscribers(&'a AgentId),
    /// Every session of a device; none of the local socket.
    Devices,
    /// The sessions that follow this topic.
    Followers(&'a Topic),
    /// This session, as long as it exists.
    Session(&'a SessionRef),
}

/// A new pairing token.
#[derive(Clone, Debug)]
pub struct NewPairing {
    /// What the offer carries; only its hash is stored.
    pub token: PairingToken,
    /// When it stops working.
    pub expires_at: UnixMillis,
}

/// One row of `devices.list`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceInfo {
    /// For `devices.revoke`.
    pub device_id: DeviceId,
    /// Name of the client program that paired.
    pub name: String,
    /// Its platform.
    pub platform: String,
    /// When it paired.
    pub paired_at: UnixMillis,
    /// When it last attached.
    pub last_seen_at: UnixMillis,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// Sessions of paired devices, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// With a connection at least.
    pub attached: usize,
    /// Without.
    pub detached: usize,
}

/// One row of `sessions.list` (SV-5).
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionInfo {
    /// Its number in the store, which orders the list.
    #[serde(skip)]
    pub number: u64,
    /// `session:csk_…` (INV-1).
    pub external_session_key: ExternalSessionKey,
    /// Its short hash, as logs and `connections.list` name it.
    pub session: String,
    /// Whose session.
    pub device_id: DeviceId,
    /// `attached` or `detached`.
    pub state: &'static str,
    /// The numbering in force.
    pub epoch: Epoch,
    /// Number of the next event.
    pub next_seq: u64,
    /// Numbers of its connections.
    pub connections: Vec<u64>,
    /// Topics it follows, agents mostly.
    pub subscriptions: usize,
    /// Events in its replay log.
    pub replay_events: usize,
    /// Bytes in its replay log.
    pub replay_bytes: usize,
    /// When it began.
    pub created_at: UnixMillis,
    /// When a connection last came or went.
    pub last_seen_at: UnixMillis,
}
