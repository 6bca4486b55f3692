//! The closed list of reasons for which a connection ends or cannot be made.
//!
//! One enum serves the wire (close codes), the machines, logs, metrics and the bindings. Each reason says
//! whether the library retries by itself and what the host app should do, so that apps never parse text.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether a failed connection is tried again without anyone asking.
///
/// Those that are not are looked at again all the same, but seldom: a daemon that is updated or restored takes back what it
/// said (`docs/protocol.md` §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// Trying again cannot help: the client or its identity must change.
    Never,
    /// Only something the user does (pairing, for instance) can help.
    AfterUserAction,
    /// Try again with growing pauses.
    Backoff,
    /// Try again at once: the peer said that it will be back.
    Soon,
}

/// What the host app should do about a [`Reason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Advice {
    /// Nothing: the runtime is already trying again.
    Wait,
    /// Ask the user to pair this device again.
    PairAgain,
    /// Ask the user to update the app or the daemon.
    Update,
    /// Report a defect: the library or its caller broke the protocol or an identity is missing.
    Report,
    /// Nothing at all: the end was asked for.
    Nothing,
}

macro_rules! reasons {
    ($( $(#[$doc:meta])* $variant:ident $name:literal $code:expr, $retry:ident, $advice:ident; )*) => {
        /// Why a connection ended, was refused, or could not be made.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Reason { $( $(#[$doc])* $variant, )* }

        impl Reason {
            /// Every reason, in the order of the table in `docs/protocol.md`.
            pub const ALL: &'static [Reason] = &[ $( Reason::$variant, )* ];

            /// The name used on the wire, in logs and in the bindings.
            pub const fn as_str(self) -> &'static str {
                match self { $( Reason::$variant => $name, )* }
            }

            /// WebSocket close code, or `None` for what only one side can observe.
            pub const fn close_code(self) -> Option<u16> {
                match self { $( Reason::$variant => $code, )* }
            }

            /// Whether the library tries again by itself.
            pub const fn retry(self) -> Retry {
                match self { $( Reason::$variant => Retry::$retry, )* }
            }

            /// What the host app should do.
            pub const fn advice(self) -> Advice {
                match self { $( Reason::$variant => Advice::$advice, )* }
            }
        }
    };
}

reasons! {
    /// Malformed hello, or messages in the wrong order.
    BadRequest "bad_request" Some(4400), Never, Report;
    /// The daemon has not paired with this device.
    DeviceUnknown "device_unknown" Some(4401), AfterUserAction, PairAgain;
    /// The daemon's owner revoked this device.
    DeviceRevoked "device_revoked" Some(4402), AfterUserAction, PairAgain;
    /// The pairing token was used, has expired or never existed.
    PairingTokenInvalid "pairing_token_invalid" Some(4403), AfterUserAction, PairAgain;
    /// The relay knows no daemon of that `serverId` at the moment.
    DaemonOffline "daemon_offline" Some(4404), Backoff, Wait;
    /// The relay is private and the daemon does not know its token (control socket only).
    RelayTokenInvalid "relay_token_invalid" Some(4405), AfterUserAction, Report;
    /// The peer speaks no protocol version that this one speaks.
    ProtocolUnsupported "protocol_unsupported" Some(4406), Never, Update;
    /// A required identity is absent or malformed (INV-9).
    IdentityMissing "identity_missing" Some(4407), Never, Report;
    /// The peer did not finish its part of the handshake in time.
    HandshakeTimeout "handshake_timeout" Some(4408), Backoff, Wait;
    /// The session key belongs to another device.
    SessionKeyConflict "session_key_conflict" Some(4409), Never, Report;
    /// Nothing was exchanged for the idle time.
    IdleTimeout "idle_timeout" Some(4410), Backoff, Wait;
    /// The peer stopped answering liveness checks.
    HeartbeatTimeout "heartbeat_timeout" Some(4411), Backoff, Wait;
    /// The session changed between the welcome and `session.ready`, so that the welcome is no longer true.
    SessionChanged "session_changed" Some(4412), Soon, Wait;
    /// A message was over `limits.maxMessageBytes`.
    MessageTooLarge "message_too_large" Some(4413), Backoff, Wait;
    /// This side read too slowly and its bounded queue filled.
    SlowConsumer "slow_consumer" Some(4420), Backoff, Wait;
    /// The session has its most connections; this one gave way.
    SessionCapacity "session_capacity" Some(4421), Backoff, Wait;
    /// Too many attempts; a retry-after says when.
    RateLimited "rate_limited" Some(4429), Backoff, Wait;
    /// A newer registration of the same daemon took over (control socket only).
    Replaced "replaced" Some(4430), Never, Nothing;
    /// A message did not decrypt.
    CryptoFailed "crypto_failed" Some(4440), Backoff, Wait;
    /// The server is about to be back.
    ServerRestarting "server_restarting" Some(4450), Soon, Wait;
    /// The server is going away.
    ShuttingDown "shutting_down" Some(4451), Soon, Wait;
    /// The daemon's disk takes nothing, and this would have to be written down: a new pairing, for instance.
    StorageUnavailable "storage_unavailable" Some(4452), Backoff, Wait;

    /// The whole connect (socket, Noise, welcome) took longer than its deadline.
    ConnectTimeout "connect_timeout" None, Backoff, Wait;
    /// No socket could be opened: refused, no route, name not found.
    Unreachable "unreachable" None, Backoff, Wait;
    /// The TLS layer under the WebSocket failed.
    TlsFailed "tls_failed" None, Backoff, Wait;
    /// The address answered, but not as a Bowline endpoint.
    NotBowline "not_bowline" None, Backoff, Wait;
    /// The socket ended without a close reason.
    ConnectionLost "connection_lost" None, Backoff, Wait;
    /// Another daemon proved its identity where this one was expected.
    ServerIdentityMismatch "server_identity_mismatch" None, Never, PairAgain;
    /// A defect of this side's own code ended what kept the connection.
    Defect "defect" None, Never, Report;
    /// This side closed the connection on purpose.
    ClosedLocally "closed_locally" None, Never, Nothing;
}

impl Reason {
    /// Whether the library keeps trying by itself after this reason.
    pub const fn is_recoverable(self) -> bool {
        matches!(self.retry(), Retry::Backoff | Retry::Soon)
    }
}

/// What a peer says in clear about why a connection ended: a close code, an HTTP status (TR-2).
///
/// Anybody between the two ends can write that, so a claim never ends attempts: it says that this connection is over, and
/// is a hint for people why. Reasons that end attempts are believed only when they come sealed: in the welcome, or in
/// `connection.closing` ([`crate::closing`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim(Reason);

impl Claim {
    /// The claim of a close code; an unknown code, or none, claims nothing ([`Reason::ConnectionLost`]).
    pub fn of_close_code(code: Option<u16>) -> Self {
        let claimed = code.and_then(|code| {
            Reason::ALL
                .iter()
                .copied()
                .find(|reason| reason.close_code() == Some(code))
        });
        Self(claimed.unwrap_or(Reason::ConnectionLost))
    }

    /// What is claimed: for logs, counters and people.
    pub const fn claimed(self) -> Reason {
        self.0
    }

    /// What may be acted upon: the claim where it is retried anyway, else [`Reason::ConnectionLost`].
    pub const fn believed(self) -> Reason {
        if self.0.is_recoverable() {
            self.0
        } else {
            Reason::ConnectionLost
        }
    }

    /// The claim, where it is not believed.
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

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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
    fn tr_2_no_close_code_of_a_stranger_is_final() {
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

    /// Lesson 12: only authentication and version errors are terminal.
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
                "replaced",
                "server_identity_mismatch",
                "defect",
                "closed_locally"
            ]
        );
    }
}
