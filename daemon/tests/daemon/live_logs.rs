//! Live logs on the ledger itself: pages and events, cuts and restarts, refusals.

use std::collections::BTreeMap;

use bowline_daemon::{
    ledger::{Log, MAX_ITEM, Tx},
    service::answer,
};
use bowline_protocol::{RpcReason, SessionState, error::RpcError, methods::Empty};
use serde_json::{Value, json};

use crate::{
    diaries::{Diaries, NAME, entry, indexes, of, told},
    rig::{Rig, intent_id},
    support::diary::{ENTRIES, Pages, SHORT},
};

#[tokio::test]
async fn ld_2_pages_and_the_events_after_them_have_every_item_and_text_whoever_writes_meanwhile() {
    let diaries = Diaries::new();
    let (_, mut link) = diaries.link().await;
    diaries.add(0..20).await;
    let ledger = diaries.rig.ledger.clone();
    let writer = tokio::spawn(async move {
        for n in 20..400_u64 {
            let write = ledger.write(move |tx| {
                ENTRIES.append(tx, "b", &entry(n, ""))?;
                if n % 3 == 0 {
                    ENTRIES.append(tx, "a", &entry(n, "+"))?;
                }
                let next = ENTRIES.bounds(tx, "a")?.end;
                if n % 5 == 0 {
                    ENTRIES.replace(tx, "a", next - 1 - n % 13, &entry(n, "again"))?;
                }
                ENTRIES.grow(tx, "a", next - 1 - n % 7, &format!("{n},"))
            });
            write.await.unwrap();
        }
    });
    let (mut rounds, mut seen) = (0, 0);
    while !writer.is_finished() || rounds < 3 {
        let opened = diaries.open(&link, NAME, json!({"limit": 3})).await;
        let mut shown = Pages::opened(&opened);
        let mut page = opened;
        for _ in 0..3 {
            for (seq, event) in told(&mut link) {
                shown.event(seq, &event);
            }
            let before = indexes(&page)[0];
            let more = json!({"before": before, "limit": 3});
            page = diaries.page(&link, NAME, more).await;
            assert_eq!(indexes(&page), [before - 3, before - 2, before - 1]);
            shown.page(&page);
        }
        // What the store has at an event is what is shown once that event is applied.
        let session = link.session().clone();
        let read = diaries.rig.ledger.read_as(Some(session), |reader| {
            let kept = ENTRIES.bounds(reader, "a")?;
            Ok((reader.seq(), ENTRIES.range(reader, "a", kept, 1_000)?))
        });
        let (seq, stored) = read.await.unwrap();
        while link.cursor.last_seq < seq {
            for (n, event) in told(&mut link) {
                seen += 1;
                if n <= seq {
                    shown.event(n, &event);
                }
            }
        }
        let shown = shown.items();
        let from = *shown.first_key_value().unwrap().0;
        let stored = stored.into_iter().filter(|(index, _)| *index >= from);
        let stored: BTreeMap<u64, Value> = stored.map(|(n, item)| (n, json!(item))).collect();
        assert_eq!(shown, stored, "round {rounds}");
        rounds += 1;
    }
    writer.await.unwrap();
    assert!(seen > 0, "nothing was written meanwhile");
}

