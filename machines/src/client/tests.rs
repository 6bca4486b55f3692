//! The client's table, cell by cell, and the rules that one cell cannot show.

use std::time::Duration;

use bowline_protocol::{Reason, limits};

use super::{ClientConfig, DaemonClient, Effect, Input, State};
use crate::{Generation, Moment, Path, Transition};

const HEARTBEAT: Duration = Duration::from_secs(4);

/// A client with a clock.
struct Bench {
    client: DaemonClient,
    now: Moment,
}

impl Bench {
    fn new() -> Self {
        Self::with(ClientConfig::new(Path::Direct, 7))
    }

    fn with(config: ClientConfig) -> Self {
        Self {
            client: DaemonClient::new(config),
            now: Moment::from_millis(1_000_000),
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

    /// Goes to the moment that the client waits for.
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

    /// A client in the state of that name, at generation 1 (idle: none).
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
                bench.feed(Input::Dispose);
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
    }
}

const STATES: [&str; 5] = [
    "idle",
    "connecting",
    "connected",
    "disconnected",
    "disposed",
];

/// One row for each input (results once current, once stale), one column for each of `STATES`:
/// the state that follows and the effects; `-` is no change and no effect.
#[rustfmt::skip]
const TABLE: &[(&str, [&str; 5])] = &[
    ("connect_request", ["connecting open1", "-", "-", "connecting open2", "-"]),
    ("open_current", ["idle close0(closed_locally)", "connected", "-", "disconnected close1(closed_locally)", "disposed close1(closed_locally)"]),
    ("open_stale", ["idle close9(closed_locally)", "connecting close9(closed_locally)", "connected close9(closed_locally)", "disconnected close9(closed_locally)", "disposed close9(closed_locally)"]),
    ("close_current", ["-", "disconnected", "disconnected end(slow_consumer)", "-", "-"]),
    ("close_stale", ["-", "-", "-", "-", "-"]),
    ("received_current", ["-", "-", "-", "-", "-"]),
    ("received_stale", ["-", "-", "-", "-", "-"]),
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
        },
        "close_current" | "close_stale" => Input::TransportClosed {
            generation,
            reason,
            retry_after: None,
        },
        "received_current" | "received_stale" => Input::Received { generation },
        "check_liveness" => Input::CheckLiveness,
        "network_changed" => Input::NetworkChanged,
        "foreground" => Input::Foreground,
        "background" => Input::Background,
        "promoted" => Input::Promoted,
        "dispose" => Input::Dispose,
        _ => {
            let hour = bench.now + Duration::from_secs(3_600);
            let at = bench.client.poll_timeout().unwrap_or(hour);
            return bench.advance(at.since(bench.now));
        }
    };
    bench.feed(input)
}

#[test]
fn dc_every_cell_of_the_table() {
    for (cell, columns) in TABLE {
        for (name, expected) in STATES.iter().zip(columns) {
            let mut bench = Bench::in_state(name);
            bench.transitions();
            let (before, old) = (*bench.client.state(), bench.client.generation());
            let effects = apply(&mut bench, cell);
            let to = bench.client.state().name();
            let mut seen = vec![to.to_owned()];
            seen.extend(effects.iter().map(short));
            let expected = if *expected == "-" { name } else { expected };
            assert_eq!(seen.join(" "), *expected, "{name} × {cell}");

            let transitions = bench.transitions();
            // Another dial is a change, though both are called connecting.
            if to == *name && bench.client.generation() == old {
                assert_eq!(*bench.client.state(), before, "{name} × {cell}");
                assert!(transitions.is_empty(), "{name} × {cell}: {transitions:?}");
            } else {
                let [one] = transitions.as_slice() else {
                    panic!("OB: one record for each change: {transitions:?}");
                };
                assert_eq!(
                    (one.machine, one.from, one.to),
                    ("daemon_client", *name, to)
                );
                assert_eq!(one.path, Some(Path::Direct));
            }
            assert_eq!(bench.client.refused(), 0);
        }
    }
}

#[test]
fn inv_10_stale_results_are_counted_and_change_nothing() {
    let mut bench = Bench::connected();
    let before = *bench.client.state();
    for cell in ["open_stale", "close_stale", "received_stale"] {
        apply(&mut bench, cell);
    }
    assert_eq!(*bench.client.state(), before);
    assert_eq!(bench.client.stale_dropped(), 3);
}

