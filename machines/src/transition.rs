//! The record of one change of state, from which the transition log line is written (OB-1).

use std::fmt;

use bowline_protocol::Reason;
use serde::{Deserialize, Serialize};

use crate::Generation;

/// Kind of path to a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// On the daemon's own machine.
    Local,
    /// Directly to a listener of the daemon.
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

/// One change of state of one machine. The driver adds `server_id` and the hashed session key,
/// which are outside the machine, and writes the log line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Transition {
    /// `daemon_client`, `host_runtime`, `directory_sync`, `table_sync`, `timeline`, `session`,
    /// `connection` or `relay_registration`.
    pub machine: &'static str,
    /// State before, in snake_case.
    pub from: &'static str,
    /// State after, in snake_case.
    pub to: &'static str,
    /// The input that caused it, in snake_case.
    pub event: &'static str,
    /// Kind of path of the connection concerned, if there is one.
    pub path: Option<Path>,
    /// The generation concerned, if there is one.
    pub generation: Option<Generation>,
    /// The typed reason, if there is one.
    pub reason: Option<Reason>,
}
