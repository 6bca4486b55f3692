//! Live logs on the ledger itself: following, pages in both directions, growth, retention.

use std::collections::BTreeMap;

use bowline_daemon::{
    ledger::{Log, MAX_ITEM, SessionRef, Tx},
    service::{Context, Origin, Router, answer},
};
use bowline_protocol::{RpcReason, SessionState, error::RpcError, limits, methods::Empty};
use serde_json::{Value, json, value::to_raw_value};

use crate::{
    rig::{App, Link, Rig, intent_id},
    support::diary::{Diary, ENTRIES, Entry, Pages, SHORT},
};

/// A ledger with the diary's service.
struct Diaries {
    rig: Rig,
    router: Router,
}

impl Diaries {
    fn new() -> Self {
        Self::on(Rig::new())
    }

    fn on(rig: Rig) -> Self {
        let mut router = Router::new();
        router.add(Diary).unwrap();
        Self { rig, router }
    }

    async fn link(&self) -> (App, Link) {
        let app = self.rig.paired().await;
        let link = self.rig.attach(&app).await.unwrap();
        (app, link)
    }

    async fn call(&self, link: &Link, method: &str, params: Value) -> Result<Value, RpcError> {
        let context = Context {
            ledger: self.rig.ledger.clone(),
            session: Some(link.session().clone()),
            origin: Origin::Session,
            connection: 1,
            max_message_bytes: 1 << 20,
        };
        let params = to_raw_value(&params).unwrap();
        let answer = self.router.answer(method, Some(&params), &context).await?;
        Ok(serde_json::from_str(answer.get()).unwrap())
    }

    /// `live.open` of the log `a`, with more parameters.
    async fn open(&self, link: &Link, name: &str, more: Value) -> Value {
        self.call(link, "live.open", of(name, more)).await.unwrap()
    }

    async fn page(&self, link: &Link, name: &str, more: Value) -> Value {
        self.call(link, "live.page", of(name, more)).await.unwrap()
    }

    async fn write<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        self.rig.ledger.write(work).await
    }

    /// Adds entries with these numbers to the log `a`, each in a transaction of its own.
    async fn add(&self, numbers: std::ops::Range<u64>) {
        for n in numbers {
            let index = self.write(move |tx| ENTRIES.append(tx, "a", &entry(n, "")));
            index.await.unwrap();
        }
    }

    async fn grow(&self, index: u64, text: String) -> Result<(), RpcError> {
        self.write(move |tx| ENTRIES.grow(tx, "a", index, &text))
            .await
    }

    /// The items of the log `a` that are kept.
    async fn stored(&self) -> BTreeMap<u64, Value> {
        let read = self.rig.ledger.read(|reader| {
            let mut kept = ENTRIES.bounds(reader, "a")?;
            let mut items = Vec::new();
            while !kept.is_empty() {
                items.extend(ENTRIES.range(reader, "a", kept.clone(), 10_000)?);
                kept.start = items.last().map_or(kept.end, |(index, _)| index + 1);
            }
            Ok(items)
        });
        let items = read.await.unwrap().into_iter();
        items.map(|(index, item)| (index, json!(item))).collect()
    }
}

fn of(name: &str, more: Value) -> Value {
    let mut of = json!({"kind": "log", "name": name, "params": {"log": "a"}});
    let more = more.as_object().unwrap().clone();
    of.as_object_mut().unwrap().extend(more);
    of
}

fn entry(n: u64, text: &str) -> Entry {
    let text = text.to_owned();
    Entry { n, text }
}

/// The events of logs; pairings are told as well.
fn told(link: &mut Link) -> Vec<(u64, Value)> {
    let mut events = link.apply();
    events.retain(|(_, event)| event["type"] != "device.paired");
    events
}

fn indexes(page: &Value) -> Vec<u64> {
    let items = page["items"].as_array().unwrap().iter();
    items.map(|item| item["index"].as_u64().unwrap()).collect()
}

const NAME: &str = "diary.entries";

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
    let page = diaries.open(&link, "diary.grown", json!({})).await;
    assert_eq!(page["items"], json!([item]));
    let small = |options: &mut bowline_daemon::ledger::LedgerOptions| {
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
