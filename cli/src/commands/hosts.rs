//! `bowline hosts`: the paired daemons and where each stands.

use std::time::Duration;

use bowline_runtime::HostSnapshot;
use clap::builder::styling::Style;
use tokio::time::Instant;

use crate::{
    client::Client,
    failure::{Exit, Stop},
    lines::{HostRow, Line},
    text,
    waiting::{Standing, until, view},
};

/// Longest wait for a host to answer: this is a listing, not an errand.
const GLANCE: Duration = Duration::from_secs(3);

pub(super) async fn hosts(client: &Client<'_>) -> Result<Exit, Stop> {
    let known = client.known();
    if known.is_empty() && !client.output.mode.json {
        let hint = "no host yet; run `bowline-daemon pair` on a daemon's machine, then `bowline pair <offer>` here";
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
    let rows: Vec<_> = rows
        .map(|(host, live)| {
            let state = live.map_or("booting", |live| live.state);
            vec![
                (text::one_line(&host.name), text::bold()),
                (text::state(state).to_owned(), text::state_style(state)),
                (live.map(detail).unwrap_or_default(), Style::new()),
                (host.server_id.to_string(), text::dim()),
            ]
        })
        .collect();
    client
        .output
        .out(text::table(client.output.mode.colours, &rows))
        .await?;
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

/// What there is to say about a host besides its state.
pub(super) fn detail(live: &HostSnapshot) -> String {
    let mut parts = Vec::new();
    if let (Some(path), Some(address)) = (live.path, &live.address) {
        parts.push(format!("{path} {}", text::one_line(address)));
    }
    if let Some(problem) = live.last_error.as_ref().filter(|_| live.state != "online") {
        parts.push(text::one_line(&problem.message));
    }
    if live.intents.pending > 0 {
        parts.push(format!("{} undelivered", live.intents.pending));
    }
    parts.join(" · ")
}
