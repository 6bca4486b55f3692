//! The decisions of a daemon: its sessions, their connections, its registration with a relay, and
//! which of its failures are logged.

pub mod connection;
pub mod failure_log;
pub mod registration;
pub mod session;
