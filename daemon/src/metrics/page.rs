//! What the page of metrics shows.

use std::collections::BTreeMap;

use bowline_protocol::error::RpcError;

use super::text::Page;
use crate::connection::Environment;

/// Microseconds of a second.
const MICROS: f64 = 1e6;

/// The page as of now. No secret is on it: no key, no address of a peer, no name that a client chose.
///
/// # Errors
/// When the ledger is too busy to be asked, or has stopped.
pub async fn page(environment: &Environment) -> Result<String, RpcError> {
    let sessions = environment.ledger.session_counts().await?;
    let mut page = Page::default();
    page.gauge(
        "bowline_build_info",
        "Always 1; the labels tell the version.",
    )
    .sample(&[("version", crate::VERSION)], 1);
    let uptime = environment.clock.now().since(environment.started);
    page.gauge("bowline_uptime_seconds", "Since the daemon started.")
        .sample(&[], uptime.as_secs_f64());
    page.gauge("bowline_sessions", "Sessions of paired devices, by state.")
        .sample(&[("state", "attached")], sessions.attached)
        .sample(&[("state", "detached")], sessions.detached);
    page.counter(
        "bowline_log_lines_dropped_total",
        "Lines of the log that could not be written: a reader that stands still or went away, a full disk.",
    )
    .sample(&[], bowline_program::log::lost());
    connections(&mut page, environment);
    relays(&mut page, environment);
    requests(&mut page, environment);
    ledger(&mut page, environment);
    Ok(page.finish())
}

fn connections(page: &mut Page, environment: &Environment) {
    let rows = environment.registry.list(environment.clock.now());
    let mut open: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let (mut pending, mut queued) = (0, 0);
    for row in &rows {
        let kind = row.kind.map_or("handshake", |kind| kind.as_str());
        *open.entry((kind, row.state)).or_default() += 1;
        pending += u64::from(row.pending);
        queued += row.queued_bytes;
    }
    let mut metric = page.gauge(
        "bowline_connections",
        "Open connections, by kind and state.",
    );
    for ((kind, state), count) in open {
        metric.sample(&[("kind", kind), ("state", state)], count);
    }
    page.gauge("bowline_requests_pending", "Requests being worked on.")
        .sample(&[], pending);
    page.gauge(
        "bowline_outbound_queue_bytes",
        "Bytes waiting to be sent, of all connections.",
    )
    .sample(&[], queued);

    let totals = environment.registry.totals();
    let mut metric = page.counter(
        "bowline_connections_opened_total",
        "Connections accepted, by path.",
    );
    for (path, total) in &totals {
        metric.sample(&[("path", path.as_str())], total.opened);
    }
    let mut metric = page.counter(
        "bowline_connections_turned_away_total",
        "Sockets over the limit of connections, by path.",
    );
    for (path, count) in environment.registry.turned_away_so_far() {
        metric.sample(&[("path", path.as_str())], count);
    }
    let mut metric = page.counter(
        "bowline_received_bytes_total",
        "Bytes received, as they came over the wire, by path.",
    );
    for (path, total) in &totals {
        metric.sample(&[("path", path.as_str())], total.bytes_in);
    }
    let mut metric = page.counter(
        "bowline_sent_bytes_total",
        "Bytes sent, as they went over the wire, by path.",
    );
    for (path, total) in &totals {
        metric.sample(&[("path", path.as_str())], total.bytes_out);
    }
    let mut metric = page.counter(
        "bowline_connections_closed_total",
        "Connections that have ended, by reason (docs/protocol.md section 6).",
    );
    for (reason, count) in environment.registry.closed() {
        metric.sample(&[("reason", reason.as_str())], count);
    }
}

