//! Challenge and proof: only the holder of a daemon's identity key may serve its `serverId` (RL-5).

use std::fmt;

use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    DaemonIdentity, IdentityError, PublicKey, ServerId,
    identity::{base64url, random_bytes},
};

/// What is signed begins with this, so that no other signature of the daemon can be taken for a registration.
const CONTEXT: &[u8] = b"bowline-relay-register\n";

/// Why a registration proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The `serverId` is not the hash of the public key.
    #[error("the serverId does not belong to the public key")]
    WrongServerId,
    /// The signature is not one of this key over this challenge.
    #[error("the signature does not hold")]
    WrongSignature,
}

/// Declares fixed bytes that are base64url in text.
macro_rules! base64_bytes {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub struct $name([u8; $len]);

        impl $name {
            /// The value of these bytes.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Base64url without padding.
            pub fn to_base64(self) -> String {
                base64url().encode(&self.0)
            }

            /// Reads base64url without padding.
            ///
            /// # Errors
            /// When the text is not of that form, or of another length.
            pub fn from_base64(text: &str) -> Result<Self, IdentityError> {
                let bytes = base64url()
                    .decode(text.as_bytes())
                    .map_err(|_| IdentityError::new($what, "malformed: not base64url without padding"))?;
                let bytes = bytes
                    .try_into()
                    .map_err(|_| IdentityError::new($what, concat!("malformed: not ", $len, " bytes")))?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.to_base64())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::from_base64(&text).map_err(serde::de::Error::custom)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.to_base64())
            }
        }
    };
}

base64_bytes!(
    /// A challenge: random, fresh for each control socket, good for one answer.
    Nonce, 32, "nonce"
);
base64_bytes!(
    /// An Ed25519 signature.
    Signature, 64, "signature"
);

impl Nonce {
    /// A fresh challenge.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn random() -> Result<Self, IdentityError> {
        Ok(Self(random_bytes()?))
    }

    /// The bytes that are signed: the context and the nonce in its text form.
    fn message(&self) -> Vec<u8> {
        let mut message = CONTEXT.to_vec();
        message.extend_from_slice(self.to_base64().as_bytes());
        message
    }

    /// The daemon's side: the proof for this challenge.
    pub fn sign(&self, identity: &DaemonIdentity) -> Signature {
        let mut signature = [0; 64];
        // An Ed25519 signature always has 64 bytes.
        for (to, from) in signature.iter_mut().zip(identity.sign(&self.message())) {
            *to = from;
        }
        Signature(signature)
    }

    /// The relay's side.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(
        &self,
        server: &ServerId,
        key: &PublicKey,
        signature: &Signature,
    ) -> Result<(), ProofError> {
        if ServerId::of_public_key(key.as_bytes()) != *server {
            return Err(ProofError::WrongServerId);
        }
        UnparsedPublicKey::new(&ED25519, key.as_bytes())
            .verify(&self.message(), &signature.0)
            .map_err(|_| ProofError::WrongSignature)
    }
}
