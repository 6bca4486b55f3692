//! Key pairs: the daemon's Ed25519 identity, the X25519 transport and device keys.

use std::fmt;

use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use snow::{
    params::DHChoice,
    resolvers::{CryptoResolver, DefaultResolver},
};

use super::{IdentityError, ServerId, base64url};

/// An X25519 or Ed25519 public key: 32 bytes, base64url in text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Any 32 bytes are a public key.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads base64url without padding.
    pub fn from_base64(text: &str) -> Result<Self, IdentityError> {
        Ok(Self(decode_key("public key", text)?))
    }

    /// Base64url without padding.
    pub fn to_base64(self) -> String {
        base64url().encode(&self.0)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.to_base64())
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_base64())
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::from_base64(&text).map_err(serde::de::Error::custom)
    }
}

fn decode_key(what: &'static str, text: &str) -> Result<[u8; 32], IdentityError> {
    let bytes = base64url()
        .decode(text.as_bytes())
        .map_err(|_| IdentityError::new(what, "malformed: not base64url without padding"))?;
    bytes
        .try_into()
        .map_err(|_| IdentityError::new(what, "malformed: not 32 bytes"))
}

fn x25519_public(private: &[u8; 32]) -> PublicKey {
    let mut public = [0; 32];
    // The default resolver always has X25519: the feature is part of this crate's build.
    if let Some(mut dh) = DefaultResolver.resolve_dh(&DHChoice::Curve25519) {
        dh.set(private);
        public.copy_from_slice(dh.pubkey());
    }
    PublicKey(public)
}

macro_rules! x25519_key {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name {
            private: [u8; 32],
            public: PublicKey,
        }

        impl $name {
            /// The key of 32 random bytes, or of bytes stored earlier.
            pub fn from_private(private: [u8; 32]) -> Self {
                Self { public: x25519_public(&private), private }
            }

            /// Reads the stored form (base64url of the private key).
            pub fn from_base64(text: &str) -> Result<Self, IdentityError> {
                Ok(Self::from_private(decode_key($what, text)?))
            }

            /// The form to store, in a file only its owner can read.
            pub fn to_base64(&self) -> String {
                base64url().encode(&self.private)
            }

            /// The half to show.
            pub const fn public(&self) -> PublicKey {
                self.public
            }

            pub(crate) const fn private_bytes(&self) -> &[u8; 32] {
                &self.private
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "(public {})"), self.public.to_base64())
            }
        }
    };
}

x25519_key!(
    /// Static key of one app install. The daemon keeps the list of paired ones (BX-3).
    DeviceKey, "device key"
);
x25519_key!(
    /// Static key of the daemon, pinned by clients from the pairing offer.
    TransportKey, "transport key"
);

/// The daemon's Ed25519 identity: names it (`serverId`) and proves it to relays (RL-5).
pub struct DaemonIdentity {
    seed: [u8; 32],
    pair: Ed25519KeyPair,
    server_id: ServerId,
}

impl DaemonIdentity {
    /// The identity of 32 random bytes, or of bytes stored earlier.
    pub fn from_seed(seed: [u8; 32]) -> Result<Self, IdentityError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed)
            .map_err(|_| IdentityError::new("daemon identity", "malformed: not an Ed25519 seed"))?;
        let server_id = ServerId::of_public_key(pair.public_key().as_ref());
        Ok(Self {
            seed,
            pair,
            server_id,
        })
    }

    /// Reads the stored form (base64url of the seed).
    pub fn from_base64(text: &str) -> Result<Self, IdentityError> {
        Self::from_seed(decode_key("daemon identity", text)?)
    }

    /// The form to store, in a file only its owner can read.
    pub fn to_base64(&self) -> String {
        base64url().encode(&self.seed)
    }

    /// The name derived from the public key.
    pub const fn server_id(&self) -> &ServerId {
        &self.server_id
    }

    /// The Ed25519 public key, 32 bytes.
    pub fn public_key(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// The same, as it travels.
    pub fn verifying_key(&self) -> PublicKey {
        let mut bytes = [0; 32];
        // An Ed25519 public key always has 32 bytes.
        for (to, from) in bytes.iter_mut().zip(self.public_key()) {
            *to = *from;
        }
        PublicKey(bytes)
    }

    /// Signs a message, 64 bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

impl fmt::Debug for DaemonIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DaemonIdentity({})", self.server_id)
    }
}

/// `N` bytes of the system's randomness, for the places that make identities.
///
/// # Errors
/// When the system has none to give, which no caller can work around.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], IdentityError> {
    let mut bytes = [0; N];
    ring::rand::SecureRandom::fill(&SystemRandom::new(), &mut bytes)
        .map_err(|_| IdentityError::new("system randomness", "unavailable"))?;
    Ok(bytes)
}
