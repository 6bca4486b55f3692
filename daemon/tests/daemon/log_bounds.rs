//! What a log keeps, how its items grow, and who is charged for it.

use bowline_daemon::ledger::{LedgerOptions, Log, MAX_ITEM, SessionRef, Tx};
use bowline_protocol::{RpcReason, limits};
use serde_json::{Value, json};

use crate::{
    diaries::{Diaries, NAME, entry, indexes, told},
    rig::Rig,
    support::diary::{ENTRIES, Pages, SHORT},
};

#[tokio::test]
async fn ld_9_the_oldest_items_are_dropped_and_no_index_is_used_twice() {
    let diaries = Diaries::new();
    let (_, mut link) = diaries.link().await;
    let add =
        |body: String| diaries.write(move |tx| SHORT.append(tx, "a", &json!({ "body": body })));
    for _ in 0..4 {
        add("x".to_owned()).await.unwrap();
    }
    let mut shown = Pages::opened(&diaries.open(&link, "diary.short", json!({})).await);
    for expected in 4..8 {
        assert_eq!(add("y".to_owned()).await.unwrap(), expected);
    }
    let mut firsts = Vec::new();
    for (seq, event) in told(&mut link) {
        firsts.push(event["first"].as_u64().unwrap());
        shown.event(seq, &event);
    }
    assert_eq!(firsts, [0, 1, 2, 3], "as many as are kept");
    assert_eq!(
        shown.items().keys().copied().collect::<Vec<_>>(),
        [3, 4, 5, 6, 7]
    );
    let page = diaries
        .page(&link, "diary.short", json!({"before": 5}))
        .await;
    assert_eq!((indexes(&page), &page["more"]), (vec![3, 4], &json!(false)));

    // By their bytes: of a log that is over, the newest item stays, whatever its size.
    diaries
        .write(|tx| SHORT.grow(tx, "a", 6, &"z".repeat(360)))
        .await
        .unwrap();
    let events = told(&mut link);
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].1["type"], "log.grown");
    let dropped = json!({
        "type": "log.appended", "name": "diary.short", "key": "a", "first": 5, "next": 8,
    });
    assert_eq!(events[1].1, dropped);
    add("x".repeat(500)).await.unwrap();
    let kept = diaries.rig.ledger.read(|reader| SHORT.bounds(reader, "a"));
    assert_eq!(kept.await.unwrap(), 8..9);
    let error = diaries.write(|tx| SHORT.grow(tx, "a", 7, "x")).await;
    assert_eq!(error.unwrap_err().reason(), Some(RpcReason::NotFound));

    // Removed, and begun anew in one transaction: above all that was.
    told(&mut link);
    let again = diaries.write(|tx| {
        assert!(SHORT.remove(tx, "a")? && !SHORT.remove(tx, "a")?);
        SHORT.append(tx, "a", &json!({"body": "again"}))
    });
    assert_eq!(again.await.unwrap(), 9);
    let again = json!({
        "type": "log.appended", "name": "diary.short", "key": "a", "first": 9, "next": 10,
        "items": [{"index": 9, "value": {"body": "again"}}],
    });
    let events = told(&mut link);
    assert_eq!(
        events.iter().map(|(_, event)| event).collect::<Vec<_>>(),
        [&again]
    );
    diaries.write(|tx| SHORT.remove(tx, "a")).await.unwrap();
    let gone = json!({
        "type": "log.appended", "name": "diary.short", "key": "a", "first": 10, "next": 10,
    });
    assert_eq!(told(&mut link)[0].1, gone);
    let diaries = Diaries::on(diaries.rig.kill());
    let first = diaries.write(|tx| SHORT.append(tx, "never used", &json!({})));
    assert_eq!(first.await.unwrap(), 10);
}

#[tokio::test]
async fn ld_9_only_the_last_items_grow_and_only_as_far_as_an_item_may() {
    let diaries = Diaries::new();
    let (_, mut link) = diaries.link().await;
    let last = limits::LOG_GROWING;
    diaries.add(0..last + 1).await;
    let mut shown = Pages::opened(&diaries.open(&link, NAME, json!({"limit": 1_000})).await);
    for (index, text, reason) in [
        (0, "x".to_owned(), RpcReason::Unsupported),
        (last + 1, "x".to_owned(), RpcReason::NotFound),
        (last, "x".repeat(MAX_ITEM), RpcReason::Unsupported),
    ] {
        let error = diaries.grow(index, text).await.unwrap_err();
        assert_eq!(error.reason(), Some(reason), "{index}: {error}");
    }
    let elsewhere = diaries.write(|tx| ENTRIES.grow(tx, "none", 0, "x")).await;
    assert_eq!(elsewhere.unwrap_err().reason(), Some(RpcReason::NotFound));
    // A text of another kind, and none at all.
    let numbers = Log::<Value>::new("diary.entries").growing("n");
    let error = diaries
        .write(move |tx| numbers.grow(tx, "a", last, "x"))
        .await;
    let error = error.unwrap_err();
    assert!(
        error.code == -32603 && error.message.contains("`n`"),
        "{error}"
    );
    diaries.grow(1, String::new()).await.unwrap();
    assert!(told(&mut link).is_empty(), "nothing has changed");

    diaries.grow(1, "small".to_owned()).await.unwrap();
    diaries.grow(last, "x".repeat(70_000)).await.unwrap();
    // A control character takes six bytes.
    diaries.grow(2, "\u{1}".repeat(20_000)).await.unwrap();
    let events = told(&mut link);
    for (seq, event) in &events {
        assert!(event.to_string().len() <= limits::LIVE_EVENT_BYTES);
        shown.event(*seq, event);
    }
    assert_eq!(shown.stale, [last, 2]);
    let page = diaries
        .page(&link, NAME, json!({"indexes": [last, 2, 9_999]}))
        .await;
    assert_eq!(
        (indexes(&page), &page["more"]),
        (vec![2, last], &json!(false))
    );
    shown.page(&page);
    assert_eq!(shown.items(), diaries.stored().await);
}

