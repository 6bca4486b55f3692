//! Contents of the metrics page.

use std::{collections::BTreeMap, sync::Arc};

use bowline_machines::MonotonicTime;
use bowline_program::metrics::Page;
use bowline_protocol::error::RpcError;

use crate::{
    clock::Clock,
    connection::ConnectionRegistry,
    ledger::Ledger,
    relay::{RelayState, RelayStatus},
    rpc::RequestStats,
};

/// Microseconds in a second.
const MICROS: f64 = 1e6;

/// Sources of the page: the parts of a daemon that count.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Sessions, intents, events and commits.
    pub ledger: Ledger,
    /// Connections.
    pub registry: Arc<ConnectionRegistry>,
    /// Registrations with relays.
    pub relays: RelayStatus,
    /// Requests by method.
    pub requests: RequestStats,
    /// The clock of the daemon.
    pub clock: Clock,
    /// Start of the daemon, by that clock.
    pub started: MonotonicTime,
}

/// Writes metrics: kind, name and help of each, then its one value or its samples, one for each
/// row.
macro_rules! metrics {
    ($page:ident; $($kind:ident $name:literal $help:literal { $($samples:tt)* })*) => {$(
        let mut metric = $page.$kind($name, $help);
        metrics!(@samples metric $($samples)*);
    )*};
    (@samples $metric:ident for $row:pat in $rows:expr, [$($label:literal: $of:expr),+] $value:expr) => {
        for $row in $rows {
            $metric.sample(&[$(($label, $of)),+], $value);
        }
    };
    (@samples $metric:ident $value:expr) => {
        $metric.sample(&[], $value);
    };
}

/// The current page. It contains no secret: no key, no peer address, no client-chosen name.
///
/// # Errors
/// If the ledger is overloaded or has stopped.
pub async fn page(sources: &Sources) -> Result<String, RpcError> {
    let sessions = sources.ledger.session_counts().await?;
    let states = [
        ("attached", sessions.attached),
        ("detached", sessions.detached),
    ];
    let uptime = sources.clock.now().since(sources.started);
    let mut page = Page::default();
    metrics! { page;
        gauge "bowline_build_info" "Always 1; the label is the version of the daemon." {
            for version in [crate::VERSION], ["version": version] 1
        }
        gauge "bowline_uptime_seconds" "Seconds since the daemon started." { uptime.as_secs_f64() }
        gauge "bowline_sessions"
        "Sessions of paired devices, by state: attached to a connection, or detached." {
            for (state, count) in states, ["state": state] count
        }
        counter "bowline_log_lines_dropped_total"
        "Log lines that could not be written because their reader stalled or went away, or the disk is full." {
            bowline_program::log::lost()
        }
    }
    connections(&mut page, sources);
    relays(&mut page, sources);
    requests(&mut page, sources);
    ledger(&mut page, sources);
    Ok(page.finish())
}

fn connections(page: &mut Page, sources: &Sources) {
    let rows = sources.registry.list(sources.clock.now());
    let mut open: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let (mut pending, mut queued) = (0, 0);
    for row in &rows {
        let kind = row.kind.map_or("handshake", |kind| kind.as_str());
        *open.entry((kind, row.state)).or_default() += 1;
        pending += u64::from(row.pending);
        queued += row.queued_bytes;
    }
    let totals = sources.registry.totals();
    metrics! { page;
        gauge "bowline_connections" "Open connections, by kind and state." {
            for ((kind, state), count) in open, ["kind": kind, "state": state] count
        }
        gauge "bowline_requests_pending" "Requests received and not yet answered." { pending }
        gauge "bowline_outbound_queue_bytes"
        "Bytes of replies and events that wait to be sent, over all connections." { queued }
        counter "bowline_connections_opened_total" "Connections accepted, by path." {
            for (path, total) in &totals, ["path": path.as_str()] total.opened
        }
        counter "bowline_connections_turned_away_total"
        "Sockets refused because limits.max_connections were open, by path." {
            for (path, count) in sources.registry.turned_away_so_far(), ["path": path.as_str()] count
        }
        counter "bowline_received_bytes_total" "Bytes received over the wire, by path." {
            for (path, total) in &totals, ["path": path.as_str()] total.bytes_in
        }
        counter "bowline_sent_bytes_total" "Bytes sent over the wire, by path." {
            for (path, total) in &totals, ["path": path.as_str()] total.bytes_out
        }
        counter "bowline_connections_closed_total"
        "Connections that ended, by reason (docs/protocol.md section 6)." {
            for (reason, count) in sources.registry.closed(), ["reason": reason.as_str()] count
        }
    }
}

