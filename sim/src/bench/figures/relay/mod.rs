//! The relay alone, its peers raw sockets, beside a bare forwarder of two sockets; and at last a whole session through it.

pub(super) mod connect;
pub(super) mod memory;
pub(super) mod ping;
pub(super) mod session;
pub(super) mod stall;
pub(super) mod stream;
