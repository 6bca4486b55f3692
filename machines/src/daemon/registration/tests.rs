//! The registration's transition table, cell by cell, and the rules of its control socket.

mod data_sockets;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bowline_protocol::{DaemonIdentity, PublicKey, Reason, RouteKey};

use super::{DataSocketEnd, DataSocketId, Effect, Input, RelayConfig, RelayRegistration, State};
use crate::{Generation, MonotonicTime, prng::SplitMix64};

const HEARTBEAT: Duration = Duration::from_secs(4);

fn route(n: u8) -> RouteKey {
    let identity = DaemonIdentity::from_seed([1; 32]).unwrap();
    RouteKey::of_device(&PublicKey::from_bytes([n; 32]), identity.server_id())
}

/// A registration and its clock.
struct Bench {
    registration: RelayRegistration,
    now: MonotonicTime,
}

impl Bench {
    fn idle() -> Self {
        Self::with(RelayConfig::new(1))
    }

    fn with(config: RelayConfig) -> Self {
        Self {
            registration: RelayRegistration::new(config),
            now: MonotonicTime::from_millis(1_000),
        }
    }

    fn connecting() -> Self {
        let mut bench = Self::idle();
        bench.feed(Input::Start);
        bench
    }

    fn registered() -> Self {
        let mut bench = Self::connecting();
        bench.register();
        bench
    }

    fn waiting() -> Self {
        let mut bench = Self::connecting();
        bench.end(Reason::Unreachable);
        bench
    }

    fn stopped() -> Self {
        let mut bench = Self::idle();
        let reason = Reason::ShuttingDown;
        bench.feed(Input::Stop { reason });
        bench
    }

    fn feed(&mut self, input: Input) -> Vec<Effect> {
        self.registration.handle(self.now, input);
        self.effects()
    }

    fn effects(&mut self) -> Vec<Effect> {
        assert_eq!(self.registration.refused(), 0);
        std::iter::from_fn(|| self.registration.poll_effect()).collect()
    }

    /// Advances to the next deadline.
    fn timer(&mut self) -> Vec<Effect> {
        self.now = self.registration.poll_timeout().expect("a deadline");
        self.registration.handle_timeout(self.now);
        self.effects()
    }

    fn generation(&self) -> Generation {
        self.registration.generation()
    }

    fn register(&mut self) -> Vec<Effect> {
        let generation = self.generation();
        let heartbeat = HEARTBEAT;
        let effects = self.feed(Input::Registered {
            generation,
            heartbeat,
        });
        let told =
            |effect: &Effect| matches!(effect, Effect::TellDevices { .. } | Effect::HurryOthers);
        assert!(effects.iter().all(told), "{effects:?}");
        assert_eq!(self.registration.state().name(), "registered");
        effects
    }

    fn end(&mut self, reason: Reason) -> Vec<Effect> {
        let generation = self.generation();
        self.feed(Input::Ended {
            generation,
            reason,
            retry_after: None,
        })
    }

    /// Registers again.
    fn come_back(&mut self) {
        while self.registration.state().name() != "connecting" {
            self.timer();
        }
        self.register();
    }

    fn sync(&mut self, sessions: &[u8]) -> Vec<Effect> {
        let generation = self.generation();
        let sessions = sessions.iter().copied().map(route).collect();
        self.feed(Input::Sync {
            generation,
            sessions,
        })
    }

    fn opened(&mut self, session: u8) -> Vec<Effect> {
        let (generation, session) = (self.generation(), route(session));
        self.feed(Input::SessionOpened {
            generation,
            session,
        })
    }

    fn closed(&mut self, session: u8) -> Vec<Effect> {
        let (generation, session) = (self.generation(), route(session));
        self.feed(Input::SessionClosed {
            generation,
            session,
        })
    }

    /// A session with an open data socket.
    fn socket(&mut self, session: u8) -> DataSocketId {
        let effects = self.opened(session);
        let socket = dialled(&effects, session);
        assert_eq!(self.feed(Input::DataOpened { socket }), []);
        socket
    }

    fn gone(&mut self, socket: DataSocketId) -> Vec<Effect> {
        let end = DataSocketEnd::Gone;
        self.feed(Input::DataEnded { socket, end })
    }

    fn lost(&mut self, socket: DataSocketId) -> Vec<Effect> {
        let end = DataSocketEnd::Lost {
            reason: Reason::ConnectionLost,
            retry_after: None,
        };
        self.feed(Input::DataEnded { socket, end })
    }
}

/// The only data socket dialled, which must be for `session`.
fn dialled(effects: &[Effect], session: u8) -> DataSocketId {
    match effects {
        [
            Effect::OpenData {
                socket,
                session: of,
                ..
            },
        ] => {
            assert_eq!(*of, route(session));
            *socket
        }
        other => panic!("not one data socket: {other:?}"),
    }
}

