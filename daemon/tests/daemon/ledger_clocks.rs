//! Outcomes, offers and sessions whose times are measured while somebody sets the wall clock (C44).

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use bowline_daemon::{clock::Clock, service::answer};
use bowline_protocol::{IntentId, Reason, SessionState};

use crate::rig::{App, BEGINNING, Link, Rig, intent_id};

const HOUR: i64 = 3_600_000;

/// The outcome of a request whose every run has another one.
async fn run(rig: &Rig, link: &Link, id: IntentId) -> String {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let session = link.session();
    let outcome = rig
        .ledger
        .intent(session, id, "test.run", "{}", |_| {
            answer(&RUNS.fetch_add(1, Ordering::SeqCst))
        })
        .await;
    outcome.unwrap().result.into()
}

/// C44: the clock jumps by a day and an hour, and the same request has its effect again.
#[tokio::test]
async fn case_c44_an_outcome_is_remembered_whatever_the_wall_clock_says() {
    for jump in [25 * HOUR, -25 * HOUR, 1_000 * 24 * HOUR, -BEGINNING] {
        let rig = Rig::new();
        let app = rig.paired().await;
        let link = rig.attach(&app).await.unwrap();
        let id = intent_id();
        let first = run(&rig, &link, id).await;
        rig.clock().set_wall(BEGINNING + jump);
        // Past the next sweep, and once more after a restart, which sweeps at once.
        rig.clock().advance(Duration::from_secs(700));
        rig.settle().await;
        assert_eq!(run(&rig, &link, id).await, first, "{jump}");
        let resuming = app.resuming(&link.cursor);
        drop(link);
        let rig = rig.restart().await;
        let link = rig.attach(&resuming).await.unwrap();
        rig.settle().await;
        assert_eq!(link.state, SessionState::Resumed);
        assert_eq!(run(&rig, &link, id).await, first, "{jump}");
        rig.clock().set_wall(BEGINNING);
        let rig = rig.kill();
        let link = rig.attach(&resuming).await.unwrap();
        rig.settle().await;
        assert_eq!(run(&rig, &link, id).await, first, "{jump}");
    }
}

/// The daemon runs on for days while the client, which never heard the answer, is away.
#[tokio::test]
async fn case_c44_an_outcome_waits_for_a_client_that_is_away() {
    let rig = Rig::with(|options| options.session_grace = Duration::from_secs(10 * 24 * 3_600));
    let app = rig.paired().await;
    let link = rig.attach(&app).await.unwrap();
    let id = intent_id();
    let first = run(&rig, &link, id).await;
    let resuming = app.resuming(&link.cursor);
    drop(link);
    for _ in 0..60 {
        rig.clock().advance(Duration::from_secs(3_600));
        rig.settle().await;
    }
    let link = rig.attach(&resuming).await.unwrap();
    rig.settle().await;
    assert_eq!(run(&rig, &link, id).await, first);
    // It has been back for long enough to ask for all it had not heard.
    for _ in 0..30 {
        rig.clock().advance(Duration::from_secs(3_600));
        rig.settle().await;
    }
    assert_ne!(run(&rig, &link, id).await, first, "forgotten in the end");
}

/// After a reboot nobody knows how long the machine was off: nothing of it counts.
#[tokio::test]
async fn case_c44_over_a_reboot_an_outcome_is_kept_longer_rather_than_shorter() {
    let rig = Rig::new();
    let app = rig.paired().await;
    let link = rig.attach(&app).await.unwrap();
    let id = intent_id();
    let first = run(&rig, &link, id).await;
    let resuming = app.resuming(&link.cursor);
    drop(link);
    // Another machine's clock, which began just now, and a wall clock that runs days ahead.
    let rig = rig.kill_with(|options| options.clock = Clock::manual(BEGINNING + 72 * HOUR));
    let link = rig.attach(&resuming).await.unwrap();
    rig.settle().await;
    assert_eq!(link.state, SessionState::Resumed, "its grace is not over");
    assert_eq!(run(&rig, &link, id).await, first);
}

#[tokio::test]
async fn case_c44_an_offer_lives_by_the_time_that_passes() {
    let ttl = Duration::from_secs(600);
    let rig = Rig::new();
    let offer = |token: &bowline_daemon::ledger::NewPairing| {
        let mut app = App::new();
        app.token = Some(token.token.clone());
        app
    };
    let fresh = rig
        .ledger
        .create_pairing(ttl, false, bowline_daemon::ledger::OfferedGrant::default())
        .await
        .unwrap();
    rig.clock().set_wall(BEGINNING + 25 * HOUR);
    rig.attach(&offer(&fresh)).await.unwrap();
    // Set back, it does not live on.
    let old = rig
        .ledger
        .create_pairing(ttl, false, bowline_daemon::ledger::OfferedGrant::default())
        .await
        .unwrap();
    rig.clock().advance(Duration::from_secs(599));
    rig.clock().set_wall(BEGINNING - 25 * HOUR);
    let alive = rig.kill();
    alive.attach(&offer(&old)).await.unwrap();
    rig.clock().advance(Duration::from_secs(1));
    let refused = rig.attach(&offer(&old)).await.err().unwrap();
    assert_eq!(refused.reason, Reason::PairingTokenInvalid);
}

/// LS-5: a clock that jumps ends no session.
#[tokio::test]
async fn case_c44_the_grace_of_a_session_is_measured_by_the_time_that_passes() {
    let rig = Rig::with(|options| options.session_grace = Duration::from_secs(48 * 3_600));
    let app = rig.paired().await;
    let link = rig.attach(&app).await.unwrap();
    let resuming = app.resuming(&link.cursor);
    drop(link);
    rig.clock().set_wall(BEGINNING + 100 * HOUR);
    let rig = rig.restart().await;
    for _ in 0..3 {
        // More than the one step that every restart leaves.
        rig.clock().advance(Duration::from_secs(2 * 3_600));
        rig.settle().await;
    }
    let link = rig.attach(&resuming).await.unwrap();
    assert_eq!(link.state, SessionState::Resumed);
}
