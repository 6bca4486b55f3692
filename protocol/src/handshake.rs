//! The hello and welcome that travel inside the Noise handshake (`docs/protocol.md` §2).

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    ClientSessionKey, DaemonIdentity, Epoch, Grant, IdentityError, PROTOCOL_VERSION, PublicKey,
    Reason, Retry, ServerId, Stamp,
    identity::{KeyId, OfferId, PairingSecret, Signature, sha256},
};

/// Prefix of the signed bytes of [`IdentityProof`].
const IDENTITY: &[u8] = b"bowline/1 identity\n";
/// A hello and a welcome are padded to a multiple of this many bytes, so that their size does not
/// tell what they say.
const PADDING: usize = 256;

/// Purpose of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Attaches to the client's session.
    Session,
    /// Measures the path and nothing else (INV-8).
    Probe,
    /// Pairs the device with an offer and ends (TR-3).
    Pairing,
}

/// `hello.pairing`: the offer that a device pairs with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairingHello {
    /// The offer. Its token is not sent: it is the pre-shared key of the handshake.
    pub offer: OfferId,
    /// The device's part of its future key; the same in every attempt of one pairing.
    pub secret: PairingSecret,
}

/// The client program, for listings and logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientInfo {
    /// Program name.
    pub name: String,
    /// Program version.
    pub version: String,
    /// `linux`, `macos`, `windows`, `ios`, `android`, …
    pub platform: String,
}

/// The last event applied by a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resume {
    /// The numbering of `last_seq`.
    pub epoch: Epoch,
    /// Number of the event; 0 when none has been received yet.
    pub last_seq: u64,
    /// [`SessionWelcome::stamp`] of the last welcome. Without it the daemon cannot verify that its
    /// events are those the client has applied, and answers `reset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<Stamp>,
}

/// Payload of Noise message 1; [`Hello::parse`] reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// [`PROTOCOL_VERSION`].
    pub protocol: u32,
    /// Session or probe.
    pub purpose: Purpose,
    /// Key of the client's session (INV-1); required of probes as well (INV-9).
    pub client_session_key: ClientSessionKey,
    /// The client program.
    pub client: ClientInfo,
    /// Capabilities beyond protocol version 1.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// The key that the device shares with the daemon; absent while pairing, or if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
    /// The offer, with [`Purpose::Pairing`] only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairing: Option<PairingHello>,
    /// Position to resume from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
}

/// Why a hello is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Not the JSON of a hello.
    #[error("malformed hello: {0}")]
    Malformed(String),
    /// An unsupported protocol version.
    #[error("protocol version {0} is not supported; this side speaks version {PROTOCOL_VERSION}")]
    Version(u32),
    /// A missing or malformed identity (INV-9).
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl HelloError {
    /// The reason to close with.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Malformed(_) => Reason::BadRequest,
            Self::Version(_) => Reason::ProtocolUnsupported,
            Self::Identity(_) => Reason::IdentityMissing,
        }
    }
}

impl Hello {
    /// The JSON of this hello, padded.
    pub fn to_json(&self) -> Vec<u8> {
        // Structures of strings and numbers always serialise.
        let mut json = serde_json::to_vec(self).unwrap_or_default();
        pad(&mut json);
        json
    }

    /// Parses a hello.
    ///
    /// # Errors
    /// [`HelloError`], whose reason answers the hello. The version is checked first, then the
    /// identity, then the rest.
    pub fn parse(bytes: &[u8]) -> Result<Self, HelloError> {
        /// What a hello of any version has.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Head {
            protocol: u32,
            client_session_key: Option<Value>,
        }
        let malformed = |error: serde_json::Error| HelloError::Malformed(error.to_string());
        let head: Head = serde_json::from_slice(bytes).map_err(malformed)?;
        if head.protocol != PROTOCOL_VERSION {
            return Err(HelloError::Version(head.protocol));
        }
        let problem = match head.client_session_key {
            Some(Value::String(text)) => text.parse::<ClientSessionKey>().err(),
            None => Some(IdentityError::new("clientSessionKey", "missing")),
            Some(_) => Some(IdentityError::new(
                "clientSessionKey",
                "malformed: not a string",
            )),
        };
        if let Some(problem) = problem {
            return Err(problem.into());
        }
        let hello: Self = serde_json::from_slice(bytes).map_err(malformed)?;
        if (hello.purpose == Purpose::Pairing) == hello.pairing.is_some() {
            Ok(hello)
        } else {
            Err(HelloError::Malformed(
                "`pairing` belongs to a hello whose purpose is `pairing`, and only there".into(),
            ))
        }
    }
}

/// Outcome of an attach for the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// The session is new.
    New,
    /// The session continues after `resume.lastSeq`.
    Resumed,
    /// The session continues, but the client must load its data again.
    Reset,
}