#[tokio::test]
async fn ld_2_a_transaction_is_told_as_it_left_the_log_and_serialised_once() {
    let diaries = Diaries::new();
    let mut links = Vec::new();
    for _ in 0..16 {
        links.push(diaries.link().await.1);
    }
    diaries.add(0..2).await;
    for link in &links {
        diaries.open(link, NAME, json!({})).await;
    }
    links.iter_mut().for_each(|link| drop(told(link)));
    let seq = links[0].cursor.last_seq;
    let made = |diaries: &Diaries| {
        let counters = diaries.rig.ledger.counters();
        (counters.events_serialised, counters.frames_pushed)
    };
    let before = made(&diaries);
    let session = links[0].session().clone();
    let write = |id, fails: bool| {
        let effect = move |tx: &mut Tx<'_>| {
            ENTRIES.append(tx, "a", &entry(2, ""))?;
            ENTRIES.grow(tx, "a", 1, "ol")?;
            ENTRIES.append(tx, "elsewhere", &entry(9, ""))?;
            ENTRIES.grow(tx, "a", 2, "new")?;
            ENTRIES.append(tx, "a", &entry(3, "x"))?;
            ENTRIES.grow(tx, "a", 1, "d \"é\"")?;
            if fails {
                return Err(RpcError::new(RpcReason::NotFound, "on purpose"));
            }
            answer(&Empty {})
        };
        diaries
            .rig
            .ledger
            .intent(&session, id, "diary.add", "{}", effect)
    };
    assert!(write(intent_id(), true).await.is_err());
    assert_eq!(made(&diaries), before, "what failed is not told");
    let id = intent_id();
    for _ in 0..2 {
        write(id, false).await.unwrap();
    }
    let grown = json!({
        "type": "log.grown", "name": NAME, "key": "a", "index": 1, "field": "text",
        "text": "old \"é\"", "intentId": id,
    });
    let appended = json!({
        "type": "log.appended", "name": NAME, "key": "a", "first": 0, "next": 4, "intentId": id,
        "items": [{"index": 2, "value": {"n": 2, "text": "new"}},
                  {"index": 3, "value": {"n": 3, "text": "x"}}],
    });
    assert_eq!(
        told(&mut links[0]),
        [(seq + 1, grown.clone()), (seq + 2, appended.clone())]
    );
    for link in &mut links[1..] {
        let events: Vec<_> = told(link).into_iter().map(|(_, event)| event).collect();
        assert_eq!(events, [grown.clone(), appended.clone()]);
    }
    assert_eq!(made(&diaries), (before.0 + 2, before.1 + 32));

    let close = json!({"kind": "log", "name": NAME, "scope": "a"});
    diaries.call(&links[0], "live.close", close).await.unwrap();
    diaries.add(4..5).await;
    assert!(told(&mut links[0]).is_empty() && told(&mut links[1]).len() == 1);
}

#[tokio::test]
async fn ld_2_a_cut_loses_no_text_and_a_restart_of_the_daemon_keeps_the_log() {
    let diaries = Diaries::new();
    let (app, mut link) = diaries.link().await;
    diaries.add(0..3).await;
    let mut shown = Pages::opened(&diaries.open(&link, NAME, json!({})).await);
    diaries.grow(2, "one".to_owned()).await.unwrap();
    for (seq, event) in told(&mut link) {
        shown.event(seq, &event);
    }
    // These were sent, and the client is cut off before it reads them.
    diaries.grow(2, " two".to_owned()).await.unwrap();
    drop(link.attachment);
    diaries.add(3..5).await;
    let mut link = diaries
        .rig
        .attach(&app.resuming(&link.cursor))
        .await
        .unwrap();
    let at = link.cursor.last_seq;
    let resumed = diaries.open(&link, NAME, json!({"seq": at})).await;
    assert_eq!(resumed["resumed"], true);
    assert_eq!(
        (&resumed["items"], &resumed["next"]),
        (&json!([]), &json!(5))
    );
    for (seq, event) in told(&mut link) {
        shown.event(seq, &event);
    }
    assert_eq!(shown.items(), diaries.stored().await);
    assert_eq!(shown.items()[&2], json!({"n": 2, "text": "one two"}));

    let diaries = Diaries::on(diaries.rig.kill());
    diaries.grow(4, "kept".to_owned()).await.unwrap();
    diaries.add(5..6).await;
    let resuming = app.resuming(&link.cursor);
    let mut link = diaries.rig.attach(&resuming).await.unwrap();
    assert_eq!(link.state, SessionState::Resumed);
    let at = link.cursor.last_seq;
    let opened = diaries.open(&link, NAME, json!({"seq": at})).await;
    assert!(
        opened["resumed"].is_null(),
        "the daemon forgot what was followed"
    );
    let mut shown = Pages::opened(&opened);
    diaries.grow(5, "live".to_owned()).await.unwrap();
    for (seq, event) in told(&mut link) {
        shown.event(seq, &event);
    }
    assert_eq!(shown.items(), diaries.stored().await);
    assert_eq!((shown.first, shown.next), (0, 6));
}

