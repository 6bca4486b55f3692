//! Replay: nothing lost, nothing twice, across cuts, switches, kills and bounds.

use std::time::Duration;

use bowline_daemon::ledger::Audience;
use bowline_protocol::{Reason, SessionEvent, SessionState};

use crate::rig::{Rig, agent};

fn numbers(range: std::ops::Range<usize>) -> Vec<usize> {
    range.collect()
}

#[tokio::test]
async fn bx_2_no_event_is_lost_or_repeated_when_the_path_changes() {
    let rig = Rig::new();
    let app = rig.paired().await;
    let mut active = rig.attach(&app).await.unwrap();
    let mut heard = Vec::new();
    for n in 0..200 {
        rig.announce(n).await;
        if n % 7 == 0 {
            // Make before break: the next connection begins at the cursor applied so far, and the
            // old one still delivers until it goes.
            heard.extend(active.heard());
            let mut next = rig.attach(&app.resuming(&active.cursor)).await.unwrap();
            assert_eq!(next.state, SessionState::Resumed);
            rig.announce(1_000 + n).await;
            heard.extend(active.heard());
            next.cursor = active.cursor.clone();
            active = next;
        }
    }
    heard.extend(active.heard());
    let mut expected = Vec::new();
    for n in 0..200 {
        expected.push(n);
        if n % 7 == 0 {
            expected.push(1_000 + n);
        }
    }
    assert_eq!(heard, expected);
}

#[tokio::test]
async fn bx_4_a_killed_daemon_resumes_every_session_where_it_was() {
    let rig = Rig::new();
    let app = rig.paired().await;
    let mut link = rig.attach(&app).await.unwrap();
    for n in 0..10 {
        rig.announce(n).await;
    }
    assert_eq!(link.heard(), numbers(0..10));
    link.attachment.ack(4);
    rig.settle().await;
    let cursor = link.cursor.clone();
    for n in 10..15 {
        rig.announce(n).await;
    }
    // Killed with five events on the way.
    let rig = rig.kill();
    let mut link = rig.attach(&app.resuming(&cursor)).await.unwrap();
    assert_eq!(link.state, SessionState::Resumed);
    assert_eq!(link.heard(), numbers(10..15));
    rig.announce(15).await;
    assert_eq!(link.heard(), [15]);
    // And once more, with the connection still open.
    let rig = rig.kill();
    let mut link = rig.attach(&app.resuming(&link.cursor)).await.unwrap();
    rig.announce(16).await;
    assert_eq!(link.heard(), [16]);
}

#[tokio::test]
async fn bx_4_subscriptions_survive_a_kill_and_a_reset() {
    let rig = Rig::new();
    let app = rig.paired().await;
    let link = rig.attach(&app).await.unwrap();
    let session = link.session().clone();
    rig.ledger
        .write(move |tx| tx.subscribe(&session, "agt_5"))
        .await
        .unwrap();
    let rig = rig.kill();
    let mut link = rig.attach(&app).await.unwrap();
    assert_eq!(link.state, SessionState::Reset, "no cursor was offered");
    rig.ledger
        .write(|tx| {
            let agent_id = agent("agt_5");
            let event = SessionEvent::AgentRemoved {
                agent_id: agent_id.clone(),
            };
            tx.emit(Audience::Subscribers(agent_id.as_str()), &event)?;
            tx.emit(Audience::Subscribers("agt_6"), &event)
        })
        .await
        .unwrap();
    assert_eq!(link.heard(), [5]);
}

#[tokio::test]
async fn bx_4_the_numbering_goes_on_even_if_everything_was_acknowledged() {
    let rig = Rig::new();
    let app = rig.paired().await;
    let mut link = rig.attach(&app).await.unwrap();
    for n in 0..5 {
        rig.announce(n).await;
    }
    link.heard();
    link.attachment.ack(5);
    // The lazy trim is written when its time comes.
    rig.settle().await;
    rig.clock().advance(Duration::from_secs(10));
    rig.settle().await;
    let info = rig.ledger.sessions().await.unwrap();
    assert_eq!((info[0].replay_events, info[0].next_seq), (0, 6));
    let rig = rig.kill();
    let mut link = rig.attach(&app.resuming(&link.cursor)).await.unwrap();
    assert_eq!(link.state, SessionState::Resumed);
    rig.announce(5).await;
    assert_eq!(link.apply()[0].0, 6);
}

