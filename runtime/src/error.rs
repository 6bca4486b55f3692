//! Errors of the runtime's calls, typed to the edge.

use bowline_protocol::{Claim, IdentityError, Reason, ServerId, error::RpcError};

use crate::storage::StorageError;

/// The runtime could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Stored state cannot be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// An identity could not be made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// There are known hosts and no identity that they know: it was lost. None is made in its place (INV-9).
    #[error(
        "there are known hosts, or messages for them, but no identity; restore {path} from a backup, or move everything beside it away to start anew",
        path = path.display()
    )]
    IdentityMissing {
        /// Where it should be.
        path: std::path::PathBuf,
    },
    /// There is an outbox and no list of hosts, which was lost: a host would be forgotten with all that waits for it.
    #[error(
        "{path} is missing, and {journal} is there: the hosts that this client was paired with were lost. Restore {path} from a backup, or move the outboxes away to start without hosts",
        path = path.display(),
        journal = journal.display()
    )]
    HostsMissing {
        /// Where the hosts should be.
        path: std::path::PathBuf,
        /// What shows that there were some.
        journal: std::path::PathBuf,
    },
    /// The configuration names neither a folder nor a key store.
    #[error("no place to keep state: give a storage folder or a key store")]
    NoStorage,
    /// A defect, of the caller perhaps.
    #[error("internal error: {0}")]
    Internal(String),
}

/// One connection could not be made, or ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The closed reason.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// Not before this time, in milliseconds, if the server said so.
    pub retry_after_ms: Option<u64>,
    /// What somebody on the way claimed instead, without proof: the address, a relay, or whoever stands between (TR-2).
    pub unproved: Option<Reason>,
}

impl Failure {
    /// A failure whose message is more than the reason's name.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            retry_after_ms: None,
            unproved: None,
        }
    }

    /// What may be believed of a failure before anything was sealed: a reason that ends attempts becomes a lost connection.
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

/// A request got no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The daemon answered with an error.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The connection ended before the answer came (INV-13). Whether the request had an effect is unknown;
    /// an intent is offered again by the runtime.
    #[error("the connection ended: {0}")]
    Disconnected(Reason),
    /// No answer within the request's deadline.
    #[error("no answer in time")]
    Timeout,
    /// The host is not connected right now.
    #[error("not connected")]
    NotConnected,
    /// The runtime is closed.
    #[error("the runtime is closed")]
    Closed,
    /// The answer is not of the form the protocol gives it.
    #[error("malformed answer: {0}")]
    Malformed(String),
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
    /// Something answered that does not have the key of the offer: another daemon, or one whose identity was made anew.
    #[error("{0}")]
    AnotherKey(Failure),
    /// The paths that may be used leave none of the offer's.
    #[error("the offer has no path of a kind that is allowed here")]
    NoPath,
    /// The host is proved but could not be stored.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The runtime is closed.
    #[error("the runtime is closed")]
    Closed,
}

/// An intent was not accepted; nothing was stored or sent.
#[derive(Debug, thiserror::Error)]
pub enum IntentError {
    /// No such host.
    #[error("no host {0} is known here")]
    UnknownHost(ServerId),
    /// The outbox has its most intents.
    #[error("{0} intents wait already; try again when the host is back")]
    OutboxFull(usize),
    /// The parameters do not serialise to a JSON object, or are over the message limit.
    #[error("invalid intent: {0}")]
    Invalid(String),
    /// The intent could not be kept, so it is not promised.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The runtime is closed.
    #[error("the runtime is closed")]
    Closed,
}
