//! Tests of the session machine: every cell of its table, and what a driver relies on.

use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn at(millis: u64) -> MonotonicTime {
    MonotonicTime::from_millis(millis)
}

fn epoch(name: &str) -> Epoch {
    name.parse().unwrap()
}

fn window(first_seq: u64, next_seq: u64) -> ReplayWindow {
    ReplayWindow {
        epoch: epoch("ep_1"),
        first_seq,
        next_seq,
        shared_to: next_seq,
    }
}

fn resume(name: &str, last_seq: u64) -> Resume {
    Resume {
        epoch: epoch(name),
        last_seq,
        stamp: None,
    }
}

fn attach(connection: u64) -> Input {
    Input::Attach {
        connection: ConnectionId(connection),
        path: Path::Direct,
    }
}

fn detach(connection: u64) -> Input {
    Input::Detach {
        connection: ConnectionId(connection),
        reason: Reason::ConnectionLost,
    }
}

fn activity(connection: u64) -> Input {
    Input::Activity {
        connection: ConnectionId(connection),
    }
}

fn close(connection: u64, reason: Reason) -> Effect {
    Effect::Close {
        connection: ConnectionId(connection),
        reason,
    }
}

fn effects(session: &mut Session) -> Vec<Effect> {
    std::iter::from_fn(|| session.poll_effect()).collect()
}

fn log(session: &mut Session) -> Vec<String> {
    std::iter::from_fn(|| session.poll_transition())
        .map(|t| format!("{} {}->{}", t.event, t.from, t.to))
        .collect()
}

fn ids(session: &Session) -> Vec<u64> {
    session.connections().iter().map(|link| link.id.0).collect()
}

fn session() -> Session {
    Session::new(SessionConfig::default(), at(0))
}

fn attached(connections: &[u64]) -> Session {
    let mut session = session();
    for id in connections {
        session.handle(at(0), attach(*id));
    }
    log(&mut session);
    session
}

fn expired() -> Session {
    let mut session = session();
    session.handle(at(0), Input::Revoke);
    effects(&mut session);
    log(&mut session);
    session
}

/// Fires every timer on time until `end`.
fn run_until(session: &mut Session, end: MonotonicTime) {
    while let Some(due) = session.poll_timeout().filter(|due| *due <= end) {
        session.handle_timeout(due);
    }
}

#[test]
fn table_detached() {
    let mut it = session();
    it.handle(at(5), attach(1));
    assert_eq!(log(&mut it), ["attach detached->attached"]);
    assert_eq!(ids(&it), [1]);

    for stale in [activity(1), detach(1)] {
        let mut it = session();
        it.handle(at(5), stale);
        assert_eq!((it.stale(), it.state().name()), (1, "detached"));
        assert_eq!(log(&mut it), [""; 0]);
    }

    let mut it = session();
    it.handle(at(5), Input::Revoke);
    assert_eq!(effects(&mut it), [Effect::Expire]);
    assert_eq!(log(&mut it), ["revoke detached->expired"]);
}

#[test]
fn table_attached() {
    let mut it = attached(&[1]);
    it.handle(at(5), attach(2));
    assert_eq!(log(&mut it), ["attach attached->attached"]);
    it.handle(at(6), activity(1));
    assert_eq!(it.connections()[0].active_at, at(6));
    assert_eq!(log(&mut it), [""; 0]);
    it.handle(at(7), detach(1));
    assert_eq!(log(&mut it), ["detach attached->attached"]);
    it.handle(at(8), detach(2));
    assert_eq!(log(&mut it), ["detach attached->detached"]);
    assert_eq!(it.detached_since(), Some(at(8)));
    assert_eq!(effects(&mut it), []);

    let mut it = attached(&[1, 2]);
    it.handle(at(5), Input::Revoke);
    assert_eq!(
        effects(&mut it),
        [
            close(1, Reason::DeviceRevoked),
            close(2, Reason::DeviceRevoked),
            Effect::Expire
        ]
    );
    assert_eq!(log(&mut it), ["revoke attached->expired"]);

    let mut it = attached(&[1]);
    it.handle_timeout(at(u64::MAX));
    assert_eq!(it.state().name(), "attached", "a held session has no timer");
}

#[test]
fn inv_12_expired_is_terminal() {
    for input in [attach(1), activity(1), detach(1), Input::Revoke] {
        let mut it = expired();
        it.handle(at(9), input);
        it.handle_timeout(at(10));
        assert!(it.is_expired(), "{input:?}");
        assert_eq!(log(&mut it), [""; 0]);
        assert_eq!(it.poll_timeout(), None);
        let expected = match input {
            // The connection is closed, since its session is over.
            Input::Attach { .. } => vec![close(1, Reason::SessionChanged)],
            _ => vec![],
        };
        assert_eq!(effects(&mut it), expected, "{input:?}");
    }
}

