//! The token that opens data sockets, and its form in an HTTP header.

use crate::{
    IdentityError,
    identity::{byte_identity, random_bytes, sha256},
};

const SCHEME: &str = "Bearer ";

byte_identity!(
    /// 32 random bytes issued by a relay to a registered daemon. A secret of the two.
    DataToken, "dataToken", 32, secret
);

impl DataToken {
    /// A fresh token.
    ///
    /// # Errors
    /// When the system provides no randomness.
    pub fn random() -> Result<Self, IdentityError> {
        Ok(Self(random_bytes()?))
    }

    /// The value of the `Authorization` header of a data socket.
    pub fn to_header(&self) -> String {
        format!("{SCHEME}{self}")
    }

    /// Reads the value of an `Authorization` header.
    ///
    /// # Errors
    /// When it is not a bearer token of this form; the error does not repeat the text.
    pub fn from_header(value: &str) -> Result<Self, IdentityError> {
        // Scheme names are case-insensitive (RFC 9110 §11.1).
        match value.split_at_checked(SCHEME.len()) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(SCHEME) => token.parse(),
            _ => Err(IdentityError::new("dataToken", "not a bearer token")),
        }
    }

    /// The digest that a relay stores and looks up. A lookup by hash takes no time that depends on
    /// the secret.
    pub fn digest(&self) -> [u8; 32] {
        sha256(&self.0)
    }
}
