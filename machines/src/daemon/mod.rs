//! The decisions of a daemon: its sessions, their connections, and its registration with a relay.

pub mod connection;
pub mod registration;
pub mod session;
