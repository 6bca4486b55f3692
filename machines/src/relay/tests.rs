//! The link's table, cell by cell, and its rules about data sockets.

use std::time::Duration;

use bowline_protocol::{ClientSessionKey, DaemonIdentity, Reason, RouteKey};

use super::{Effect, Input, PeerEnd, PeerId, RelayConfig, RelayLink, State};
use crate::{Generation, Moment};

const HEARTBEAT: Duration = Duration::from_secs(4);

fn route(n: u8) -> RouteKey {
    let identity = DaemonIdentity::from_seed([1; 32]).unwrap();
    ClientSessionKey::from_random([n; 16]).route_key(identity.server_id())
}

/// A link and its clock.
struct Bench {
    link: RelayLink,
    now: Moment,
}

impl Bench {
    fn idle() -> Self {
        Self::with(RelayConfig::new(1))
    }

    fn with(config: RelayConfig) -> Self {
        Self {
            link: RelayLink::new(config),
            now: Moment::from_millis(1_000),
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
        self.link.handle(self.now, input);
        self.effects()
    }

    fn effects(&mut self) -> Vec<Effect> {
        assert_eq!(self.link.refused(), 0);
        std::iter::from_fn(|| self.link.poll_effect()).collect()
    }

    /// Lets time pass to the next deadline.
    fn timer(&mut self) -> Vec<Effect> {
        self.now = self.link.poll_timeout().expect("a deadline");
        self.link.handle_timeout(self.now);
        self.effects()
    }

    fn generation(&self) -> Generation {
        self.link.generation()
    }

    fn register(&mut self) {
        let generation = self.generation();
        let heartbeat = HEARTBEAT;
        let effects = self.feed(Input::Registered {
            generation,
            heartbeat,
        });
        assert_eq!(effects, []);
        assert_eq!(self.link.state().name(), "registered");
    }

    fn end(&mut self, reason: Reason) -> Vec<Effect> {
        let generation = self.generation();
        self.feed(Input::Ended {
            generation,
            reason,
            retry_after: None,
        })
    }

    /// On to the next registration.
    fn come_back(&mut self) {
        while self.link.state().name() != "connecting" {
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

    /// A session whose data socket is there.
    fn peer(&mut self, session: u8) -> PeerId {
        let effects = self.opened(session);
        let peer = dialled(&effects, session);
        assert_eq!(self.feed(Input::PeerOpened { peer }), []);
        peer
    }

    fn gone(&mut self, peer: PeerId) -> Vec<Effect> {
        let end = PeerEnd::Gone;
        self.feed(Input::PeerEnded { peer, end })
    }

    fn lost(&mut self, peer: PeerId) -> Vec<Effect> {
        let end = PeerEnd::Lost {
            reason: Reason::ConnectionLost,
            retry_after: None,
        };
        self.feed(Input::PeerEnded { peer, end })
    }
}

/// The one data socket dialled, which must be for that session.
fn dialled(effects: &[Effect], session: u8) -> PeerId {
    match effects {
        [Effect::OpenPeer { peer, session: of }] => {
            assert_eq!(*of, route(session));
            *peer
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
        Input::Heard { generation },
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
        Input::PeerOpened { peer: PeerId(9) },
        Input::PeerEnded {
            peer: PeerId(9),
            end: PeerEnd::Gone,
        },
        Input::Stop { reason },
    ]
}

/// A state, how to come there, and where each input leads.
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
                // Out of order: not a relay that we know.
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
            assert_eq!(bench.link.state().name(), from);
            bench.feed(input.clone());
            assert_eq!(bench.link.state().name(), to, "{from} with {input:?}");
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
    let stale = bench.link.stale();
    for input in inputs(earlier).into_iter().skip(1).take(9) {
        assert_eq!(bench.feed(input), []);
    }
    assert_eq!(bench.link.stale(), stale + 9);
    assert_eq!(bench.link.state().name(), "registered");
    assert_eq!(bench.link.sessions(), 0);
}

#[test]
fn inv_12_no_state_but_the_first_and_the_last_is_without_a_deadline() {
    for bench in [Bench::connecting(), Bench::registered(), Bench::waiting()] {
        assert!(
            bench.link.poll_timeout().is_some(),
            "{:?}",
            bench.link.state()
        );
    }
    let mut bench = Bench::stopped();
    assert_eq!(bench.feed(Input::Start), []);
    assert_eq!(*bench.link.state(), State::Stopped);
    assert_eq!(bench.link.poll_timeout(), None);
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
fn lesson_3_a_half_open_control_socket_is_found_within_two_heartbeats() {
    let mut bench = Bench::registered();
    let since = bench.now;
    assert_eq!(bench.timer(), [Effect::Ping]);
    let reason = Reason::HeartbeatTimeout;
    assert_eq!(bench.timer(), [Effect::Disconnect { reason }]);
    assert_eq!(bench.now.since(since), 2 * HEARTBEAT);
    assert!(matches!(
        bench.link.state(),
        State::Waiting {
            reason: Reason::HeartbeatTimeout,
            ..
        }
    ));
}

#[test]
fn lesson_16_whatever_is_heard_keeps_the_registration() {
    let mut bench = Bench::registered();
    for _ in 0..10 {
        assert_eq!(bench.timer(), [Effect::Ping]);
        let generation = bench.generation();
        bench.feed(Input::Heard { generation });
    }
    assert_eq!(bench.link.state().name(), "registered");
}

#[test]
fn lesson_5_a_daemon_that_slept_asks_before_it_gives_a_relay_up() {
    let mut bench = Bench::registered();
    bench.timer();
    bench.now = bench.now + Duration::from_secs(3_600);
    bench.link.handle_timeout(bench.now);
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

#[test]
fn case_c52_a_hurry_ends_a_pause_now_and_then_but_not_one_that_the_relay_asked_for() {
    let mut bench = Bench::connecting();
    for _ in 0..40 {
        bench.end(Reason::Unreachable);
        bench.timer();
    }
    bench.end(Reason::Unreachable);
    assert!(bench.link.failures() > 40);
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
fn rl_3_a_session_has_one_data_socket_however_often_it_is_announced() {
    let mut bench = Bench::registered();
    let effects = bench.sync(&[1]);
    let peer = dialled(&effects, 1);
    assert_eq!(bench.opened(1), [], "while it is dialled");
    bench.feed(Input::PeerOpened { peer });
    assert_eq!(bench.opened(1), [], "and while it is there");
    assert_eq!(bench.sync(&[1]), [Effect::CheckPeer { peer }]);
    assert_eq!(bench.link.peers(), 1);
}

#[test]
fn a_session_announced_again_before_its_end_was_heard_gets_a_new_data_socket() {
    let mut bench = Bench::registered();
    let peer = bench.peer(1);
    bench.opened(1);
    let effects = bench.gone(peer);
    let next = dialled(&effects, 1);
    assert_ne!(next, peer);
    // But once only: the announcement is used up.
    assert_eq!(bench.gone(next), []);
    assert_eq!(bench.link.sessions(), 0);
}

#[test]
fn sync_is_the_whole_truth_and_data_sockets_outlive_a_registration() {
    let mut bench = Bench::registered();
    let (kept, over) = (bench.peer(1), bench.peer(2));
    bench.end(Reason::ConnectionLost);
    assert_eq!(bench.link.peers(), 2);
    bench.come_back();
    let effects = bench.sync(&[1, 3]);
    assert_eq!(effects.len(), 2, "{effects:?}");
    assert!(effects.contains(&Effect::CheckPeer { peer: kept }));
    assert!(
        effects.iter().any(
            |effect| matches!(effect, Effect::OpenPeer { session, .. } if *session == route(3))
        )
    );
    assert_eq!(bench.link.sessions(), 2);
    // The one that is over may finish, and not for ever.
    assert_eq!(bench.timer(), [Effect::Ping]);
    let generation = bench.generation();
    bench.feed(Input::Heard { generation });
    assert_eq!(bench.timer(), [Effect::ClosePeer { peer: over }]);
}

#[test]
fn a_closed_session_finishes_and_its_successor_does_not_wait_for_that() {
    let mut bench = Bench::registered();
    let peer = bench.peer(1);
    assert_eq!(bench.closed(1), []);
    assert_eq!((bench.link.sessions(), bench.link.peers()), (0, 1));
    let effects = bench.opened(1);
    let next = dialled(&effects, 1);
    assert_ne!(next, peer);
    assert_eq!(
        bench.gone(peer),
        [],
        "the end of the earlier one is its own"
    );
    assert_eq!((bench.link.sessions(), bench.link.peers()), (1, 1));
}

#[test]
fn rl_3_a_dial_for_a_session_that_is_over_is_given_up_lest_it_replace_its_successor() {
    let mut bench = Bench::registered();
    let effects = bench.opened(1);
    let peer = dialled(&effects, 1);
    assert_eq!(bench.closed(1), [Effect::ClosePeer { peer }]);
    let effects = bench.opened(1);
    assert_ne!(dialled(&effects, 1), peer);
    assert_eq!(bench.feed(Input::PeerOpened { peer }), [], "it is no more");
    assert_eq!((bench.link.sessions(), bench.link.peers()), (1, 1));
}

#[test]
fn rl_3_a_data_socket_that_another_of_ours_replaced_is_back_soon() {
    let mut bench = Bench::registered();
    let peer = bench.peer(1);
    let lost = bench.now;
    let end = PeerEnd::Lost {
        reason: Reason::Replaced,
        retry_after: None,
    };
    bench.feed(Input::PeerEnded { peer, end });
    let effects = bench.timer();
    dialled(&effects, 1);
    assert!(bench.now.since(lost) < RelayConfig::new(0).backoff.cap / 4);
}

#[test]
fn a_lost_data_socket_is_dialled_again_and_a_gone_one_is_not() {
    let mut bench = Bench::registered();
    let peer = bench.peer(1);
    assert_eq!(bench.lost(peer), []);
    let effects = bench.timer();
    let next = dialled(&effects, 1);
    bench.gone(next);
    assert_eq!(bench.link.sessions(), 0);
}

#[test]
fn a_data_socket_lost_without_a_registration_waits_for_sync() {
    let mut bench = Bench::registered();
    let peer = bench.peer(1);
    bench.end(Reason::ConnectionLost);
    bench.lost(peer);
    assert_eq!(bench.link.peers(), 0);
    bench.come_back();
    let effects = bench.sync(&[1]);
    dialled(&effects, 1);
}

#[test]
fn lesson_6_a_data_socket_that_does_not_open_is_given_up() {
    let mut bench = Bench::registered();
    let effects = bench.opened(1);
    let peer = dialled(&effects, 1);
    let open_deadline = RelayConfig::new(0).open_deadline;
    let since = bench.now;
    let mut effects = Vec::new();
    while bench.now.since(since) < open_deadline {
        effects = bench.timer();
        let generation = bench.generation();
        bench.feed(Input::Heard { generation });
    }
    assert_eq!(effects, [Effect::ClosePeer { peer }]);
    assert_eq!(bench.feed(Input::PeerOpened { peer }), [], "too late");
    assert_eq!(bench.link.sessions(), 1, "the relay still counts it");
}

#[test]
fn rl_4_a_relay_cannot_make_sessions_pile_up() {
    let mut bench = Bench::with(RelayConfig {
        most_sessions: 3,
        ..RelayConfig::new(1)
    });
    bench.feed(Input::Start);
    bench.register();
    assert_eq!(bench.sync(&[1, 2, 3, 4, 5]).len(), 3);
    for n in 0..200 {
        for effect in bench.opened(n) {
            if let Effect::OpenPeer { peer, .. } = effect {
                bench.feed(Input::PeerOpened { peer });
            }
        }
        bench.closed(n);
        assert!(bench.link.peers() <= 3 && bench.link.sessions() <= 3);
    }
    assert!(bench.link.over_limit() > 100);
}

#[test]
fn the_end_ends_the_control_socket_and_leaves_peers_to_finish() {
    let mut bench = Bench::registered();
    let peer = bench.peer(1);
    let reason = Reason::ServerRestarting;
    assert_eq!(
        bench.feed(Input::Stop { reason }),
        [Effect::Disconnect { reason }]
    );
    assert_eq!(bench.lost(peer), []);
}
