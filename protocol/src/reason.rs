//! The closed list of reasons why a connection ends or cannot be made.
//!
//! One enum serves the wire (close codes), the machines, logs, metrics and the bindings. Each
//! reason carries its retry policy and its advice for the host app, so that apps never parse texts.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether a failed connection or request is retried automatically.
///
/// After a final reason one connection (`DaemonClient`) stops. The host above it enters `error` and
/// tries again at long intervals, because a daemon may be updated or restored (C48).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// A retry cannot help: the client or its identity must change.
    Never,
    /// Only an action of the user (pairing, for instance) can help.
    AfterUserAction,
    /// Retry with growing pauses.
    Backoff,
    /// Retry at once: the peer announced that it returns.
    Soon,
}

impl Retry {
    /// Whether no automatic retry follows.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Never | Self::AfterUserAction => true,
            Self::Backoff | Self::Soon => false,
        }
    }
}

/// What the host app should do about a [`Reason`] or a [`crate::RpcReason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Advice {
    /// Nothing: the runtime retries already.
    Wait,
    /// Ask the user to pair this device again.
    PairAgain,
    /// Ask the user to update the app or the daemon.
    Update,
    /// Report a defect: the library or its caller broke the protocol or an identity is missing.
    Report,
    /// Nothing: the end was requested.
    Nothing,
    /// Retry later, or with a smaller request.
    TryAgain,
    /// Ask the user for other input: another agent, other parameters.
    AskUser,
}

