//! Exit codes, and errors that say what to do.

use std::{borrow::Cow, fmt};

use bowline_runtime::{
    CallError, ErrorView, HostRecord, IntentError, OpenError, PairError, TimelineError,
    protocol::{Advice, Offer, Reason, error::RpcError, text::visible},
    storage::StorageError,
};

use crate::text;

/// How the program ends (`docs/commands.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done; a turn completed.
    Done = 0,
    /// Failed; a turn failed, was cancelled or was interrupted.
    Failed = 1,
    /// What was asked for cannot be asked for.
    Usage = 2,
    /// No path to the daemon.
    Unreachable = 3,
    /// The daemon will not have this device.
    Refused = 4,
    /// The terminal has closed (SIGHUP).
    HungUp = 129,
    /// Ctrl-C.
    Interrupted = 130,
    /// SIGTERM.
    Terminated = 143,
}

impl Exit {
    /// The code of a command that was asked to end before it was done.
    pub(crate) const fn of(stop: bowline_program::Stop) -> Self {
        match stop.code {
            129 => Self::HungUp,
            143 => Self::Terminated,
            _ => Self::Interrupted,
        }
    }

    /// What the process ends with.
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }
}

/// An error for people and, with `--json`, for programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CliError {
    /// What the program's exit code will be.
    pub(crate) exit: Exit,
    /// One word: a reason of the protocol, or one of this program.
    pub(crate) reason: Cow<'static, str>,
    /// What happened and what to do.
    pub(crate) message: String,
}

/// Why a command ended before it was done.
#[derive(Debug)]
pub(crate) enum Stop {
    /// With an error to show.
    Error(CliError),
    /// Whoever read the output has gone (`bowline … | head`): nothing to say, and nobody to say it to.
    NobodyReads,
}

impl From<CliError> for Stop {
    fn from(error: CliError) -> Self {
        Self::Error(error)
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Paths, titles and other programs' words are in it.
        f.write_str(&visible(&self.message))
    }
}

impl CliError {
    fn new(exit: Exit, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            exit,
            reason: reason.into(),
            message: message.into(),
        }
    }

    /// Something failed.
    pub(crate) fn failed(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, reason, message)
    }

    /// The command line or the configuration asks for what cannot be.
    pub(crate) fn usage(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, reason, message)
    }

    /// The host could not be reached at any of its addresses. `problem` is the newest failure, if any
    /// attempt has come to an end.
    pub(crate) fn unreachable(host: &HostRecord, problem: Option<&ErrorView>) -> Self {
        let addresses: Vec<_> = host
            .addresses
            .iter()
            .map(|address| address.address.as_str())
            .collect();
        let reason = problem.map_or(Reason::ConnectTimeout, |problem| problem.reason);
        let detail = match problem {
            None => " (no answer)".to_owned(),
            Some(problem) => match cause(&problem.message) {
                Some(cause) => format!(" ({})", in_words(reason, cause)),
                None => format!(" ({})", in_words(reason, &problem.message)),
            },
        };
        let message = format!(
            "{} is not reachable at {}{detail}; {}",
            text::one_line(&host.name),
            addresses.join(", "),
            hint(reason)
        );
        Self::new(Exit::Unreachable, reason.as_str(), message)
    }

    /// None of an offer's addresses answered in time.
    pub(crate) fn no_answer(offer: &Offer) -> Self {
        let addresses = [offer.direct.as_slice(), offer.relays.as_slice()].concat();
        let reason = Reason::ConnectTimeout;
        let message = format!("no answer at {}; {}", addresses.join(", "), hint(reason));
        Self::new(Exit::Unreachable, reason.as_str(), message)
    }

    /// Pairing failed. Names the addresses that were tried, and says so if they are good on one machine only.
    pub(crate) fn not_paired(offer: &Offer, error: PairError) -> Self {
        match error {
            PairError::Unreachable(failure) => {
                let addresses = [offer.direct.as_slice(), offer.relays.as_slice()].concat();
                let why = in_words(failure.reason, &failure.message);
                // Mostly there is one, and the failure names it.
                let tried = match addresses.iter().all(|address| why.contains(address)) {
                    true => String::new(),
                    false => format!(" (tried {})", addresses.join(", ")),
                };
                let is_there = failure.reason == Reason::StorageUnavailable;
                let advice = if offer.is_for_one_machine() && !is_there {
                    "the offer is good only on the daemon's own machine, and there only while the daemon runs; for \
                     another machine start the daemon with --listen, --advertise or --relay and make a new offer"
                } else {
                    hint(failure.reason)
                };
                let message = format!("{why}{tried}; {advice}");
                Self::new(Exit::Unreachable, failure.reason.as_str(), message)
            }
            error => error.into(),
        }
    }

    /// The daemon answered and will not have this device, or must not be talked to.
    pub(crate) fn refused(host: &str, problem: &ErrorView) -> Self {
        let message = format!(
            "{} refused this device: {}; {}",
            text::one_line(host),
            in_words(problem.reason, &problem.message),
            hint(problem.reason)
        );
        Self::new(Exit::Refused, problem.reason.as_str(), message)
    }

    /// None of the host's addresses is of the kind that `--only` allows.
    pub(crate) fn no_path(host: &HostRecord) -> Self {
        let known: Vec<_> = host
            .addresses
            .iter()
            .map(|address| format!("{} {}", address.path, address.address))
            .collect();
        let message = format!(
            "{} has no address of the kind that --only allows; known: {}",
            text::one_line(&host.name),
            known.join(", ")
        );
        Self::new(Exit::Unreachable, "no_path", message)
    }

    /// The daemon's answer to a request.
    pub(crate) fn answered(error: &RpcError) -> Self {
        let reason = match error.reason() {
            Some(reason) => reason.as_str(),
            None => "invalid_request",
        };
        Self::failed(reason, error.message.clone())
    }
}

