//! The one function that writes transitions to the log (OB).

use bowline_machines::Transition;
use bowline_protocol::ServerId;

/// Writes one transition. `session` is the hash of the session key, never the key itself; it is empty
/// where a machine belongs to no session yet.
pub fn transition(server_id: &ServerId, session: &str, transition: &Transition) {
    tracing::info!(
        target: "bowline::transition",
        server_id = server_id.as_str(),
        session,
        machine = transition.machine,
        from = transition.from,
        to = transition.to,
        event = transition.event,
        path = transition.path.map(|path| path.as_str()),
        generation = transition.generation.map(|generation| generation.get()),
        reason = transition.reason.map(|reason| reason.as_str()),
        "transition"
    );
}