#[tokio::test]
async fn ld_9_what_is_too_large_for_an_event_is_fetched_and_too_large_an_item_is_refused() {
    const SMALL: usize = 4_096;
    let diaries = Diaries::new();
    let (_, mut link) = diaries.link().await;
    let mut shown = Pages::opened(&diaries.open(&link, NAME, json!({})).await);
    assert_eq!((shown.first, shown.next), (0, 0));
    let many = diaries.write(|tx| {
        for n in 0..12 {
            ENTRIES.append(tx, "a", &entry(n, &"x".repeat(30_000)))?;
        }
        Ok(())
    });
    many.await.unwrap();
    let stale = json!({
        "type": "log.appended", "name": NAME, "key": "a", "first": 0, "next": 12, "stale": true,
    });
    let events = told(&mut link);
    assert_eq!(
        events.iter().map(|(_, event)| event).collect::<Vec<_>>(),
        [&stale]
    );
    shown.event(events[0].0, &events[0].1);
    let mut from = json!({"before": 1});
    let mut pages = 0;
    while shown.items().len() < 12 {
        let page = diaries.page(&link, NAME, from).await;
        assert!(page.to_string().len() <= 260_000);
        shown.page(&page);
        from = json!({"after": shown.items().last_key_value().unwrap().0, "before": 12});
        pages += 1;
    }
    assert_eq!((pages, shown.items()), (3, diaries.stored().await));

    let text = "x".repeat(MAX_ITEM);
    let large = diaries.write(move |tx| ENTRIES.append(tx, "a", &entry(9, &text)));
    let error = large.await.unwrap_err();
    assert_eq!(error.reason(), Some(RpcReason::Unsupported));
    assert!(error.message.contains("at most 262144"), "{error}");
    for key in ["", "a*", &"k".repeat(513)] {
        let key = key.to_owned();
        let refused = diaries.write(move |tx| ENTRIES.append(tx, &key, &entry(9, "")));
        let reason = refused.await.unwrap_err().reason();
        assert_eq!(reason, Some(RpcReason::Unsupported));
    }
    assert_eq!(diaries.stored().await.len(), 12);
    // A type may make items too large for anybody, and a setting for a message.
    let stored = Log::<Value>::new("diary.grown");
    let old = diaries.write(move |tx| stored.append(tx, "a", &json!({})));
    old.await.unwrap();
    let item = json!({"index": 0, "value": null, "omittedBytes": 300_011});
    // One of a former type does not keep anybody from the others.
    let stored = Log::<Value>::new("diary.grown");
    let former = diaries.write(move |tx| stored.append(tx, "a", &json!("former")));
    former.await.unwrap();
    let unreadable = json!({"index": 1, "value": null, "omittedBytes": 8, "unreadable": true});
    let page = diaries.open(&link, "diary.grown", json!({})).await;
    assert_eq!(page["items"], json!([item, unreadable]));
    let small = |options: &mut LedgerOptions| {
        options.max_message_bytes = u32::try_from(SMALL).unwrap();
    };
    let diaries = Diaries::on(diaries.rig.kill_with(small));
    let (_, link) = diaries.link().await;
    let page = diaries.open(&link, NAME, json!({"limit": 2})).await;
    assert!(page.to_string().len() < SMALL);
    assert_eq!(page["items"][1]["omittedBytes"], 30_018);
}

#[tokio::test]
async fn ld_9_pages_go_in_both_directions_and_say_what_follows() {
    let diaries = Diaries::new();
    let (_, link) = diaries.link().await;
    diaries.add(0..10).await;
    for (asked, expected, more) in [
        (json!({"limit": 3}), vec![7, 8, 9], true),
        (json!({"before": 4}), vec![0, 1, 2, 3], false),
        (json!({"before": 4, "limit": 2}), vec![2, 3], true),
        (json!({"before": 0}), vec![], false),
        (json!({"after": 6}), vec![7, 8, 9], false),
        (json!({"after": 1, "limit": 2}), vec![2, 3], true),
        (json!({"after": 1, "before": 4}), vec![2, 3], false),
        (json!({"after": 9}), vec![], false),
        (
            json!({"after": u64::MAX, "before": u64::MAX}),
            vec![],
            false,
        ),
        (json!({"indexes": [5, 1, 5, 77]}), vec![1, 5], false),
        (json!({"indexes": [5, 1], "limit": 1}), vec![1], true),
    ] {
        let page = diaries.page(&link, NAME, asked.clone()).await;
        assert_eq!(indexes(&page), expected, "{asked}");
        assert_eq!(page["more"], more, "{asked}");
        assert_eq!((&page["first"], &page["next"]), (&json!(0), &json!(10)));
    }
    let sessions = diaries.rig.ledger.sessions().await.unwrap();
    assert_eq!(sessions[0].subscriptions, 0, "a page follows nothing");
}