#[test]
fn inv_12_a_connect_that_says_nothing_ends_after_15_s() {
    let mut bench = Bench::in_state("connecting");
    let limit = limits::CONNECT_DEADLINE;
    assert!(bench.advance(limit - Duration::from_millis(1)).is_empty());
    bench.advance(Duration::from_millis(1));
    assert_eq!(bench.client.state().reason(), Some(Reason::ConnectTimeout));
    assert!(bench.retry_in().is_some(), "and is tried again");
}

#[test]
fn dc_reasons_that_retrying_cannot_help_arm_no_retry_yet_a_request_connects() {
    for reason in Reason::ALL {
        let mut bench = Bench::disconnected(*reason);
        assert_eq!(
            bench.retry_in().is_some(),
            reason.is_recoverable(),
            "{reason}"
        );
        if !reason.is_recoverable() {
            assert!(bench.feed(Input::CheckLiveness).is_empty(), "{reason}");
            assert!(bench.feed(Input::Foreground).is_empty(), "{reason}");
        }
        bench.feed(Input::ConnectRequest);
        assert_eq!(bench.client.state().name(), "connecting");
    }
}

#[test]
fn dc_pauses_grow_and_are_forgotten_after_10_s_connected() {
    let most_pause = |failures: u32| {
        (0..200)
            .map(|seed| {
                let mut bench = Bench::with(ClientConfig::new(Path::Relay, seed));
                bench.feed(Input::ConnectRequest);
                for _ in 0..failures {
                    bench.close(Reason::Unreachable, None);
                    bench.wait();
                }
                bench.close(Reason::Unreachable, None);
                bench.retry_in().unwrap()
            })
            .max()
            .unwrap()
    };
    assert!(most_pause(0) <= Duration::from_millis(250));
    assert!(most_pause(3) > Duration::from_secs(1));
    assert!(most_pause(12) <= Duration::from_secs(30));

    for (connected_for, least, most) in [(9_999, 250, 30_000), (10_000, 0, 250)] {
        let longest = (0..200)
            .map(|seed| {
                let mut bench = Bench::with(ClientConfig::new(Path::Relay, seed));
                bench.feed(Input::ConnectRequest);
                for _ in 0..9 {
                    bench.close(Reason::Unreachable, None);
                    bench.wait();
                }
                bench.open();
                bench.now = bench.now + Duration::from_millis(connected_for);
                bench.close(Reason::ConnectionLost, None);
                bench.retry_in().unwrap()
            })
            .max()
            .unwrap();
        let range = Duration::from_millis(least)..=Duration::from_millis(most);
        assert!(range.contains(&longest), "{connected_for}: {longest:?}");
    }
}

#[test]
fn dc_attempts_are_counted_from_the_last_connection() {
    let attempt = |bench: &Bench| match *bench.client.state() {
        State::Connecting { attempt, .. } => attempt,
        _ => 0,
    };
    let mut bench = Bench::in_state("connecting");
    for number in 1..4 {
        assert_eq!(attempt(&bench), number);
        bench.close(Reason::Unreachable, None);
        bench.wait();
    }
    bench.open();
    bench.close(Reason::ConnectionLost, None);
    bench.wait();
    assert_eq!(attempt(&bench), 1);
}

#[test]
fn dc_the_servers_retry_after_delays_the_next_attempt_within_bounds() {
    let mut bench = Bench::in_state("connecting");
    let asked = Duration::from_secs(40);
    bench.close(Reason::RateLimited, Some(asked));
    assert!(bench.retry_in().unwrap() >= asked);
    assert!(
        bench.feed(Input::Foreground).is_empty(),
        "the platform does not override it"
    );
    assert_eq!(bench.feed(Input::ConnectRequest).len(), 1, "the user does");

    bench.close(Reason::RateLimited, Some(Duration::MAX));
    let most = bench.client.config().most_retry_after;
    assert!(bench.retry_in().unwrap() <= most + most / 8);
}

