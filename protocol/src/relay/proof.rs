//! Challenge and proof: only the holder of a daemon's identity key may serve its `serverId` (RL-5),
//! and only at the relay that it dialled (TR-9).

use serde::{Deserialize, Serialize};

use super::RelayOrigin;
use crate::{
    DaemonIdentity, IdentityError, PublicKey, ServerId,
    identity::{Signature, byte_identity, random_bytes},
};

/// First line of the signed text, so that no other signature of the daemon is valid as a
/// registration.
const CONTEXT: &str = "bowline/1 relay registration";

/// Why a registration is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The `serverId` is not the hash of the public key.
    #[error("the serverId does not belong to the public key")]
    WrongServerId,
    /// The signature is not valid for this key and this challenge.
    #[error("the signature is not valid")]
    WrongSignature,
}

byte_identity!(
    /// A challenge: random, unique to each control socket, valid for one answer.
    #[derive(Copy)]
    Nonce, "nonce", 32, plain
);

byte_identity!(
    /// The channel binding `tls-exporter` of a TLS 1.3 connection (RFC 9266), equal at both of its
    /// ends and different on every other connection.
    #[derive(Copy)]
    TlsExporter, "exporter", 32, plain
);

impl TlsExporter {
    /// Label of the exporter; its context is empty.
    pub const LABEL: &[u8] = b"EXPORTER-Channel-Binding";
}

/// The connection that a proof is made for, as the daemon sees it (TR-9). Without it, a relay could
/// register at another one in the name of a daemon by passing on that relay's challenge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// What the daemon dialled.
    pub origin: RelayOrigin,
    /// Of the TLS connection that the daemon opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exporter: Option<TlsExporter>,
}

impl Nonce {
    /// A fresh challenge.
    ///
    /// # Errors
    /// When the system provides no randomness.
    pub fn random() -> Result<Self, IdentityError> {
        Ok(Self(random_bytes()?))
    }

    /// The signed text.
    fn message(&self, server: &ServerId, binding: &Binding) -> String {
        let Binding { origin, exporter } = binding;
        let exporter = exporter.map(|exporter| exporter.to_string());
        let exporter = exporter.unwrap_or_default();
        format!("{CONTEXT}\n{origin}\n{server}\n{self}\n{exporter}")
    }

    /// Signs this challenge for one connection, on the daemon's side.
    pub fn sign(&self, identity: &DaemonIdentity, binding: &Binding) -> Signature {
        let message = self.message(identity.server_id(), binding);
        identity.sign(message.as_bytes())
    }

    /// Verifies a registration, on the relay's side. Whether the binding is that of the relay's
    /// connection is for the relay to judge.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(
        &self,
        server: &ServerId,
        key: &PublicKey,
        binding: &Binding,
        signature: &Signature,
    ) -> Result<(), ProofError> {
        if ServerId::of_public_key(key.as_bytes()) != *server {
            return Err(ProofError::WrongServerId);
        }
        if signature.verifies(key, self.message(server, binding).as_bytes()) {
            Ok(())
        } else {
            Err(ProofError::WrongSignature)
        }
    }
}
