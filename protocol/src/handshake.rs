//! The hello and welcome that travel inside the Noise handshake (`docs/protocol.md` §2).

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{
    ClientSessionKey, Epoch, IdentityError, PROTOCOL_VERSION, Reason, Retry, ServerId, Stamp,
};

/// Why a client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To attach to its session.
    Session,
    /// To measure the path and nothing else (INV-8).
    Probe,
}

/// Who the client program is, for listings and logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientInfo {
    /// Program name.
    pub name: String,
    /// Program version.
    pub version: String,
    /// `linux`, `macos`, `windows`, `ios`, `android`, …
    pub platform: String,
}

/// The last event a client has applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resume {
    /// The numbering it belongs to.
    pub epoch: Epoch,
    /// Its number; 0 when none was received yet.
    pub last_seq: u64,
    /// [`SessionWelcome::stamp`] of the last welcome. Without it the daemon cannot know that its events are those that
    /// the client has applied, and answers `reset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<Stamp>,
}

/// Payload of Noise message 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// [`PROTOCOL_VERSION`].
    pub protocol: u32,
    /// Session or probe.
    pub purpose: Purpose,
    /// Whose session (INV-1); required of probes as well (INV-9).
    pub client_session_key: ClientSessionKey,
    /// Who is calling.
    pub client: ClientInfo,
    /// What the client can do beyond version 1.
    pub capabilities: Vec<String>,
    /// The one-time token of a pairing offer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairing_token: Option<String>,
    /// Where to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
}

/// Why a hello was not understood, with the [`Reason`] to answer it with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Not the JSON of a hello.
    #[error("malformed hello: {0}")]
    Malformed(String),
    /// Another version.
    #[error("protocol version {0} is not supported; this side speaks version {PROTOCOL_VERSION}")]
    Version(u32),
    /// INV-9.
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

/// What any version's hello may look like: enough to tell a wrong version and a missing identity apart
/// from garbage.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LooseHello {
    protocol: u32,
    purpose: Option<serde_json::Value>,
    client_session_key: Option<serde_json::Value>,
    client: Option<ClientInfo>,
    #[serde(default)]
    capabilities: Vec<String>,
    pairing_token: Option<String>,
    resume: Option<Resume>,
}

impl Hello {
    /// Parses a hello.
    ///
    /// # Errors
    /// [`HelloError`] says which reason of the protocol answers it. The version is looked at first, then
    /// the identity, then the rest.
    pub fn parse(bytes: &[u8]) -> Result<Self, HelloError> {
        let malformed = |error: &dyn std::fmt::Display| HelloError::Malformed(error.to_string());
        let loose: LooseHello = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
        if loose.protocol != PROTOCOL_VERSION {
            return Err(HelloError::Version(loose.protocol));
        }
        let client_session_key = match loose.client_session_key {
            None | Some(serde_json::Value::Null) => {
                return Err(IdentityError::new("clientSessionKey", "missing").into());
            }
            Some(serde_json::Value::String(text)) => ClientSessionKey::from_str(&text)?,
            Some(_) => {
                return Err(
                    IdentityError::new("clientSessionKey", "malformed: not a string").into(),
                );
            }
        };
        let purpose = loose
            .purpose
            .ok_or_else(|| malformed(&"`purpose` is missing"))?;
        Ok(Self {
            protocol: loose.protocol,
            purpose: serde_json::from_value(purpose).map_err(|error| malformed(&error))?,
            client_session_key,
            client: loose
                .client
                .ok_or_else(|| malformed(&"`client` is missing"))?,
            capabilities: loose.capabilities,
            pairing_token: loose.pairing_token,
            resume: loose.resume,
        })
    }
}

/// What became of the session on attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// There was none; it begins now.
    New,
    /// It goes on after `resume.lastSeq`.
    Resumed,
    /// It goes on, but the client must fetch what it shows again.
    Reset,
}

/// `welcome.session`: the client's cursor from now on (lesson 13: it is known before any event).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionWelcome {
    /// What became of it.
    pub state: SessionState,
    /// The numbering in force.
    pub epoch: Epoch,
    /// Number of the next event that will be made; replayed ones are smaller.
    pub next_seq: u64,
    /// What the next hello brings back.
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
    /// The closed reason; the close code that follows says the same.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// `never`, `after_user_action` or `backoff`.
    pub retry: Retry,
    /// With `backoff`: not before this many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// A refusal with the retry advice of its reason.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        let retry = match reason.retry() {
            // On the wire a welcome knows three kinds; `soon` is a backoff that the close code shortens.
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

/// What an accepted client is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// The daemon that answered.
    pub server_id: ServerId,
    /// Its name, for people.
    pub server_name: String,
    /// Its version.
    pub version: String,
    /// Absent for a probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionWelcome>,
    /// Silence after which the client checks liveness, in milliseconds.
    pub heartbeat_ms: u32,
    /// Bounds for this connection.
    pub limits: WelcomeLimits,
    /// What the daemon can do beyond version 1.
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

/// Wire form of [`Welcome`].
#[derive(Serialize, Deserialize)]
struct RawWelcome<A, R> {
    ok: bool,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    accepted: Option<A>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<R>,
}

impl Welcome {
    /// Parses a welcome.
    ///
    /// # Errors
    /// When it is not the JSON of one; the text says what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Ok {
            ok: bool,
        }
        #[derive(Deserialize)]
        struct Refused {
            error: Refusal,
        }
        let ok: Ok = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if ok.ok {
            let accepted = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
            Result::Ok(Self::Accepted(accepted))
        } else {
            let refused: Refused =
                serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
            Result::Ok(Self::Refused(refused.error))
        }
    }

    /// The JSON of this welcome.
    pub fn to_json(&self) -> Vec<u8> {
        let raw = match self {
            Self::Accepted(accepted) => RawWelcome {
                ok: true,
                accepted: Some(accepted),
                error: None,
            },
            Self::Refused(refusal) => RawWelcome {
                ok: false,
                accepted: None,
                error: Some(refusal),
            },
        };
        // Structures of strings and numbers always serialise.
        serde_json::to_vec(&raw).unwrap_or_default()
    }
}