/// `welcome.session`: the client's cursor from now on (LS-13: it precedes every event).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionWelcome {
    /// Outcome of the attach.
    pub state: SessionState,
    /// The current numbering.
    pub epoch: Epoch,
    /// Number of the next new event; replayed events have smaller ones.
    pub next_seq: u64,
    /// Stamp to send in the next hello.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<Stamp>,
}

/// `welcome.limits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WelcomeLimits {
    /// Largest JSON-RPC text in bytes, either way.
    pub max_message_bytes: u32,
    /// Most requests pending on one connection.
    pub max_in_flight: u32,
}

/// `welcome.error`: why the daemon refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} ({reason})")]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// The closed reason, same as that of the close code that follows.
    pub reason: Reason,
    /// Message for people.
    pub message: String,
    /// `never`, `after_user_action` or `backoff`.
    pub retry: Retry,
    /// With `backoff`: least delay of the next attempt, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// A refusal with the retry policy of its reason.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        let retry = match reason.retry() {
            // A welcome has three retry kinds; `soon` is sent as a backoff, which the close code
            // shortens.
            Retry::Soon => Retry::Backoff,
            other => other,
        };
        Self {
            reason,
            message: message.into(),
            retry,
            retry_after_ms: None,
        }
    }
}

/// `welcome.identity`: the daemon's identity vouches for its transport key and for this handshake
/// (TR-1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityProof {
    /// The daemon's Ed25519 public key, whose hash is the `serverId`.
    pub key: PublicKey,
    /// Its signature.
    pub signature: Signature,
}

impl IdentityProof {
    /// Proves the identity in answer to message 1 of a handshake.
    pub fn sign(identity: &DaemonIdentity, transport: &PublicKey, message_1: &[u8]) -> Self {
        Self {
            key: identity.verifying_key(),
            signature: identity.sign(&Self::signed(transport, message_1)),
        }
    }

    /// Whether the daemon of this id signed.
    pub fn is_of(&self, server_id: &ServerId, transport: &PublicKey, message_1: &[u8]) -> bool {
        ServerId::of_public_key(self.key.as_bytes()) == *server_id
            && self
                .signature
                .verifies(&self.key, &Self::signed(transport, message_1))
    }

    fn signed(transport: &PublicKey, message_1: &[u8]) -> Vec<u8> {
        [IDENTITY, transport.as_bytes(), &sha256(message_1)].concat()
    }
}

/// Appends spaces up to the next multiple of [`PADDING`].
fn pad(json: &mut Vec<u8>) {
    json.resize(json.len().next_multiple_of(PADDING), b' ');
}

/// The accepting welcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// The daemon that answered.
    pub server_id: ServerId,
    /// Its name, for people.
    pub server_name: String,
    /// Its version.
    pub version: String,
    /// Present for [`Purpose::Session`] only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionWelcome>,
    /// What the device may do (TR-4); present for [`Purpose::Session`] only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Grant>,
    /// Silence after which the client checks liveness, in milliseconds.
    pub heartbeat_ms: u32,
    /// Bounds for this connection.
    pub limits: WelcomeLimits,
    /// Capabilities beyond protocol version 1.
    pub capabilities: Vec<String>,
}

/// Payload of Noise message 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Welcome {
    /// `{"ok":true,…}`
    Accepted(Accepted),
    /// `{"ok":false,"error":{…}}`, followed by a close.
    Refused(Refusal),
}

impl Welcome {
    /// Parses a welcome and its proof, which [`IdentityProof::is_of`] checks.
    ///
    /// # Errors
    /// When it is not the JSON of a welcome; the text describes the problem.
    pub fn parse(bytes: &[u8]) -> Result<(IdentityProof, Self), String> {
        fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
            serde_json::from_slice(bytes).map_err(|error| error.to_string())
        }
        #[derive(Deserialize)]
        struct Head {
            ok: bool,
            identity: IdentityProof,
        }
        #[derive(Deserialize)]
        struct Refused {
            error: Refusal,
        }
        let Head { ok, identity } = read(bytes)?;
        let welcome = if ok {
            read(bytes).map(Self::Accepted)?
        } else {
            read(bytes).map(|Refused { error }| Self::Refused(error))?
        };
        Ok((identity, welcome))
    }

    /// The JSON of this welcome with a proof, padded.
    pub fn to_json(&self, identity: &IdentityProof) -> Vec<u8> {
        #[derive(Serialize)]
        struct Raw<'a> {
            ok: bool,
            identity: &'a IdentityProof,
            #[serde(flatten)]
            accepted: Option<&'a Accepted>,
            #[serde(skip_serializing_if = "Option::is_none")]
            error: Option<&'a Refusal>,
        }
        let (accepted, error) = match self {
            Self::Accepted(accepted) => (Some(accepted), None),
            Self::Refused(refusal) => (None, Some(refusal)),
        };
        // Structures of strings and numbers always serialise.
        let mut json = serde_json::to_vec(&Raw {
            ok: accepted.is_some(),
            identity,
            accepted,
            error,
        })
        .unwrap_or_default();
        pad(&mut json);
        json
    }
}
