//! Sealing: `Noise_IK_25519_ChaChaPoly_BLAKE2s` as sans-I/O handshake and channel (BX-3).
//!
//! The client is the initiator and knows the daemon's transport key from the pairing offer; the daemon
//! learns the device key from message 1. Both bind the `serverId` through the prologue.

mod channel;
mod handshake;

pub use channel::Channel;
pub use handshake::{Initiator, Responder};

use crate::Reason;

/// Noise protocol name (`docs/protocol.md` §2).
pub const NOISE_PATTERN: &str = "Noise_IK_25519_ChaChaPoly_BLAKE2s";

/// Why a message could not be sealed or opened. Each ends the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It did not decrypt, or came out of order, or more than once.
    #[error("a message did not decrypt")]
    Crypto,
    /// It decrypted to something the channel does not allow.
    #[error("malformed message: {0}")]
    Malformed(&'static str),
    /// Its chunks add up to more than `limits.maxMessageBytes`.
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
