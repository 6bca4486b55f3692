//! `bowline hosts`: the paired daemons and where each stands.

use std::time::Duration;

use bowline_program::{short_ids, table::table};
use bowline_runtime::{HostRecord, HostSnapshot};
use clap::builder::styling::Style;
use tokio::time::Instant;

use crate::{
    client::Client,
    failure::{self, Exit, Stop},
    lines::{HostRow, Line},
    text,
    waiting::{Standing, until, view},
};

/// Longest wait for a host to answer: this is a listing, not an errand.
const GLANCE: Duration = Duration::from_secs(3);

pub(super) async fn hosts(client: &Client<'_>) -> Result<Exit, Stop> {
    let known = client.known();
    if known.is_empty() && !client.output.mode.json {
        let hint = "no host yet; run `bowline-daemon pair` on a daemon's machine, then `bowline pair OFFER` here";
        client.output.say(hint).await?;
    }
    glance(client).await;
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
            let state = live.map_or("booting", |live| live.state);
            vec![
                text::cell(
                    text::one_line(live.map_or(&host.name, |live| &live.name)),
                    text::bold(),
                ),
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

/// Waits until each host is online and has what waited for it, or has failed once.
async fn glance(client: &Client<'_>) {
    let bound = client
        .settings
        .timeout
        .map_or(GLANCE, |timeout| timeout.min(GLANCE));
    let deadline = Instant::now() + bound;
    let mut snapshots = client.snapshots();
    let looked = snapshots.wait_for(|snapshot| {
        client.known().iter().all(|host| {
            let live = view(snapshot, &host.server_id);
            match Standing::of(host, live) {
                Standing::Online => live.is_some_and(|live| live.intents.pending == 0),
                Standing::Away(problem) => problem.is_some(),
                Standing::Over(_) => true,
            }
        })
    });
    tokio::select! {
        _ = looked => {}
        () = until(Some(deadline)) => {}
    }
}

/// The path in use; without one, the addresses at which the host was reached before.
fn where_it_is(host: &HostRecord, live: Option<&HostSnapshot>) -> String {
    if let Some(path) = live.and_then(path) {
        return path;
    }
    let known = host.addresses.iter();
    let known: Vec<_> = known.map(|known| text::one_line(&known.address)).collect();
    known.join(", ")
}

fn path(live: &HostSnapshot) -> Option<String> {
    let (path, address) = (live.path?, live.address.as_ref()?);
    Some(format!("{path} {}", text::one_line(address)))
}

/// What there is to say about a host besides its state.
pub(super) fn detail(live: &HostSnapshot) -> String {
    let parts = [
        path(live),
        Some(trouble(live)).filter(|text| !text.is_empty()),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// What is wrong with a host, or waits for it.
fn trouble(live: &HostSnapshot) -> String {
    let mut parts = Vec::new();
    if let Some(problem) = live.last_error.as_ref().filter(|_| live.state != "online") {
        parts.push(text::one_line(&failure::in_words(
            problem.reason,
            &problem.message,
        )));
    }
    match live.intents.pending {
        0 => {}
        1 => parts.push("1 request undelivered".to_owned()),
        several => parts.push(format!("{several} requests undelivered")),
    }
    parts.join(" · ")
}
