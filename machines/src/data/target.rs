//! What an app follows of a service: a table, a log or a topic.

use bowline_protocol::live::Json;

/// A table, log or topic of a service, and the parameters that say which of its rows, which log, or
/// which events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveTarget {
    /// Its name, such as `voxel.layers`.
    pub name: String,
    /// Parameters of the service's own; `None` equals none. Equal only as the same text.
    pub params: Option<Json>,
}
