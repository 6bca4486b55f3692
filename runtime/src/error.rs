//! Typed errors of the runtime's calls.

use std::time::Duration;

use bowline_machines::data::patches::PatchError;
use bowline_protocol::{Claim, IdentityError, Reason, RpcReason, ServerId, error::RpcError};

use crate::storage::StorageError;

/// The runtime could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Stored state cannot be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// An identity could not be created.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// There are known hosts, but the identity they were paired with is lost. It is not replaced
    /// (INV-9).
    #[error(
        "there are known hosts, or messages for them, but no identity; restore {path} from a backup, or move everything beside it away to start anew",
        path = path.display()
    )]
    IdentityMissing {
        /// Expected path of the identity.
        path: std::path::PathBuf,
    },
    /// There is an outbox but no list of hosts, which was lost: opening would forget the hosts and
    /// their pending intents.
    #[error(
        "{path} is missing, and {journal} is there: the hosts that this client was paired with were lost. Restore {path} from a backup, or move the outboxes away to start without hosts",
        path = path.display(),
        journal = journal.display()
    )]
    HostsMissing {
        /// Expected path of the hosts.
        path: std::path::PathBuf,
        /// The journal that proves that hosts existed.
        journal: std::path::PathBuf,
    },
    /// The configuration names neither a folder nor a key store.
    #[error("no storage configured: set a storage folder or a key store")]
    NoStorage,
    /// A defect, possibly of the caller.
    #[error("internal error: {0}")]
    Internal(String),
}

/// A connection that failed or ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The closed reason.
    pub reason: Reason,
    /// Text for people.
    pub message: String,
    /// Least delay of a retry, if the server sent one.
    pub retry_after: Option<Duration>,
    /// A reason claimed without proof by the address, a relay or another party on the path (TR-2).
    pub unproved: Option<Reason>,
}

impl Failure {
    /// A failure with a message that adds to the reason's name.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            retry_after: None,
            unproved: None,
        }
    }

    /// The trusted part of a failure before anything was sealed: a reason that ends attempts
    /// becomes a lost connection.
    pub(crate) fn in_clear(self) -> Self {
        let claim = Claim::from(self.reason);
        Self {
            reason: claim.believed(),
            unproved: claim.disbelieved().or(self.unproved),
            ..self
        }
    }
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self::new(reason, reason.as_str())
    }
}

/// A request without a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The daemon answered with an error.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The connection ended before the answer arrived (INV-13). Whether the request took effect is
    /// unknown; the runtime sends an intent again.
    #[error("the connection ended: {0}")]
    Disconnected(Reason),
    /// No answer within the request timeout.
    #[error("no answer in time")]
    Timeout,
    /// The host is not connected.
    #[error("not connected")]
    NotConnected,
    /// The runtime is closed.
    #[error("the runtime is closed")]
    Closed,
    /// The bytes that the request carries do not fit into a message of this daemon (LD-8).
    #[error("more bytes than a message of this daemon may have")]
    TooLarge,
    /// The answer does not match the protocol.
    #[error("malformed answer: {0}")]
    Malformed(String),
}

impl CallError {
    /// Whether the same request may succeed if repeated.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Rpc(error) => !error.is_final(),
            Self::Disconnected(_) | Self::NotConnected | Self::Timeout => true,
            Self::Malformed(_) | Self::TooLarge | Self::Closed => false,
        }
    }
}

/// A host could not be added.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// No address of the offer answered.
    #[error("no address of the offer answered: {0}")]
    Unreachable(Failure),
    /// The daemon answered and refused.
    #[error("the daemon refused: {0}")]
    Refused(Failure),
    /// The peer does not have the key of the offer: another daemon, or one with a new identity.
    #[error("{0}")]
    AnotherKey(Failure),
    /// The offer names a known host under another key (TR-1). Nothing was sent.
    #[error(
        "this link names {name}, which this device knows under another key: the link may be forged. If {name} was set up anew, forget the host first and pair with a new link"
    )]
    KeyChanged {
        /// Name of the known host.
        name: String,
    },
    /// A defect, or a system without random numbers.
    #[error("internal error: {0}")]
    Internal(String),
    /// The allowed path kinds exclude every address of the offer.
    #[error("the offer has no address of an allowed kind")]
    NoPath,
    /// The daemon proved its identity, but the host could not be stored.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The runtime is closed.
    #[error("the runtime is closed")]
    Closed,
}

/// An intent was refused; nothing was stored or sent.
#[derive(Debug, thiserror::Error)]
pub enum IntentError {
    /// Unknown host.
    #[error("unknown host {0}")]
    UnknownHost(ServerId),
    /// The outbox is full.
    #[error("{0} intents are already waiting; try again when the host is back")]
    OutboxFull(usize),
    /// The parameters do not serialise to a JSON object, or exceed the message limit.
    #[error("invalid intent: {0}")]
    Invalid(String),
    /// What rows are to show of it is over a bound, or malformed.
    #[error("invalid intent: {0}")]
    Patches(#[from] PatchError),
    /// The intent could not be stored.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The runtime is closed.
    #[error("the runtime is closed")]
    Closed,
}

/// A timeline could not be opened or continued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimelineError {
    /// Unknown host.
    #[error("the host is not known here")]
    UnknownHost,
    /// The runtime is closed.
    #[error("the runtime is closed")]
    Closed,
    /// The host's limit of open timelines is reached.
    #[error("{0} timelines are open already; close one first")]
    TooMany(usize),
    /// The daemon does not have the timeline, or refuses access.
    #[error("the daemon refused: {0}")]
    Refused(RpcReason),
    /// Loading items before the window failed for good.
    #[error(transparent)]
    Call(#[from] CallError),
}
