//! The control socket: text messages of JSON, told apart by `type` (RL-2, RL-5).
//!
//! The relay speaks first: `challenge`, then, once `register` has proved the daemon's identity, `registered`, `sync`, and
//! `session_opened` and `session_closed` as client sessions come and go. A daemon that already has a data socket for a
//! session ignores a second `session_opened` of it.

use serde::{Deserialize, Serialize};

use super::{DataToken, Nonce, ProofError, proof::Signature};
use crate::{DaemonIdentity, PublicKey, RouteKey, ServerId};

/// What a relay says on a control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "snake_case",
    rename_all_fields = "camelCase"
)]
pub enum RelayMessage {
    /// Prove who you are: sign this.
    Challenge {
        /// Fresh for this socket.
        nonce: Nonce,
    },
    /// The proof holds; from here on this socket is the daemon's control socket.
    Registered {
        /// Silence in milliseconds after which either side checks that the other is still there; after twice as much the
        /// socket is dead.
        heartbeat_ms: u64,
        /// Opens data sockets for as long as this registration is in force.
        data_token: DataToken,
    },
    /// Every session that has clients now. Replaces whatever the daemon believed.
    Sync {
        /// In no particular order.
        sessions: Vec<RouteKey>,
    },
    /// The first client of a session is there: open a data socket for it.
    SessionOpened {
        /// Which.
        session: RouteKey,
    },
    /// The last client of a session is gone.
    SessionClosed {
        /// Which.
        session: RouteKey,
    },
    /// A message of a later relay; to be ignored.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// What a daemon says on a control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DaemonMessage {
    /// The answer to the challenge.
    Register(Registration),
    /// A message of a later daemon; to be ignored.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// A daemon's proof of identity, in answer to a challenge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// Which daemon.
    pub server_id: ServerId,
    /// Its Ed25519 public key, of which `server_id` is a hash.
    pub public_key: PublicKey,
    /// Over the challenge.
    pub signature: Signature,
    /// What a private relay asks for besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl Registration {
    /// Answers a challenge.
    pub fn answer(identity: &DaemonIdentity, nonce: &Nonce, token: Option<String>) -> Self {
        Self {
            server_id: identity.server_id().clone(),
            public_key: identity.verifying_key(),
            signature: nonce.sign(identity),
            token,
        }
    }

    /// Whether the sender holds the identity key of the daemon it names (RL-5, lesson 17).
    ///
    /// # Errors
    /// [`ProofError`]: which part does not hold.
    pub fn verify(&self, nonce: &Nonce) -> Result<(), ProofError> {
        nonce.verify(&self.server_id, &self.public_key, &self.signature)
    }
}