fn relays(page: &mut Page, environment: &Environment) {
    let relays = environment.relays.list();
    let mut metric = page.gauge(
        "bowline_relay_link_registered",
        "Whether the daemon is registered with a relay.",
    );
    for relay in &relays {
        let registered = u8::from(relay.state == "registered");
        metric.sample(&[("relay", &relay.url)], registered);
    }
    let mut metric = page.gauge(
        "bowline_relay_link_sessions",
        "Sessions that have clients at a relay.",
    );
    for relay in &relays {
        metric.sample(&[("relay", &relay.url)], relay.sessions);
    }
    let mut metric = page.gauge("bowline_relay_link_lanes", "Client sockets at a relay.");
    for relay in &relays {
        metric.sample(&[("relay", &relay.url)], relay.lanes);
    }
    let mut metric = page.counter(
        "bowline_relay_link_registrations_total",
        "Registrations with a relay.",
    );
    for relay in &relays {
        metric.sample(&[("relay", &relay.url)], relay.registrations);
    }
    let mut metric = page.counter(
        "bowline_relay_link_ends_total",
        "Registrations with a relay, and attempts at one, that ended, by reason (docs/protocol.md section 6).",
    );
    for (url, reasons) in environment.relays.counts() {
        for (reason, count) in reasons {
            metric.sample(&[("relay", url), ("reason", reason.as_str())], count);
        }
    }
}

fn requests(page: &mut Page, environment: &Environment) {
    let methods = environment.router.stats().all();
    let mut metric = page.counter(
        "bowline_requests_total",
        "Requests answered, by method and outcome; method `other` is what was no request of a known method.",
    );
    for (name, stats) in &methods {
        for (outcome, count) in stats.outcomes() {
            metric.sample(&[("method", name), ("outcome", outcome)], count);
        }
    }
    let mut metric = page.histogram(
        "bowline_request_duration_seconds",
        "From a request to its answer, of requests that waited for the ledger or for anything else, by method.",
    );
    for (name, stats) in &methods {
        if let Some(times) = &stats.times {
            metric.distribution(&[("method", name)], &times.snapshot(), MICROS);
        }
    }
}

fn ledger(page: &mut Page, environment: &Environment) {
    let counters = environment.ledger.counters();
    let mut counter = |name, help, value: u64| {
        page.counter(name, help).sample(&[], value);
    };
    counter(
        "bowline_commits_total",
        "Transactions committed for jobs.",
        counters.commits,
    );
    counter(
        "bowline_commits_failed_total",
        "Transactions of any kind that failed; nothing of them happened.",
        counters.failed_commits,
    );
    counter(
        "bowline_events_total",
        "Events made; each is serialised once, whatever the number of sessions.",
        counters.events_serialised,
    );
    counter(
        "bowline_event_frames_total",
        "Events handed to connections.",
        counters.frames_pushed,
    );
    counter(
        "bowline_replay_evicted_total",
        "Events that left a replay log before they were acknowledged, for want of room.",
        counters.replay_evicted,
    );
    counter(
        "bowline_attaches_total",
        "Connections attached to a session.",
        counters.attaches,
    );
    counter(
        "bowline_sessions_expired_total",
        "Sessions whose grace has ended, or that made room for others.",
        counters.sessions_expired,
    );
    page.counter("bowline_intents_total", "Intents, by what became of them.")
        .sample(&[("outcome", "run")], counters.intents_run)
        .sample(&[("outcome", "repeated")], counters.intents_repeated)
        .sample(&[("outcome", "conflict")], counters.intent_conflicts);
    page.gauge(
        "bowline_store_writable",
        "0 since a transaction failed because the disk takes nothing, else 1.",
    )
    .sample(&[], u8::from(environment.ledger.failing_since().is_none()));
    page.gauge("bowline_ledger_queue", "Jobs waiting for the ledger.")
        .sample(&[], environment.ledger.queued());
    let (jobs, times) = environment.ledger.commit_histograms();
    page.histogram(
        "bowline_commit_jobs",
        "Writing jobs that shared a transaction.",
    )
    .distribution(&[], &jobs, 1.0);
    page.histogram(
        "bowline_commit_duration_seconds",
        "From the first job of a transaction to its end on the disk.",
    )
    .distribution(&[], &times, MICROS);
}
