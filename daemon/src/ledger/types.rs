//! Inputs and outputs of the ledger.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use bowline_machines::daemon::session::{AttachPlan, ReplayWindow};
use bowline_program::Vital;
use bowline_protocol::{
    DeviceId, Epoch, ExternalSessionKey, Grant, Hello, PublicKey, Refusal, ServerId,
    handshake::SessionWelcome,
    identity::{OfferId, PresharedKey},
    limits,
    model::UnixMillis,
    offer::PairingToken,
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{owner::Account, usage::Quotas};
use crate::clock::Clock;

/// Settings of the ledger, each with its default.
#[derive(Clone, Debug)]
pub struct LedgerOptions {
    /// The database file; its directory must exist.
    pub path: PathBuf,
    /// The daemon's id: checked against the store, and written to the log.
    pub server_id: ServerId,
    /// The clock.
    pub clock: Clock,
    /// Time after which a detached session expires; zero = never.
    pub session_grace: Duration,
    /// Bytes of one session's replay log; over it the oldest events are dropped.
    pub replay_bytes: usize,
    /// Events of one session's replay log; over it the oldest events are dropped.
    pub replay_events: usize,
    /// Connections of one session; over it the connection idle longest is closed with
    /// `session_capacity`.
    pub connections_per_session: usize,
    /// Sessions kept; over it the session detached longest is removed, and if none is detached a
    /// new one is refused with `session_capacity`.
    pub max_sessions: usize,
    /// Waiting jobs; over it a job is answered with `overloaded`.
    pub queue: usize,
    /// Intent outcomes remembered; over it a new intent is answered with `overloaded`.
    pub max_intents: u64,
    /// Most that is kept for one device (TR-12).
    pub quotas: Quotas,
    /// Scopes that one session may follow (LD-2); over it a further one is answered with
    /// `quota_exceeded`. Zero = unbounded.
    pub follows_per_session: usize,
    /// Time an outcome is remembered.
    pub intent_memory: Duration,
    /// Largest text of a message to a client in bytes; pages and events are limited by it.
    pub max_message_bytes: u32,
    /// Largest size of the database in pages of 4 KiB; over it writes fail as on a full disk.
    pub max_pages: Option<u32>,
    /// Receives the failure when the ledger's thread dies.
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
            quotas: Quotas::default(),
            follows_per_session: limits::FOLLOWS_PER_SESSION,
            intent_memory: limits::INTENT_MEMORY,
            max_message_bytes: limits::MAX_MESSAGE_BYTES,
            max_pages: None,
            vital: Vital::default(),
        }
    }
}

/// Identifies a session inside the daemon. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionRef {
    pub(crate) id: i64,
    pub(super) name: Arc<Name>,
}

/// The names of a session, and what it may do.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Name {
    /// `session:csk_…`, or `local` for a connection of the local socket; the scope of its intents.
    pub(super) key: Box<str>,
    /// First half of the hash of `key`: the prefix of the stored names of its intents.
    pub(super) label: [u8; 16],
    /// What the device of the session may do; everything, for the owner on the local socket.
    pub(super) grant: Grant,
    /// Whom its jobs and data are charged to.
    pub(super) account: Account,
}

impl SessionRef {
    /// What the device of the session may do (TR-4).
    pub fn grant(&self) -> &Grant {
        &self.name.grant
    }

    /// The device of the session; `None` for the owner on the local socket.
    pub fn device_id(&self) -> Option<&DeviceId> {
        self.name.account.device.as_ref()
    }

    /// Short hash for logs (OB-1).
    pub fn log_hash(&self) -> String {
        bowline_protocol::identity::short_hash(&self.name.key)
    }

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
    pub(super) fn new(key: &str, account: Account, grant: Grant) -> Arc<Self> {
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

impl fmt::Debug for SessionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionRef({}, #{})", self.id, self.log_hash())
    }
}

/// The attach that a hello was admitted for.
#[derive(Clone, Debug)]
pub struct Admission {
    pub(crate) device: PublicKey,
    pub(crate) hello: Hello,
    pub(crate) psk: PresharedKey,
    pub(crate) welcome: Option<SessionWelcome>,
    /// What the device may do; for a session only.
    pub(crate) grant: Option<Grant>,
    pub(crate) promise: Promise,
}

/// A refusal, with the pre-shared key to send it under.
#[derive(Debug)]
pub struct SealedRefusal {
    /// Why.
    pub refusal: Refusal,
    /// The key of the device or offer, or none if there is none.
    pub psk: PresharedKey,
}

impl From<Refusal> for SealedRefusal {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            psk: PresharedKey::NONE,
        }
    }
}

/// What an attach does.
#[derive(Clone, Debug)]
pub(crate) enum Promise {
    /// Nothing.
    Probe,
    /// Pair the device, or ask its owner.
    Pairing,
    /// Begin a session with this epoch.
    New {
        /// The epoch generated for it.
        epoch: Epoch,
    },
    /// Resume a session.
    Known {
        /// The session.
        id: i64,
        /// The resume decision.
        plan: AttachPlan,
        /// The replay range at the time of planning.
        window: ReplayWindow,
        /// The epoch of a new numbering, if the plan needs one.
        epoch: Epoch,
    },
}

impl Admission {
    /// `welcome.session`; absent for a probe and while pairing.
    pub fn session(&self) -> Option<&SessionWelcome> {
        self.welcome.as_ref()
    }

    /// `welcome.grant`: what the device may do.
    pub const fn grant(&self) -> Option<&Grant> {
        self.grant.as_ref()
    }

    /// The pre-shared key of the handshake.
    pub const fn psk(&self) -> &PresharedKey {
        &self.psk
    }

    /// The device's name for listings.
    pub fn device_id(&self) -> DeviceId {
        DeviceId::of_public_key(&self.device)
    }
}

/// The recipients of an event.
#[derive(Clone, Copy, Debug)]
pub enum Audience<'a> {
    /// Every session; on the local socket only those subscribed to this subject
    /// ([`Tx::follow`](super::Tx::follow)).
    Everyone(&'a str),
    /// The sessions subscribed to this subject.
    Subscribers(&'a str),
    /// Every session of a device, and none of the local socket.
    Devices,
    /// This session, while it exists.
    Session(&'a SessionRef),
}

/// A new pairing offer.
#[derive(Clone, Debug)]
pub struct NewPairing {
    /// Its id.
    pub id: OfferId,
    /// The token in the offer; the store keeps the key derived from it.
    pub token: PairingToken,
    /// When it expires.
    pub expires_at: UnixMillis,
}

/// Number of sessions of paired devices, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// Sessions with at least one connection.
    pub attached: usize,
    /// Sessions without a connection.
    pub detached: usize,
}

/// One row of `sessions.list` (SV-5).
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionInfo {
    /// Its number in the store; orders the list.
    #[serde(skip)]
    pub number: u64,
    /// `session:csk_…` (INV-1).
    pub external_session_key: ExternalSessionKey,
    /// Its short hash, as in logs and `connections.list`.
    pub session: String,
    /// The device of the session.
    pub device_id: DeviceId,
    /// `attached` or `detached`.
    pub state: &'static str,
    /// The current epoch.
    pub epoch: Epoch,
    /// Number of the next event.
    pub next_seq: u64,
    /// Numbers of its connections.
    pub connections: Vec<u64>,
    /// Agents and scopes that it follows.
    pub subscriptions: usize,
    /// Events in its replay log.
    pub replay_events: usize,
    /// Bytes in its replay log.
    pub replay_bytes: usize,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When a connection last attached or detached.
    pub last_seen_at: UnixMillis,
}