fn inputs(generation: Generation) -> Vec<Input> {
    let reason = Reason::ConnectionLost;
    vec![
        Input::Start,
        Input::Challenged { generation },
        Input::Registered {
            generation,
            heartbeat: HEARTBEAT,
        },
        Input::Received { generation },
        Input::Ended {
            generation,
            reason,
            retry_after: None,
        },
        Input::Sync {
            generation,
            sessions: vec![route(1)],
        },
        Input::SessionOpened {
            generation,
            session: route(1),
        },
        Input::SessionClosed {
            generation,
            session: route(1),
        },
        Input::DataOpened {
            socket: DataSocketId(9),
        },
        Input::DataEnded {
            socket: DataSocketId(9),
            end: DataSocketEnd::Gone,
        },
        Input::Stop { reason },
    ]
}

/// A state, how to reach it, and the result of each input.
type Row = (&'static str, fn() -> Bench, [&'static str; 11]);

#[test]
fn every_cell_of_the_table() {
    let rows: [Row; 5] = [
        (
            "idle",
            Bench::idle,
            [
                "connecting",
                "idle",
                "idle",
                "idle",
                "idle",
                "idle",
                "idle",
                "idle",
                "idle",
                "idle",
                "stopped",
            ],
        ),
        (
            "connecting",
            Bench::connecting,
            [
                "connecting",
                "connecting",
                "registered",
                "connecting",
                "waiting",
                // Out of order, a violation of the protocol.
                "waiting",
                "waiting",
                "waiting",
                "connecting",
                "connecting",
                "stopped",
            ],
        ),
        (
            "registered",
            Bench::registered,
            [
                "registered",
                "waiting",
                "waiting",
                "registered",
                "waiting",
                "registered",
                "registered",
                "registered",
                "registered",
                "registered",
                "stopped",
            ],
        ),
        (
            "waiting",
            Bench::waiting,
            [
                "waiting", "waiting", "waiting", "waiting", "waiting", "waiting", "waiting",
                "waiting", "waiting", "waiting", "stopped",
            ],
        ),
        ("stopped", Bench::stopped, ["stopped"; 11]),
    ];
    for (from, bench, to) in rows {
        let generation = bench().generation();
        for (input, to) in inputs(generation).into_iter().zip(to) {
            let mut bench = bench();
            assert_eq!(bench.registration.state().name(), from);
            bench.feed(input.clone());
            assert_eq!(
                bench.registration.state().name(),
                to,
                "{from} with {input:?}"
            );
        }
    }
}

#[test]
fn rl_5_a_challenge_is_answered_once_and_only_before_the_registration() {
    let mut bench = Bench::connecting();
    let generation = bench.generation();
    assert_eq!(
        bench.feed(Input::Challenged { generation }),
        [Effect::Answer]
    );
    bench.register();
    let reason = Reason::BadRequest;
    assert_eq!(
        bench.feed(Input::Challenged { generation }),
        [Effect::Disconnect { reason }]
    );
}

#[test]
fn inv_10_news_of_an_earlier_control_socket_changes_nothing() {
    let mut bench = Bench::registered();
    let earlier = bench.generation();
    bench.end(Reason::ConnectionLost);
    bench.come_back();
    let stale = bench.registration.stale();
    for input in inputs(earlier).into_iter().skip(1).take(9) {
        assert_eq!(bench.feed(input), []);
    }
    assert_eq!(bench.registration.stale(), stale + 9);
    assert_eq!(bench.registration.state().name(), "registered");
    assert_eq!(bench.registration.sessions(), 0);
}

#[test]
fn inv_12_no_state_but_the_first_and_the_last_is_without_a_deadline() {
    for bench in [Bench::connecting(), Bench::registered(), Bench::waiting()] {
        assert!(
            bench.registration.poll_timeout().is_some(),
            "{:?}",
            bench.registration.state()
        );
    }
    let mut bench = Bench::stopped();
    assert_eq!(bench.feed(Input::Start), []);
    assert_eq!(*bench.registration.state(), State::Stopped);
    assert_eq!(bench.registration.poll_timeout(), None);
}

#[test]
fn a_registration_that_does_not_come_is_given_up_and_tried_again() {
    let mut bench = Bench::connecting();
    let reason = Reason::HandshakeTimeout;
    assert_eq!(bench.timer(), [Effect::Disconnect { reason }]);
    assert!(matches!(bench.timer()[..], [Effect::Connect { .. }]));
    assert_eq!(bench.generation(), Generation::new(2));
}

#[test]
fn ls_3_a_half_open_control_socket_is_found_within_two_heartbeats() {
    let mut bench = Bench::registered();
    let since = bench.now;
    assert_eq!(bench.timer(), [Effect::Ping]);
    let reason = Reason::HeartbeatTimeout;
    assert_eq!(bench.timer(), [Effect::Disconnect { reason }]);
    assert_eq!(bench.now.since(since), 2 * HEARTBEAT);
    assert!(matches!(
        bench.registration.state(),
        State::Waiting {
            reason: Reason::HeartbeatTimeout,
            ..
        }
    ));
}

#[test]
fn ls_16_whatever_is_heard_keeps_the_registration() {
    let mut bench = Bench::registered();
    for _ in 0..10 {
        assert_eq!(bench.timer(), [Effect::Ping]);
        let generation = bench.generation();
        bench.feed(Input::Received { generation });
    }
    assert_eq!(bench.registration.state().name(), "registered");
}

