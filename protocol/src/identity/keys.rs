//! Key pairs: the daemon's Ed25519 identity, the X25519 transport and device keys.

use std::fmt;

use ring::{
    rand::SystemRandom,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use snow::{
    params::DHChoice,
    resolvers::{CryptoResolver, DefaultResolver},
};

use super::{IdentityError, ServerId, base64url, byte_identity, decode};

byte_identity!(
    /// An X25519 or Ed25519 public key: 32 bytes, base64url in text.
    #[derive(Copy)]
    PublicKey, "public key", 32, plain
);
byte_identity!(
    /// An Ed25519 signature.
    #[derive(Copy)]
    Signature, "signature", 64, plain
);

impl Signature {
    /// Whether the holder of this key signed the message.
    pub fn verifies(&self, key: &PublicKey, message: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, key.as_bytes())
            .verify(message, &self.0)
            .is_ok()
    }
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
            /// The key of 32 random or stored bytes.
            pub fn from_private(private: [u8; 32]) -> Self {
                Self { public: x25519_public(&private), private }
            }

            /// Reads the stored form (base64url of the private key).
            pub fn from_base64(text: &str) -> Result<Self, IdentityError> {
                Ok(Self::from_private(decode($what, text)?))
            }

            /// The stored form, for a file that only its owner can read.
            pub fn to_base64(&self) -> String {
                base64url().encode(&self.private)
            }

            /// The public half.
            pub const fn public(&self) -> PublicKey {
                self.public
            }

            pub(crate) const fn private_bytes(&self) -> &[u8; 32] {
                &self.private
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "(public {})"), self.public)
            }
        }
    };
}

x25519_key!(
    /// Static key of one app install. The daemon keeps the list of paired keys (BX-3).
    DeviceKey, "device key"
);
x25519_key!(
    /// Static key of the daemon, pinned by clients from the pairing offer.
    TransportKey, "transport key"
);

/// The daemon's Ed25519 identity: source of its `serverId`, proven to relays by signature (RL-5).
pub struct DaemonIdentity {
    seed: [u8; 32],
    pair: Ed25519KeyPair,
    server_id: ServerId,
}

impl DaemonIdentity {
    /// The identity of 32 random or stored bytes.
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
        Self::from_seed(decode("daemon identity", text)?)
    }

    /// The stored form, for a file that only its owner can read.
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

    /// The Ed25519 public key as a wire type.
    pub fn verifying_key(&self) -> PublicKey {
        // An Ed25519 public key always has 32 bytes.
        PublicKey(self.public_key().try_into().unwrap_or_default())
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> Signature {
        let signature = self.pair.sign(message);
        // An Ed25519 signature always has 64 bytes.
        Signature(signature.as_ref().try_into().unwrap_or([0; 64]))
    }
}

impl fmt::Debug for DaemonIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DaemonIdentity({})", self.server_id)
    }
}

/// `N` bytes of system randomness, for callers that create identities.
///
/// # Errors
/// When the system provides no randomness, which no caller can work around.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], IdentityError> {
    let mut bytes = [0; N];
    ring::rand::SecureRandom::fill(&SystemRandom::new(), &mut bytes)
        .map_err(|_| IdentityError::new("system randomness", "unavailable"))?;
    Ok(bytes)
}
