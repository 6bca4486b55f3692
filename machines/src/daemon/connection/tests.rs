//! Tests of the connection machine: every cell of its table, and what a driver relies on.

use super::*;

fn at(millis: u64) -> MonotonicTime {
    MonotonicTime::from_millis(millis)
}

fn config() -> ConnectionConfig {
    ConnectionConfig {
        hello_deadline: Some(Duration::from_millis(1_000)),
        idle_timeout: Duration::from_millis(300_000),
        request_timeout: Duration::from_millis(60_000),
        max_pending: 3,
        closing_deadline: Duration::from_millis(2_000),
    }
}

fn new() -> Connection {
    Connection::new(Arc::new(config()), Path::Direct, at(0))
}

fn active() -> Connection {
    let mut it = new();
    it.handle(at(0), Input::HandshakeDone);
    log(&mut it);
    it
}

fn processing() -> (Connection, RequestSlot) {
    let mut it = active();
    let slot = admitted(&mut it, at(0));
    (it, slot)
}

fn idle() -> Connection {
    let (mut it, slot) = processing();
    assert!(it.finish_request(at(0), slot));
    it
}

fn closing() -> Connection {
    let mut it = active();
    let reason = Reason::ShuttingDown;
    it.handle(at(0), Input::Close { reason });
    log(&mut it);
    effects(&mut it);
    it
}

fn closed() -> Connection {
    let mut it = closing();
    it.handle(at(0), lost());
    log(&mut it);
    effects(&mut it);
    it
}

