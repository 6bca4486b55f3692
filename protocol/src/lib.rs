//! Bowline's wire and disk formats: identities, JSON-RPC 2.0, the hello and welcome of the
//! handshake, methods and events, close reasons, pairing offers, relay messages and the sealing of
//! messages.
//!
//! This crate does no I/O and reads no clock. Random values are arguments;
//! [`identity::random_bytes`] serves the few callers that create identities. Bytes are parsed once,
//! here, into types that cannot hold an invalid value. The contract is `docs/protocol.md`.

pub mod blob;
pub mod closing;
pub mod error;
pub mod extension;
pub mod grant;
pub mod handshake;
pub mod identity;
pub mod limits;
pub mod live;
pub mod methods;
pub mod model;
pub mod offer;
mod place;
pub mod reason;
pub mod relay;
pub mod rpc;
mod schema;
pub mod seal;
pub mod session_event;
pub mod text;

pub use blob::BlobHash;
pub use closing::Closing;
pub use error::RpcReason;
pub use grant::{Grant, Role};
pub use handshake::{Hello, Purpose, Refusal, Resume, SessionState, Welcome};
pub use identity::{
    AgentId, ClientSessionKey, DaemonIdentity, DeviceId, DeviceKey, Epoch, ExternalSessionKey,
    IdentityError, IntentId, ItemId, PermissionId, PublicKey, RouteKey, ServerId, Stamp,
    TransportKey,
};
pub use model::{AgentStatus, AgentSummary, ItemKind, Permission, ProviderInfo, TimelineItem};
pub use offer::Offer;
pub use place::Reach;
pub use reason::{Advice, Claim, Reason, Retry};
pub use session_event::SessionEvent;

/// The protocol version of this library, and the only one it supports (`hello.protocol`).
pub const PROTOCOL_VERSION: u32 = 1;
/// WebSocket subprotocol of a session socket, direct or relayed.
pub const SUBPROTOCOL: &str = "bowline.v1";
/// HTTP path of the direct session socket.
pub const SESSION_PATH: &str = "/v1/session";

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
