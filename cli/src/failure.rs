//! Exit codes and user-facing errors with advice.

use std::{borrow::Cow, fmt, io::ErrorKind};

pub(crate) use bowline_program::Exit;
use bowline_runtime::{
    CallError, ErrorView, Failure, HostRecord, IntentError, OpenError, PairError, TimelineError,
    protocol::{Offer, Reason, error::RpcError, text::visible},
    storage::StorageError,
};

use crate::{
    reasons::{cause, hint, in_words},
    text,
};

/// An error for people and, with `--json`, for programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CliError {
    /// The exit code of the program.
    pub(crate) exit: Exit,
    /// A reason of the protocol or of this program.
    pub(crate) reason: Cow<'static, str>,
    /// Cause and advice.
    pub(crate) message: String,
}

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// An error to show.
    Error(CliError),
    /// The reader of the output has closed (`bowline … | head`): nothing is reported.
    OutputClosed,
}

impl<E: Into<CliError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Contains paths, titles and text of other programs.
        f.write_str(&visible(&self.message))
    }
}

impl CliError {
    fn new(exit: Exit, reason: impl Into<Cow<'static, str>>, message: impl fmt::Display) -> Self {
        Self {
            exit,
            reason: reason.into(),
            message: message.to_string(),
        }
    }

    /// A failed command.
    pub(crate) fn failed(reason: impl Into<Cow<'static, str>>, message: impl fmt::Display) -> Self {
        Self::new(Exit::Failed, reason, message)
    }

    /// Invalid arguments or configuration.
    pub(crate) fn usage(reason: impl Into<Cow<'static, str>>, message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, reason, message)
    }

    fn unreachable_for(reason: impl Into<Cow<'static, str>>, message: impl fmt::Display) -> Self {
        Self::new(Exit::Unreachable, reason, message)
    }

    /// The runtime ended although a command needs it.
    pub(crate) fn runtime_ended() -> Self {
        Self::failed("internal", "the runtime has ended")
    }

    /// The host was forgotten while a command needed it.
    pub(crate) fn forgotten() -> Self {
        Self::failed("cancelled", "the host was forgotten")
    }

    /// The host could not be reached at any address. `problem` is the latest failure, if an attempt
    /// has ended.
    pub(crate) fn unreachable(host: &HostRecord, problem: Option<&ErrorView>) -> Self {
        let (reason, detail) = match problem {
            None => (Reason::ConnectTimeout, "no answer".to_owned()),
            Some(ErrorView {
                reason, message, ..
            }) => (
                *reason,
                in_words(*reason, cause(message).unwrap_or(message)),
            ),
        };
        let (name, addresses) = (text::one_line(&host.name), text::addresses(host));
        let message = format!(
            "{name} is not reachable at {addresses} ({detail}); {}",
            hint(reason)
        );
        Self::unreachable_for(reason.as_str(), message)
    }

    /// No address of an offer answered in time.
    pub(crate) fn no_answer(offer: &Offer) -> Self {
        let reason = Reason::ConnectTimeout;
        let message = format!(
            "no answer at {}; {}",
            addresses(offer).join(", "),
            hint(reason)
        );
        Self::unreachable_for(reason.as_str(), message)
    }

    /// Pairing failed. Names the tried addresses, and whether they work on one machine only.
    pub(crate) fn not_paired(offer: &Offer, error: PairError) -> Self {
        match error {
            PairError::Unreachable(Failure {
                reason, message, ..
            }) => {
                let addresses = addresses(offer);
                let why = in_words(reason, &message);
                // Usually there is one address, already named by the failure.
                let tried = match addresses.iter().all(|address| why.contains(address)) {
                    true => String::new(),
                    false => format!(" (tried {})", addresses.join(", ")),
                };
                let is_there = reason == Reason::StorageUnavailable;
                let advice = if offer.is_for_one_machine() && !is_there {
                    "the offer is good only on the daemon's own machine, and there only while the daemon runs; for \
                     another machine start the daemon with --listen, --advertise or --relay and make a new offer"
                } else {
                    hint(reason)
                };
                Self::unreachable_for(reason.as_str(), format!("{why}{tried}; {advice}"))
            }
            PairError::Refused(Failure {
                reason, message, ..
            }) => {
                let advice = match reason {
                    Reason::PairingTokenInvalid => {
                        "an offer works once and for a few minutes; make another with `bowline-daemon pair`"
                    }
                    reason => hint(reason),
                };
                let words = in_words(reason, &message);
                let message = format!("the daemon refused to pair: {words}; {advice}");
                Self::new(Exit::Refused, reason.as_str(), message)
            }
            PairError::AnotherKey(failure) => {
                let message =
                    format!("{failure}; make a new offer there with `bowline-daemon pair`");
                Self::new(Exit::Refused, failure.reason.as_str(), message)
            }
            PairError::KeyChanged { .. } => {
                let reason = Reason::ServerIdentityMismatch.as_str();
                Self::new(Exit::Refused, reason, error.to_string())
            }
            PairError::NoPath => Self::unreachable_for("no_path", error),
            PairError::Storage(error) => error.into(),
            PairError::Closed | PairError::Internal(_) => Self::failed("internal", error),
        }
    }

    /// The daemon refused this device, or must not be trusted.
    pub(crate) fn refused(host: &str, problem: &ErrorView) -> Self {
        let message = format!(
            "{} refused this device: {}; {}",
            text::one_line(host),
            in_words(problem.reason, &problem.message),
            hint(problem.reason)
        );
        Self::new(Exit::Refused, problem.reason.as_str(), message)
    }

