//! What crosses Bowline's wires and disks: identities, JSON-RPC 2.0, the hello and welcome of the
//! handshake, methods and events, close reasons, pairing offers, what relays are told and the sealing of messages.
//!
//! This crate does no I/O and owns no clock. Random values come in as arguments; [`identity::random_bytes`] is there for
//! the few places that make identities. Bytes are parsed once, here, into types that cannot hold an invalid value.
//! The contract itself is `docs/protocol.md`.

pub mod closing;
pub mod error;
pub mod extension;
pub mod handshake;
pub mod identity;
pub mod limits;
pub mod methods;
pub mod model;
pub mod offer;
pub mod reason;
pub mod relay;
pub mod rpc;
pub mod seal;
pub mod session_event;
pub mod text;

pub use closing::Closing;
pub use error::RpcReason;
pub use handshake::{Hello, Purpose, Refusal, Resume, SessionState, Welcome};
pub use identity::{
    AgentId, ClientSessionKey, DaemonIdentity, DeviceId, DeviceKey, Epoch, ExternalSessionKey,
    IdentityError, IntentId, ItemId, PermissionId, PublicKey, RouteKey, ServerId, Stamp,
    TransportKey,
};
pub use model::{AgentStatus, AgentSummary, ItemKind, Permission, ProviderInfo, TimelineItem};
pub use offer::Offer;
pub use reason::{Advice, Claim, Reason, Retry};
pub use session_event::SessionEvent;

/// The only protocol version this library speaks (`hello.protocol`).
pub const PROTOCOL_VERSION: u32 = 1;
/// WebSocket subprotocol of a session socket, direct or relayed.
pub const SUBPROTOCOL: &str = "bowline.v1";
/// HTTP path of the direct session socket.
pub const SESSION_PATH: &str = "/v1/session";