#[tokio::test]
async fn ld_2_an_item_of_any_age_is_replaced_and_told_once_as_the_transaction_left_it() {
    let diaries = Diaries::new();
    let (_, mut link) = diaries.link().await;
    diaries.add(0..100).await;
    let opened = diaries.open(&link, NAME, json!({"limit": 1_000})).await;
    let mut shown = Pages::opened(&opened);
    told(&mut link);
    let id = intent_id();
    let effect = |tx: &mut Tx<'_>| {
        // Too old to grow. Of the others, the text before counts no more, and the one after does.
        ENTRIES.replace(tx, "a", 3, &entry(3, "done"))?;
        ENTRIES.grow(tx, "a", 98, "lost")?;
        ENTRIES.replace(tx, "a", 98, &entry(98, "new"))?;
        ENTRIES.grow(tx, "a", 98, " and more")?;
        ENTRIES.grow(tx, "a", 99, "text")?;
        ENTRIES.append(tx, "a", &entry(100, "first"))?;
        ENTRIES.replace(tx, "a", 100, &entry(100, "second"))?;
        ENTRIES.grow(tx, "a", 100, " third")?;
        ENTRIES
            .replace(tx, "elsewhere", 0, &entry(0, ""))
            .unwrap_err();
        answer(&Empty {})
    };
    let session = link.session().clone();
    let intent = diaries
        .rig
        .ledger
        .intent(&session, id, "diary.add", "{}", effect);
    intent.await.unwrap();
    let of = |kind: &str, index: u64| json!({"type": kind, "name": NAME, "key": "a", "index": index, "intentId": id});
    let with = |mut event: Value, name: &str, value: Value| {
        event[name] = value;
        event
    };
    let events = told(&mut link);
    let expected = [
        with(
            of("log.replaced", 3),
            "value",
            json!({"n": 3, "text": "done"}),
        ),
        with(
            of("log.replaced", 98),
            "value",
            json!({"n": 98, "text": "new and more"}),
        ),
        with(
            with(of("log.grown", 99), "field", json!("text")),
            "text",
            json!("text"),
        ),
        json!({
            "type": "log.appended", "name": NAME, "key": "a", "first": 0, "next": 101,
            "items": [{"index": 100, "value": {"n": 100, "text": "second third"}}],
            "intentId": id,
        }),
    ];
    let said: Vec<_> = events.iter().map(|(_, event)| event.clone()).collect();
    assert_eq!(said, expected);
    for (seq, event) in &events {
        shown.event(*seq, event);
    }
    // Text of later transactions goes onto the new value; a value that is too large is fetched.
    diaries.grow(98, "!".to_owned()).await.unwrap();
    let large = entry(7, &"x".repeat(70_000));
    let replaced = diaries.write(move |tx| ENTRIES.replace(tx, "a", 7, &large));
    replaced.await.unwrap();
    for (seq, event) in told(&mut link) {
        shown.event(seq, &event);
    }
    assert_eq!(shown.stale, [7]);
    shown.page(&diaries.page(&link, NAME, json!({"indexes": [7]})).await);
    assert_eq!(shown.items(), diaries.stored().await);
    assert_eq!(shown.items()[&98]["text"], "new and more!");

    let gone = diaries.write(|tx| ENTRIES.replace(tx, "a", 101, &entry(101, "")));
    let error = gone.await.unwrap_err();
    assert_eq!(error.reason(), Some(RpcReason::NotFound));
    assert!(error.message.contains("keeps no item 101"), "{error}");
    let huge = entry(1, &"x".repeat(MAX_ITEM));
    let huge = diaries.write(move |tx| ENTRIES.replace(tx, "a", 1, &huge));
    assert_eq!(
        huge.await.unwrap_err().reason(),
        Some(RpcReason::Unsupported)
    );
    assert!(told(&mut link).is_empty());
}

