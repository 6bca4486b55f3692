//! The one place that writes transitions to the log (OB).

use bowline_machines::{Path, Transition};
use bowline_protocol::ServerId;

macro_rules! record {
    ($level:ident, $server_id:expr, $session:expr, $transition:expr) => {
        tracing::$level!(
            target: "bowline::transition",
            server_id = $server_id.as_str(),
            session = $session,
            machine = $transition.machine,
            from = $transition.from,
            to = $transition.to,
            event = $transition.event,
            path = $transition.path.map(|path| path.as_str()),
            generation = $transition.generation.map(|generation| generation.get()),
            reason = $transition.reason.map(|reason| reason.as_str()),
            "transition"
        )
    };
}

/// Writes one transition. `session` is the hash of the session key, never the key itself; it is empty
/// where a machine belongs to no session yet.
///
/// Those of local connections are for `debug`: every command of a user is one, and would take four lines.
pub fn transition(server_id: &ServerId, session: &str, transition: &Transition) {
    if transition.machine == "connection" && transition.path == Some(Path::Local) {
        record!(debug, server_id, session, transition);
    } else {
        record!(info, server_id, session, transition);
    }
}

/// Writes one transition that is like those before it, such as another attempt that fails as the last one did.
pub(crate) fn repeated(server_id: &ServerId, transition: &Transition) {
    record!(debug, server_id, "", transition);
}
