//! The one error of the exported calls: a kind, a message, and what the host app should do.

use bowline_runtime::{
    CallError, IntentError, OpenError, PairError, protocol, storage::StorageError,
};

/// What the host app should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, uniffi::Enum)]
pub enum Advice {
    /// Nothing: the library is already trying again.
    Wait,
    /// Ask the user to pair this device again.
    PairAgain,
    /// Ask the user to update the app or the daemon.
    Update,
    /// Report a defect: the library or its caller is at fault, or an identity is missing.
    Report,
    /// Nothing at all: the end was asked for.
    Nothing,
    /// The app's storage cannot be used: see to space, rights, or the file that the message names.
    CheckStorage,
    /// Try again, later or with less at once.
    TryAgain,
}

impl From<protocol::Advice> for Advice {
    fn from(advice: protocol::Advice) -> Self {
        match advice {
            protocol::Advice::Wait => Self::Wait,
            protocol::Advice::PairAgain => Self::PairAgain,
            protocol::Advice::Update => Self::Update,
            protocol::Advice::Report => Self::Report,
            protocol::Advice::Nothing => Self::Nothing,
        }
    }
}

macro_rules! mirror_reasons {
    ($($(#[$doc:meta])* $variant:ident),* $(,)?) => {
        /// Why a connection ended, was refused, or could not be made: a closed list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, uniffi::Enum)]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl From<protocol::Reason> for Reason {
            fn from(reason: protocol::Reason) -> Self {
                match reason { $(protocol::Reason::$variant => Self::$variant,)* }
            }
        }
    };
}

mirror_reasons! {
    /// Malformed hello, or messages in the wrong order.
    BadRequest,
    /// The daemon has not paired with this device.
    DeviceUnknown,
    /// The daemon's owner revoked this device.
    DeviceRevoked,
    /// The pairing token was used, has expired or never existed.
    PairingTokenInvalid,
    /// The relay knows no such daemon at the moment.
    DaemonOffline,
    /// The peer speaks no protocol version that this one speaks.
    ProtocolUnsupported,
    /// A required identity is absent or malformed.
    IdentityMissing,
    /// The peer did not finish its part of the handshake in time.
    HandshakeTimeout,
    /// The session key belongs to another device.
    SessionKeyConflict,
    /// Nothing was exchanged for the idle time.
    IdleTimeout,
    /// The peer stopped answering liveness checks.
    HeartbeatTimeout,
    /// A message was too large.
    MessageTooLarge,
    /// This side read too slowly.
    SlowConsumer,
    /// The session has its most connections.
    SessionCapacity,
    /// Too many attempts.
    RateLimited,
    /// A newer registration took over.
    Replaced,
    /// A message did not decrypt.
    CryptoFailed,
    /// The server is about to be back.
    ServerRestarting,
    /// The server is going away.
    ShuttingDown,
    /// The whole connect took longer than its deadline.
    ConnectTimeout,
    /// No socket could be opened.
    Unreachable,
    /// The TLS layer failed.
    TlsFailed,
    /// The address answered, but not as a Bowline endpoint.
    NotBowline,
    /// The socket ended without a close reason.
    ConnectionLost,
    /// Another daemon proved its identity where this one was expected.
    ServerIdentityMismatch,
    /// This side closed the connection on purpose.
    ClosedLocally,
}

macro_rules! errors {
    ($($(#[$doc:meta])* $variant:ident),* $(,)?) => {
        /// What an exported call could not do. The variant is the kind, which is stable; each says the same three things.
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, uniffi::Error)]
        pub enum BowlineError {
            $(
                $(#[$doc])*
                #[error("{detail}")]
                $variant {
                    /// For people.
                    detail: String,
                    /// What the host app should do.
                    advice: Advice,
                    /// The closed reason, where a connection is concerned.
                    reason: Option<Reason>,
                },
            )*
        }

        impl BowlineError {
            /// What the host app should do.
            pub fn advice(&self) -> Advice {
                match self { $(Self::$variant { advice, .. } => *advice,)* }
            }
        }
    };
}

errors! {
    /// An identity is missing or malformed; none is made up for it (INV-9).
    InvalidIdentity,
    /// The text is no pairing offer.
    InvalidOffer,
    /// The offer has no path of a kind that is allowed here.
    NoPath,
    /// No address of the offer answered.
    Unreachable,
    /// The daemon refused to pair.
    PairingRefused,
    /// The storage cannot be read or written.
    Storage,
    /// Stored state does not read; it was left as it is.
    CorruptStorage,
    /// No such host.
    UnknownHost,
    /// The host has its most screens or timelines open.
    TooMany,
    /// The intent does not fit a message, or its parameters are no JSON object.
    InvalidIntent,
    /// Too many intents wait already.
    OutboxFull,
    /// The daemon answered with an error.
    Rejected,
    /// The connection ended before the answer came.
    Disconnected,
    /// No answer in time.
    TimedOut,
    /// The host is not connected right now.
    NotConnected,
    /// The runtime is paused; it takes this again once it was resumed.
    Paused,
    /// The runtime was shut down.
    Closed,
    /// A defect ended part of the library; only a restart of the process helps.
    Broken,
    /// A defect, of the caller perhaps.
    Internal,
}

/// Makes one of the variants.
macro_rules! error {
    ($variant:ident, $advice:ident, $detail:expr) => {
        error!($variant, $crate::error::Advice::$advice, $detail, None)
    };
    ($variant:ident, $advice:expr, $detail:expr, $reason:expr) => {
        $crate::error::BowlineError::$variant {
            detail: $detail.to_string(),
            advice: $advice,
            reason: $reason,
        }
    };
}
pub(crate) use error;

impl BowlineError {
    pub(crate) fn internal(detail: impl ToString) -> Self {
        error!(Internal, Report, detail)
    }

    pub(crate) fn broken(what: &str) -> Self {
        let detail = format!("a defect ended part of the library: {what}; restart the app");
        error!(Broken, Report, detail)
    }

    pub(crate) fn unknown_host(server_id: &str) -> Self {
        error!(
            UnknownHost,
            Nothing,
            format!("no host {server_id} is known here")
        )
    }
}

impl From<protocol::IdentityError> for BowlineError {
    fn from(error: protocol::IdentityError) -> Self {
        error!(InvalidIdentity, Report, error)
    }
}

impl From<StorageError> for BowlineError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Corrupt { .. } => error!(CorruptStorage, CheckStorage, error),
            StorageError::Io { .. } | StorageError::KeyStore { .. } => {
                error!(Storage, CheckStorage, error)
            }
            StorageError::Paused => error!(Paused, Wait, error),
            StorageError::Closed => error!(Closed, Nothing, error),
        }
    }
}