#[tokio::test]
async fn tr_12_a_log_is_charged_to_the_device_that_began_it_until_items_are_dropped() {
    let diaries = Diaries::on(Rig::with(|options| options.quotas.data_rows = 4));
    let ((_, ann), (_, bob)) = (diaries.link().await, diaries.link().await);
    let add = |log: &'static str, by: Option<&SessionRef>| {
        let work = move |tx: &mut Tx<'_>| SHORT.append(tx, log, &json!({"body": "x"}));
        diaries.rig.ledger.write_as(by.cloned(), work)
    };
    for by in [&ann, &bob, &bob] {
        add("a", Some(by.session())).await.unwrap();
    }
    let refused = add("a", Some(bob.session())).await.unwrap_err();
    let quota = refused.quota().unwrap();
    assert_eq!(quota.name, "data_rows_per_device");
    assert_eq!(quota.whose, "the device that began the log");
    let refused = add("a", Some(ann.session())).await.unwrap_err();
    assert_eq!(refused.quota().unwrap().whose, "rig");
    add("b", Some(bob.session())).await.unwrap();
    // The daemon's own work is never refused. What is dropped is given back.
    for _ in 0..6 {
        add("a", None).await.unwrap();
    }
    assert!(add("a", Some(ann.session())).await.is_err());
    let diaries = Diaries::on(diaries.rig.kill());
    let session = ann.session().clone();
    let add = move |tx: &mut Tx<'_>| SHORT.append(tx, "c", &json!({}));
    let refused = diaries.rig.ledger.write_as(Some(session.clone()), add);
    assert!(refused.await.is_err(), "counted again at the start");
    diaries.write(|tx| SHORT.remove(tx, "a")).await.unwrap();
    let added = diaries.rig.ledger.write_as(Some(session), add);
    added.await.unwrap();
}

#[tokio::test]
async fn tr_12_a_replaced_item_costs_the_difference_and_may_drop_the_oldest() {
    let diaries = Diaries::on(Rig::with(|options| options.quotas.data_bytes = 300));
    let ((_, ann), (_, mut bob)) = (diaries.link().await, diaries.link().await);
    let write = |index: Option<u64>, bytes: usize, by: Option<&SessionRef>| {
        let item = json!({"body": "x".repeat(bytes)});
        let work = move |tx: &mut Tx<'_>| match index {
            None => SHORT.append(tx, "a", &item).map(drop),
            Some(index) => SHORT.replace(tx, "a", index, &item),
        };
        diaries.rig.ledger.write_as(by.cloned(), work)
    };
    for _ in 0..2 {
        write(None, 100, Some(ann.session())).await.unwrap();
    }
    // Ann began the log, so that it is hers; a smaller value is never refused.
    let over = write(Some(0), 200, Some(bob.session())).await;
    let over = over.unwrap_err();
    assert_eq!(over.quota().unwrap().name, "data_bytes_per_device");
    assert_eq!(over.quota().unwrap().whose, "the device that began the log");
    write(Some(0), 10, Some(bob.session())).await.unwrap();
    write(Some(1), 150, Some(bob.session())).await.unwrap();
    assert!(write(Some(0), 150, Some(ann.session())).await.is_err());
    // As much is counted at the start.
    let link = diaries.open(&bob, "diary.short", json!({})).await;
    assert_eq!(link["next"], 2);

    // The daemon's own work is not refused. What is over the log's bytes is dropped, oldest first,
    // even if that is the item itself.
    write(Some(1), 200, None).await.unwrap();
    told(&mut bob);
    write(Some(0), 200, None).await.unwrap();
    let events: Vec<_> = told(&mut bob).into_iter().map(|(_, event)| event).collect();
    let dropped = json!({
        "type": "log.appended", "name": "diary.short", "key": "a", "first": 1, "next": 2,
    });
    assert_eq!(events, [dropped]);
    let gone = write(Some(0), 1, None).await.unwrap_err();
    assert_eq!(gone.reason(), Some(RpcReason::NotFound));
    let diaries = Diaries::on(diaries.rig.kill());
    let by = ann.session().clone();
    let add = |bytes: usize| {
        let item = json!({"body": "x".repeat(bytes)});
        let work = move |tx: &mut Tx<'_>| SHORT.append(tx, "a", &item);
        diaries.rig.ledger.write_as(Some(by.clone()), work)
    };
    assert!(add(90).await.is_err(), "counted again at the start");
    add(20).await.unwrap();
}
