//! Identities as newtypes that cannot hold an invalid value.
//!
//! Construction validates (INV-9: a malformed identity is an explicit error, never replaced by a
//! new one). `Debug` of secret identities shows a short hash only; `Display` and serde give the
//! whole value.

mod cache_key;
mod forms;
mod install;
mod keys;
mod names;
mod psk;

pub use cache_key::CacheKey;
pub use install::InstallSecret;
pub use keys::{DaemonIdentity, DeviceKey, PublicKey, Signature, TransportKey, random_bytes};
pub use names::{
    AgentId, ClientSessionKey, DeviceId, Epoch, ExternalSessionKey, IntentId, ItemId, OfferId,
    PermissionId, RouteKey, ServerId, Stamp,
};
pub use psk::{KeyId, PairingNonce, PairingSecret, PresharedKey, pairing_code};

pub(crate) use forms::{byte_identity, decode, identity_debug, text_serde};

use data_encoding::{BASE32_NOPAD, Encoding};

/// Why a text is not a valid identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {problem}")]
pub struct IdentityError {
    /// Name of the identity in `docs/protocol.md`: `clientSessionKey`, `serverId`, …
    pub what: &'static str,
    /// The problem, for people; never repeats the value.
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

/// Whether every byte belongs to the lower-case base32 alphabet.
pub(crate) fn is_base32(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b))
}

/// A short, stable hash for logs (OB-1): the first 8 hex digits of SHA-256.
pub fn short_hash(value: &str) -> String {
    let digest = sha256(value.as_bytes());
    data_encoding::HEXLOWER.encode(digest.get(..4).unwrap_or_default())
}