impl From<OpenError> for BowlineError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Storage(error) => error.into(),
            OpenError::Identity(error) => error.into(),
            OpenError::IdentityMissing { .. } => error!(InvalidIdentity, CheckStorage, error),
            OpenError::NoStorage => error!(Storage, Report, error),
            OpenError::Internal(detail) => Self::internal(detail),
        }
    }
}

impl From<PairError> for BowlineError {
    fn from(error: PairError) -> Self {
        let text = error.to_string();
        match error {
            PairError::Unreachable(failure) => {
                error!(
                    Unreachable,
                    Advice::TryAgain,
                    text,
                    Some(failure.reason.into())
                )
            }
            PairError::Refused(failure) => {
                let advice = failure.reason.advice().into();
                error!(PairingRefused, advice, text, Some(failure.reason.into()))
            }
            PairError::NoPath => error!(NoPath, Nothing, text),
            PairError::Storage(error) => error.into(),
            PairError::Closed => error!(Closed, Nothing, text),
        }
    }
}

impl From<IntentError> for BowlineError {
    fn from(error: IntentError) -> Self {
        let text = error.to_string();
        match error {
            IntentError::UnknownHost(_) => error!(UnknownHost, Nothing, text),
            IntentError::OutboxFull(_) => error!(OutboxFull, TryAgain, text),
            IntentError::Invalid(_) => error!(InvalidIntent, Report, text),
            IntentError::Storage(error) => error.into(),
            IntentError::Closed => error!(Closed, Nothing, text),
        }
    }
}

impl From<CallError> for BowlineError {
    fn from(error: CallError) -> Self {
        let text = error.to_string();
        match error {
            CallError::Rpc(_) => error!(Rejected, Nothing, text),
            CallError::Disconnected(reason) => {
                error!(Disconnected, Advice::TryAgain, text, Some(reason.into()))
            }
            CallError::Timeout => error!(TimedOut, TryAgain, text),
            CallError::NotConnected => error!(NotConnected, Wait, text),
            CallError::Closed => error!(Closed, Nothing, text),
            CallError::Malformed(_) => error!(Internal, Update, text),
        }
    }
}