fn every_state() -> [(&'static str, Connection); 6] {
    [
        ("new", new()),
        ("active", active()),
        ("processing", processing().0),
        ("idle", idle()),
        ("closing", closing()),
        ("closed", closed()),
    ]
}

const fn lost() -> Input {
    Input::PeerClosed {
        reason: Reason::ConnectionLost,
    }
}

fn admitted(it: &mut Connection, now: MonotonicTime) -> RequestSlot {
    match it.start_request(now) {
        Admission::Admitted(slot) => slot,
        other => panic!("{other:?}"),
    }
}

fn effects(it: &mut Connection) -> Vec<Effect> {
    std::iter::from_fn(|| it.poll_effect()).collect()
}

fn log(it: &mut Connection) -> Vec<String> {
    std::iter::from_fn(|| it.poll_transition())
        .map(|t| {
            let reason = t.reason.map_or("-", Reason::as_str);
            format!("{} {}->{} {reason}", t.event, t.from, t.to)
        })
        .collect()
}

/// Feeds the input in every state and compares the log with the table.
fn row(input: Input, expected: [&str; 6]) {
    for ((name, mut it), expected) in every_state().into_iter().zip(expected) {
        assert_eq!(it.state().name(), name);
        it.handle(at(1), input);
        let log = log(&mut it).join(" | ");
        assert_eq!(log, expected, "{input:?} in {name}");
        assert_eq!(it.refused(), 0);
    }
}

#[test]
fn table_handshake_done() {
    row(
        Input::HandshakeDone,
        ["handshake_done new->active -", "", "", "", "", ""],
    );
}

#[test]
fn table_traffic() {
    row(Input::Received, [""; 6]);
    row(Input::Sent, [""; 6]);
    for (name, mut it) in every_state() {
        it.handle(at(7), Input::Received);
        assert_eq!((it.active_at(), it.received()), (at(7), 1), "{name}");
        it.handle(at(8), Input::Sent);
        assert_eq!((it.active_at(), it.received()), (at(8), 1), "{name}");
    }
}

#[test]
fn table_outbound_overflow() {
    row(
        Input::OutboundOverflow,
        [
            "outbound_overflow new->closing slow_consumer",
            "outbound_overflow active->closing slow_consumer",
            "outbound_overflow processing->closing slow_consumer",
            "outbound_overflow idle->closing slow_consumer",
            "",
            "",
        ],
    );
}

#[test]
fn table_close() {
    let reason = Reason::ServerRestarting;
    row(
        Input::Close { reason },
        [
            "close new->closing server_restarting",
            "close active->closing server_restarting",
            "close processing->closing server_restarting",
            "close idle->closing server_restarting",
            "",
            "",
        ],
    );
}

#[test]
fn table_peer_closed() {
    row(
        lost(),
        [
            "peer_closed new->closed connection_lost",
            "peer_closed active->closed connection_lost",
            "peer_closed processing->closed connection_lost",
            "peer_closed idle->closed connection_lost",
            "peer_closed closing->closed shutting_down",
            "",
        ],
    );
}

#[test]
fn table_requests() {
    for (name, mut it) in every_state() {
        let admission = it.start_request(at(1));
        let open = matches!(name, "active" | "processing" | "idle");
        assert_eq!(matches!(admission, Admission::Admitted(_)), open, "{name}");
        if !open {
            assert_eq!(admission, Admission::Refused, "{name}");
            assert_eq!(it.state().name(), name);
        }
    }
}

#[test]
fn table_timeouts() {
    let expected = [
        (
            "new",
            Some(1_000),
            "hello_deadline new->closing handshake_timeout",
        ),
        (
            "active",
            Some(300_000),
            "idle_deadline active->closing idle_timeout",
        ),
        ("processing", Some(60_000), ""),
        (
            "idle",
            Some(300_000),
            "idle_deadline idle->closing idle_timeout",
        ),
        (
            "closing",
            Some(2_000),
            "closing_deadline closing->closed shutting_down",
        ),
        ("closed", None, ""),
    ];
    for ((name, mut it), (_, due, line)) in every_state().into_iter().zip(expected) {
        assert_eq!(it.poll_timeout(), due.map(at), "{name}");
        let due = due.map_or(at(u64::MAX), at);
        it.handle_timeout(at(due.as_millis() - 1));
        assert_eq!(log(&mut it), [""; 0], "{name}: called early");
        it.handle_timeout(due);
        assert_eq!(log(&mut it).join(" | "), line, "{name}");
    }
}

#[test]
fn sv_4_requests_finish_in_any_order_and_states_follow() {
    let mut it = active();
    let slots: Vec<_> = (1..=3).map(|time| admitted(&mut it, at(time))).collect();
    assert_eq!(*it.state(), State::Processing { pending: 3 });
    assert_eq!(it.start_request(at(4)), Admission::Overloaded);
    assert_eq!(it.pending(), 3, "the one over the limit is not counted");
    for (number, slot) in [1, 0, 2].into_iter().enumerate() {
        assert!(it.finish_request(at(10), slots[slot]), "{number}");
    }
    assert_eq!(*it.state(), State::Idle { since: at(10) });
    assert!(!it.finish_request(at(11), slots[0]), "answered once");
    assert_eq!((it.stale(), it.requests()), (1, 3));
    assert_eq!(log(&mut it), [""; 0], "requests leave no records");
}

#[test]
fn sv_4_only_overdue_requests_time_out() {
    let mut it = active();
    let first = admitted(&mut it, at(0));
    let second = admitted(&mut it, at(0));
    let third = admitted(&mut it, at(500));
    assert!(it.finish_request(at(600), second));
    it.handle_timeout(at(60_000));
    assert_eq!(
        effects(&mut it),
        [Effect::RequestTimedOut { slot: first }],
        "the finished one is not mentioned"
    );
    assert!(!it.finish_request(at(60_001), first), "too late: not sent");
    assert_eq!(it.poll_timeout(), Some(at(60_500)));
    assert!(it.finish_request(at(60_400), third));
    assert_eq!(*it.state(), State::Idle { since: at(60_400) });
    it.handle_timeout(at(60_500));
    assert_eq!(effects(&mut it), []);
}

#[test]
fn sv_4_idle_time_begins_with_the_last_exchange() {
    let mut it = idle();
    it.handle(at(1_000), Input::Received);
    assert_eq!(it.poll_timeout(), Some(at(301_000)));
    it.handle(at(2_000), Input::Sent);
    it.handle_timeout(at(300_000));
    assert_eq!(it.state().name(), "idle", "an old timer fired");
    let slot = admitted(&mut it, at(290_000));
    assert_eq!(
        it.poll_timeout(),
        Some(at(350_000)),
        "never idle while it works"
    );
    assert!(it.finish_request(at(340_000), slot));
    assert_eq!(it.poll_timeout(), Some(at(640_000)));
    it.handle_timeout(at(640_000));
    assert_eq!(
        effects(&mut it),
        [Effect::BeginClose {
            reason: Reason::IdleTimeout
        }]
    );
}

#[test]
fn sv_4_zero_timeouts_are_never() {
    let config = ConnectionConfig {
        idle_timeout: Duration::ZERO,
        request_timeout: Duration::ZERO,
        ..ConnectionConfig::local()
    };
    let mut it = Connection::new(Arc::new(config), Path::Local, at(0));
    assert_eq!(
        *it.state(),
        State::Active,
        "a local socket has no handshake"
    );
    assert_eq!(it.poll_timeout(), None);
    let slot = admitted(&mut it, at(0));
    assert_eq!(it.poll_timeout(), None);
    it.handle_timeout(at(u64::MAX));
    assert!(it.finish_request(at(0), slot));
}

#[test]
fn ls_5_a_machine_that_slept_closes_nothing() {
    let night = 8 * 3_600_000;
    let mut it = idle();
    it.handle_timeout(at(night));
    assert_eq!(it.state().name(), "idle");
    assert_eq!(it.poll_timeout(), Some(at(night + 300_000)));

    let (mut it, slot) = processing();
    it.handle_timeout(at(night));
    assert_eq!(effects(&mut it), []);
    assert_eq!(it.poll_timeout(), Some(at(night + 60_000)));
    it.handle_timeout(at(night + 60_000));
    assert_eq!(effects(&mut it), [Effect::RequestTimedOut { slot }]);
}

#[test]
fn ls_19_a_slow_client_loses_its_own_connection_at_once() {
    let (mut it, slot) = processing();
    it.handle(at(5), Input::OutboundOverflow);
    assert_eq!(
        effects(&mut it),
        [Effect::BeginClose {
            reason: Reason::SlowConsumer
        }]
    );
    assert!(
        !it.finish_request(at(6), slot),
        "nothing more is queued for it"
    );
    assert_eq!(it.pending(), 0);
    it.handle_timeout(at(2_005));
    assert_eq!(
        effects(&mut it),
        [Effect::Terminate {
            reason: Reason::SlowConsumer
        }]
    );
}

#[test]
fn inv_12_a_peer_that_never_says_hello_is_closed_and_dropped() {
    let mut it = new();
    let mut calls = 0;
    while let Some(due) = it.poll_timeout() {
        it.handle_timeout(due);
        calls += 1;
    }
    assert!(it.is_closed());
    assert_eq!(calls, 2);
    assert_eq!(
        log(&mut it),
        [
            "hello_deadline new->closing handshake_timeout",
            "closing_deadline closing->closed handshake_timeout"
        ]
    );
}

#[test]
fn ls_20_a_thousand_requests_leave_nothing_behind() {
    let mut it = active();
    let slow = admitted(&mut it, at(0));
    for time in 0..1_000 {
        let slot = admitted(&mut it, at(time));
        assert!(it.finish_request(at(time), slot));
    }
    assert_eq!(it.pending(), 1, "the slow one holds nothing up");
    assert!(it.finish_request(at(1_000), slow));
    assert_eq!((it.requests(), it.stale()), (1_001, 0));
}

#[test]
fn an_idle_connection_is_small() {
    let size = size_of::<Connection>();
    assert!(size <= 160, "{size}");
}
