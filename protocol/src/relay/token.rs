//! The token that opens data sockets, and its place in an HTTP header.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    IdentityError,
    identity::{base64url, random_bytes, sha256},
};

const BYTES: usize = 32;
const SCHEME: &str = "Bearer ";

/// 32 random bytes that a relay gives to a registered daemon. A secret of the two.
#[derive(Clone, PartialEq, Eq)]
pub struct DataToken([u8; BYTES]);

impl DataToken {
    /// A fresh token.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn random() -> Result<Self, IdentityError> {
        Ok(Self(random_bytes()?))
    }

    /// The token of these bytes.
    pub const fn from_bytes(bytes: [u8; BYTES]) -> Self {
        Self(bytes)
    }

    /// The value of the `Authorization` header of a data socket.
    pub fn to_header(&self) -> String {
        format!("{SCHEME}{}", base64url().encode(&self.0))
    }

    /// Reads the value of an `Authorization` header.
    ///
    /// # Errors
    /// When it is not a bearer token of ours; the text is not repeated.
    pub fn from_header(value: &str) -> Result<Self, IdentityError> {
        // The name of a scheme is case-insensitive (RFC 9110 §11.1).
        match value.split_at_checked(SCHEME.len()) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(SCHEME) => Self::from_text(token),
            _ => Err(IdentityError::new("dataToken", "not a bearer token")),
        }
    }

    /// What a relay keeps and looks up: finding a token by its hash takes no time that depends on the secret.
    pub fn digest(&self) -> [u8; 32] {
        sha256(&self.0)
    }

    fn from_text(text: &str) -> Result<Self, IdentityError> {
        let malformed = || IdentityError::new("dataToken", "malformed: not 32 bytes in base64url");
        let bytes = base64url()
            .decode(text.as_bytes())
            .map_err(|_| malformed())?;
        Ok(Self(bytes.try_into().map_err(|_| malformed())?))
    }
}

impl fmt::Debug for DataToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataToken(secret)")
    }
}

impl Serialize for DataToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base64url().encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for DataToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::from_text(&text).map_err(serde::de::Error::custom)
    }
}