#[test]
fn lesson_4_the_background_slows_retries_and_never_ends_them() {
    let mut bench = Bench::connected();
    bench.feed(Input::Background);
    assert_eq!(
        bench.client.state().name(),
        "connected",
        "the socket is kept"
    );
    bench.close(Reason::ServerRestarting, None);
    for _ in 0..20 {
        assert!(bench.retry_in().unwrap() >= Duration::from_secs(15));
        bench.wait();
        bench.close(Reason::Unreachable, None);
    }
    assert_eq!(
        bench.feed(Input::Foreground).len(),
        1,
        "the foreground retries now"
    );
}

#[test]
fn lesson_3_silence_is_noticed_with_pings_and_two_misses() {
    let mut bench = Bench::connected();
    assert!(
        bench
            .advance(HEARTBEAT - Duration::from_millis(1))
            .is_empty()
    );
    assert_eq!(
        bench.advance(Duration::from_millis(1)).len(),
        1,
        "a ping after the heartbeat"
    );
    assert_eq!(
        bench.advance(Duration::from_secs(2)).len(),
        1,
        "another after the first miss"
    );
    let effects: Vec<_> = bench
        .advance(Duration::from_secs(2))
        .iter()
        .map(short)
        .collect();
    assert_eq!(
        effects,
        ["end(heartbeat_timeout)", "close1(heartbeat_timeout)"]
    );
    assert!(bench.retry_in().is_some());
}

#[test]
fn lesson_16_any_received_byte_is_liveness() {
    let mut bench = Bench::connected();
    for _ in 0..50 {
        bench.advance(HEARTBEAT);
        bench.advance(Duration::from_millis(1_900));
        apply(&mut bench, "received_current");
    }
    assert_eq!(bench.client.state().name(), "connected");
    assert_eq!(bench.client.poll_timeout(), Some(bench.now + HEARTBEAT));
}

#[test]
fn lesson_3_a_network_change_pings_now_with_3_s_to_answer() {
    let mut bench = Bench::connected();
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.feed(Input::CheckLiveness).len(), 1);
    bench.advance(Duration::from_millis(1_500));
    assert!(
        bench.feed(Input::CheckLiveness).is_empty(),
        "doubts do not add time"
    );
    bench.advance(Duration::from_millis(1_500));
    assert_eq!(
        bench.client.state().reason(),
        Some(Reason::HeartbeatTimeout)
    );
}

#[test]
fn lesson_3_a_dial_begun_before_a_network_change_is_not_waited_for() {
    for event in [Input::NetworkChanged, Input::Foreground] {
        let mut bench = Bench::disconnected(Reason::ConnectionLost);
        bench.wait();
        let old = bench.client.generation();
        bench.advance(Duration::from_secs(14));
        let effects = bench.feed(event);
        let new = old.next();
        assert_eq!(
            effects.iter().map(short).collect::<Vec<_>>(),
            [format!("close{old}(closed_locally)"), format!("open{new}")]
        );
        let deadline = bench.now + limits::CONNECT_DEADLINE;
        let whole = State::Connecting {
            attempt: 1,
            deadline,
        };
        assert_eq!(*bench.client.state(), whole, "no failure, all of the time");
        // What the old dial comes to is of no interest, and costs no pause.
        bench.feed(Input::TransportClosed {
            generation: old,
            reason: Reason::Unreachable,
            retry_after: None,
        });
        assert_eq!(*bench.client.state(), whole);
        bench.open();
        assert_eq!(bench.client.state().name(), "connected");
    }
}

/// While a command streams, some of it is in the system's buffers when the network changes. It came over a path that is no more.
#[test]
fn lesson_3_what_was_under_way_before_a_network_change_is_no_answer() {
    let mut bench = Bench::connected();
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.feed(Input::CheckLiveness).len(), 1);
    for _ in 0..5 {
        bench.advance(Duration::from_millis(5));
        apply(&mut bench, "received_current");
    }
    assert_eq!(
        bench.advance(Duration::from_millis(75)).len(),
        1,
        "asked again, once"
    );
    bench.advance(Duration::from_millis(1_900));
    assert_eq!(
        bench.client.state().reason(),
        Some(Reason::HeartbeatTimeout)
    );
}

#[test]
fn lesson_16_a_peer_that_goes_on_talking_outlives_a_network_change() {
    let mut bench = Bench::connected();
    bench.feed(Input::CheckLiveness);
    apply(&mut bench, "received_current");
    bench.advance(Duration::from_millis(100));
    apply(&mut bench, "received_current");
    assert_eq!(bench.client.poll_timeout(), Some(bench.now + HEARTBEAT));
}

