//! Connections: one socket each, from handshake to close.

mod socket;
mod websocket;

pub use socket::{Gone, MessageSocket, Received};
pub use websocket::WebSocket;
