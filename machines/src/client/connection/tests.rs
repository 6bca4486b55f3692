//! One connection with a clock, as the tests of this folder drive it.

mod liveness;
mod network_changes;
mod retries;
mod suspicion;
mod table;

use super::{ClientConfig, DaemonClient, Effect, Input, State};
use crate::{Generation, MonotonicTime, Path, Transition};
use bowline_protocol::{Reason, limits};
use std::time::Duration;

const HEARTBEAT: Duration = Duration::from_secs(4);
const ROUND_TRIP: Duration = Duration::from_millis(20);

/// A client with a clock.
struct Bench {
    client: DaemonClient,
    now: MonotonicTime,
}

impl Bench {
    fn new() -> Self {
        Self::with(ClientConfig::new(Path::Direct, 7))
    }

    fn with(config: ClientConfig) -> Self {
        Self {
            client: DaemonClient::new(config),
            now: MonotonicTime::from_millis(1_000_000),
        }
    }

    fn feed(&mut self, input: Input) -> Vec<Effect> {
        self.client.handle(self.now, input);
        self.effects()
    }

    fn effects(&mut self) -> Vec<Effect> {
        std::iter::from_fn(|| self.client.poll_effect()).collect()
    }

    fn transitions(&mut self) -> Vec<Transition> {
        std::iter::from_fn(|| self.client.poll_transition()).collect()
    }

    fn advance(&mut self, duration: Duration) -> Vec<Effect> {
        self.now = self.now + duration;
        self.client.handle_timeout(self.now);
        self.effects()
    }

    /// Advances to the client's next timeout.
    fn wait(&mut self) -> Vec<Effect> {
        self.now = self.client.poll_timeout().unwrap().max(self.now);
        self.client.handle_timeout(self.now);
        self.effects()
    }

    fn open(&mut self) -> Vec<Effect> {
        let generation = self.client.generation();
        self.feed(Input::TransportOpen {
            generation,
            heartbeat: HEARTBEAT,
            round_trip: ROUND_TRIP,
        })
    }

    fn close(&mut self, reason: Reason, retry_after: Option<Duration>) -> Vec<Effect> {
        let generation = self.client.generation();
        self.feed(Input::TransportClosed {
            generation,
            reason,
            retry_after,
        })
    }

    fn connected() -> Self {
        let mut bench = Self::new();
        bench.feed(Input::ConnectRequest);
        bench.open();
        bench
    }

    fn disconnected(reason: Reason) -> Self {
        let mut bench = Self::connected();
        bench.close(reason, None);
        bench
    }

    /// A client in the named state, at generation 1 (idle: none).
    fn in_state(name: &str) -> Self {
        let bench = match name {
            "idle" => Self::new(),
            "connecting" => {
                let mut bench = Self::new();
                bench.feed(Input::ConnectRequest);
                bench
            }
            "connected" => Self::connected(),
            "disconnected" => Self::disconnected(Reason::ConnectionLost),
            _ => {
                let mut bench = Self::in_state("connecting");
                bench.feed(Input::Dispose(Reason::ClosedLocally));
                bench
            }
        };
        assert_eq!(bench.client.state().name(), name);
        bench
    }

    fn retry_in(&self) -> Option<Duration> {
        match *self.client.state() {
            State::Disconnected { retry_at, .. } => retry_at.map(|at| at.since(self.now)),
            State::Idle | State::Connecting { .. } | State::Connected { .. } | State::Disposed => {
                None
            }
        }
    }
}

fn short(effect: &Effect) -> String {
    match effect {
        Effect::OpenTransport { generation } => format!("open{generation}"),
        Effect::CloseTransport { generation, reason } => format!("close{generation}({reason})"),
        Effect::SendPing { generation } => format!("ping{generation}"),
        Effect::EndWaiters { reason } => format!("end({reason})"),
        Effect::Suspect { is_suspected } => format!("suspect({is_suspected})"),
    }
}

/// One row per input (results once current, once stale), one column per state of `STATES`: the next
/// state and the effects; `-` is no transition and no effect.
#[rustfmt::skip]
const TABLE: &[(&str, [&str; 5])] = &[
    ("connect_request", ["connecting open1", "-", "-", "connecting open2", "-"]),
    ("open_current", ["idle close0(closed_locally)", "connected", "-", "disconnected close1(closed_locally)", "disposed close1(closed_locally)"]),
    ("open_stale", ["idle close9(closed_locally)", "connecting close9(closed_locally)", "connected close9(closed_locally)", "disconnected close9(closed_locally)", "disposed close9(closed_locally)"]),
    ("close_current", ["-", "disconnected", "disconnected end(slow_consumer)", "-", "-"]),
    ("close_stale", ["-", "-", "-", "-", "-"]),
    ("received_current", ["-", "-", "-", "-", "-"]),
    ("received_stale", ["-", "-", "-", "-", "-"]),
    ("streamed_current", ["-", "-", "-", "-", "-"]),
    ("waiting_current", ["-", "-", "-", "-", "-"]),
    ("answered_current", ["-", "-", "-", "-", "-"]),
    ("alternative_known", ["-", "-", "-", "-", "-"]),
    ("check_liveness", ["-", "-", "connected ping1", "connecting open2", "-"]),
    ("network_changed", ["-", "connecting close1(closed_locally) open2", "connected ping1", "connecting open2", "-"]),
    ("foreground", ["-", "connecting close1(closed_locally) open2", "connected ping1", "connecting open2", "-"]),
    ("background", ["-", "-", "-", "-", "-"]),
    ("promoted", ["-", "-", "-", "-", "-"]),
    ("timer", ["-", "disconnected close1(connect_timeout)", "connected ping1", "connecting open2", "-"]),
    ("dispose", ["disposed", "disposed close1(closed_locally)", "disposed end(closed_locally) close1(closed_locally)", "disposed", "-"]),
];

fn apply(bench: &mut Bench, cell: &str) -> Vec<Effect> {
    let generation = match cell.ends_with("_stale") {
        true => Generation::new(9),
        false => bench.client.generation(),
    };
    let reason = Reason::SlowConsumer;
    let input = match cell {
        "connect_request" => Input::ConnectRequest,
        "open_current" | "open_stale" => Input::TransportOpen {
            generation,
            heartbeat: HEARTBEAT,
            round_trip: ROUND_TRIP,
        },
        "close_current" | "close_stale" => Input::TransportClosed {
            generation,
            reason,
            retry_after: None,
        },
        "received_current" | "received_stale" => Input::Received { generation },
        "streamed_current" => Input::Streamed { generation },
        "waiting_current" => Input::Waiting {
            generation,
            is_waiting: true,
        },
        "answered_current" => Input::Answered {
            generation,
            round_trip: ROUND_TRIP,
            is_ping: true,
        },
        "alternative_known" => Input::AlternativeKnown(true),
        "check_liveness" => Input::CheckLiveness,
        "network_changed" => Input::NetworkChanged,
        "foreground" => Input::Foreground,
        "background" => Input::Background,
        "promoted" => Input::Promoted,
        "dispose" => Input::Dispose(Reason::ClosedLocally),
        _ => {
            let hour = bench.now + Duration::from_secs(3_600);
            let at = bench.client.poll_timeout().unwrap_or(hour);
            return bench.advance(at.since(bench.now));
        }
    };
    bench.feed(input)
}