/// The last part of a failure's words, which is the system's own ("Connection refused").
fn cause(message: &str) -> Option<&str> {
    let (rest, cause) = message.rsplit_once(": ")?;
    let cause = cause.split(" (os error").next().unwrap_or(cause);
    (!rest.is_empty() && !cause.is_empty()).then_some(cause)
}

/// What happened: the failure's own words, and where those are, or end with, the name of the reason, ours.
pub(crate) fn in_words(reason: Reason, message: &str) -> String {
    if message.is_empty() {
        return plainly(reason).to_owned();
    }
    match message.strip_suffix(reason.as_str()) {
        Some(before) => text::one_line(before) + plainly(reason),
        None => text::one_line(message),
    }
}

/// What a reason means, for people.
const fn plainly(reason: Reason) -> &'static str {
    match reason {
        Reason::BadRequest => "the daemon did not understand this program",
        Reason::DeviceUnknown => "the daemon does not know this device",
        Reason::DeviceRevoked => "the daemon's owner revoked this device",
        Reason::PairingTokenInvalid => {
            "the offer was used already, has expired, or is not this daemon's"
        }
        Reason::DaemonOffline => "the daemon is not connected to the relay",
        Reason::RelayTokenInvalid => "the relay does not know this daemon's token",
        Reason::ProtocolUnsupported => "it speaks another version of the protocol",
        Reason::IdentityMissing => "an identity is missing or malformed",
        Reason::HandshakeTimeout | Reason::ConnectTimeout => "no answer in time",
        Reason::SessionKeyConflict => "this device's session belongs to another device",
        Reason::IdleTimeout => "nothing was exchanged for too long",
        Reason::HeartbeatTimeout => "the other side stopped answering",
        Reason::MessageTooLarge => "a message was too long",
        Reason::SessionChanged => "the session is not what it was",
        Reason::SlowConsumer => "this side read too slowly",
        Reason::SessionCapacity => "there are too many connections",
        Reason::RateLimited => "too many attempts in a short time",
        Reason::Replaced => "another one took its place",
        Reason::CryptoFailed => "the other side did not prove that it is the daemon",
        Reason::ServerRestarting => "the daemon is restarting",
        Reason::ShuttingDown => "the daemon is shutting down",
        Reason::StorageUnavailable => "the daemon's disk takes nothing",
        Reason::Unreachable => "nothing answers",
        Reason::TlsFailed => "no secure connection (TLS) could be made",
        Reason::NotBowline => "what answers is not Bowline",
        Reason::ConnectionLost => "the connection broke",
        Reason::ServerIdentityMismatch => "another daemon answers there",
        Reason::Defect => "a defect of this program ended the connection",
        Reason::ClosedLocally => "the connection was closed here",
    }
}

