//! What each reason means, in words, and what to do about it.

use bowline_runtime::protocol::{Advice, Reason};

use crate::text;

/// The last part of a failure message, written by the system ("Connection refused").
pub(crate) fn cause(message: &str) -> Option<&str> {
    let (rest, cause) = message.rsplit_once(": ")?;
    (!rest.is_empty() && !cause.is_empty()).then_some(cause)
}

/// The failure's message, with a trailing reason code replaced by words.
pub(crate) fn in_words(reason: Reason, message: &str) -> String {
    if message.is_empty() {
        return in_short(reason).to_owned();
    }
    let message = without_codes(message);
    match message.strip_suffix(reason.as_str()) {
        Some(before) => text::one_line(before) + in_short(reason),
        None => text::one_line(&message),
    }
}

/// The message without system error numbers ("(os error 111)").
fn without_codes(message: &str) -> String {
    const MARK: &str = " (os error ";
    let mut pieces = message.split(MARK);
    let mut words = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match piece.split_once(')') {
            Some((code, rest)) if code.parse::<i32>().is_ok() => words.push_str(rest),
            Some(_) | None => words.extend([MARK, piece]),
        }
    }
    words
}

/// A reason in words.
const fn in_short(reason: Reason) -> &'static str {
    match reason {
        Reason::BadRequest => "the daemon could not read a message of this program",
        Reason::DeviceUnknown => "the daemon does not know this device",
        Reason::DeviceRevoked => "the daemon's owner revoked this device",
        Reason::PairingTokenInvalid => {
            "the offer was used already, has expired, or is not this daemon's"
        }
        Reason::DeviceExpired => "this device was paired for a limited time, which is over",
        Reason::DaemonLocked => "the owner of the daemon's machine has locked it",
        Reason::PairingRefused => "the owner of the daemon's machine said no",
        Reason::DaemonOffline => "the daemon is not connected to the relay",
        Reason::RelayTokenInvalid => "the relay does not know this daemon's token",
        Reason::RelayOriginUnknown => "the relay does not know the address that its daemon dials",
        Reason::ProtocolUnsupported => "it speaks another version of the protocol",
        Reason::IdentityMissing => "an identity is missing or malformed",
        Reason::HandshakeTimeout | Reason::ConnectTimeout => "no answer in time",
        Reason::SessionKeyConflict => "this device's session belongs to another device",
        Reason::IdleTimeout => "nothing was exchanged for too long",
        Reason::HeartbeatTimeout => "the other side stopped answering",
        Reason::MessageTooLarge => "a message was too large",
        Reason::SessionChanged => "the session was replaced",
        Reason::SlowConsumer => "this side read too slowly",
        Reason::SessionCapacity => "too many connections are open",
        Reason::RateLimited => "too many attempts in a short time",
        Reason::Replaced => "a newer connection replaced this one",
        Reason::CryptoFailed => "the other side failed to prove that it is the daemon",
        Reason::ServerRestarting => "the daemon is restarting",
        Reason::ShuttingDown => "the daemon is shutting down",
        Reason::StorageUnavailable => "the daemon cannot write to its disk",
        Reason::Unreachable => "there is no answer",
        Reason::TlsFailed => "the TLS connection failed",
        Reason::NotBowline => "another program answers, not Bowline",
        Reason::ConnectionLost => "the connection broke",
        Reason::ServerIdentityMismatch => "another daemon answers there",
        Reason::Defect => "a defect of this program ended the connection",
        Reason::ClosedLocally => "the connection was closed here",
    }
}

const PAIR_AGAIN: &str =
    "pair again: `bowline-daemon pair` on its machine, then `bowline pair OFFER` here";

/// Advice on a reason.
pub(crate) fn hint(reason: Reason) -> &'static str {
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
        Reason::DeviceRevoked | Reason::DeviceUnknown | Reason::DeviceExpired => PAIR_AGAIN,
        Reason::DaemonLocked => "`bowline-daemon unlock` on its machine ends that",
        Reason::StorageUnavailable => "free some space on the daemon's machine, then try again",
        Reason::ServerIdentityMismatch => {
            "if that is intended, pair with it: `bowline-daemon pair` on its machine, then `bowline pair OFFER` here"
        }
        _ => match reason.advice() {
            Advice::Wait => "is the daemon running? start it with `bowline-daemon run`",
            Advice::PairAgain => PAIR_AGAIN,
            Advice::Update => "update bowline or the daemon, so that both speak the same protocol",
            Advice::Report => "this should not happen; please report it",
            Advice::Nothing => "nothing needs to be done",
            Advice::TryAgain => "try again later",
            Advice::AskUser => "ask for something else",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_words_and_a_hint() {
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
    }

    #[test]
    fn case_newcomer_system_error_numbers_are_left_out() {
        assert_eq!(
            without_codes("a (os error 1), b (os error x"),
            "a, b (os error x"
        );
    }
}
