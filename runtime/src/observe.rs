//! The only function that logs transitions (OB-1).

use bowline_machines::{Generation, Transition};
use bowline_protocol::{ClientSessionKey, ServerId};

/// Logs one transition with every field of OB-1; of the session key only its hash.
pub(crate) fn transition(
    server_id: &ServerId,
    session: &ClientSessionKey,
    client: Generation,
    transition: &Transition,
) {
    tracing::info!(
        target: "bowline::transition",
        %server_id,
        // The daemon's name of the session, so that both logs can be joined by its hash.
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