#[test]
fn inv_2_inv_3_many_connections_come_and_go_over_one_session() {
    let mut it = session();
    for id in 0..1000 {
        it.handle(at(id), attach(id));
        it.handle(at(id), detach(id));
    }
    assert_eq!(it.state().name(), "detached");
    it.handle(at(1000), attach(5000));
    it.handle(at(1000), attach(5001));
    assert_eq!(ids(&it), [5000, 5001]);
    assert_eq!((it.stale(), it.refused()), (0, 0));
}

#[test]
fn inv_3_attaching_twice_holds_once() {
    let mut it = attached(&[1, 2]);
    it.handle(at(1), attach(1));
    assert_eq!(ids(&it), [2, 1]);
    assert_eq!(effects(&mut it), []);
}

#[test]
fn ls_2_the_connection_idle_for_longest_gives_way_never_the_new_one() {
    let mut it = attached(&[1, 2, 3, 4, 5, 6, 7, 8]);
    for id in [1, 2, 4, 5, 6, 7, 8] {
        it.handle(at(10), activity(id));
    }
    it.handle(at(20), attach(9));
    assert_eq!(effects(&mut it), [close(3, Reason::SessionCapacity)]);
    assert_eq!(ids(&it), [1, 2, 4, 5, 6, 7, 8, 9]);
    it.handle(at(21), detach(3));
    assert_eq!(it.stale(), 1, "its end is no news any more (INV-10)");

    let config = SessionConfig {
        max_connections: 0,
        ..SessionConfig::default()
    };
    let mut it = Session::new(config, at(0));
    it.handle(at(0), attach(1));
    it.handle(at(0), attach(2));
    assert_eq!(ids(&it), [2], "a cap of nothing still lets the newest in");
}

#[test]
fn sv_2_attach_plans() {
    let (fresh, held) = (session(), attached(&[1]));
    let mut left = attached(&[1]);
    left.handle(at(1), detach(1));
    let window = window(5, 10);
    let plan =
        |session: &Session, resume: Option<Resume>| session.plan_attach(resume.as_ref(), &window);

    assert_eq!(plan(&fresh, None), AttachPlan::New);
    assert_eq!(
        plan(&fresh, Some(resume("ep_1", 7))),
        AttachPlan::New,
        "nobody can have held it"
    );
    assert_eq!(plan(&expired(), Some(resume("ep_1", 7))), AttachPlan::New);
    for (session, keep_epoch) in [(&left, false), (&held, true)] {
        let reset = AttachPlan::Reset { keep_epoch };
        assert_eq!(plan(session, None), reset);
        assert_eq!(plan(session, Some(resume("ep_0", 7))), reset);
        for last_seq in [0, 3, 10, 11, u64::MAX] {
            assert_eq!(
                plan(session, Some(resume("ep_1", last_seq))),
                reset,
                "{last_seq} is outside the log"
            );
        }
        for after in [4, 5, 9] {
            assert_eq!(
                plan(session, Some(resume("ep_1", after))),
                AttachPlan::Resumed { after }
            );
        }
    }
}

#[test]
fn ls_13_a_cursor_of_zero_resumes_when_no_event_was_made() {
    let restored = Session::restored(SessionConfig::default(), at(0), Duration::ZERO);
    assert_eq!(
        restored.plan_attach(Some(&resume("ep_1", 0)), &window(1, 1)),
        AttachPlan::Resumed { after: 0 }
    );
}

#[test]
fn sv_2_a_promise_is_kept_or_the_client_asks_again() {
    let (fresh, held) = (session(), attached(&[1]));
    let mut left = attached(&[1]);
    left.handle(at(1), detach(1));
    let planned = window(5, 10);
    let renewed = ReplayWindow {
        epoch: epoch("ep_2"),
        ..window(5, 10)
    };
    let keep = AttachPlan::Reset { keep_epoch: true };
    let renew = AttachPlan::Reset { keep_epoch: false };
    let resumed = AttachPlan::Resumed { after: 4 };
    let moved = window(6, 11);
    let cases = [
        (&fresh, AttachPlan::New, &planned, true),
        (&held, AttachPlan::New, &planned, false),
        (&left, AttachPlan::New, &planned, false),
        (&left, resumed, &planned, true),
        (&left, resumed, &moved, false),
        (&left, resumed, &renewed, false),
        (&held, keep, &moved, true),
        (&left, keep, &moved, true),
        (&held, keep, &window(11, 12), false),
        (&left, renew, &moved, true),
        (&held, renew, &planned, false),
        (&left, renew, &renewed, false),
    ];
    for (number, (session, plan, window, holds)) in cases.into_iter().enumerate() {
        let outcome = session.confirm(plan, &planned, window);
        assert_eq!(outcome.is_ok(), holds, "case {number}: {plan:?}");
        if let Err(reason) = outcome {
            assert!(reason.is_recoverable(), "the client comes again by itself");
        }
    }
    assert!(expired().confirm(resumed, &planned, &planned).is_err());
}