    /// No address of the host has a kind allowed by `--only`.
    pub(crate) fn no_path(host: &HostRecord) -> Self {
        let known = host.addresses.iter();
        let known: Vec<_> = known
            .map(|address| format!("{} {}", address.path, address.address))
            .collect();
        let message = format!(
            "{} has no address of the kind that --only allows; known: {}",
            text::one_line(&host.name),
            known.join(", ")
        );
        Self::unreachable_for("no_path", message)
    }

    /// The daemon's error response to a request.
    pub(crate) fn answered(error: &RpcError) -> Self {
        let reason = error
            .reason()
            .map_or("invalid_request", |reason| reason.as_str());
        Self::failed(reason, &error.message)
    }
}

/// Every address of an offer.
fn addresses(offer: &Offer) -> Vec<&str> {
    let all = offer.direct.iter().chain(&offer.relays);
    all.map(String::as_str).collect()
}

impl From<StorageError> for CliError {
    fn from(error: StorageError) -> Self {
        let reason = match &error {
            StorageError::Corrupt { .. } => "corrupt_state",
            StorageError::TooNew { .. } => "newer_state",
            StorageError::NotPrivate(_) => "state_not_private",
            StorageError::Io { .. } | StorageError::Unavailable { .. } => "io",
            StorageError::KeyStore { .. } => "key_store",
            StorageError::Paused => "paused",
            StorageError::Closed => "internal",
        };
        let advice = match &error {
            StorageError::Io { source, .. } if source.kind() == ErrorKind::ResourceBusy => {
                "; end some of them, or use another folder (--state-dir)"
            }
            _ => "",
        };
        Self::failed(reason, format!("{error}{advice}"))
    }
}

impl From<OpenError> for CliError {
    fn from(error: OpenError) -> Self {
        let reason = match error {
            OpenError::Storage(error) => return error.into(),
            OpenError::Identity(_) | OpenError::IdentityMissing { .. } => "identity_missing",
            OpenError::HostsMissing { .. } => "hosts_missing",
            OpenError::NoStorage | OpenError::Internal(_) => "internal",
        };
        Self::failed(reason, error)
    }
}

impl From<IntentError> for CliError {
    fn from(error: IntentError) -> Self {
        match error {
            IntentError::Storage(error) => error.into(),
            IntentError::OutboxFull(_) => Self::failed("overloaded", error),
            IntentError::Invalid(_) | IntentError::Patches(_) => Self::usage("usage", error),
            IntentError::UnknownHost(_) => Self::usage("unknown_host", error),
            IntentError::Closed => Self::failed("internal", error),
        }
    }
}

impl From<CallError> for CliError {
    fn from(error: CallError) -> Self {
        match &error {
            CallError::Rpc(error) => Self::answered(error),
            CallError::Malformed(_) | CallError::TooLarge => {
                Self::failed("malformed_answer", error)
            }
            CallError::Timeout => Self::unreachable_for("timeout", error),
            CallError::Disconnected(reason) => Self::unreachable_for(reason.as_str(), error),
            CallError::NotConnected => Self::unreachable_for("unreachable", error),
            CallError::Closed => Self::failed("internal", error),
        }
    }
}

impl From<TimelineError> for CliError {
    fn from(error: TimelineError) -> Self {
        let reason = match error {
            TimelineError::Call(error) => return error.into(),
            TimelineError::Refused(reason) => reason.as_str(),
            TimelineError::UnknownHost => "unknown_host",
            TimelineError::TooMany(_) => "overloaded",
            TimelineError::Closed => "internal",
        };
        Self::failed(reason, error)
    }
}

#[cfg(test)]
mod tests {
    use bowline_runtime::{
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
            psk: None,
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

    /// C8: the text advised twice to free space and contained system error codes.
    #[test]
    fn case_newcomer_a_pairing_that_failed_says_each_thing_once_and_without_codes() {
        let offer = Offer {
            server_id: ServerId::of_public_key(&[1; 32]),
            transport_key: PublicKey::from_bytes([1; 32]),
            name: "workshop".into(),
            direct: Vec::new(),
            relays: vec!["ws://127.0.0.1:9".into()],
            token: "AAAAAAAAAAAAAAAAAAAAAA".parse().unwrap(),
        };
        let failed = |reason, message: &str| {
            let failure = Failure::new(reason, message);
            CliError::not_paired(&offer, PairError::Unreachable(failure)).message
        };
        assert_eq!(
            failed(
                Reason::StorageUnavailable,
                "the daemon cannot write to its disk, and a pairing has to be written down"
            ),
            "the daemon cannot write to its disk, and a pairing has to be written down (tried ws://127.0.0.1:9); free some \
             space on the daemon's machine, then try again"
        );
        let text = failed(
            Reason::Unreachable,
            "not reachable at ws://127.0.0.1:9: Connection refused (os error 111)",
        );
        assert!(text.contains("Connection refused; "), "{text}");
        assert!(!text.contains("os error"), "{text}");
    }

    #[test]
    fn case_newcomer_a_profile_that_too_many_use_says_what_to_do() {
        let error = CliError::from(StorageError::Io {
            action: "open",
            path: "/C/outbox".into(),
            source: std::io::Error::new(
                ErrorKind::ResourceBusy,
                "64 other processes use this profile",
            ),
        });
        assert_eq!(
            error.message,
            "cannot open /C/outbox: 64 other processes use this profile; end some of them, or use another folder \
             (--state-dir)"
        );
    }
    #[test]
    fn a_refusal_says_why_and_exits_with_four() {
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
