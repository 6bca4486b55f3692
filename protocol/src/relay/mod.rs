//! Routing messages between a relay, a daemon and a client (`docs/protocol.md` §9).
//!
//! [`control`] is the protocol of a daemon's control socket, [`proof`] proves a daemon's identity
//! to the relay at an [`origin`], [`token`] opens data sockets, [`devices`] tells
//! friends from strangers, [`lane`] frames their messages,
//! [`close`] carries the retry delay, [`url`] is a relay's address, and [`limits`] bounds them all.
//! None of it sees the content of sessions, which is sealed end to end.

pub mod close;
pub mod control;
pub mod devices;
pub mod lane;
pub mod limits;
pub mod origin;
pub mod proof;
pub mod token;
pub mod url;

pub use close::CloseText;
pub use control::{DaemonMessage, Registration, RelayMessage};
pub use devices::{DigestSalt, KnownDevices};
pub use lane::{Lane, LaneError, LaneFrame, LaneHeader, LaneKind};
pub use origin::{RelayOrigin, RelayOriginError};
pub use proof::{Binding, Nonce, ProofError, TlsExporter};
pub use token::DataToken;
pub use url::{RelayUrl, RelayUrlError};

use crate::{RouteKey, ServerId};

/// WebSocket subprotocol of a daemon's control socket and its data sockets.
pub const SUBPROTOCOL: &str = "bowline.relay.v1";
/// HTTP path of a daemon's control socket.
pub const CONTROL_PATH: &str = "/v1/daemon";
/// HTTP path of a daemon's data sockets; the session is the parameter [`SESSION_PARAMETER`].
pub const DATA_PATH: &str = "/v1/daemon/data";
/// Query parameter of [`DATA_PATH`] that names the session by its route key.
pub const SESSION_PARAMETER: &str = "session";
/// Path prefix of a client socket; `<serverId>/<routeKey>` follows.
pub const CLIENT_PATH: &str = "/v1/client/";

/// Path and query of the data socket of one session.
pub fn data_path(session: &RouteKey) -> String {
    format!("{DATA_PATH}?{SESSION_PARAMETER}={session}")
}

/// Path of a client socket.
pub fn client_path(server: &ServerId, session: &RouteKey) -> String {
    format!("{CLIENT_PATH}{server}/{session}")
}