#[test]
fn ls_5_a_daemon_that_slept_asks_before_it_gives_a_relay_up() {
    let mut bench = Bench::registered();
    bench.timer();
    bench.now = bench.now + Duration::from_secs(3_600);
    bench.registration.handle_timeout(bench.now);
    assert_eq!(bench.effects(), [Effect::Ping]);
}

#[test]
fn retry_after_is_honoured_and_nothing_is_final() {
    let mut bench = Bench::connecting();
    let generation = bench.generation();
    let before = bench.now;
    bench.feed(Input::Ended {
        generation,
        reason: Reason::RateLimited,
        retry_after: Some(Duration::from_secs(20)),
    });
    bench.timer();
    assert!(bench.now.since(before) >= Duration::from_secs(20));
    for reason in Reason::ALL {
        let mut bench = Bench::connecting();
        bench.end(*reason);
        assert!(
            matches!(bench.timer()[..], [Effect::Connect { .. }]),
            "{reason}"
        );
        let pause = bench.now.since(before);
        assert!(
            pause <= RelayConfig::new(0).contested.base,
            "{reason}: {pause:?}"
        );
    }
}

/// BX-2: a network that comes and goes for minutes, so that no registration lasts.
#[test]
fn bx_2_a_daemon_tries_again_within_a_second_of_the_end_of_a_storm() {
    for seed in 0..200 {
        let mut bench = Bench::with(RelayConfig::new(seed));
        let mut random = SplitMix64::new(seed);
        bench.feed(Input::Start);
        let (mut tries, end) = (0, bench.now + Duration::from_secs(60));
        while bench.now < end {
            if bench.registration.state().name() == "waiting" {
                bench.timer();
            }
            tries += 1;
            if random.next_u64().is_multiple_of(3) || tries % 10 == 0 {
                bench.register();
            }
            bench.now = bench.now + random.between(Duration::ZERO, Duration::from_millis(500));
            bench.end(Reason::ConnectionLost);
        }
        let health = bench.now;
        assert!(matches!(bench.timer()[..], [Effect::Connect { .. }]));
        let took = bench.now.since(health);
        assert!(took <= Duration::from_secs(1), "seed {seed}: {took:?}");
    }
}

#[test]
fn case_c52_a_hurry_ends_a_pause_now_and_then_but_not_one_that_the_relay_asked_for() {
    let mut bench = Bench::connecting();
    for _ in 0..40 {
        bench.end(Reason::Unreachable);
        bench.timer();
    }
    bench.end(Reason::Unreachable);
    assert!(bench.registration.failures() > 40);
    let connects = |effects: Vec<Effect>| matches!(effects[..], [Effect::Connect { .. }]);
    assert!(connects(bench.feed(Input::Hurry)));
    bench.end(Reason::Unreachable);
    assert_eq!(bench.feed(Input::Hurry), [], "once in a while");
    bench.now = bench.now + RelayConfig::new(0).between_hurries;
    assert!(connects(bench.feed(Input::Hurry)));
    let (generation, retry_after) = (bench.generation(), Some(Duration::from_secs(600)));
    let reason = Reason::RateLimited;
    bench.feed(Input::Ended {
        generation,
        reason,
        retry_after,
    });
    bench.now = bench.now + Duration::from_secs(599);
    assert_eq!(bench.feed(Input::Hurry), []);
}

#[test]
fn the_end_ends_the_control_socket_and_leaves_data_sockets_to_finish() {
    let mut bench = Bench::registered();
    let socket = bench.socket(1);
    let reason = Reason::ServerRestarting;
    assert_eq!(
        bench.feed(Input::Stop { reason }),
        [Effect::Disconnect { reason }]
    );
    assert_eq!(bench.lost(socket), []);
}

#[test]
fn tr_10_the_relay_is_told_of_the_devices_once_registered_and_of_every_change() {
    let known = |n: u8| Arc::new((1..=n).map(route).collect::<BTreeSet<_>>());
    let mut bench = Bench::connecting();
    assert_eq!(bench.feed(Input::Known { routes: known(1) }), []);
    let told = |n| vec![Effect::TellDevices { routes: known(n) }];
    assert_eq!(bench.register(), told(1));
    assert_eq!(bench.feed(Input::Known { routes: known(2) }), told(2));
    bench.end(Reason::ConnectionLost);
    assert_eq!(bench.feed(Input::Known { routes: known(3) }), []);
    bench.timer();
    assert_eq!(bench.register(), told(3));
}

#[test]
fn a_registration_after_several_attempts_hurries_those_with_other_relays() {
    let mut bench = Bench::waiting();
    bench.timer();
    assert_eq!(bench.register(), [], "the relay was away, not the network");
    for _ in 0..2 {
        bench.end(Reason::ConnectionLost);
        bench.timer();
    }
    assert_eq!(bench.register(), [Effect::HurryOthers]);
    bench.end(Reason::ConnectionLost);
    bench.timer();
    assert_eq!(bench.register(), [], "once");
}
