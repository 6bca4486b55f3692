//! Blobs: bytes named by their SHA-256, put and got piece by piece (LD-8).

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::{
    error::RpcError,
    identity::{IdentityError, text_serde},
    live::{Json, LiveKind},
};

/// The SHA-256 of a blob's bytes, which is its name: 64 characters of lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobHash([u8; 32]);

impl BlobHash {
    /// The name of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = BlobHasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The name with these bytes as its hash.
    pub const fn from_bytes(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// The hash itself.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobHash({self})")
    }
}

impl FromStr for BlobHash {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| {
            let problem = "malformed: not 64 characters of lower-case hexadecimal";
            IdentityError::new("hash of a blob", problem)
        })
    }
}

text_serde!(BlobHash, |hash, to| to.collect_str(hash));

/// Computes a [`BlobHash`] of bytes that come piece by piece.
#[derive(Clone)]
pub struct BlobHasher(Context);

impl BlobHasher {
    /// Of no bytes yet.
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all bytes added.
    pub fn finish(self) -> BlobHash {
        let mut hash = [0; 32];
        for (to, from) in hash.iter_mut().zip(self.0.finish().as_ref()) {
            *to = *from;
        }
        BlobHash(hash)
    }
}

impl Default for BlobHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for BlobHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlobHasher")
    }
}

/// Parameters of `blobs.put`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PutBlob {
    /// Its name.
    pub hash: BlobHash,
    /// All its bytes.
    pub size: u64,
    /// Where the bytes of this request begin in it.
    #[serde(default)]
    pub offset: u64,
    /// Those bytes as base64url, where the request carries none: on the local socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

/// Result of `blobs.put`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct BlobPut {
    /// Bytes from the beginning on that the daemon has: the next offset.
    pub have: u64,
    /// The blob is complete, verified and stored.
    pub done: bool,
}

/// Parameters of `blobs.get`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetBlob {
    /// Its name.
    pub hash: BlobHash,
    /// The first byte wanted.
    #[serde(default)]
    pub offset: u64,
    /// Most bytes wanted; the daemon may send fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Where a row or an item refers to it that this device may see; without it, only a device that
    /// has put the blob may get it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<BlobOf>,
}

/// What refers to a blob: rows of a table, or a log, as they are followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BlobOf {
    /// `table` or `log`.
    pub kind: LiveKind,
    /// Its name in the daemon.
    pub name: String,
    /// Parameters that the service maps to a scope, as of `live.open`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Json>,
}

/// Result of `blobs.get`, whose response carries the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct BlobPiece {
    /// All bytes of the blob.
    pub size: u64,
    /// The bytes as base64url, where the response carries none: on the local socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

/// Bytes as the local socket has them: base64url.
pub fn to_text(bytes: &[u8]) -> String {
    crate::identity::base64url().encode(bytes)
}

/// The bytes of such a text.
///
/// # Errors
/// −32602.
pub fn of_text(text: &str) -> Result<Vec<u8>, RpcError> {
    crate::identity::base64url()
        .decode(text.as_bytes())
        .map_err(|_| RpcError::invalid_params("`data` is not base64url without padding"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ld_8_a_hash_is_what_sha256sum_prints() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let hash = BlobHash::of(b"abc");
        assert_eq!(hash.to_string(), abc);
        assert_eq!(abc.parse::<BlobHash>().unwrap(), hash);
        let mut hasher = BlobHasher::new();
        hasher.update(b"a");
        hasher.update(b"bc");
        assert_eq!(hasher.finish(), hash);
        for wrong in ["", "../../x", &abc[1..], &abc.to_uppercase()] {
            assert!(wrong.parse::<BlobHash>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn ld_8_the_texts_of_blobs() {
        let put = format!(r#"{{"hash":"{}","size":3}}"#, BlobHash::of(b"abc"));
        let read: PutBlob = serde_json::from_str(&put).unwrap();
        assert_eq!((read.offset, read.size), (0, 3));
        assert!(serde_json::from_str::<PutBlob>(r#"{"hash":"","size":1,"x":1}"#).is_err());
        assert_eq!(of_text(&to_text(b"\0\xff")).unwrap(), b"\0\xff");
        assert!(of_text("==").is_err());
    }
}
