//! What each part of the daemon takes from the settings.

use std::net::SocketAddr;

use bowline_program::WebAccess;

use crate::{
    clock::Clock,
    config::Settings,
    control::{About, OfferMaker},
    identity::Identity,
    ledger::LedgerOptions,
    store,
};

/// The web pages that are let in, and the names of this daemon: those allowed and those advertised.
pub(super) fn web_access(settings: &Settings) -> WebAccess {
    let advertised = settings.advertise.iter().filter_map(|address| {
        let (host, _) = address.as_str().rsplit_once(':')?;
        host.parse().ok()
    });
    let hosts: Vec<_> = settings
        .allowed_hosts
        .iter()
        .cloned()
        .chain(advertised)
        .collect();
    WebAccess::new(&settings.allowed_origins, &hosts)
}

/// The options of the ledger.
pub(super) fn ledger(settings: &Settings, identity: &Identity, clock: Clock) -> LedgerOptions {
    let path = settings.state_dir.join(store::FILE);
    LedgerOptions {
        clock,
        session_grace: settings.limits.session_grace.unwrap_or_default(),
        replay_bytes: settings.limits.replay_bytes,
        replay_events: settings.limits.replay_events,
        quotas: settings.limits.quotas(),
        follows_per_session: settings.limits.follows_per_session,
        max_pages: max_pages(settings.limits.storage_limit),
        max_message_bytes: settings.limits.max_message_bytes,
        ..LedgerOptions::new(path, identity.server_id().clone())
    }
}

/// The limit of the database in pages of 4 KiB.
fn max_pages(bytes: u64) -> Option<u32> {
    (bytes > 0).then(|| u32::try_from(bytes / 4_096).unwrap_or(u32::MAX - 1))
}

/// What the daemon says of itself.
pub(super) fn about(
    settings: &Settings,
    identity: &Identity,
    listen: &[SocketAddr],
    metrics: Option<SocketAddr>,
) -> About {
    About {
        server_id: identity.server_id().clone(),
        name: settings.name.clone(),
        version: crate::VERSION,
        pid: std::process::id(),
        state_dir: settings.state_dir.clone(),
        listen: listen.to_vec(),
        socket: settings.socket.clone(),
        metrics,
    }
}

/// What the daemon's offers are made of.
pub(super) fn offers(settings: &Settings, identity: &Identity, bound: &[SocketAddr]) -> OfferMaker {
    OfferMaker {
        server_id: identity.server_id().clone(),
        transport_key: identity.transport.public(),
        name: settings.name.clone(),
        advertise: settings.advertise.clone(),
        bound: bound.to_vec(),
        relays: settings.relay.iter().map(ToString::to_string).collect(),
    }
}
