//! The relay's counters and the page that shows them (`GET /metrics`, SV-5).

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bowline_program::metrics::Page;
use bowline_protocol::Reason;

/// A counter.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Messages and their bytes in one direction.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) messages: Counter,
    pub(crate) bytes: Counter,
}

/// All counters since the start.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// From clients to daemons.
    pub(crate) upward: Traffic,
    /// From daemons to clients.
    pub(crate) downward: Traffic,
    /// Registrations with a proven identity.
    pub(crate) registered: Counter,
    /// Registrations refused.
    pub(crate) refused: Counter,
    /// Client sockets given a lane.
    pub(crate) lanes: Counter,
    /// Data sockets accepted by their session.
    pub(crate) data_sockets: Counter,
    /// Sockets refused before their request, at a connection limit.
    pub(crate) turned_away: Counter,
    /// Sockets closed by the relay, by reason.
    closed: Mutex<BTreeMap<Reason, u64>>,
}

/// Current values, for gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gauges {
    pub(crate) daemons: usize,
    pub(crate) sessions: usize,
    pub(crate) clients: usize,
    pub(crate) sockets: usize,
}

impl Metrics {
    /// Counts a socket that the relay closed.
    pub(crate) fn closed(&self, reason: Reason) {
        *self.closed_by_reason().entry(reason).or_default() += 1;
    }

    fn closed_by_reason(&self) -> MutexGuard<'_, BTreeMap<Reason, u64>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The page in Prometheus's text format.
    pub(crate) fn render(&self, now: Gauges) -> String {
        let mut page = Page::default();
        let gauges = [
            ("bowline_relay_daemons", "Registered daemons.", now.daemons),
            (
                "bowline_relay_sessions",
                "Sessions that have clients.",
                now.sessions,
            ),
            (
                "bowline_relay_clients",
                "Client sockets that have a lane.",
                now.clients,
            ),
            (
                "bowline_relay_sockets",
                "Open sockets of every kind.",
                now.sockets,
            ),
        ];
        for (name, help, value) in gauges {
            page.gauge(name, help).sample(&[], value);
        }
        let mut counter = |name, help, label, rows: &[(&str, &Counter)]| {
            let mut metric = page.counter(name, help);
            for (value, count) in rows {
                metric.sample(&[(label, value)], count.get());
            }
        };
        counter(
            "bowline_relay_messages_total",
            "Messages forwarded, by direction.",
            "direction",
            &[
                ("to_daemon", &self.upward.messages),
                ("to_client", &self.downward.messages),
            ],
        );
        counter(
            "bowline_relay_bytes_total",
            "Payload bytes of messages forwarded, by direction.",
            "direction",
            &[
                ("to_daemon", &self.upward.bytes),
                ("to_client", &self.downward.bytes),
            ],
        );
        counter(
            "bowline_relay_registrations_total",
            "Registrations of daemons, by outcome: identity proven, or refused.",
            "outcome",
            &[("registered", &self.registered), ("refused", &self.refused)],
        );
        counter(
            "bowline_relay_opened_total",
            "Sockets accepted, by kind.",
            "kind",
            &[("client", &self.lanes), ("data", &self.data_sockets)],
        );
        page.counter(
            "bowline_relay_turned_away_total",
            "Sockets refused before their request: over the limit `sockets`, or far over that of one address.",
        )
        .sample(&[], self.turned_away.get());
        page.counter(
            "bowline_relay_log_lines_dropped_total",
            "Log lines that could not be written because their reader stalled or went away, or the disk is full.",
        )
        .sample(&[], bowline_program::log::lost());
        let mut closed = page.counter(
            "bowline_relay_closed_total",
            "Sockets closed by the relay, by reason (docs/protocol.md section 6).",
        );
        let counts = self.closed_by_reason();
        for reason in Reason::ALL
            .iter()
            .filter(|reason| reason.close_code().is_some())
        {
            let count = counts.get(reason).copied().unwrap_or_default();
            closed.sample(&[("reason", reason.as_str())], count);
        }
        page.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let metrics = Metrics::default();
        metrics.closed(Reason::SlowConsumer);
        metrics.upward.bytes.add(7);
        let now = Gauges {
            daemons: 2,
            ..Gauges::default()
        };
        let text = metrics.render(now);
        for line in [
            "bowline_relay_daemons 2",
            "bowline_relay_bytes_total{direction=\"to_daemon\"} 7",
            "bowline_relay_closed_total{reason=\"slow_consumer\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, number) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with("bowline_relay_"), "{line}");
            assert!(number.parse::<u64>().is_ok(), "{line}");
        }
        assert!(
            !text.contains("connect_timeout"),
            "only what a relay can say"
        );
    }
}
