//! Closed lists: why a connection ended, why the daemon refused a request, and what the host app should do about it.

use bowline_runtime::protocol::{self, RpcReason, error::code};

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
    /// Ask the user for something else: another offer, another agent, other parameters. The message says what was wrong.
    AskUser,
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
    /// The relay is private and the daemon does not know its token; apps do not meet it.
    RelayTokenInvalid,
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
    /// The session changed between the welcome and `session.ready`.
    SessionChanged,
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
    /// The daemon's disk takes nothing, and a pairing would have to be written down.
    StorageUnavailable,
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
    /// A defect of the library's own code ended what kept the host: reopen it, and report it.
    Defect,
    /// This side closed the connection on purpose.
    ClosedLocally,
}

macro_rules! mirror_refusals {
    ($($(#[$doc:meta])* $variant:ident),* $(,)?) => {
        /// Why the daemon refused one request: a closed list. The connection goes on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, uniffi::Enum)]
        pub enum Refusal { $($(#[$doc])* $variant,)* }

        impl From<RpcReason> for Refusal {
            fn from(reason: RpcReason) -> Self {
                match reason { $(RpcReason::$variant => Self::$variant,)* }
            }
        }
    };
}

mirror_refusals! {
    /// The daemon has too many requests at once.
    Overloaded,
    /// What the parameters name is not there.
    NotFound,
    /// The same intent came before with other parameters.
    IntentConflict,
    /// The result does not fit a message.
    ResponseTooLarge,
    /// This daemon or provider cannot do that.
    Unsupported,
    /// The daemon's deadline for it passed.
    Timeout,
    /// It was cancelled.
    Cancelled,
    /// The agent's program could not be started, or failed.
    ProviderFailed,
    /// This device may not do that.
    Forbidden,
    /// The daemon's disk is full, or may not be written to; nothing has happened.
    StorageUnavailable,
}

/// Why the daemon refused, where it said so with one of the closed list; else it was one of JSON-RPC's own errors.
pub(crate) fn refusal(error: &protocol::error::RpcError) -> Option<Refusal> {
    error.data.as_ref().map(|data| data.reason.into())
}

/// What to do about the daemon's answer.
pub(crate) fn advice_on(error: &protocol::error::RpcError) -> Advice {
    match refusal(error) {
        Some(
            Refusal::Overloaded
            | Refusal::Timeout
            | Refusal::ResponseTooLarge
            | Refusal::StorageUnavailable,
        ) => Advice::TryAgain,
        Some(Refusal::Unsupported) => Advice::Update,
        Some(Refusal::IntentConflict) => Advice::Report,
        Some(Refusal::Cancelled) => Advice::Nothing,
        Some(Refusal::NotFound | Refusal::ProviderFailed | Refusal::Forbidden) => Advice::AskUser,
        None if error.code == code::METHOD_NOT_FOUND => Advice::Update,
        None if error.code == code::INVALID_PARAMS => Advice::AskUser,
        None => Advice::Report,
    }
}