#[tokio::test]
async fn ld_2_a_transaction_that_replaces_very_many_items_is_one_event_that_any_may_have_changed() {
    let diaries = Diaries::new();
    let (_, mut link) = diaries.link().await;
    diaries.add(0..200).await;
    let opened = diaries.open(&link, NAME, json!({"limit": 1_000})).await;
    told(&mut link);
    let many = |count: u64, bytes: usize| {
        diaries.write(move |tx| {
            for n in 0..count {
                // Again and again: it is told once.
                ENTRIES.replace(tx, "a", n, &entry(n, "before"))?;
                ENTRIES.replace(tx, "a", n, &entry(n, &"x".repeat(bytes)))?;
            }
            ENTRIES.append(tx, "a", &entry(0, "after"))
        })
    };
    many(64, 10).await.unwrap();
    let events = told(&mut link);
    assert_eq!(events.len(), 65, "one by one, and the new one");
    for (count, bytes) in [(65, 10), (20, 40_000)] {
        many(count, bytes).await.unwrap();
        let said: Vec<_> = told(&mut link)
            .into_iter()
            .map(|(_, event)| event)
            .collect();
        let any = json!({"type": "log.replaced", "name": NAME, "key": "a", "stale": true});
        assert_eq!(said[0], any, "{count}");
        assert_eq!((said.len(), &said[1]["type"]), (2, &json!("log.appended")));
    }
    assert_eq!(indexes(&opened).len(), 200);
}

#[tokio::test]
async fn ld_2_a_replacement_is_replayed_after_a_cut_and_what_was_unreadable_can_be_read_again() {
    let diaries = Diaries::new();
    let (app, mut link) = diaries.link().await;
    diaries.add(0..3).await;
    let former = Log::<Value>::new(NAME);
    let write = diaries.write(move |tx| former.replace(tx, "a", 1, &json!("former")));
    write.await.unwrap();
    let opened = diaries.open(&link, NAME, json!({})).await;
    assert_eq!(opened["items"][1]["unreadable"], true);
    let mut shown = Pages::opened(&opened);
    told(&mut link);
    drop(link.attachment);
    let write = diaries.write(|tx| ENTRIES.replace(tx, "a", 1, &entry(1, "current")));
    write.await.unwrap();
    diaries.grow(1, "!".to_owned()).await.unwrap();
    let resuming = app.resuming(&link.cursor);
    let mut link = diaries.rig.attach(&resuming).await.unwrap();
    let at = link.cursor.last_seq;
    let resumed = diaries.open(&link, NAME, json!({"seq": at})).await;
    assert_eq!(resumed["resumed"], true);
    for (seq, event) in told(&mut link) {
        shown.event(seq, &event);
    }
    assert_eq!(shown.items(), diaries.stored().await);
    assert_eq!(shown.items()[&1]["text"], "current!");
}

#[tokio::test]
async fn ld_2_a_log_that_may_not_be_followed_is_refused_with_the_reason() {
    let diaries = Diaries::on(Rig::with(|options| options.follows_per_session = 1));
    let (_, mut link) = diaries.link().await;
    let table = json!({"kind": "table", "name": NAME, "params": {"log": "a"}});
    for (method, asked, code, says) in [
        (
            "live.open",
            of("diary.nothing", json!({})),
            -32001,
            "no log",
        ),
        ("live.open", table, -32001, "no table"),
        (
            "live.open",
            of(NAME, json!({"params": {}})),
            -32602,
            "`log`",
        ),
        (
            "live.open",
            of(NAME, json!({"after": "key"})),
            -32602,
            "an index",
        ),
        (
            "live.open",
            of(NAME, json!({"seq": 1_000})),
            -32602,
            "`seq` is",
        ),
        (
            "live.page",
            of(NAME, json!({"keys": ["a"]})),
            -32602,
            "for tables",
        ),
        (
            "live.page",
            of(NAME, json!({"indexes": [1], "before": 4})),
            -32602,
            "either",
        ),
        (
            "live.page",
            of(NAME, json!({"indexes": vec![0; 1_001]})),
            -32602,
            "1000",
        ),
        (
            "live.open",
            of("diary.wide", json!({"params": {}})),
            -32603,
            "one key",
        ),
        ("live.open", of("diary.own", json!({})), -32008, "one's own"),
    ] {
        let error = diaries.call(&link, method, asked.clone()).await;
        let error = error.unwrap_err();
        assert_eq!(error.code, code, "{asked}: {error}");
        assert!(error.message.contains(says), "{asked}: {error}");
    }
    diaries.open(&link, NAME, json!({})).await;
    let over = of("diary.short", json!({}));
    let error = diaries.call(&link, "live.open", over).await.unwrap_err();
    assert_eq!(error.reason(), Some(RpcReason::QuotaExceeded));
    diaries
        .write(|tx| SHORT.append(tx, "a", &json!({})))
        .await
        .unwrap();
    assert!(told(&mut link).is_empty());
}
