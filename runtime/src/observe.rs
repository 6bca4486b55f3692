//! The one function that writes transitions to the log (OB).

use bowline_machines::{Generation, Transition};
use bowline_protocol::{ClientSessionKey, ServerId};

/// Writes one transition with every field of OB; the session key only as its hash.
pub(crate) fn transition(
    server_id: &ServerId,
    session: &ClientSessionKey,
    client: Generation,
    transition: &Transition,
) {
    tracing::info!(
        target: "bowline::transition",
        %server_id,
        // The daemon's name for the session, so that both logs can be joined by its hash.
        session = %session.external().log_hash(),
        machine = transition.machine,
        from = transition.from,
        to = transition.to,
        event = transition.event,
        path = transition.path.map(|path| path.as_str()),
        generation = transition.generation.map(Generation::get),
        client = client.get(),
        reason = transition.reason.map(|reason| reason.as_str()),
    );
}
