//! The record of one change of state: what the transition log line is made of (OB).

use std::fmt;

use bowline_protocol::Reason;
use serde::{Deserialize, Serialize};

use crate::Generation;

/// Which way a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// On the daemon's own machine.
    Local,
    /// Straight to a listener of the daemon.
    Direct,
    /// Through a relay.
    Relay,
}

impl Path {
    /// The name in logs, snapshots and bindings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Direct => "direct",
            Self::Relay => "relay",
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One change of state of one machine. The driver adds `server_id` and the hashed session key, which
/// the machine does not know, and writes the log line with one function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Transition {
    /// `daemon_client`, `host_runtime`, `directory_sync`, `session`, `connection` or `relay_link`.
    pub machine: &'static str,
    /// State before, in snake_case.
    pub from: &'static str,
    /// State after, in snake_case.
    pub to: &'static str,
    /// The input that caused it, in snake_case.
    pub event: &'static str,
    /// The way of the connection concerned, where there is one.
    pub path: Option<Path>,
    /// The generation concerned, where there is one.
    pub generation: Option<Generation>,
    /// The typed reason, where there is one.
    pub reason: Option<Reason>,
}
