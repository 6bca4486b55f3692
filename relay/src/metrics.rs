//! What the relay counts, and its Prometheus form (`GET /metrics`, SV-5).

use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering},
};

use bowline_protocol::Reason;

/// A number that only grows.
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

/// Messages and their bytes, one way.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) messages: Counter,
    pub(crate) bytes: Counter,
}

/// Everything counted since the start.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// From clients to daemons.
    pub(crate) upward: Traffic,
    /// From daemons to clients.
    pub(crate) downward: Traffic,
    /// Registrations that proved an identity.
    pub(crate) registered: Counter,
    /// Registrations that did not.
    pub(crate) refused: Counter,
    /// Client sockets that got a lane.
    pub(crate) lanes: Counter,
    /// Data sockets that found their session.
    pub(crate) data_sockets: Counter,
    /// Sockets turned away before their request: no place was left.
    pub(crate) turned_away: Counter,
    /// Sockets closed by the relay, by reason, in the order of `Reason::ALL`.
    closed: Vec<Counter>,
}

/// What is true now, as opposed to counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gauges {
    pub(crate) daemons: usize,
    pub(crate) sessions: usize,
    pub(crate) clients: usize,
    pub(crate) sockets: usize,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            upward: Traffic::default(),
            downward: Traffic::default(),
            registered: Counter::default(),
            refused: Counter::default(),
            lanes: Counter::default(),
            data_sockets: Counter::default(),
            turned_away: Counter::default(),
            closed: Reason::ALL.iter().map(|_| Counter::default()).collect(),
        }
    }
}

impl Metrics {
    /// Counts a socket that the relay closed.
    pub(crate) fn closed(&self, reason: Reason) {
        let mut rows = Reason::ALL.iter().zip(&self.closed);
        if let Some((_, counter)) = rows.find(|(known, _)| **known == reason) {
            counter.one();
        }
    }

    /// The text format of Prometheus.
    pub(crate) fn render(&self, now: Gauges) -> String {
        let mut out = String::new();
        let mut family = |name: &str, kind: &str, help: &str, rows: &[(&str, &str, u64)]| {
            let _ = writeln!(out, "# HELP bowline_relay_{name} {help}");
            let _ = writeln!(out, "# TYPE bowline_relay_{name} {kind}");
            for (label, value, number) in rows {
                let _ = match *label {
                    "" => writeln!(out, "bowline_relay_{name} {number}"),
                    label => writeln!(out, "bowline_relay_{name}{{{label}=\"{value}\"}} {number}"),
                };
            }
        };
        let gauge = |number: usize| [("", "", number as u64)];
        family(
            "daemons",
            "gauge",
            "Registered daemons.",
            &gauge(now.daemons),
        );
        family(
            "sessions",
            "gauge",
            "Sessions with clients.",
            &gauge(now.sessions),
        );
        family(
            "clients",
            "gauge",
            "Client sockets with a lane.",
            &gauge(now.clients),
        );
        family(
            "sockets",
            "gauge",
            "Sockets of every kind.",
            &gauge(now.sockets),
        );
        let ways = |up: &Counter, down: &Counter| {
            [
                ("direction", "to_daemon", up.get()),
                ("direction", "to_client", down.get()),
            ]
        };
        let messages = ways(&self.upward.messages, &self.downward.messages);
        family(
            "messages_total",
            "counter",
            "Messages passed on.",
            &messages,
        );
        let bytes = ways(&self.upward.bytes, &self.downward.bytes);
        family("bytes_total", "counter", "Payload bytes passed on.", &bytes);
        let registrations = [
            ("outcome", "registered", self.registered.get()),
            ("outcome", "refused", self.refused.get()),
        ];
        family(
            "registrations_total",
            "counter",
            "Answers to challenges.",
            &registrations,
        );
        let opened = [
            ("kind", "client", self.lanes.get()),
            ("kind", "data", self.data_sockets.get()),
        ];
        family(
            "opened_total",
            "counter",
            "Sockets that found their place.",
            &opened,
        );
        let turned_away = [("", "", self.turned_away.get())];
        family(
            "turned_away_total",
            "counter",
            "Sockets over the limit of all.",
            &turned_away,
        );
        let log_lines_dropped = [("", "", bowline_program::log::lost())];
        family(
            "log_lines_dropped_total",
            "counter",
            "Lines of the log that could not be written.",
            &log_lines_dropped,
        );
        let closed: Vec<_> = Reason::ALL
            .iter()
            .zip(&self.closed)
            .filter(|(reason, _)| reason.close_code().is_some())
            .map(|(reason, counter)| ("reason", reason.as_str(), counter.get()))
            .collect();
        family(
            "closed_total",
            "counter",
            "Sockets closed by the relay.",
            &closed,
        );
        out
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
