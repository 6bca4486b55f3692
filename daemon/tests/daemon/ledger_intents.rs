//! Exactly-once intents (BX-1), and a store that fails under them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bowline_daemon::{
    ledger::{Audience, SessionRef},
    service::{Answer, Done, answer},
};
use bowline_protocol::{IntentId, RpcReason, SessionEvent, error::RpcError};

use crate::rig::{Link, Rig, agent, intent_id};

/// An effect that counts how often it ran and tells every session.
async fn bump(
    rig: &Rig,
    session: &SessionRef,
    id: IntentId,
    params: &str,
    runs: &Arc<AtomicU32>,
    outcome: Answer,
) -> Answer {
    let runs = Arc::clone(runs);
    rig.ledger
        .intent(session, id, "test.bump", params, move |tx| {
            runs.fetch_add(1, Ordering::SeqCst);
            let agent_id = agent("agt_1");
            let event = SessionEvent::AgentRemoved {
                agent_id: agent_id.clone(),
            };
            tx.emit(Audience::Everyone(agent_id.as_str()), &event)?;
            outcome
        })
        .await
        .and_then(Done::into_answer)
}

async fn attached(rig: &Rig) -> Link {
    let app = rig.paired().await;
    rig.attach(&app).await.unwrap()
}

fn text(answer: Answer) -> String {
    answer.unwrap().get().to_owned()
}