/// Declares a closed list of reasons: each with its name, code and policy.
macro_rules! reasons {
    (
        $(#[$type_doc:meta])* $type:ident, $(#[$code_doc:meta])* $code_name:ident: $code_type:ty;
        $( $(#[$doc:meta])* $variant:ident $name:literal $code:expr, $retry:ident, $advice:ident; )*
    ) => {
        $(#[$type_doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        pub enum $type { $( $(#[$doc])* #[serde(rename = $name)] $variant, )* }

        impl $type {
            /// Every reason, in the order of the table in `docs/protocol.md`.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )* ];

            /// The name used on the wire, in logs and in the bindings.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }

            $(#[$code_doc])*
            pub const fn $code_name(self) -> $code_type {
                match self { $( Self::$variant => $code, )* }
            }

            /// Whether and how a retry may help.
            pub const fn retry(self) -> Retry {
                match self { $( Self::$variant => Retry::$retry, )* }
            }

            /// What the host app should do.
            pub const fn advice(self) -> Advice {
                match self { $( Self::$variant => Advice::$advice, )* }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use reasons;

reasons! {
    /// Why a connection ended, was refused, or could not be made.
    Reason,
    /// WebSocket close code; `None` for a reason that only one side can observe.
    close_code: Option<u16>;

    /// Malformed hello, or messages in the wrong order.
    BadRequest "bad_request" Some(4400), Never, Report;
    /// The daemon has not paired with this device.
    DeviceUnknown "device_unknown" Some(4401), AfterUserAction, PairAgain;
    /// The daemon's owner revoked this device.
    DeviceRevoked "device_revoked" Some(4402), AfterUserAction, PairAgain;
    /// The pairing token was used, has expired or never existed.
    PairingTokenInvalid "pairing_token_invalid" Some(4403), AfterUserAction, PairAgain;
    /// No daemon of that `serverId` is registered at the relay.
    DaemonOffline "daemon_offline" Some(4404), Backoff, Wait;
    /// The relay is private and the daemon's token for it is absent or wrong (control socket only).
    RelayTokenInvalid "relay_token_invalid" Some(4405), AfterUserAction, Report;
    /// The peers have no protocol version in common.
    ProtocolUnsupported "protocol_unsupported" Some(4406), Never, Update;
    /// A required identity is absent or malformed (INV-9).
    IdentityMissing "identity_missing" Some(4407), Never, Report;
    /// The peer did not finish its part of the handshake in time.
    HandshakeTimeout "handshake_timeout" Some(4408), Backoff, Wait;
    /// The session key belongs to another device.
    SessionKeyConflict "session_key_conflict" Some(4409), Never, Report;
    /// Nothing was exchanged within the idle timeout.
    IdleTimeout "idle_timeout" Some(4410), Backoff, Wait;
    /// The peer stopped answering liveness checks.
    HeartbeatTimeout "heartbeat_timeout" Some(4411), Backoff, Wait;
    /// The session changed between the welcome and `session.ready`, so the welcome is outdated.
    SessionChanged "session_changed" Some(4412), Soon, Wait;
    /// A message was over `limits.maxMessageBytes`.
    MessageTooLarge "message_too_large" Some(4413), Backoff, Wait;
    /// The daemon's owner refused to pair with this device (TR-3).
    PairingRefused "pairing_refused" Some(4414), AfterUserAction, PairAgain;
    /// The daemon dialled the relay under an origin that is not known to be the relay's (control
    /// socket only; TR-9).
    RelayOriginUnknown "relay_origin_unknown" Some(4415), AfterUserAction, Report;
    /// The pairing of this device was for a limited time, which is over (TR-4).
    DeviceExpired "device_expired" Some(4416), AfterUserAction, PairAgain;
    /// The daemon's owner locked it: it serves no device until it is unlocked (TR-15).
    DaemonLocked "daemon_locked" Some(4417), AfterUserAction, Wait;
    /// The receiver read too slowly and its bounded queue filled.
    SlowConsumer "slow_consumer" Some(4420), Backoff, Wait;
    /// The session has the maximum of connections; this one was closed for a newer one.
    SessionCapacity "session_capacity" Some(4421), Backoff, Wait;
    /// Too many attempts; the retry-after says when the next is accepted.
    RateLimited "rate_limited" Some(4429), Backoff, Wait;
    /// A newer registration of the same daemon replaced this one (control socket only).
    Replaced "replaced" Some(4430), Never, Nothing;
    /// A message did not decrypt.
    CryptoFailed "crypto_failed" Some(4440), Backoff, Wait;
    /// The server restarts and returns shortly.
    ServerRestarting "server_restarting" Some(4450), Soon, Wait;
    /// The server shuts down.
    ShuttingDown "shutting_down" Some(4451), Soon, Wait;
    /// The daemon's disk accepts no writes, and the request needs one: a new pairing, for instance.
    StorageUnavailable "storage_unavailable" Some(4452), Backoff, Wait;

    /// The whole connect (socket, Noise, welcome) exceeded its deadline.
    ConnectTimeout "connect_timeout" None, Backoff, Wait;
    /// No socket could be opened: refused, no route, name not found.
    Unreachable "unreachable" None, Backoff, Wait;
    /// The TLS layer under the WebSocket failed.
    TlsFailed "tls_failed" None, Backoff, Wait;
    /// The address answered, but is not a Bowline endpoint.
    NotBowline "not_bowline" None, Backoff, Wait;
    /// The socket ended without a close reason.
    ConnectionLost "connection_lost" None, Backoff, Wait;
    /// A daemon with another identity answered at this address.
    ServerIdentityMismatch "server_identity_mismatch" None, Never, PairAgain;
    /// A defect in this side's own code ended the task that kept the connection.
    Defect "defect" None, Never, Report;
    /// This side closed the connection on purpose.
    ClosedLocally "closed_locally" None, Never, Nothing;
}

impl Reason {
    /// The close code and text that a daemon sends in clear. A reason that ends retries goes inside
    /// the encryption only, so that nobody on the path learns who was refused: the code is then a
    /// normal closure without a text (TR-2).
    pub const fn in_clear(self) -> (u16, &'static str) {
        match (self.retry(), self.close_code()) {
            (Retry::Backoff | Retry::Soon, Some(code)) => (code, self.as_str()),
            _ => (1000, ""),
        }
    }

    /// Whether one connection is retried automatically after this reason; see [`Retry`].
    pub const fn is_recoverable(self) -> bool {
        !self.retry().is_final()
    }
}

/// An unauthenticated reason for the end of a connection: a close code or an HTTP status (TR-2).
///
/// Any intermediary can write one, so a claim never ends retries: it shows that the connection is
/// over and is a hint for people why. Reasons that end retries are believed only when they arrive
/// sealed: in the welcome, or in `connection.closing` ([`crate::closing`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim(Reason);

impl Claim {
    /// The claim of a close code. An unknown code, or none, is [`Reason::ConnectionLost`].
    pub fn of_close_code(code: Option<u16>) -> Self {
        let claimed = code.and_then(|code| {
            Reason::ALL
                .iter()
                .copied()
                .find(|reason| reason.close_code() == Some(code))
        });
        Self(claimed.unwrap_or(Reason::ConnectionLost))
    }

    /// The claimed reason, for logs, counters and people.
    pub const fn claimed(self) -> Reason {
        self.0
    }

    /// The reason to act upon: the claimed one if it is retried anyway, else
    /// [`Reason::ConnectionLost`].
    pub const fn believed(self) -> Reason {
        if self.0.is_recoverable() {
            self.0
        } else {
            Reason::ConnectionLost
        }
    }

    /// The claimed reason, if it is not believed.
    pub const fn disbelieved(self) -> Option<Reason> {
        if self.0.is_recoverable() {
            None
        } else {
            Some(self.0)
        }
    }
}

impl From<Reason> for Claim {
    fn from(claimed: Reason) -> Self {
        Self(claimed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_are_unique_and_map_back() {
        for reason in Reason::ALL {
            if let Some(code) = reason.close_code() {
                assert_eq!(Claim::of_close_code(Some(code)).claimed(), *reason);
            }
        }
        assert_eq!(
            Claim::of_close_code(Some(1006)).claimed(),
            Reason::ConnectionLost,
            "an unknown code is recoverable"
        );
    }

    /// C37b: a forged 4402 ended every path of a host for good.
    #[test]
    fn tr_2_no_unsealed_close_code_is_final() {
        for code in (0..=u16::MAX).map(Some).chain([None]) {
            let claim = Claim::of_close_code(code);
            assert!(claim.believed().is_recoverable(), "{code:?}");
        }
        let revoked = Claim::from(Reason::DeviceRevoked);
        assert_eq!(revoked.believed(), Reason::ConnectionLost);
        assert_eq!(revoked.disbelieved(), Some(Reason::DeviceRevoked));
        let limited = Claim::from(Reason::RateLimited);
        assert_eq!(limited.believed(), Reason::RateLimited);
        assert_eq!(limited.disbelieved(), None);
    }

    #[test]
    fn names_are_the_serialised_form() {
        for reason in Reason::ALL {
            let json = serde_json::to_string(reason).unwrap();
            assert_eq!(json, format!("\"{}\"", reason.as_str()));
        }
    }

    /// LS-12: only authentication and version errors are terminal.
    #[test]
    fn only_identity_version_and_deliberate_ends_are_final() {
        let terminal: Vec<_> = Reason::ALL
            .iter()
            .filter(|reason| !reason.is_recoverable())
            .map(|reason| reason.as_str())
            .collect();
        assert_eq!(
            terminal,
            [
                "bad_request",
                "device_unknown",
                "device_revoked",
                "pairing_token_invalid",
                "relay_token_invalid",
                "protocol_unsupported",
                "identity_missing",
                "session_key_conflict",
                "pairing_refused",
                "relay_origin_unknown",
                "device_expired",
                "daemon_locked",
                "replaced",
                "server_identity_mismatch",
                "defect",
                "closed_locally"
            ]
        );
    }
}
