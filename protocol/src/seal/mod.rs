//! Sealing: `Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s` as sans-I/O handshake and channel (BX-3).
//!
//! The client is the initiator and has the daemon's transport key from the pairing offer; the
//! daemon gets the device key from message 1. Both bind the `serverId` through the prologue, and
//! mix in the pre-shared key of the device, or of the offer while pairing (TR-3). The welcome
//! carries a proof of the daemon's identity, checked here on every connection (TR-1).

mod channel;
mod handshake;

pub use channel::Channel;
pub use handshake::{Initiator, Responder};

use crate::Reason;

/// Noise protocol name (`docs/protocol.md` §2).
pub const NOISE_PATTERN: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
/// Position of the pre-shared key: at the end of message 2.
const PSK_POSITION: u8 = 2;

/// Why a message could not be sealed or opened. Each ends the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It did not decrypt, or arrived out of order or twice.
    #[error("a message did not decrypt")]
    Crypto,
    /// It decrypted to a form that the channel does not allow.
    #[error("malformed message: {0}")]
    Malformed(&'static str),
    /// The identity of the daemon does not vouch for the key that it uses.
    #[error("the daemon did not prove its identity")]
    Identity,
    /// Its chunks exceed `limits.maxMessageBytes`.
    #[error("a message of more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
}

impl SealError {
    /// The reason to close with.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Crypto => Reason::CryptoFailed,
            Self::Identity => Reason::ServerIdentityMismatch,
            Self::Malformed(_) => Reason::BadRequest,
            Self::TooLarge { .. } => Reason::MessageTooLarge,
        }
    }
}

impl From<snow::Error> for SealError {
    fn from(_: snow::Error) -> Self {
        Self::Crypto
    }
}