#[tokio::test]
async fn bx_1_the_same_intent_twice_runs_once_and_answers_the_same() {
    let rig = Rig::new();
    let mut link = attached(&rig).await;
    let (id, runs) = (intent_id(), Arc::new(AtomicU32::new(0)));
    let session = link.session().clone();
    let first = bump(&rig, &session, id, r#"{"a":1,"b":2}"#, &runs, answer("one")).await;
    let second = bump(
        &rig,
        &session,
        id,
        r#"{"b":2, "a":1}"#,
        &runs,
        answer("two"),
    )
    .await;
    assert_eq!(text(first), text(second));
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    assert_eq!(link.heard(), [1], "its event was sent once");
}

#[tokio::test]
async fn bx_1_the_same_intent_many_times_at_once_runs_once() {
    let rig = Rig::new();
    let mut link = attached(&rig).await;
    let (id, runs) = (intent_id(), Arc::new(AtomicU32::new(0)));
    let session = link.session().clone();
    let all = (0..50).map(|n| bump(&rig, &session, id, "{}", &runs, answer(&n)));
    let answers: Vec<String> = futures_util::future::join_all(all)
        .await
        .into_iter()
        .map(text)
        .collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    assert_eq!(link.heard(), [1]);
}

#[tokio::test]
async fn bx_1_the_outcome_is_remembered_after_a_kill() {
    let rig = Rig::new();
    let link = attached(&rig).await;
    let (id, runs) = (intent_id(), Arc::new(AtomicU32::new(0)));
    let session = link.session().clone();
    let first = bump(&rig, &session, id, "{}", &runs, answer("done")).await;
    let rig = rig.kill();
    let second = bump(&rig, &session, id, "{}", &runs, answer("again")).await;
    assert_eq!(text(first), text(second));
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn bx_1_other_parameters_or_another_method_under_the_same_id_are_a_conflict() {
    let rig = Rig::new();
    let mut link = attached(&rig).await;
    let (id, runs) = (intent_id(), Arc::new(AtomicU32::new(0)));
    let session = link.session().clone();
    bump(&rig, &session, id, r#"{"a":1}"#, &runs, answer("one"))
        .await
        .unwrap();
    let error = bump(&rig, &session, id, r#"{"a":2}"#, &runs, answer("two"))
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Some(RpcReason::IntentConflict));
    let error = rig
        .ledger
        .intent(&session, id, "test.other", r#"{"a":1}"#, |_| answer("x"))
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Some(RpcReason::IntentConflict));
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    assert_eq!(link.heard(), [1]);
    // The first outcome stands.
    let again = bump(&rig, &session, id, r#"{"a":1}"#, &runs, answer("three")).await;
    assert_eq!(text(again), r#""one""#);
}

#[tokio::test]
async fn bx_1_sessions_do_not_share_intents() {
    let rig = Rig::new();
    let (one, two) = (attached(&rig).await, attached(&rig).await);
    let (id, runs) = (intent_id(), Arc::new(AtomicU32::new(0)));
    for link in [&one, &two] {
        bump(&rig, link.session(), id, "{}", &runs, answer("x"))
            .await
            .unwrap();
    }
    assert_eq!(runs.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn bx_1_a_final_error_is_an_outcome_without_effects() {
    let rig = Rig::new();
    let mut link = attached(&rig).await;
    let (id, runs) = (intent_id(), Arc::new(AtomicU32::new(0)));
    let session = link.session().clone();
    let refusal = || Err(RpcError::new(RpcReason::NotFound, "nothing there"));
    let first = bump(&rig, &session, id, "{}", &runs, refusal()).await;
    let second = bump(&rig, &session, id, "{}", &runs, answer("now it would work")).await;
    assert_eq!(first.unwrap_err(), second.unwrap_err());
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    assert!(link.heard().is_empty(), "the failed effect said nothing");
}

#[tokio::test]
async fn bx_1_a_transient_error_is_no_outcome() {
    let rig = Rig::new();
    let mut link = attached(&rig).await;
    let (id, runs) = (intent_id(), Arc::new(AtomicU32::new(0)));
    let session = link.session().clone();
    let busy = Err(RpcError::new(RpcReason::Overloaded, "later"));
    bump(&rig, &session, id, "{}", &runs, busy)
        .await
        .unwrap_err();
    let again = bump(&rig, &session, id, "{}", &runs, answer("done")).await;
    assert_eq!(text(again), r#""done""#);
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    assert_eq!(link.apply().len(), 1, "the numbering has no gap");
}

#[tokio::test]
async fn intents_are_forgotten_after_their_time() {
    let rig = Rig::new();
    let link = attached(&rig).await;
    let (id, runs) = (intent_id(), Arc::new(AtomicU32::new(0)));
    bump(&rig, link.session(), id, "{}", &runs, answer("x"))
        .await
        .unwrap();
    rig.clock().advance(Duration::from_secs(23 * 3600));
    rig.settle().await;
    bump(&rig, link.session(), id, "{}", &runs, answer("x"))
        .await
        .unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    rig.clock().advance(Duration::from_secs(2 * 3600));
    rig.settle().await;
    bump(&rig, link.session(), id, "{}", &runs, answer("x"))
        .await
        .unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn remembered_intents_are_bounded() {
    let rig = Rig::with(|options| options.max_intents = 2);
    let link = attached(&rig).await;
    let runs = Arc::new(AtomicU32::new(0));
    let known = intent_id();
    for id in [known, intent_id()] {
        bump(&rig, link.session(), id, "{}", &runs, answer("x"))
            .await
            .unwrap();
    }
    let error = bump(&rig, link.session(), intent_id(), "{}", &runs, answer("x"))
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Some(RpcReason::Overloaded));
    bump(&rig, link.session(), known, "{}", &runs, answer("x"))
        .await
        .unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn actions_after_the_commit_run_once_and_only_for_what_was_kept() {
    let rig = Rig::new();
    let link = attached(&rig).await;
    let done = Arc::new(AtomicU32::new(0));
    let id = intent_id();
    for (id, keep) in [(id, true), (id, true), (intent_id(), false)] {
        let done = Arc::clone(&done);
        let _ = rig
            .ledger
            .intent(link.session(), id, "test.act", "{}", move |tx| {
                tx.after_commit(move || {
                    done.fetch_add(1, Ordering::SeqCst);
                });
                if keep {
                    answer("kept")
                } else {
                    Err(RpcError::new(RpcReason::NotFound, "not kept"))
                }
            })
            .await;
    }
    assert_eq!(done.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_full_disk_fails_what_it_hits_loses_nothing_and_the_daemon_goes_on() {
    let rig = Rig::with(|options| options.max_pages = Some(80));
    let mut link = attached(&rig).await;
    let session = link.session().clone();
    let runs = Arc::new(AtomicU32::new(0));
    let big = "x".repeat(4_000);
    let mut kept = Vec::new();
    let refused = loop {
        let id = intent_id();
        match bump(&rig, &session, id, "{}", &runs, answer(&big)).await {
            Ok(_) => kept.push(id),
            Err(error) => break (id, error),
        }
        assert!(kept.len() < 1_000, "the disk never filled");
    };
    assert!(kept.len() > 5, "{}", kept.len());
    assert_eq!(refused.1.reason(), Some(RpcReason::StorageUnavailable));
    assert_eq!(link.apply().len(), kept.len(), "nothing unsaid was said");

    // Reads go on, stored outcomes are still there.
    rig.ledger.devices().await.unwrap();
    let ran = runs.load(Ordering::SeqCst);
    for id in &kept {
        bump(&rig, &session, *id, "{}", &runs, answer("other"))
            .await
            .unwrap();
    }
    assert_eq!(runs.load(Ordering::SeqCst), ran);

    // With space again, the refused intent runs, under the same id.
    let rig = rig.kill_with(|options| options.max_pages = None);
    let app_cursor = link.cursor.clone();
    let again = bump(&rig, &session, refused.0, "{}", &runs, answer(&big)).await;
    assert!(again.is_ok());
    let info = rig.ledger.sessions().await.unwrap();
    assert_eq!(info[0].next_seq, app_cursor.last_seq + 2, "no gap");
}

#[tokio::test]
async fn a_panic_in_a_service_is_that_requests_failure() {
    let rig = Rig::new();
    let mut link = attached(&rig).await;
    let error = rig
        .ledger
        .write::<()>(|tx| {
            let agent_id = agent("agt_9");
            let event = SessionEvent::AgentRemoved {
                agent_id: agent_id.clone(),
            };
            tx.emit(Audience::Everyone(agent_id.as_str()), &event)?;
            panic!("as an app's code may")
        })
        .await
        .unwrap_err();
    assert_eq!(error.code, bowline_protocol::error::code::INTERNAL_ERROR);
    rig.announce(1).await;
    assert_eq!(link.heard(), [1]);
}

#[tokio::test]
async fn many_writers_share_commits() {
    let rig = Rig::new();
    let link = attached(&rig).await;
    let runs = Arc::new(AtomicU32::new(0));
    let before = rig.ledger.counters();
    let all = (0..200).map(|_| bump(&rig, link.session(), intent_id(), "{}", &runs, answer("x")));
    for answer in futures_util::future::join_all(all).await {
        answer.unwrap();
    }
    let after = rig.ledger.counters();
    assert_eq!(runs.load(Ordering::SeqCst), 200);
    assert!(
        after.commits - before.commits <= 100,
        "{} commits for 200 intents",
        after.commits - before.commits
    );
}

#[tokio::test]
async fn a_full_queue_is_overloaded_and_nothing_is_lost_that_was_taken() {
    let rig = Rig::with(|options| options.queue = 8);
    let link = attached(&rig).await;
    let runs = Arc::new(AtomicU32::new(0));
    let all = (0..500).map(|_| bump(&rig, link.session(), intent_id(), "{}", &runs, answer("x")));
    let answers = futures_util::future::join_all(all).await;
    let taken = answers.iter().filter(|answer| answer.is_ok()).count();
    for refused in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(refused.reason(), Some(RpcReason::Overloaded));
    }
    assert!(taken < 500, "the queue was never full");
    assert_eq!(usize::try_from(runs.load(Ordering::SeqCst)).unwrap(), taken);
}

#[tokio::test]
async fn after_shutdown_callers_are_told_at_once() {
    let rig = Rig::new();
    let link = attached(&rig).await;
    rig.ledger.shutdown().await;
    let error = rig.ledger.write(|_| Ok(())).await.unwrap_err();
    assert_eq!(error.reason(), Some(RpcReason::Overloaded));
    rig.ledger.shutdown().await;
    drop(link);
}