fn relays(page: &mut Page, sources: &Sources) {
    let relays = sources.relays.list();
    let ends = sources.relays.counts();
    let ends = ends.into_iter().flat_map(|(url, reasons)| {
        let reasons = reasons.into_iter();
        reasons.map(move |(reason, count)| (url, reason, count))
    });
    metrics! { page;
        gauge "bowline_relay_link_registered"
        "1 while the daemon is registered with the relay, else 0." {
            for relay in &relays, ["relay": &relay.url]
                u8::from(relay.state == RelayState::Registered)
        }
        gauge "bowline_relay_link_sessions" "Sessions that have clients at the relay." {
            for relay in &relays, ["relay": &relay.url] relay.sessions
        }
        gauge "bowline_relay_link_lanes" "Client sockets at the relay." {
            for relay in &relays, ["relay": &relay.url] relay.lanes
        }
        counter "bowline_relay_link_registrations_total"
        "Successful registrations with the relay." {
            for relay in &relays, ["relay": &relay.url] relay.registrations
        }
        counter "bowline_relay_link_ends_total"
        "Registrations and attempts to register that ended, by reason (docs/protocol.md section 6)." {
            for (url, reason, count) in ends, ["relay": url, "reason": reason.as_str()] count
        }
    }
}

fn requests(page: &mut Page, sources: &Sources) {
    let methods = sources.requests.all();
    let ended = methods.iter().flat_map(|(name, stats)| {
        let outcomes = stats.outcomes();
        outcomes.map(move |(outcome, count)| (name, outcome, count))
    });
    metrics! { page;
        counter "bowline_requests_total"
        "Requests that ended, by method and outcome; method `other` counts texts that are no request of a known method." {
            for (name, outcome, count) in ended, ["method": name, "outcome": outcome] count
        }
    }
    let mut metric = page.histogram(
        "bowline_request_duration_seconds",
        "Seconds from a request to its answer, by method; only methods that wait for the ledger or for other work.",
    );
    for (name, stats) in &methods {
        if let Some(times) = &stats.times {
            metric.distribution(&[("method", name)], &times.snapshot(), MICROS);
        }
    }
}

fn ledger(page: &mut Page, sources: &Sources) {
    let counters = sources.ledger.counters();
    let intents = [
        ("run", counters.intents_run),
        ("repeated", counters.intents_repeated),
        ("conflict", counters.intent_conflicts),
    ];
    metrics! { page;
        counter "bowline_commits_total" "Transactions of jobs committed." { counters.commits }
        counter "bowline_commits_failed_total"
        "Transactions of any kind that failed and were rolled back." { counters.failed_commits }
        counter "bowline_events_total"
        "Events emitted, each counted once whatever the number of sessions that get it." {
            counters.events_serialised
        }
        counter "bowline_event_frames_total"
        "Events queued for connections, counted once per connection." { counters.frames_pushed }
        counter "bowline_replay_evicted_total"
        "Events removed from a full replay log before they were acknowledged." {
            counters.replay_evicted
        }
        counter "bowline_timeline_dropped_bytes_total"
        "Bytes of old output dropped from timelines." { counters.dropped_bytes }
        counter "bowline_attaches_total" "Times a connection was attached to a session." {
            counters.attaches
        }
        counter "bowline_sessions_expired_total"
        "Sessions removed because their grace ended, or to make room for others." {
            counters.sessions_expired
        }
        counter "bowline_intents_total"
        "Intents, by outcome: run, repeated (answered from memory), or conflict." {
            for (outcome, count) in intents, ["outcome": outcome] count
        }
        gauge "bowline_store_writable"
        "1, or 0 from a transaction that failed for lack of a writable disk until one succeeds." {
            u8::from(sources.ledger.failing_since().is_none())
        }
        gauge "bowline_ledger_queue" "Jobs that wait for the ledger." { sources.ledger.queued() }
    }
    let (jobs, times) = sources.ledger.commit_histograms();
    page.histogram(
        "bowline_commit_jobs",
        "Number of writing jobs that shared a transaction.",
    )
    .distribution(&[], &jobs, 1.0);
    page.histogram(
        "bowline_commit_duration_seconds",
        "Seconds from the first job of a transaction until it is on disk.",
    )
    .distribution(&[], &times, MICROS);
}