#[test]
fn sv_2_grace_runs_only_while_detached() {
    let mut it = attached(&[1]);
    run_until(&mut it, at(0) + HOUR * 1000);
    assert_eq!(it.state().name(), "attached");
    let start = at(0) + HOUR * 1000;
    it.handle(start, detach(1));
    run_until(&mut it, start + (HOUR * 24 - Duration::from_millis(1)));
    assert_eq!(it.state().name(), "detached");
    run_until(&mut it, start + HOUR * 24);
    assert_eq!(log(&mut it).last().unwrap(), "grace_over detached->expired");
    assert_eq!(effects(&mut it), [Effect::Expire]);
}

#[test]
fn sv_2_each_detach_begins_a_whole_grace() {
    let mut it = attached(&[1]);
    it.handle(at(0), detach(1));
    run_until(&mut it, at(0) + HOUR * 23);
    it.handle(at(0) + HOUR * 23, attach(2));
    it.handle(at(0) + HOUR * 23, detach(2));
    run_until(&mut it, at(0) + HOUR * 46);
    assert_eq!(it.state().name(), "detached");
}

#[test]
fn ls_5_time_asleep_costs_one_step_of_the_grace() {
    let mut it = session();
    let week = HOUR * 24 * 7;
    it.handle_timeout(at(0) + week);
    assert_eq!(
        it.state().name(),
        "detached",
        "the machine slept for a week"
    );
    run_until(&mut it, at(0) + week + HOUR * 22);
    assert_eq!(it.state().name(), "detached");
    run_until(&mut it, at(0) + week + HOUR * 23);
    assert!(it.is_expired(), "awake time still counts");
}

#[test]
fn bx_4_grace_runs_on_over_a_restart_but_leaves_a_step() {
    let config = SessionConfig::default();
    let mut it = Session::restored(config, at(0), HOUR * 20);
    run_until(&mut it, at(0) + HOUR * 4);
    assert!(it.is_expired());

    let mut it = Session::restored(config, at(0), HOUR * 1000);
    assert_eq!(it.poll_timeout(), Some(at(0) + HOUR));
    assert_eq!(
        it.plan_attach(Some(&resume("ep_1", 7)), &window(5, 10)),
        AttachPlan::Resumed { after: 7 }
    );
    run_until(&mut it, at(0) + HOUR);
    assert!(it.is_expired());
}

#[test]
fn zero_grace_is_for_ever() {
    let config = SessionConfig {
        grace: Duration::ZERO,
        ..SessionConfig::default()
    };
    for mut it in [
        Session::new(config, at(0)),
        Session::restored(config, at(0), HOUR),
    ] {
        assert_eq!(it.poll_timeout(), None);
        it.handle_timeout(at(u64::MAX));
        assert_eq!(it.state().name(), "detached");
    }
}

#[test]
fn a_clock_that_goes_back_changes_nothing() {
    let mut it = Session::new(SessionConfig::default(), at(1_000_000));
    it.handle_timeout(at(5));
    assert_eq!(it.poll_timeout(), Some(at(1_000_000) + HOUR));
}

#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<Session>() < 200, "{}", size_of::<Session>());
}

proptest! {
    /// A plan is `Resumed` exactly when every event after the cursor can be replayed.
    #[test]
    fn sv_2_resumed_exactly_within_the_log(first in 1_u64..20, events in 0_u64..20, last in 0_u64..50) {
        let next = first + events;
        let mut it = attached(&[1]);
        it.handle(at(0), detach(1));
        let plan = it.plan_attach(Some(&resume("ep_1", last)), &window(first, next));
        let replayable = (last + 1..next).all(|seq| seq >= first) && last < next && last + 1 >= first;
        prop_assert_eq!(plan == AttachPlan::Resumed { after: last }, replayable);
    }
}
