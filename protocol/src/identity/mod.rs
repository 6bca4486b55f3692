//! Identities as newtypes that cannot hold an invalid value.
//!
//! Construction validates (INV-9: a malformed identity is an explicit error, never replaced by a new
//! one). `Debug` of secret identities shows a short hash only; `Display` and serde give the whole value.

mod keys;
mod names;

pub use keys::{DaemonIdentity, DeviceKey, PublicKey, TransportKey, random_bytes};
pub use names::{
    AgentId, ClientSessionKey, DeviceId, Epoch, ExternalSessionKey, IntentId, ItemId, PermissionId,
    RouteKey, ServerId, Stamp,
};

use data_encoding::{BASE32_NOPAD, Encoding};

/// Why a text is not the identity it was taken for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {problem}")]
pub struct IdentityError {
    /// Which identity, as named in `docs/protocol.md`: `clientSessionKey`, `serverId`, …
    pub what: &'static str,
    /// What is wrong with it, for people; never repeats the value.
    pub problem: &'static str,
}

impl IdentityError {
    pub(crate) const fn new(what: &'static str, problem: &'static str) -> Self {
        Self { what, problem }
    }
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref());
    out
}

/// Lower-case RFC 4648 base32 without padding, as in every text identity.
pub(crate) fn base32(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

/// Base64url without padding, for keys in offers and files.
pub(crate) fn base64url() -> Encoding {
    data_encoding::BASE64URL_NOPAD
}

/// Whether every byte is of the lower-case base32 alphabet.
pub(crate) fn is_base32(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b))
}

/// A short, stable hash for logs: the first 8 hex digits of SHA-256. OB logs use it.
pub fn short_hash(value: &str) -> String {
    let digest = sha256(value.as_bytes());
    data_encoding::HEXLOWER.encode(digest.get(..4).unwrap_or_default())
}
