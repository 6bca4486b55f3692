//! Writes state transitions to the log (OB-1); the only place that does.

use bowline_machines::{Path, Transition};
use bowline_protocol::{Reason, ServerId};

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

/// Writes one transition. `session` is the hash of the session key, never the key itself; it is
/// empty for a machine that has no session yet.
///
/// Ordinary connects and disconnects are logged at `debug`, since every user command is one. At
/// `info` a paired client takes two lines, those of its session, and a connection closed with an
/// error takes one more.
pub fn transition(server_id: &ServerId, session: &str, transition: &Transition) {
    if is_routine(transition) {
        record!(debug, server_id, session, transition);
    } else {
        record!(info, server_id, session, transition);
    }
}

fn is_routine(transition: &Transition) -> bool {
    let as_it_should = matches!(
        transition.reason,
        None | Some(Reason::ConnectionLost | Reason::ClosedLocally)
    );
    transition.machine == "connection" && (as_it_should || transition.path == Some(Path::Local))
}

/// Writes one transition that repeats the previous one, such as another failed attempt.
pub(crate) fn repeated(server_id: &ServerId, transition: &Transition) {
    record!(debug, server_id, "", transition);
}