#[tokio::test]
async fn sv_2_a_cursor_outside_the_bounded_log_is_an_explicit_reset() {
    let rig = Rig::with(|options| options.replay_events = 10);
    let app = rig.paired().await;
    let link = rig.attach(&app).await.unwrap();
    let cursor = link.cursor.clone();
    drop(link);
    for n in 0..25 {
        rig.announce(n).await;
    }
    let info = rig.ledger.sessions().await.unwrap();
    assert_eq!(info[0].replay_events, 10);
    for rig in [rig.kill(), rig] {
        let mut link = rig.attach(&app.resuming(&cursor)).await.unwrap();
        assert_eq!(link.state, SessionState::Reset);
        assert_ne!(link.cursor.epoch, cursor.epoch);
        assert_eq!(link.cursor.last_seq, 0, "a new numbering");
        rig.announce(99).await;
        assert_eq!(link.heard(), [99]);
    }
}

#[tokio::test]
async fn the_log_is_bounded_in_bytes() {
    let rig = Rig::with(|options| options.replay_bytes = 500);
    rig.paired().await;
    for n in 0..100 {
        rig.announce(n).await;
    }
    let info = rig.ledger.sessions().await.unwrap();
    assert!(info[0].replay_bytes <= 500);
    assert!(info[0].replay_events > 0);
    let smaller = rig.kill_with(|options| options.replay_bytes = 100);
    let info = smaller.ledger.sessions().await.unwrap();
    assert!(info[0].replay_bytes <= 100, "smaller bounds hold at once");
}

#[tokio::test]
async fn a_reset_beside_other_connections_keeps_their_numbering() {
    let rig = Rig::new();
    let app = rig.paired().await;
    let mut first = rig.attach(&app).await.unwrap();
    rig.announce(1).await;
    let mut second = rig.attach(&app).await.unwrap();
    assert_eq!(second.state, SessionState::Reset);
    assert_eq!(second.cursor.epoch, first.cursor.epoch);
    assert_eq!(second.cursor.last_seq, 1);
    rig.announce(2).await;
    assert_eq!(first.heard(), [1, 2]);
    assert_eq!(second.heard(), [2]);
}

#[tokio::test]
async fn events_between_welcome_and_ready_are_not_lost() {
    let rig = Rig::new();
    let app = rig.paired().await;
    let first = rig.attach(&app).await.unwrap();
    for resume in [Some(first.cursor.clone()), None] {
        let app = crate::rig::App {
            resume,
            ..app.clone()
        };
        let admission = rig.ledger.admit(app.device, &app.hello()).await.unwrap();
        rig.announce(7).await;
        let mut link = rig
            .keep_promise(admission, bowline_daemon::outbound::Outbound::new())
            .await
            .unwrap();
        if app.resume.is_some() {
            link.cursor = first.cursor.clone();
        }
        assert_eq!(link.heard(), [7]);
    }
}

#[tokio::test]
async fn a_promise_that_cannot_be_kept_is_refused_and_the_client_comes_back() {
    let rig = Rig::new();
    let app = rig.paired().await;
    // Two connections are promised a new numbering; the second to be ready was overtaken.
    let first = rig.ledger.admit(app.device, &app.hello()).await.unwrap();
    let second = rig.ledger.admit(app.device, &app.hello()).await.unwrap();
    let outbound = bowline_daemon::outbound::Outbound::new;
    let mut link = rig.keep_promise(first, outbound()).await.unwrap();
    let refusal = rig.keep_promise(second, outbound()).await.err().unwrap();
    assert_eq!(refusal.reason, Reason::SessionChanged);
    assert!(refusal.reason.is_recoverable());
    rig.announce(1).await;
    assert_eq!(link.heard(), [1], "the first is not disturbed");
    rig.attach(&app).await.unwrap();
}

#[tokio::test]
async fn an_event_is_serialised_once_whatever_the_number_of_sessions_and_connections() {
    let rig = Rig::new();
    let mut links = Vec::new();
    for _ in 0..10 {
        let app = rig.paired().await;
        for _ in 0..4 {
            links.push(rig.attach(&app).await.unwrap());
        }
    }
    let before = rig.ledger.counters();
    rig.announce(1).await;
    let after = rig.ledger.counters();
    assert_eq!(after.events_serialised - before.events_serialised, 1);
    assert_eq!(after.frames_pushed - before.frames_pushed, 40);
    for link in &mut links {
        assert_eq!(link.heard(), [1]);
    }
}

#[tokio::test]
async fn an_attach_that_nobody_waits_for_any_more_leaves_nothing_attached() {
    let rig = Rig::new();
    let app = rig.paired().await;
    let admission = rig.ledger.admit(app.device, &app.hello()).await.unwrap();
    let attach = rig.keep_promise(admission, bowline_daemon::outbound::Outbound::new());
    tokio::select! {
        biased;
        _ = attach => panic!("the ledger's thread answered before it was asked"),
        // The attach was polled once and is queued; then its connection dies.
        () = std::future::ready(()) => {}
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let info = rig.ledger.sessions().await.unwrap();
        if info[0].connections.is_empty() && rig.ledger.counters().attaches == 2 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{info:?}");
        tokio::task::yield_now().await;
    }
}
