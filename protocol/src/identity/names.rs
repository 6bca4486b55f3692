//! Text identities: their forms are the table in `docs/protocol.md` §1.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::{IdentityError, base32, is_base32, sha256, short_hash};

/// Declares a text identity: `prefix` + `len` base32 characters.
macro_rules! text_identity {
    ($(#[$doc:meta])* $name:ident, $what:literal, $prefix:literal, $len:literal, $debug:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The whole value.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdentityError;

            fn from_str(text: &str) -> Result<Self, IdentityError> {
                if text.is_empty() {
                    return Err(IdentityError::new($what, "empty"));
                }
                let Some(rest) = text.strip_prefix($prefix) else {
                    return Err(IdentityError::new($what, concat!("malformed: it must begin with `", $prefix, "`")));
                };
                if rest.len() != $len || !is_base32(rest) {
                    return Err(IdentityError::new(
                        $what,
                        concat!("malformed: `", $prefix, "` must be followed by ", $len, " lower-case base32 characters"),
                    ));
                }
                Ok(Self(text.into()))
            }
        }

        identity_traits!($name, $debug);
    };
}

macro_rules! identity_traits {
    ($name:ident, $debug:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        identity_debug!($name, $debug);
    };
}

macro_rules! identity_debug {
    ($name:ident, hashed) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "(#{})"), self.log_hash())
            }
        }

        impl $name {
            /// Short hash for logs (OB): the value itself never appears there.
            pub fn log_hash(&self) -> String {
                short_hash(&self.0)
            }
        }
    };
    ($name:ident, plain) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

text_identity!(
    /// Stable identity of a daemon: `srv_` + base32 of half the hash of its Ed25519 public key.
    ServerId, "serverId", "srv_", 26, plain
);
text_identity!(
    /// Stable identity of one app install or profile (INV-1). A secret of client and daemon.
    ClientSessionKey, "clientSessionKey", "csk_", 26, hashed
);
text_identity!(
    /// What a relay sees instead of the session key, so that it cannot link one client across daemons.
    RouteKey, "routeKey", "rk_", 26, plain
);

impl ServerId {
    /// The identity that belongs to an Ed25519 public key.
    pub fn of_public_key(public_key: &[u8]) -> Self {
        let digest = sha256(public_key);
        Self(format!("srv_{}", base32(digest.get(..16).unwrap_or_default())).into())
    }
}

impl ClientSessionKey {
    /// A new key from 16 random bytes; made once per install and stored.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(format!("csk_{}", base32(&bytes)).into())
    }

    /// The daemon's key for the session of this client (INV-1).
    pub fn external(&self) -> ExternalSessionKey {
        ExternalSessionKey(format!("session:{}", self.0).into())
    }

    /// The label a relay routes by.
    pub fn route_key(&self, server: &ServerId) -> RouteKey {
        let digest = sha256(format!("{}\n{}", self.0, server.as_str()).as_bytes());
        let text = base32(&digest);
        RouteKey(format!("rk_{}", text.get(..26).unwrap_or_default()).into())
    }
}

/// `session:` + `clientSessionKey`: the daemon's canonical key of a session (INV-1, SV-1).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExternalSessionKey(Arc<str>);

impl ExternalSessionKey {
    /// The whole value.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ExternalSessionKey {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let Some(key) = text.strip_prefix("session:") else {
            return Err(IdentityError::new(
                "externalSessionKey",
                "malformed: it must begin with `session:`",
            ));
        };
        Ok(key.parse::<ClientSessionKey>()?.external())
    }
}

identity_traits!(ExternalSessionKey, hashed);

/// Name of one mutating request, made by the client; a UUID, v7 preferred (BX-1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IntentId(Uuid);

impl IntentId {
    /// An id from a UUID that the caller made.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }
    /// The 16 bytes, for compact storage.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl FromStr for IntentId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        Uuid::try_parse(text)
            .map(Self)
            .map_err(|_| IdentityError::new("intentId", "malformed: it must be a UUID"))
    }
}

impl fmt::Display for IntentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for IntentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IntentId({})", self.0.hyphenated())
    }
}

impl Serialize for IntentId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for IntentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Declares an opaque name made by the daemon: prefix + UUID without hyphens. Clients only compare and
/// send it back, so parsing asks for no more than a bounded printable text.
macro_rules! opaque_identity {
    ($(#[$doc:meta])* $name:ident, $what:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// A new id from a UUID that the caller made (v7 keeps them in order of age).
            pub fn from_uuid(uuid: Uuid) -> Self {
                Self(format!(concat!($prefix, "{}"), uuid.simple()).into())
            }

            /// The whole value.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdentityError;

            fn from_str(text: &str) -> Result<Self, IdentityError> {
                if text.is_empty() {
                    return Err(IdentityError::new($what, "empty"));
                }
                if text.len() > 128 || !text.bytes().all(|b| b.is_ascii_graphic()) {
                    return Err(IdentityError::new($what, "malformed: at most 128 printable ASCII characters"));
                }
                Ok(Self(text.into()))
            }
        }

        identity_traits!($name, plain);
    };
}

opaque_identity!(
    /// One agent of a daemon.
    AgentId, "agentId", "agt_"
);
opaque_identity!(
    /// One item of an agent's timeline.
    ItemId, "itemId", "itm_"
);
opaque_identity!(
    /// One question an agent asks its user.
    PermissionId, "permissionId", "prm_"
);
opaque_identity!(
    /// One run of a session's event numbering; a new one means that earlier numbers say nothing.
    Epoch, "epoch", "ep_"
);
opaque_identity!(
    /// One start of the daemon on its store: tells a store that went back to an earlier state (a restored backup) from
    /// one that went on, which epochs and numbers alone do not.
    Stamp, "stamp", "st_"
);

/// A paired device, named by a hash of its public key so that every listing agrees.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(Arc<str>);

impl DeviceId {
    /// The id of a device key.
    pub fn of_public_key(public_key: &super::PublicKey) -> Self {
        let digest = sha256(public_key.as_bytes());
        Self(format!("dev_{}", base32(digest.get(..16).unwrap_or_default())).into())
    }

    /// The whole value.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DeviceId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        match text.strip_prefix("dev_") {
            Some(rest) if rest.len() == 26 && is_base32(rest) => Ok(Self(text.into())),
            _ => Err(IdentityError::new(
                "deviceId",
                "malformed: `dev_` must be followed by 26 lower-case base32 characters",
            )),
        }
    }
}

identity_traits!(DeviceId, plain);
