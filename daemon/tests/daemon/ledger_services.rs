//! What services get from the ledger: storage in the transaction of an intent, events of their own.

use bowline_daemon::{
    ledger::{Audience, ByteTable, MAX_KEY, MAX_VALUE, Table, Tx},
    service::answer,
};
use bowline_protocol::{RpcReason, SessionState, error::RpcError, methods::Empty};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::rig::{Rig, intent_id};

const NOTES: Table<Note> = Table::new("test.notes");
const OTHERS: Table<Note> = Table::new("test.others");
const BYTES: ByteTable = ByteTable::new("test.bytes");

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    text: String,
}

fn note(text: &str) -> Note {
    Note {
        text: text.to_owned(),
    }
}

fn failed() -> RpcError {
    RpcError::new(RpcReason::NotFound, "on purpose")
}

#[tokio::test]
async fn what_a_service_stores_is_durable_and_its_own() {
    let rig = Rig::new();
    rig.ledger
        .write(|tx| {
            NOTES.put(tx, "a", &note("one"))?;
            NOTES.put(tx, "a", &note("two"))?;
            OTHERS.put(tx, "a", &note("other"))?;
            assert_eq!(NOTES.get(tx, "a")?, Some(note("two")), "its own changes");
            BYTES.put(tx, "b", &[0, 255, 7])
        })
        .await
        .unwrap();
    let rig = rig.kill();
    rig.ledger
        .read(|reader| {
            assert_eq!(NOTES.get(reader, "a")?, Some(note("two")));
            assert_eq!(OTHERS.need(reader, "a")?, note("other"));
            assert_eq!(BYTES.get(reader, "b")?, Some(vec![0, 255, 7]));
            assert_eq!(NOTES.get(reader, "b")?, None);
            let error = NOTES.need(reader, "b").unwrap_err();
            assert_eq!(error.reason(), Some(RpcReason::NotFound));
            Ok(())
        })
        .await
        .unwrap();
    let removed = rig.ledger.write(|tx| NOTES.remove(tx, "a")).await.unwrap();
    let again = rig.ledger.write(|tx| NOTES.remove(tx, "a")).await.unwrap();
    assert_eq!((removed, again), (true, false));
    assert_eq!(rig.ledger.read(|r| OTHERS.count(r)).await.unwrap(), 1);
}

#[tokio::test]
async fn bx_1_storage_events_and_outcome_of_an_intent_happen_together_or_not_at_all() {
    let rig = Rig::new();
    let app = rig.paired().await;
    let mut link = rig.attach(&app).await.unwrap();
    let session = link.session().clone();
    let effect = |fails: bool| {
        move |tx: &mut Tx<'_>| {
            let count = NOTES.count(tx)?;
            NOTES.put(tx, &format!("{count}"), &note("x"))?;
            tx.emit_custom(Audience::Devices, "test.noted", &json!({"n": count}))?;
            if fails { Err(failed()) } else { answer(&count) }
        }
    };
    let ledger = &rig.ledger;
    let run = |id, fails| ledger.intent(&session, id, "test.note", "{}", effect(fails));
    let (good, bad) = (intent_id(), intent_id());
    assert!(run(bad, true).await.is_err());
    assert_eq!(rig.ledger.read(|r| NOTES.count(r)).await.unwrap(), 0);
    for _ in 0..3 {
        assert_eq!(*run(good, false).await.unwrap().result, *"0");
    }
    assert_eq!(rig.ledger.read(|r| NOTES.count(r)).await.unwrap(), 1);
    assert_eq!(
        link.apply(),
        [(1, json!({"type": "test.noted", "n": 0}))],
        "of what happened, once"
    );
    let killed = rig.kill();
    let again = killed.attach(&app).await.unwrap();
    let session = again.session().clone();
    let outcome = killed
        .ledger
        .intent(&session, good, "test.note", "{}", effect(false));
    assert_eq!(*outcome.await.unwrap().result, *"0");
    assert_eq!(killed.ledger.read(|r| NOTES.count(r)).await.unwrap(), 1);
}

#[tokio::test]
async fn bx_4_events_of_a_service_are_replayed_like_any_other() {
    let rig = Rig::new();
    let app = rig.paired().await;
    let mut link = rig.attach(&app).await.unwrap();
    let tell = |rig: &Rig, n: u64| {
        let ledger = rig.ledger.clone();
        async move {
            let told = ledger
                .write(move |tx| tx.emit_custom(Audience::Devices, "test.told", &json!({"n": n})));
            told.await.unwrap();
        }
    };
    tell(&rig, 0).await;
    rig.announce(7).await;
    assert_eq!(link.apply().len(), 2);
    let cursor = link.cursor.clone();
    tell(&rig, 1).await;
    tell(&rig, 2).await;
    let rig = rig.kill();
    let mut link = rig.attach(&app.resuming(&cursor)).await.unwrap();
    assert_eq!(link.state, SessionState::Resumed);
    let told = [1, 2].map(|n| (n + 2, json!({"type": "test.told", "n": n})));
    assert_eq!(link.apply(), told);
}

#[tokio::test]
async fn one_session_can_be_told_alone() {
    let rig = Rig::new();
    let (app, other) = (rig.paired().await, rig.paired().await);
    let mut link = rig.attach(&app).await.unwrap();
    let mut beside = rig.attach(&other).await.unwrap();
    let session = link.session().clone();
    rig.ledger
        .write_as(Some(session), |tx| {
            let session = tx.session()?;
            assert_eq!(tx.intent_id(), None);
            tx.emit_custom(Audience::Session(&session), "test.hello", &Empty {})
        })
        .await
        .unwrap();
    assert_eq!(link.apply(), [(1, json!({"type": "test.hello"}))]);
    assert!(beside.apply().is_empty());
    // The next job of the same turn is not taken for the same caller's.
    let own = rig.ledger.write(|tx| tx.session().map(drop));
    assert_eq!(
        own.await.unwrap_err().reason(),
        Some(RpcReason::Forbidden),
        "the daemon's own work has no session"
    );
}

#[tokio::test]
async fn storage_is_bounded_and_paged() {
    let rig = Rig::new();
    let refused = rig
        .ledger
        .write(|tx| {
            let long = BYTES.put(tx, &"k".repeat(MAX_KEY + 1), &[]).unwrap_err();
            let large = BYTES.put(tx, "k", &vec![0; MAX_VALUE + 1]).unwrap_err();
            for n in 0..50 {
                BYTES.put(tx, &format!("{n:03}"), &vec![0; 10_000])?;
            }
            Ok([long.reason(), large.reason()])
        })
        .await
        .unwrap();
    assert_eq!(refused, [Some(RpcReason::Unsupported); 2]);
    rig.ledger
        .read(|reader| {
            assert_eq!(BYTES.page(reader, "", 3)?.len(), 3);
            assert_eq!(BYTES.page(reader, "", 0)?.len(), 0);
            let (mut all, mut after) = (Vec::new(), String::new());
            loop {
                let page = BYTES.page(reader, &after, 1_000)?;
                let Some((last, _)) = page.last() else {
                    break;
                };
                assert!(page.len() < 30, "bounded in bytes: {}", page.len());
                after.clone_from(last);
                all.extend(page.into_iter().map(|(key, _)| key));
            }
            assert_eq!(all.len(), 50);
            assert!(all.is_sorted());
            Ok(())
        })
        .await
        .unwrap();
}
