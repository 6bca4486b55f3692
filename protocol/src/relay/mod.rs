//! What a relay, a daemon and a client say to each other about routing (`docs/protocol.md` §9).
//!
//! [`control`] is the conversation on a daemon's control socket, [`proof`] shows that a daemon is who it says it is,
//! [`token`] opens data sockets, [`lane`] frames what travels on them, [`close`] says how long to stay away,
//! [`url`] is where a relay is, and [`limits`] bounds all of it. None of it sees what sessions say: that is sealed end to end.

pub mod close;
pub mod control;
pub mod lane;
pub mod limits;
pub mod proof;
pub mod token;
pub mod url;

pub use close::CloseText;
pub use control::{DaemonMessage, Registration, RelayMessage};
pub use lane::{Lane, LaneError, LaneFrame, LaneHeader, LaneKind};
pub use proof::{Nonce, ProofError};
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
/// What precedes `<serverId>/<routeKey>` in the path of a client socket.
pub const CLIENT_PATH: &str = "/v1/client/";

/// Path and query of the data socket of one session.
pub fn data_path(session: &RouteKey) -> String {
    format!("{DATA_PATH}?{SESSION_PARAMETER}={session}")
}

/// Path of a client socket.
pub fn client_path(server: &ServerId, session: &RouteKey) -> String {
    format!("{CLIENT_PATH}{server}/{session}")
}