#[test]
fn lesson_3_a_check_never_gives_a_silent_peer_more_time_than_it_had() {
    let mut bench = Bench::connected();
    bench.advance(HEARTBEAT);
    bench.advance(Duration::from_secs(2));
    bench.advance(Duration::from_millis(500));
    assert_eq!(
        bench.feed(Input::CheckLiveness).len(),
        1,
        "asked again: it may be another network"
    );
    bench.advance(Duration::from_millis(1_500));
    assert_eq!(
        bench.client.state().reason(),
        Some(Reason::HeartbeatTimeout)
    );
}

#[test]
fn lesson_5_a_clock_that_jumped_asks_instead_of_expiring() {
    // Quiet, one ping missed, and an urgent check: none may end the connection on waking up.
    for before in 0..3 {
        let mut bench = Bench::connected();
        match before {
            0 => {}
            1 => {
                bench.advance(HEARTBEAT);
                bench.advance(Duration::from_secs(2));
            }
            _ => {
                bench.feed(Input::CheckLiveness);
            }
        }
        assert_eq!(
            bench.advance(Duration::from_secs(8 * 3_600)).len(),
            1,
            "{before}"
        );
        assert_eq!(bench.client.state().name(), "connected", "{before}");
        bench.advance(Duration::from_secs(3));
        assert_eq!(
            bench.client.state().reason(),
            Some(Reason::HeartbeatTimeout),
            "no answer within the urgent deadline is the end"
        );
    }
}

#[test]
fn inv_13_waiters_end_with_the_reason_and_only_where_there_was_a_connection() {
    for (state, ended) in [("connecting", 0), ("connected", 1)] {
        let mut bench = Bench::in_state(state);
        let effects = bench.close(Reason::CryptoFailed, None);
        let reason = Reason::CryptoFailed;
        assert_eq!(effects, vec![Effect::EndWaiters { reason }; ended]);
    }
}

#[test]
fn dc_a_candidate_is_tried_once_until_it_is_promoted() {
    let mut config = ClientConfig::new(Path::Direct, 1);
    config.auto_retry = false;
    let mut bench = Bench::with(config);
    bench.feed(Input::ConnectRequest);
    bench.open();
    bench.close(Reason::ConnectionLost, None);
    assert_eq!(bench.client.poll_timeout(), None);
    bench.transitions();
    bench.feed(Input::Promoted);
    assert!(
        bench.retry_in().is_some(),
        "promoted too late to see its end, it retries"
    );
    assert_eq!(bench.transitions().len(), 1);
    bench.wait();
    bench.close(Reason::Unreachable, None);
    assert!(bench.retry_in().is_some(), "and goes on");
    bench.wait();
    bench.close(Reason::DeviceRevoked, None);
    bench.feed(Input::Promoted);
    assert_eq!(bench.retry_in(), None, "but not where that cannot help");
}

#[test]
fn a_welcome_cannot_ask_for_a_ping_storm_or_for_no_pings() {
    for (asked, used) in [
        (Duration::from_nanos(1), Duration::from_millis(10)),
        (Duration::MAX, Duration::from_secs(60)),
        (Duration::ZERO, limits::HEARTBEAT),
    ] {
        let mut bench = Bench::in_state("connecting");
        let generation = bench.client.generation();
        bench.feed(Input::TransportOpen {
            generation,
            heartbeat: asked,
        });
        assert_eq!(bench.client.poll_timeout(), Some(bench.now + used));
    }
}

#[test]
fn inv_12_disposed_is_terminal() {
    let mut bench = Bench::in_state("disposed");
    for (cell, _) in TABLE {
        apply(&mut bench, cell);
        assert_eq!(*bench.client.state(), State::Disposed);
        assert_eq!(bench.client.poll_timeout(), None);
    }
}

#[test]
fn a_forbidden_pair_is_refused_and_counted() {
    let mut bench = Bench::in_state("disposed");
    let connected = State::Connected { since: bench.now };
    bench.client.set_state(connected, "test", None);
    assert_eq!(*bench.client.state(), State::Disposed);
    assert_eq!(bench.client.refused(), 1);
}