const PAIR_AGAIN: &str =
    "pair again: `bowline-daemon pair` on its machine, then `bowline pair OFFER` here";

/// What the user can do about a reason.
fn hint(reason: Reason) -> &'static str {
    match reason {
        Reason::NotBowline => "is something else listening there?",
        Reason::TlsFailed => "check the certificate of that address",
        Reason::RateLimited => "try again in a minute",
        Reason::CryptoFailed => {
            "make a new offer with `bowline-daemon pair` on the daemon's own machine and pair with that"
        }
        Reason::DaemonOffline => {
            "is the daemon running, and is its machine online? `bowline-daemon status` there shows its relays"
        }
        Reason::DeviceRevoked | Reason::DeviceUnknown => PAIR_AGAIN,
        Reason::StorageUnavailable => "free some space on the daemon's machine, then try again",
        Reason::ServerIdentityMismatch => {
            "another daemon answers there; if that is meant to be, pair with it: `bowline-daemon pair` on its \
             machine, then `bowline pair OFFER` here"
        }
        _ => match reason.advice() {
            Advice::Wait => "is the daemon running? start it with `bowline-daemon run`",
            Advice::PairAgain => PAIR_AGAIN,
            Advice::Update => "update bowline or the daemon, so that both speak the same protocol",
            Advice::Report => "this should not happen; please report it",
            Advice::Nothing => "nothing needs to be done",
        },
    }
}

impl From<StorageError> for CliError {
    fn from(error: StorageError) -> Self {
        let reason = match &error {
            StorageError::Corrupt { .. } => "corrupt_state",
            StorageError::TooNew { .. } => "newer_state",
            StorageError::Io { .. } => "io",
            StorageError::KeyStore { .. } => "key_store",
            StorageError::Paused => "paused",
            StorageError::Unavailable { .. } => "io",
            StorageError::Closed => "internal",
        };
        Self::failed(reason, error.to_string())
    }
}

impl From<OpenError> for CliError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Storage(error) => error.into(),
            OpenError::Identity(error) => Self::failed("identity_missing", error.to_string()),
            OpenError::IdentityMissing { .. } => {
                Self::failed("identity_missing", error.to_string())
            }
            OpenError::HostsMissing { .. } => Self::failed("hosts_missing", error.to_string()),
            OpenError::NoStorage | OpenError::Internal(_) => {
                Self::failed("internal", error.to_string())
            }
        }
    }
}

impl From<PairError> for CliError {
    fn from(error: PairError) -> Self {
        match &error {
            PairError::Unreachable(failure) => {
                let reason = failure.reason;
                let words = in_words(reason, &failure.message);
                let message = format!("{words}; {}", hint(reason));
                Self::new(Exit::Unreachable, reason.as_str(), message)
            }
            PairError::Refused(failure) => {
                let advice = match failure.reason {
                    Reason::PairingTokenInvalid => {
                        "an offer works once and for a few minutes; make another with `bowline-daemon pair`"
                    }
                    reason => hint(reason),
                };
                let words = in_words(failure.reason, &failure.message);
                let message = format!("the daemon refused to pair: {words}; {advice}");
                Self::new(Exit::Refused, failure.reason.as_str(), message)
            }
            PairError::AnotherKey(failure) => {
                let message =
                    format!("{failure}; make a new offer there with `bowline-daemon pair`");
                Self::new(Exit::Refused, failure.reason.as_str(), message)
            }
            PairError::NoPath => Self::new(Exit::Unreachable, "no_path", error.to_string()),
            PairError::Storage(_) | PairError::Closed => match error {
                PairError::Storage(error) => error.into(),
                error => Self::failed("internal", error.to_string()),
            },
        }
    }
}

