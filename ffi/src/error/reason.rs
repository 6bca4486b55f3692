//! Closed lists: reasons of closed connections and refused requests, and the recommended action.

use bowline_runtime::protocol::{self, RpcReason};

use crate::records::mirror;

/// Recommended action of the host app after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, uniffi::Enum)]
pub enum Advice {
    /// None: the library retries by itself.
    Wait,
    /// Ask the user to pair this device again.
    PairAgain,
    /// Ask the user to update the app or the daemon.
    Update,
    /// Report a defect of the library or its caller, or a missing identity.
    Report,
    /// None: the app itself asked to end.
    Nothing,
    /// Check the app's storage: free space, permissions, or the file that the message names.
    CheckStorage,
    /// Retry later, or with fewer calls at once.
    TryAgain,
    /// Ask the user for other input: another offer, agent or parameters. The message names the
    /// problem.
    AskUser,
}

/// What an app may show for an advice, in English, as a whole sentence to the user. Empty where the
/// user has nothing to do. Apps in other languages have texts of their own for each advice.
#[uniffi::export]
pub fn advice_text(advice: Advice) -> String {
    let text = match advice {
        Advice::Wait => "Wait a moment: the app connects again by itself.",
        Advice::PairAgain => "Pair this device with the computer again.",
        Advice::Update => "Update this app and the program on the computer.",
        Advice::Report => "Restart the app. If this stays, report it to the app's makers.",
        Advice::Nothing => "",
        Advice::CheckStorage => "Check the free space and the permissions of the app's folder.",
        Advice::TryAgain => "Try again in a moment.",
        Advice::AskUser => "Check what you entered and try again.",
    };
    text.to_owned()
}

impl From<protocol::Advice> for Advice {
    fn from(advice: protocol::Advice) -> Self {
        match advice {
            protocol::Advice::Wait => Self::Wait,
            protocol::Advice::PairAgain => Self::PairAgain,
            protocol::Advice::Update => Self::Update,
            protocol::Advice::Report => Self::Report,
            protocol::Advice::Nothing => Self::Nothing,
            protocol::Advice::TryAgain => Self::TryAgain,
            protocol::Advice::AskUser => Self::AskUser,
        }
    }
}

mirror! {
    /// Reason why a connection closed, was refused or could not be opened: a closed list.
    Reason of protocol::Reason {
        /// Malformed hello, or messages in the wrong order.
        BadRequest,
        /// The daemon has not paired with this device.
        DeviceUnknown,
        /// The daemon's owner revoked this device.
        DeviceRevoked,
        /// The pairing token was used, has expired or never existed.
        PairingTokenInvalid,
        /// No such daemon is registered with the relay at the moment.
        DaemonOffline,
        /// The relay is private and the daemon's token is wrong or missing; apps never receive
        /// this.
        RelayTokenInvalid,
        /// The peers share no protocol version.
        ProtocolUnsupported,
        /// A required identity is absent or malformed.
        IdentityMissing,
        /// The peer did not complete the handshake before the deadline.
        HandshakeTimeout,
        /// The session key belongs to another device.
        SessionKeyConflict,
        /// The connection was idle for the idle timeout.
        IdleTimeout,
        /// The peer stopped answering liveness checks.
        HeartbeatTimeout,
        /// The session changed between the welcome and `session.ready`.
        SessionChanged,
        /// A message was too large.
        MessageTooLarge,
        /// The daemon's owner refused to pair with this device.
        PairingRefused,
        /// A relay does not know the address that a daemon dialled as its own; apps never receive
        /// this.
        RelayOriginUnknown,
        /// The device was paired for a limited time, which is over.
        DeviceExpired,
        /// The daemon's owner locked it: it serves no device until it is unlocked.
        DaemonLocked,
        /// This side read too slowly, so the peer closed the connection.
        SlowConsumer,
        /// The session is at its limit of connections.
        SessionCapacity,
        /// The rate limit is exceeded.
        RateLimited,
        /// A newer registration replaced this one.
        Replaced,
        /// A message did not decrypt.
        CryptoFailed,
        /// The server restarts and is back soon.
        ServerRestarting,
        /// The server shuts down.
        ShuttingDown,
        /// The daemon's disk cannot be written, and a pairing must be stored.
        StorageUnavailable,
        /// The whole connect took longer than its deadline.
        ConnectTimeout,
        /// No socket could be opened.
        Unreachable,
        /// The TLS layer failed.
        TlsFailed,
        /// The endpoint answered, but is not a Bowline endpoint.
        NotBowline,
        /// The socket closed without a close reason.
        ConnectionLost,
        /// Another daemon than the expected one proved its identity.
        ServerIdentityMismatch,
        /// A defect of the library stopped the driver of the host: reopen the runtime and report
        /// the defect.
        Defect,
        /// This side closed the connection on purpose.
        ClosedLocally,
    }
}

mirror! {
    /// Reason why the daemon refused one request: a closed list. The connection stays open.
    Refusal of RpcReason {
        /// The daemon is at its limit of concurrent requests.
        Overloaded,
        /// The parameters name something that does not exist.
        NotFound,
        /// The same intent id was used before with other parameters.
        IntentConflict,
        /// The result is too large for a message.
        ResponseTooLarge,
        /// The daemon or provider does not support this.
        Unsupported,
        /// The daemon's deadline for the request passed.
        Timeout,
        /// The request was cancelled.
        Cancelled,
        /// The agent's program could not start, or failed.
        ProviderFailed,
        /// The device has no permission for this.
        Forbidden,
        /// The daemon's disk is full or read-only; the request had no effect.
        StorageUnavailable,
        /// What this device may do does not include this: its role, a provider or a folder. The
        /// message names what is missing; the daemon's owner changes it.
        NotGranted,
        /// This device has sent more than its share; the message says when there is room again.
        RateLimited,
        /// What is stored for this device is at its bound; the message says which.
        QuotaExceeded,
    }
}

/// The reason from the closed list, if the daemon sent one; `None` for JSON-RPC's own errors.
pub(crate) fn refusal(error: &protocol::error::RpcError) -> Option<Refusal> {
    error.data.as_ref().map(|data| data.reason.into())
}
