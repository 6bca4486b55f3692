//! The control socket: JSON text messages, distinguished by `type` (RL-2, RL-5).
//!
//! The relay begins with `challenge`. Once `register` has proved the daemon's identity, it sends
//! `registered`, `sync`, and `session_opened` and `session_closed` as client sessions open and
//! close. A daemon that already has a data socket for a session ignores a second `session_opened`
//! for it.

use serde::{Deserialize, Serialize};

use super::{Binding, DataToken, KnownDevices, Nonce, ProofError};
use crate::{DaemonIdentity, PublicKey, RouteKey, ServerId, identity::Signature};

/// A message of the relay on a control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "snake_case",
    rename_all_fields = "camelCase"
)]
pub enum RelayMessage {
    /// Requests a proof of identity: a signature over the nonce and the daemon's [`Binding`].
    Challenge {
        /// Random, unique to this socket.
        nonce: Nonce,
    },
    /// The proof is valid; this socket is now the daemon's control socket.
    Registered {
        /// Silence in milliseconds after which either side checks the other; after twice that the
        /// socket is dead.
        heartbeat_ms: u64,
        /// Opens data sockets while this registration is valid.
        data_token: DataToken,
    },
    /// Every session that has clients. Replaces the daemon's list.
    Sync {
        /// In no particular order.
        sessions: Vec<RouteKey>,
    },
    /// The first client of a session connected; the daemon opens a data socket for it.
    SessionOpened {
        /// The session.
        session: RouteKey,
    },
    /// The last client of a session disconnected.
    SessionClosed {
        /// The session.
        session: RouteKey,
    },
    /// A message of a later relay; ignored.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// A message of the daemon on a control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DaemonMessage {
    /// The answer to the challenge.
    Register(Box<Registration>),
    /// The devices that the daemon knows; replaces the relay's list (TR-10).
    Devices(KnownDevices),
    /// A message of a later daemon; ignored.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// A daemon's proof of identity, in answer to a challenge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// The daemon.
    pub server_id: ServerId,
    /// Its Ed25519 public key, of which `server_id` is a hash.
    pub public_key: PublicKey,
    /// The connection that the proof is for.
    #[serde(flatten)]
    pub binding: Binding,
    /// Signature over the challenge and the binding.
    pub signature: Signature,
    /// The token that a private relay requires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl Registration {
    /// Answers a challenge that came over this connection.
    pub fn answer(
        identity: &DaemonIdentity,
        nonce: &Nonce,
        binding: Binding,
        token: Option<String>,
    ) -> Self {
        Self {
            server_id: identity.server_id().clone(),
            public_key: identity.verifying_key(),
            signature: nonce.sign(identity, &binding),
            binding,
            token,
        }
    }

    /// Whether the sender holds the identity key of the daemon it names (RL-5, LS-17), and signed
    /// the binding. The relay judges the binding itself (TR-9).
    ///
    /// # Errors
    /// [`ProofError`]: the part that is not valid.
    pub fn verify(&self, nonce: &Nonce) -> Result<(), ProofError> {
        nonce.verify(
            &self.server_id,
            &self.public_key,
            &self.binding,
            &self.signature,
        )
    }
}
