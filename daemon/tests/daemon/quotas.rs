//! TR-12 at the ledger: what one device may store and how much of it may wait, told to it by name.

use std::time::Duration;

use bowline_daemon::{
    ledger::{Ledger, Quotas, SessionRef, Table},
    service::{Answer, Done, answer},
};
use bowline_protocol::{
    ClientSessionKey, Reason, RpcReason, SessionState,
    identity::random_bytes,
    methods::name::{AGENTS_CANCEL, AGENTS_SEND},
};
use serde_json::json;

use crate::rig::{App, Link, Rig, intent_id, is_told};

/// A rig with these quotas.
fn rig(adjust: impl FnOnce(&mut Quotas)) -> Rig {
    Rig::with(|options| adjust(&mut options.quotas))
}

async fn device(rig: &Rig) -> (App, Link) {
    let app = rig.paired().await;
    let link = rig.attach(&app).await.unwrap();
    (app, link)
}

async fn send(ledger: &Ledger, session: &SessionRef, method: &str, bytes: usize) -> Answer {
    let params = json!({"text": "x".repeat(bytes)}).to_string();
    ledger
        .intent(session, intent_id(), method, &params, |_| answer("done"))
        .await
        .and_then(Done::into_answer)
}

#[tokio::test]
async fn tr_12_a_device_with_all_its_intents_waits_and_no_other_does() {
    let rig = rig(|quotas| quotas.intents = 5);
    let ((noisy, link), (_, other)) = (device(&rig).await, device(&rig).await);
    for _ in 0..5 {
        send(&rig.ledger, link.session(), AGENTS_SEND, 1)
            .await
            .unwrap();
    }
    let refused = send(&rig.ledger, link.session(), AGENTS_SEND, 1).await;
    let refused = refused.unwrap_err();
    let reason = RpcReason::RateLimited;
    is_told(&refused, reason, &noisy, "intents_per_device", 5);
    let pause = refused.retry_after().unwrap();
    assert!(pause >= Duration::from_secs(1) && pause <= Duration::from_secs(600));
    send(&rig.ledger, other.session(), AGENTS_SEND, 1)
        .await
        .unwrap();
    // What it has begun, it can end.
    send(&rig.ledger, link.session(), AGENTS_CANCEL, 1)
        .await
        .unwrap();

    // A restart forgives nothing, time does.
    let rig = rig.kill();
    let again = send(&rig.ledger, link.session(), AGENTS_SEND, 1).await;
    is_told(&again.unwrap_err(), reason, &noisy, "intents_per_device", 5);
    drop((link, other));
    let link = rig.attach(&noisy).await.unwrap();
    rig.clock().advance(Duration::from_secs(26 * 3_600));
    rig.settle().await;
    send(&rig.ledger, link.session(), AGENTS_SEND, 1)
        .await
        .unwrap();
}

#[tokio::test]
async fn tr_12_the_bytes_of_a_devices_intents_are_bounded_in_all_its_sessions() {
    let rig = rig(|quotas| quotas.intent_bytes = 10_000);
    let ((noisy, link), (_, other)) = (device(&rig).await, device(&rig).await);
    for _ in 0..3 {
        send(&rig.ledger, link.session(), AGENTS_SEND, 3_000)
            .await
            .unwrap();
    }
    let second = rig.attach(&another_session(&noisy)).await.unwrap();
    let refused = send(&rig.ledger, second.session(), AGENTS_SEND, 3_000).await;
    let (reason, setting) = (RpcReason::RateLimited, "intent_bytes_per_device");
    is_told(&refused.unwrap_err(), reason, &noisy, setting, 10_000);
    send(&rig.ledger, other.session(), AGENTS_SEND, 3_000)
        .await
        .unwrap();
}

/// The same device with another session key.
fn another_session(app: &App) -> App {
    App {
        key: ClientSessionKey::from_random(random_bytes().unwrap()),
        ..app.clone()
    }
}

#[tokio::test]
async fn tr_12_a_device_that_begins_many_sessions_ends_its_own() {
    let rig = rig(|quotas| quotas.sessions = 2);
    let (quiet, link) = device(&rig).await;
    let cursor = link.cursor.clone();
    drop(link);
    let noisy = rig.paired().await;
    for _ in 0..10 {
        rig.clock().advance(Duration::from_secs(1));
        drop(rig.attach(&another_session(&noisy)).await.unwrap());
    }
    assert_eq!(rig.ledger.sessions().await.unwrap().len(), 3);
    let back = rig.attach(&quiet.resuming(&cursor)).await.unwrap();
    assert_eq!(back.state, SessionState::Resumed, "nobody ended it");
    // With all of them in use, the next one is refused.
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(rig.attach(&another_session(&noisy)).await.unwrap());
    }
    let refused = rig.attach(&another_session(&noisy)).await.err().unwrap();
    assert_eq!(refused.reason, Reason::SessionCapacity);
    assert!(refused.message.contains("this device"), "{refused:?}");
}

static NOTES: Table<String> = Table::new("notes");

async fn note(rig: &Rig, session: Option<&SessionRef>, key: &str, bytes: usize) -> Answer {
    let key = key.to_owned();
    let text = "x".repeat(bytes);
    rig.ledger
        .write_as(session.cloned(), move |tx| {
            NOTES.put(tx, &key, &text)?;
            answer("kept")
        })
        .await
}

