//! Text identities: their forms are the table in `docs/protocol.md` §1.

use std::{fmt, str::FromStr, sync::Arc};

use uuid::Uuid;

use super::{IdentityError, PublicKey, base32, identity_debug, is_base32, sha256, text_serde};

/// Declares an identity that is a text; its `FromStr` is elsewhere.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $debug:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The whole value.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        text_serde!($name, |id, to| to.serialize_str(&id.0));
        identity_debug!($name, $debug);
    };
}

/// Declares a text identity: `prefix` + `len` base32 characters.
macro_rules! text_identity {
    ($(#[$doc:meta])* $name:ident, $what:literal, $prefix:literal, $len:literal, $debug:ident) => {
        text!($(#[$doc])* $name, $debug);

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
    /// The label a relay routes by instead of the session key. It differs per daemon, so that a
    /// relay cannot link one client across daemons.
    RouteKey, "routeKey", "rk_", 26, plain
);
text_identity!(
    /// Id of a pairing offer: `off_` + base32 of half a hash of its token.
    OfferId, "offer id", "off_", 26, plain
);

impl OfferId {
    pub(super) fn from_digest(digest: &[u8; 32]) -> Self {
        let half = digest.get(..16).unwrap_or_default();
        Self(format!("off_{}", base32(half)).into())
    }
}

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
}

impl RouteKey {
    /// The label by which a relay routes a device's session with one daemon. The daemon computes it
    /// too, so that it can tell its relays whose clients are no strangers (TR-10).
    pub fn of_device(device: &PublicKey, server: &ServerId) -> Self {
        let prefix: &[u8] = b"bowline/1 route\n";
        let bytes = [prefix, device.as_bytes(), server.as_str().as_bytes()];
        let text = base32(&sha256(&bytes.concat()));
        Self(format!("rk_{}", text.get(..26).unwrap_or_default()).into())
    }
}

text!(
    /// The daemon's canonical key of a session (INV-1, SV-1): `session:` + `clientSessionKey`.
    ExternalSessionKey, hashed
);

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

/// Id of one mutating request; a UUID made by the client, v7 preferred (BX-1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IntentId(Uuid);

impl IntentId {
    /// The id of a UUID made by the caller.
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

text_serde!(IntentId, |id, to| to.collect_str(id));
identity_debug!(IntentId, plain);

/// Declares an opaque id made by the daemon: prefix + UUID without hyphens. Clients only compare it
/// and send it back, so parsing checks no more than a bounded printable text.
macro_rules! opaque_identity {
    ($(#[$doc:meta])* $name:ident, $what:literal, $prefix:literal) => {
        text!($(#[$doc])* $name, plain);

        impl $name {
            /// The id of a UUID made by the caller (v7 keeps ids in order of age).
            pub fn from_uuid(uuid: Uuid) -> Self {
                Self(format!(concat!($prefix, "{}"), uuid.simple()).into())
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
    /// One permission request of an agent.
    PermissionId, "permissionId", "prm_"
);
opaque_identity!(
    /// One run of a session's event numbering. Numbers of different epochs are not comparable.
    Epoch, "epoch", "ep_"
);
opaque_identity!(
    /// One start of the daemon on its store. Tells a store that returned to an earlier state (a
    /// restored backup) from one that continued, which epochs and numbers alone cannot.
    Stamp, "stamp", "st_"
);

text_identity!(
    /// A paired device. The id is a hash of its public key, so every listing shows the same one.
    DeviceId, "deviceId", "dev_", 26, plain
);

impl DeviceId {
    /// The id of a device key.
    pub fn of_public_key(public_key: &super::PublicKey) -> Self {
        let digest = sha256(public_key.as_bytes());
        Self(format!("dev_{}", base32(digest.get(..16).unwrap_or_default())).into())
    }
}
