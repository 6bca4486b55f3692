//! `bowline hosts`: the paired daemons and their states.

use std::time::Duration;

use bowline_program::{short_ids, table::table};
use bowline_runtime::{HostRecord, HostSnapshot, HostState};
use clap::builder::styling::Style;
use tokio::time::Instant;

use crate::{
    client::Client,
    failure::{Exit, Stop},
    lines::{HostRow, Line},
    reasons::in_words,
    text,
    waiting::{Reachability, until, view},
};

/// Longest wait for a host to answer in a listing.
const LISTING_WAIT: Duration = Duration::from_secs(3);

pub(super) async fn hosts(client: &Client<'_>) -> Result<Exit, Stop> {
    let known = client.known();
    if known.is_empty() && !client.output.mode.json {
        let hint = "no host yet; run `bowline-daemon pair` on a daemon's machine, then `bowline pair OFFER` here";
        client.output.say(hint).await?;
    }
    wait_briefly(client).await;
    let snapshot = client.newest();
    let rows = known
        .iter()
        .map(|host| (host, view(&snapshot, &host.server_id)));
    if client.output.mode.json {
        for (host, live) in rows {
            let host = HostRow::new(host, live);
            client.output.json(&Line::Host { host }).await?;
        }
        return Ok(Exit::Done);
    }
    let length = short_ids::short_length(known.iter().map(|host| host.server_id.as_str()));
    let rows: Vec<_> = rows
        .map(|(host, live)| {
            let state = live.map_or(HostState::Booting, |live| live.state);
            let name = text::one_line(live.map_or(&host.name, |live| &live.name));
            vec![
                text::cell(name, text::bold()),
                text::cell(short_ids::end(host.server_id.as_str(), length), text::dim()),
                text::cell(text::state(state), text::state_style(state)),
                text::cell(where_it_is(host, live), Style::new()),
                text::cell(live.map(trouble).unwrap_or_default(), Style::new()),
            ]
        })
        .collect();
    let head = ["HOST", "ID", "STATE", "ADDRESS", ""];
    let table = table(&head, &rows, client.output.mode.colours);
    if !rows.is_empty() {
        client.output.out(table).await?;
    }
    Ok(Exit::Done)
}

/// Waits until each host is online with its pending requests delivered, or has failed once.
async fn wait_briefly(client: &Client<'_>) {
    let bound = client
        .settings
        .timeout
        .map_or(LISTING_WAIT, |timeout| timeout.min(LISTING_WAIT));
    let deadline = Instant::now() + bound;
    let mut snapshots = client.snapshots();
    let looked = snapshots.wait_for(|snapshot| {
        client.known().iter().all(|host| {
            let live = view(snapshot, &host.server_id);
            match Reachability::of(host, live) {
                Reachability::Online => live.is_some_and(|live| live.intents.pending == 0),
                Reachability::Away(problem) => problem.is_some(),
                Reachability::Over(_) => true,
            }
        })
    });
    tokio::select! {
        _ = looked => {}
        () = until(Some(deadline)) => {}
    }
}

/// The path in use; without one, the last known addresses of the host.
fn where_it_is(host: &HostRecord, live: Option<&HostSnapshot>) -> String {
    live.and_then(path).unwrap_or_else(|| text::addresses(host))
}

fn path(live: &HostSnapshot) -> Option<String> {
    let (path, address) = (live.path?, live.address.as_ref()?);
    Some(format!("{path} {}", text::one_line(address)))
}

/// Details of a host besides its state.
pub(super) fn detail(live: &HostSnapshot) -> String {
    let mut parts: Vec<_> = path(live).into_iter().chain([trouble(live)]).collect();
    parts.retain(|part| !part.is_empty());
    parts.join(" · ")
}

/// Faults of a host and its undelivered requests.
fn trouble(live: &HostSnapshot) -> String {
    let mut parts = Vec::new();
    if live.state != HostState::Online
        && let Some(problem) = &live.last_error
    {
        parts.push(in_words(problem.reason, &problem.message));
    }
    match live.intents.pending {
        0 => {}
        1 => parts.push("1 request undelivered".to_owned()),
        several => parts.push(format!("{several} requests undelivered")),
    }
    parts.join(" · ")
}