#[tokio::test]
async fn tr_12_what_services_store_for_a_device_is_bounded_until_it_removes_some() {
    let rig = rig(|quotas| (quotas.data_rows, quotas.data_bytes) = (3, 5_000));
    let ((noisy, link), (_, other)) = (device(&rig).await, device(&rig).await);
    let session = Some(link.session());
    for key in ["a", "b", "c"] {
        note(&rig, session, key, 10).await.unwrap();
    }
    let reason = RpcReason::QuotaExceeded;
    let refused = note(&rig, session, "d", 10).await.unwrap_err();
    is_told(&refused, reason, &noisy, "data_rows_per_device", 3);
    note(&rig, session, "c", 20).await.unwrap();
    let refused = note(&rig, session, "c", 6_000).await.unwrap_err();
    is_told(&refused, reason, &noisy, "data_bytes_per_device", 5_000);
    let kept = rig.ledger.read(|reader| NOTES.get(reader, "c")).await;
    assert_eq!(
        kept.unwrap().unwrap().len(),
        20,
        "a refusal changes nothing"
    );

    // Others are not concerned, nor is the daemon itself.
    note(&rig, Some(other.session()), "d", 10).await.unwrap();
    note(&rig, None, "e", 9_000).await.unwrap();

    let rig = rig.kill();
    let refused = note(&rig, session, "f", 10).await.unwrap_err();
    is_told(&refused, reason, &noisy, "data_rows_per_device", 3);
    let removed = rig.ledger.write(|tx| NOTES.remove(tx, "a")).await;
    assert!(removed.unwrap());
    note(&rig, session, "f", 10).await.unwrap();
    // An entry belongs to whoever wrote it last.
    note(&rig, Some(other.session()), "f", 10).await.unwrap();
    note(&rig, session, "g", 10).await.unwrap();
}

#[tokio::test]
async fn tr_12_a_device_at_full_speed_is_told_so_and_others_are_served() {
    let rig = rig(|quotas| quotas.waiting = 64);
    let ((noisy, link), (_, other)) = (device(&rig).await, device(&rig).await);
    let flood = (0..20_000).map(|_| send(&rig.ledger, link.session(), AGENTS_SEND, 100));
    let flood = futures_util::future::join_all(flood);
    let quiet = async {
        for _ in 0..20 {
            send(&rig.ledger, other.session(), AGENTS_SEND, 100)
                .await
                .unwrap();
        }
    };
    let (answers, ()) = futures_util::future::join(flood, quiet).await;
    let refused: Vec<_> = answers.iter().filter_map(|it| it.as_ref().err()).collect();
    assert!(refused.len() > 1_000, "{}", refused.len());
    for error in refused {
        let reason = RpcReason::RateLimited;
        is_told(error, reason, &noisy, "waiting_per_device", 64);
        assert!(error.retry_after().is_some());
    }
}

#[tokio::test]
async fn tr_12_a_store_at_its_limit_refuses_by_name_and_forgetting_makes_room() {
    let rig = Rig::with(|options| options.max_pages = Some(128));
    let (app, link) = device(&rig).await;
    let refused = loop {
        if let Err(error) = big(&rig, link.session()).await {
            break error;
        }
    };
    assert_eq!(refused.reason(), Some(RpcReason::StorageUnavailable));
    let quota = refused.quota().unwrap();
    assert_eq!(
        (quota.name.as_str(), quota.limit),
        ("storage_limit", 128 * 4_096)
    );
    assert_eq!(quota.whose, "the daemon's store");
    assert!(!refused.is_final(), "clients keep it and send it again");
    rig.ledger.devices().await.unwrap();

    let rig = rig.kill();
    assert!(big(&rig, link.session()).await.is_err(), "still full");
    let link = rig.attach(&app).await.unwrap();
    rig.clock().advance(Duration::from_secs(26 * 3_600));
    rig.settle().await;
    big(&rig, link.session()).await.unwrap();
    assert_eq!(rig.ledger.failing_since(), None);
}

/// Otherwise the turns of accepted prompts could not end, and nothing would make room.
#[tokio::test]
async fn tr_12_intents_leave_room_in_a_full_store_for_what_was_accepted_before() {
    let rig = Rig::with(|options| options.max_pages = Some(1_024));
    let (_, link) = device(&rig).await;
    note(&rig, None, "old", 60_000).await.unwrap();
    let refused = loop {
        if let Err(error) = big(&rig, link.session()).await {
            break error;
        }
    };
    assert_eq!(refused.quota().unwrap().name, "storage_limit");

    for n in 0..8 {
        note(&rig, None, &format!("end {n}"), 4_000).await.unwrap();
    }
    assert!(big(&rig, link.session()).await.is_err());
    send(&rig.ledger, link.session(), AGENTS_CANCEL, 10)
        .await
        .expect("what ends work is taken");
    let (id, session) = (intent_id(), link.session());
    let forget = rig.ledger.intent(session, id, "test.forget", "{}", |tx| {
        answer(&NOTES.remove(tx, "old")?)
    });
    forget.await.expect("what frees more than it takes too");
    big(&rig, session).await.unwrap();
}

/// An intent with a large outcome.
async fn big(rig: &Rig, session: &SessionRef) -> Answer {
    let outcome = "x".repeat(8_000);
    rig.ledger
        .intent(session, intent_id(), "test.big", "{}", move |_| {
            answer(&outcome)
        })
        .await
        .and_then(Done::into_answer)
}
