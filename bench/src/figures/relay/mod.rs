//! The relay alone, with raw sockets as peers, beside a bare forwarder of two sockets; and a whole
//! session through it.

pub(super) mod connect;
pub(super) mod memory;
pub(super) mod ping;
pub(super) mod session;
pub(super) mod stall;
pub(super) mod stream;
