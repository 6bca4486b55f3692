//! The traits that all identities share, and the identities that are a fixed number of bytes.

use super::{IdentityError, base64url};

/// Decodes base64url without padding to exactly `N` bytes.
pub(crate) fn decode<const N: usize>(
    what: &'static str,
    text: &str,
) -> Result<[u8; N], IdentityError> {
    let bytes = base64url()
        .decode(text.as_bytes())
        .map_err(|_| IdentityError::new(what, "malformed: not base64url without padding"))?;
    bytes
        .try_into()
        .map_err(|_| IdentityError::new(what, "malformed: of another length"))
}

/// Serde as a text: written by the given expression, read by `FromStr`.
macro_rules! text_serde {
    ($name:ident, |$value:ident, $to:ident| $write:expr) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, $to: S) -> Result<S::Ok, S::Error> {
                let $value = self;
                $write
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        $crate::schema::text_schema!($name);
    };
}
pub(crate) use text_serde;

/// `Debug`: the whole value (`plain`), a hash of it (`hashed`), or nothing of it (`secret`).
macro_rules! identity_debug {
    ($name:ident, plain) => {
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
    ($name:ident, hashed) => {
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "(#{})"), self.log_hash())
            }
        }

        impl $name {
            /// Short hash for logs (OB-1): the value itself never appears there.
            pub fn log_hash(&self) -> String {
                $crate::identity::short_hash(&self.0)
            }
        }
    };
    ($name:ident, secret) => {
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    };
}
pub(crate) use identity_debug;

/// Declares an identity of `len` bytes, base64url without padding in text.
macro_rules! byte_identity {
    ($(#[$doc:meta])* $name:ident, $what:literal, $len:literal, $debug:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $len]);

        impl $name {
            /// The value of its bytes; every value is valid.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&$crate::identity::base64url().encode(&self.0))
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::IdentityError;

            fn from_str(text: &str) -> Result<Self, $crate::IdentityError> {
                $crate::identity::decode($what, text).map(Self)
            }
        }

        $crate::identity::text_serde!($name, |value, to| to.collect_str(value));
        $crate::identity::identity_debug!($name, $debug);
    };
}
pub(crate) use byte_identity;