impl From<IntentError> for CliError {
    fn from(error: IntentError) -> Self {
        match error {
            IntentError::Storage(error) => error.into(),
            IntentError::OutboxFull(_) => Self::failed("overloaded", error.to_string()),
            IntentError::Invalid(_) => Self::usage("usage", error.to_string()),
            IntentError::UnknownHost(_) => Self::usage("unknown_host", error.to_string()),
            IntentError::Closed => Self::failed("internal", error.to_string()),
        }
    }
}

impl From<CallError> for CliError {
    fn from(error: CallError) -> Self {
        match &error {
            CallError::Rpc(error) => Self::answered(error),
            CallError::Malformed(_) => Self::failed("malformed_answer", error.to_string()),
            CallError::Timeout => Self::new(Exit::Unreachable, "timeout", error.to_string()),
            CallError::Disconnected(reason) => {
                Self::new(Exit::Unreachable, reason.as_str(), error.to_string())
            }
            CallError::NotConnected => {
                Self::new(Exit::Unreachable, "unreachable", error.to_string())
            }
            CallError::Closed => Self::failed("internal", error.to_string()),
        }
    }
}

impl From<TimelineError> for CliError {
    fn from(error: TimelineError) -> Self {
        match error {
            TimelineError::Refused(reason) => Self::failed(reason.as_str(), error.to_string()),
            TimelineError::Call(error) => error.into(),
            TimelineError::UnknownHost => Self::failed("unknown_host", error.to_string()),
            TimelineError::TooMany(_) => Self::failed("overloaded", error.to_string()),
            TimelineError::Closed => Self::failed("internal", error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bowline_runtime::{
        Failure,
        machines::Path,
        protocol::{PublicKey, ServerId},
        transport::Address,
    };

    use super::*;

    fn host() -> HostRecord {
        HostRecord {
            server_id: ServerId::of_public_key(&[1; 32]),
            name: "workshop".into(),
            transport_key: PublicKey::from_bytes([1; 32]),
            addresses: vec![Address {
                path: Path::Direct,
                address: "127.0.0.1:4717".into(),
            }],
        }
    }

    #[test]
    fn an_unreachable_host_is_named_with_address_cause_and_what_to_do() {
        let failure = Failure::new(
            Reason::Unreachable,
            "not reachable at 127.0.0.1:4717: Connection refused (os error 111)",
        );
        let error = CliError::unreachable(&host(), Some(&failure.into()));
        assert_eq!(
            error.message,
            "workshop is not reachable at 127.0.0.1:4717 (Connection refused); is the daemon running? start it \
             with `bowline-daemon run`"
        );
        assert_eq!(
            (error.exit, error.reason.as_ref()),
            (Exit::Unreachable, "unreachable")
        );
    }

    #[test]
    fn every_reason_has_a_hint_and_refusals_exit_with_four() {
        for reason in Reason::ALL {
            assert!(!hint(*reason).is_empty());
            let words = in_words(*reason, reason.as_str());
            assert!(!words.contains('_'), "a code is no sentence: {words}");
        }
        assert_eq!(
            in_words(
                Reason::DaemonOffline,
                "ws://relay ended the handshake: daemon_offline"
            ),
            "ws://relay ended the handshake: the daemon is not connected to the relay"
        );
        let view = ErrorView::from(Failure::from(Reason::DeviceRevoked));
        let error = CliError::refused("workshop", &view);
        assert_eq!(error.exit, Exit::Refused);
        assert!(
            error
                .message
                .contains("the daemon's owner revoked this device; pair again"),
            "{error}"
        );
    }
}
