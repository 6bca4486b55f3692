//! Live tables on the ledger itself: following, telling, and how long a session follows.

use std::collections::BTreeMap;

use bowline_daemon::{
    ledger::{Audience, SessionRef, Table},
    service::{Context, Origin, Router, answer},
};
use bowline_protocol::{RpcReason, SessionState, error::RpcError, methods::Empty};
use serde_json::{Value, json, value::to_raw_value};

use crate::{
    rig::{App, Link, Rig, intent_id},
    support::live::{Board, ROWS, Shown, put_rows},
};

/// A ledger with the board's service.
struct Boards {
    rig: Rig,
    router: Router,
}

impl Boards {
    fn new() -> Self {
        Self::on(Rig::new())
    }

    fn on(rig: Rig) -> Self {
        let mut router = Router::new();
        router.add(Board).unwrap();
        Self { rig, router }
    }

    async fn link(&self) -> (App, Link) {
        let app = self.rig.paired().await;
        let link = self.rig.attach(&app).await.unwrap();
        (app, link)
    }

    async fn back(&self, app: &App, link: &Link) -> Link {
        self.rig.attach(&app.resuming(&link.cursor)).await.unwrap()
    }

    async fn call(&self, link: &Link, method: &str, params: Value) -> Result<Value, RpcError> {
        self.call_as(link.session(), method, params).await
    }

    async fn call_as(
        &self,
        session: &SessionRef,
        method: &str,
        params: Value,
    ) -> Result<Value, RpcError> {
        let context = Context {
            ledger: self.rig.ledger.clone(),
            session: Some(session.clone()),
            origin: Origin::Session,
            connection: 1,
            max_message_bytes: 1 << 20,
        };
        let params = to_raw_value(&params).unwrap();
        let answer = self.router.answer(method, Some(&params), &context).await?;
        Ok(serde_json::from_str(answer.get()).unwrap())
    }

    async fn open(&self, link: &Link, params: Value) -> Value {
        let of = json!({"kind": "table", "name": "board.rows", "params": params});
        self.call(link, "live.open", of).await.unwrap()
    }

    async fn reopen(&self, link: &Link, params: Value) -> Value {
        let seq = link.cursor.last_seq;
        let of = json!({"kind": "table", "name": "board.rows", "params": params, "seq": seq});
        self.call(link, "live.open", of).await.unwrap()
    }

    /// Changes rows in one transaction; `null` removes.
    async fn put(&self, rows: Value) {
        let rows: BTreeMap<String, Value> = serde_json::from_value(rows).unwrap();
        let put = self.rig.ledger.write(|tx| put_rows(tx, rows));
        put.await.unwrap();
    }

    /// Every row under a beginning.
    async fn stored(&self, prefix: &'static str) -> Value {
        let read = self.rig.ledger.read(move |reader| {
            let rows = ROWS.page(reader, "", 10_000)?;
            let rows = rows.into_iter().filter(|(key, _)| key.starts_with(prefix));
            Ok(json!(rows.collect::<BTreeMap<_, _>>()))
        });
        read.await.unwrap()
    }
}

/// The keys of each `table.changed`.
fn keys(events: &[(u64, Value)]) -> Vec<Vec<String>> {
    let of = |list: &Value, key: fn(&Value) -> &Value| -> Vec<String> {
        let list = list.as_array().into_iter().flatten();
        list.map(|it| key(it).as_str().unwrap().to_owned())
            .collect()
    };
    let events = events.iter().map(|(_, event)| event);
    // Pairings are told as well.
    events
        .filter(|event| event["type"] != "device.paired")
        .map(|event| {
            assert_eq!(event["type"], "table.changed");
            let mut keys = of(&event["upserts"], |row| &row["key"]);
            keys.extend(of(&event["removed"], |key| key));
            keys
        })
        .collect()
}

#[tokio::test]
async fn ld_2_pages_and_the_events_after_them_have_every_change_whoever_writes_meanwhile() {
    let boards = Boards::new();
    let (_, mut link) = boards.link().await;
    for n in 0..20 {
        boards.put(json!({format!("a/{n:02}"): 0})).await;
    }
    let ledger = boards.rig.ledger.clone();
    let writer = tokio::spawn(async move {
        for n in 0..600_u64 {
            let key = format!("a/{:02}", n * 7 % 24);
            let value = if n % 5 == 0 { Value::Null } else { json!(n) };
            let put = ledger.write(move |tx| put_rows(tx, [(key, value)]));
            put.await.unwrap();
        }
    });
    let (mut rounds, mut told) = (0, 0);
    while !writer.is_finished() || rounds < 3 {
        let open =
            json!({"kind": "table", "name": "board.rows", "params": {"under": "a"}, "limit": 3});
        let opened = boards.call(&link, "live.open", open).await.unwrap();
        let mut shown = Shown::opened(&opened);
        let mut next = opened["rows"]
            .as_array()
            .unwrap()
            .last()
            .map(|row| row["key"].clone());
        let mut more = opened["more"] == true;
        while let (true, Some(after)) = (more, next.clone()) {
            for (seq, event) in link.apply() {
                shown.event(seq, &event);
            }
            let page = json!({"kind": "table", "name": "board.rows", "params": {"under": "a"}, "limit": 3, "after": after});
            let page = boards.call(&link, "live.page", page).await.unwrap();
            next = shown.page(after.as_str().unwrap(), &page).map(Value::from);
            more = page["more"] == true;
        }
        // What the store has at an event is what is shown once that event is applied.
        let session = link.session().clone();
        let read = boards.rig.ledger.read_as(Some(session), |reader| {
            let rows = ROWS.page(reader, "", 100)?;
            Ok((
                reader.seq(),
                json!(rows.into_iter().collect::<BTreeMap<_, _>>()),
            ))
        });
        let (seq, stored) = read.await.unwrap();
        while link.cursor.last_seq < seq {
            for (n, event) in link.apply() {
                told += 1;
                if n <= seq {
                    shown.event(n, &event);
                }
            }
        }
        assert_eq!(shown.rows(), stored, "round {rounds}");
        rounds += 1;
    }
    writer.await.unwrap();
    assert!(told > 0, "nothing was written meanwhile");
}

#[tokio::test]
async fn ld_2_each_session_is_told_of_what_it_follows_and_of_that_once() {
    let boards = Boards::new();
    let (_, mut all) = boards.link().await;
    let (_, mut under) = boards.link().await;
    let (_, mut one) = boards.link().await;
    let (_, mut both) = boards.link().await;
    let scope = |answer: Value| answer["scope"].as_str().unwrap().to_owned();
    assert_eq!(scope(boards.open(&all, json!({})).await), "*");
    assert_eq!(
        scope(boards.open(&under, json!({"under": "a"})).await),
        "a/*"
    );
    assert_eq!(scope(boards.open(&one, json!({"row": "a/1"})).await), "a/1");
    for params in [json!({"under": "a"}), json!({"row": "a/1"}), json!({})] {
        boards.open(&both, params).await;
    }
    boards
        .put(json!({"a/1": 1, "a/2": 2, "b/1": 3, "a": 4, "a/1x": 5}))
        .await;
    boards.put(json!({"a/1": null})).await;
    let sorted = |link: &mut Link| {
        let mut keys = keys(&link.apply());
        keys.sort();
        keys
    };
    let all_keys = [
        vec!["a", "b/1"],
        vec!["a/1"],
        vec!["a/1"],
        vec!["a/1x", "a/2"],
    ];
    assert_eq!(sorted(&mut all), all_keys);
    assert_eq!(sorted(&mut both), all_keys);
    assert_eq!(sorted(&mut under), &all_keys[1..]);
    assert_eq!(sorted(&mut one), [["a/1"], ["a/1"]]);
    let close = json!({"kind": "table", "name": "board.rows", "scope": "a/*"});
    for _ in 0..2 {
        boards
            .call(&under, "live.close", close.clone())
            .await
            .unwrap();
    }
    boards.put(json!({"a/2": 9})).await;
    assert_eq!(keys(&all.apply()), [["a/2"]]);
    assert!(under.apply().is_empty());
}

#[tokio::test]
async fn ld_2_a_transaction_is_one_event_of_the_rows_as_it_left_them() {
    let boards = Boards::new();
    let (_, mut link) = boards.link().await;
    boards.put(json!({"old": 1})).await;
    boards.open(&link, json!({})).await;
    let session = link.session().clone();
    let put = |id, fails: bool| {
        let effect = move |tx: &mut bowline_daemon::ledger::Tx<'_>| {
            ROWS.put(tx, "x", &json!({"n": 1}))?;
            ROWS.put(tx, "y", &json!(2))?;
            ROWS.remove(tx, "y")?;
            ROWS.remove(tx, "old")?;
            ROWS.remove(tx, "nothing")?;
            ROWS.put(tx, "x", &json!({"n": 2}))?;
            if fails {
                return Err(RpcError::new(RpcReason::NotFound, "on purpose"));
            }
            answer(&Empty {})
        };
        boards
            .rig
            .ledger
            .intent(&session, id, "board.put", "{}", effect)
    };
    assert!(put(intent_id(), true).await.is_err());
    let id = intent_id();
    for _ in 0..2 {
        put(id, false).await.unwrap();
    }
    let changed = json!({
        "type": "table.changed", "name": "board.rows", "scope": "*",
        "upserts": [{"key": "x", "value": {"n": 2}}], "removed": ["old", "y"], "intentId": id,
    });
    assert_eq!(link.apply(), [(1, changed)], "of what happened, once");
    // Other events keep their place between the changes.
    let write = boards.rig.ledger.write(|tx| {
        ROWS.put(tx, "a", &json!(1))?;
        tx.emit_custom(Audience::Devices, "board.told", &json!({}))?;
        ROWS.put(tx, "a", &json!(2))
    });
    write.await.unwrap();
    let events = link.apply();
    let types: Vec<_> = events
        .iter()
        .map(|(_, event)| event["type"].clone())
        .collect();
    assert_eq!(types, ["table.changed", "board.told", "table.changed"]);
    assert_eq!(events[2].1["upserts"][0]["value"], 2);
    assert!(events[2].1["intentId"].is_null());
}

#[tokio::test]
async fn ld_2_a_cut_loses_no_row_and_brings_none_again() {
    let boards = Boards::new();
    let (app, mut link) = boards.link().await;
    boards.put(json!({"a/1": 1})).await;
    let mut shown = Shown::opened(&boards.open(&link, json!({"under": "a"})).await);
    boards.put(json!({"a/2": 2})).await;
    for (seq, event) in link.apply() {
        shown.event(seq, &event);
    }
    // This one was sent, and the client is cut off before it reads it.
    boards.put(json!({"a/3": 3})).await;
    drop(link.attachment);
    boards.put(json!({"a/1": null, "a/2": 22})).await;
    let mut link = boards
        .rig
        .attach(&app.resuming(&link.cursor))
        .await
        .unwrap();
    assert_eq!(link.state, SessionState::Resumed);
    boards.put(json!({"a/4": 4})).await;
    let resumed = boards.reopen(&link, json!({"under": "a"})).await;
    assert_eq!(resumed["resumed"], true);
    assert_eq!(resumed["rows"], json!([]));
    let events = link.apply();
    assert_eq!(
        keys(&events),
        [vec!["a/3"], vec!["a/2", "a/1"], vec!["a/4"]]
    );
    for (seq, event) in &events {
        shown.event(*seq, event);
    }
    assert_eq!(shown.rows(), boards.stored("a/").await);
}

#[tokio::test]
async fn ld_2_rows_of_an_earlier_follow_or_numbering_are_loaded_again() {
    let boards = Boards::new();
    let (app, mut link) = boards.link().await;
    boards.open(&link, json!({})).await;
    boards.put(json!({"a": 1})).await;
    link.apply();
    let before = link.cursor.last_seq;
    // Closed, changed unseen, and opened again: what stood at `before` no longer does.
    let close = json!({"kind": "table", "name": "board.rows", "scope": "*"});
    boards.call(&link, "live.close", close).await.unwrap();
    boards.put(json!({"a": 2})).await;
    boards.rig.announce(1).await;
    boards.open(&link, json!({})).await;
    let of = |seq: u64| json!({"kind": "table", "name": "board.rows", "params": {}, "seq": seq});
    let again = boards.call(&link, "live.open", of(before)).await.unwrap();
    assert_eq!(again["resumed"], Value::Null);
    assert_eq!(again["rows"], json!([{"key": "a", "value": 2}]));
    let error = boards
        .call(&link, "live.open", of(before + 9))
        .await
        .unwrap_err();
    assert_eq!(error.code, -32602, "a number of the future: {error}");

    // Without a cursor the session gets a new epoch, and follows nothing.
    drop(link);
    let mut link = boards.rig.attach(&app).await.unwrap();
    assert_eq!(link.state, SessionState::Reset);
    boards.put(json!({"a": 3})).await;
    assert!(link.apply().is_empty());
    assert_eq!(boards.reopen(&link, json!({})).await["rows"][0]["value"], 3);
}

#[tokio::test]
async fn ld_2_a_close_that_arrives_late_does_not_end_what_was_opened_after_it() {
    let boards = Boards::new();
    let (_, mut link) = boards.link().await;
    let of = |seq: u64, follow: &Value| {
        let (kind, name) = ("table", "board.rows");
        json!({"kind": kind, "name": name, "params": {}, "seq": seq, "follow": follow})
    };
    let close = |follow: &Value| {
        let (kind, name) = ("table", "board.rows");
        json!({"kind": kind, "name": name, "scope": "*", "follow": follow})
    };
    // Closed by a path that freezes, and opened again by another one: without its rows, and with
    // them.
    let first = boards.open(&link, json!({})).await["follow"].clone();
    let second = boards.open(&link, json!({})).await["follow"].clone();
    boards
        .call(&link, "live.close", close(&first))
        .await
        .unwrap();
    boards.put(json!({"a": 1})).await;
    assert_eq!(keys(&link.apply()), [["a"]]);
    let at = of(link.cursor.last_seq, &first);
    let third = boards.call(&link, "live.open", at).await.unwrap();
    assert_eq!(
        third["resumed"], true,
        "it is still the follow of the first answer"
    );
    boards
        .call(&link, "live.close", close(&second))
        .await
        .unwrap();
    boards.put(json!({"a": 2})).await;
    assert_eq!(keys(&link.apply()), [["a"]]);

    let newest = close(&third["follow"]);
    boards.call(&link, "live.close", newest).await.unwrap();
    boards.put(json!({"a": 3})).await;
    assert_eq!(link.apply(), []);
}

#[tokio::test]
async fn ld_2_after_a_restart_of_the_daemon_rows_are_loaded_again_and_none_is_missed() {
    let boards = Boards::new();
    let (app, mut link) = boards.link().await;
    boards.open(&link, json!({})).await;
    boards.put(json!({"a": 1})).await;
    boards.put(json!({"b": 1})).await;
    let events = link.apply();
    let mut shown = Shown::opened(&json!({"scope": "*", "rows": [], "more": false, "seq": 0}));
    for (seq, event) in &events[..1] {
        shown.event(*seq, event);
    }
    link.cursor.last_seq = 1;
    let boards = Boards::on(boards.rig.kill());
    boards.put(json!({"c": 1})).await;
    let mut link = boards.back(&app, &link).await;
    assert_eq!(link.state, SessionState::Resumed);
    boards.put(json!({"d": 1})).await;
    let opened = boards.reopen(&link, json!({})).await;
    assert_eq!(
        opened["resumed"],
        Value::Null,
        "the daemon forgot what was followed"
    );
    boards.put(json!({"d": null})).await;
    let mut shown = Shown::opened(&opened);
    for (seq, event) in link.apply() {
        shown.event(seq, &event);
    }
    assert_eq!(shown.rows(), boards.stored("").await);
}

#[tokio::test]
async fn ld_2_what_a_gone_app_followed_ends_once_its_successor_is_back() {
    let boards = Boards::new();
    let (app, mut link) = boards.link().await;
    for params in [json!({"under": "a"}), json!({"under": "b"})] {
        boards.open(&link, params).await;
    }
    // A second path of the same app changes nothing, however long it takes.
    let second = boards
        .rig
        .attach(&app.resuming(&link.cursor))
        .await
        .unwrap();
    boards
        .rig
        .clock()
        .advance(std::time::Duration::from_secs(60));
    boards.rig.settle().await;
    boards.put(json!({"a/1": 1, "b/1": 1})).await;
    assert_eq!(link.apply().len(), 2);
    drop((link.attachment, second));

    let mut link = boards
        .rig
        .attach(&app.resuming(&link.cursor))
        .await
        .unwrap();
    assert_eq!(
        boards.reopen(&link, json!({"under": "a"})).await["resumed"],
        true
    );
    boards
        .rig
        .clock()
        .advance(std::time::Duration::from_secs(29));
    boards.rig.settle().await;
    boards.put(json!({"a/1": 2, "b/1": 2})).await;
    assert_eq!(link.apply().len(), 2, "there is time yet");
    boards
        .rig
        .clock()
        .advance(std::time::Duration::from_secs(2));
    boards.rig.settle().await;
    boards.put(json!({"a/1": 3, "b/1": 3})).await;
    assert_eq!(keys(&link.apply()), [["a/1"]]);
    assert_eq!(
        boards.rig.ledger.sessions().await.unwrap()[0].subscriptions,
        1
    );
}

#[tokio::test]
async fn ld_2_a_session_that_cannot_resume_follows_nothing() {
    let boards = Boards::on(Rig::with(|options| options.replay_events = 4));
    let (app, link) = boards.link().await;
    boards.open(&link, json!({})).await;
    drop(link.attachment);
    for n in 0..10 {
        boards.put(json!({"a": n})).await;
    }
    let session = &boards.rig.ledger.sessions().await.unwrap()[0];
    assert_eq!((session.subscriptions, session.next_seq), (0, 6));
    let link = boards
        .rig
        .attach(&app.resuming(&link.cursor))
        .await
        .unwrap();
    assert_eq!(link.state, SessionState::Reset);
    let opened = boards.reopen(&link, json!({})).await;
    assert_eq!(opened["rows"], json!([{"key": "a", "value": 9}]));
}

#[tokio::test]
async fn ld_2_an_event_is_made_once_for_all_followers_and_not_at_all_without_one() {
    let boards = Boards::new();
    let mut links = Vec::new();
    for _ in 0..64 {
        links.push(boards.link().await);
    }
    let made = |boards: &Boards| {
        let counters = boards.rig.ledger.counters();
        (counters.events_serialised, counters.frames_pushed)
    };
    let before = made(&boards);
    boards.put(json!({"a/1": 1})).await;
    assert_eq!(made(&boards), before, "nobody follows");
    for (_, link) in &links {
        boards.open(link, json!({"under": "a"})).await;
    }
    boards.put(json!({"b/1": 1})).await;
    assert_eq!(made(&boards), before, "nobody follows that");
    boards.put(json!({"a/1": 2, "a/2": 2})).await;
    assert_eq!(made(&boards), (before.0 + 1, before.1 + 64));
    for (_, link) in &mut links {
        assert_eq!(keys(&link.apply()), [["a/1", "a/2"]]);
    }
}

#[tokio::test]
async fn ld_2_a_large_change_is_told_by_its_keys_and_a_larger_one_by_its_scope() {
    let boards = Boards::new();
    let (_, mut link) = boards.link().await;
    let mut shown = Shown::opened(&boards.open(&link, json!({"under": "a"})).await);
    let text = "x".repeat(7_000);
    let rows: BTreeMap<String, Value> = (0..10).map(|n| (format!("a/{n}"), json!(text))).collect();
    boards.put(json!(rows)).await;
    boards
        .put(json!({"a/0": null, "a/1": "x".repeat(70_000)}))
        .await;
    let events = link.apply();
    for (seq, event) in &events {
        assert_eq!(event["stale"], true);
        assert!(event["upserts"].is_null() && event["removed"].is_null());
        shown.event(*seq, event);
        let keys = std::mem::take(&mut shown.stale);
        let page =
            json!({"kind": "table", "name": "board.rows", "params": {"under": "a"}, "keys": keys});
        let page = boards.call(&link, "live.page", page).await.unwrap();
        shown.fetched(&keys, &page);
    }
    assert_eq!(events[1].1["keys"], json!(["a/0", "a/1"]));
    assert_eq!(shown.rows(), boards.stored("a/").await);
    // Not even the keys fit.
    let long = "k".repeat(400);
    let rows: BTreeMap<String, Value> = (0..200)
        .map(|n| (format!("a/{long}{n}"), json!(n)))
        .collect();
    boards.put(json!(rows)).await;
    let events = link.apply();
    let whole =
        json!({"type": "table.changed", "name": "board.rows", "scope": "a/*", "stale": true});
    assert_eq!(events[0].1, whole);
}

#[tokio::test]
async fn ld_2_pages_are_bounded_and_in_order_and_a_row_too_large_for_one_is_named() {
    let boards = Boards::new();
    let (_, link) = boards.link().await;
    let text = "x".repeat(60_000);
    boards.put(json!({"a/": 1, "a/1": text, "a/2": text, "a/3": text, "a/4": text, "a/5": text, "a0": 1, "b": 2})).await;
    boards.put(json!({"a/6": "x".repeat(300_000)})).await;
    let page = |more: Value| {
        let mut of = json!({"kind": "table", "name": "board.rows", "params": {"under": "a"}});
        of.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        boards.call(&link, "live.page", of)
    };
    let keys = |page: &Value| -> Vec<String> {
        let rows = page["rows"].as_array().unwrap().iter();
        rows.map(|row| row["key"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = page(json!({})).await.unwrap();
    assert_eq!(keys(&first), ["a/", "a/1", "a/2", "a/3", "a/4"]);
    assert_eq!(first["more"], true);
    let rest = page(json!({"after": "a/4"})).await.unwrap();
    assert_eq!(keys(&rest), ["a/5", "a/6"]);
    assert_eq!(
        (&rest["more"], &rest["rows"][1]["value"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(rest["rows"][1]["omittedBytes"], 300_002);
    assert_eq!(keys(&page(json!({"after": "a/x"})).await.unwrap()), [""; 0]);
    assert_eq!(keys(&page(json!({"after": "A"})).await.unwrap()).len(), 5);
    let one = page(json!({"limit": 1})).await.unwrap();
    assert_eq!(
        (keys(&one), &one["more"]),
        (vec!["a/".to_owned()], &json!(true))
    );
    let some = page(json!({"keys": ["a/5", "a/nothing", "a/1", "a/5"]}))
        .await
        .unwrap();
    assert_eq!(
        (keys(&some), &some["more"]),
        (vec!["a/1".to_owned(), "a/5".to_owned()], &json!(false))
    );
    let many = page(json!({"keys": ["a/1", "a/2", "a/3", "a/4", "a/5"]}))
        .await
        .unwrap();
    assert_eq!((keys(&many).len(), &many["more"]), (4, &json!(true)));
    for wrong in [
        json!({"keys": ["b"]}),
        json!({"keys": ["a/1"], "after": "a/"}),
        json!({"keys": vec!["a/1"; 1_001]}),
    ] {
        assert_eq!(page(wrong).await.unwrap_err().code, -32602);
    }
    assert!(
        boards.rig.ledger.sessions().await.unwrap()[0].subscriptions == 0,
        "a page follows nothing"
    );
    let row = json!({"kind": "table", "name": "board.rows", "params": {"row": "a/"}});
    let one = boards.call(&link, "live.open", row).await.unwrap();
    assert_eq!(
        (keys(&one), &one["more"]),
        (vec!["a/".to_owned()], &json!(false))
    );
}

#[tokio::test]
async fn ld_2_pages_fit_into_small_messages_whatever_their_scope() {
    const MOST: usize = 4_096;
    let boards = Boards::on(Rig::with(|options| {
        options.max_message_bytes = u32::try_from(MOST).unwrap();
    }));
    let (_, link) = boards.link().await;
    // Each character takes six in JSON.
    let parent = "\u{1}".repeat(200);
    let small: BTreeMap<String, Value> = (0..60).map(|n| (format!("a/{n}"), json!("x"))).collect();
    let long: BTreeMap<String, Value> = (0..9)
        .map(|n| (format!("{parent}/{n}"), json!(n)))
        .collect();
    boards.put(json!(small)).await;
    boards.put(json!(long)).await;
    boards.put(json!({"b/large": "x".repeat(MOST)})).await;
    for under in ["a", &parent] {
        let page = boards.open(&link, json!({"under": under})).await;
        assert!(page.to_string().len() <= MOST - 256, "{under}");
        assert!(page["rows"].as_array().unwrap().len() > usize::from(under == "a"));
        assert!(page["rows"][0]["omittedBytes"].is_null(), "{under}");
    }
    let page = boards.open(&link, json!({"under": "b"})).await;
    assert_eq!(page["rows"][0]["omittedBytes"], MOST + 2);
}

#[tokio::test]
async fn ld_2_a_row_that_its_type_makes_too_large_is_named() {
    let boards = Boards::new();
    let (_, link) = boards.link().await;
    let stored = Table::<Value>::new("board.grown");
    let put = boards
        .rig
        .ledger
        .write(move |tx| stored.put(tx, "old", &json!({})));
    put.await.unwrap();
    let of = json!({"kind": "table", "name": "board.grown"});
    let page = boards.call(&link, "live.open", of).await.unwrap();
    let row = json!({"key": "old", "value": null, "omittedBytes": 300_011});
    assert_eq!(page["rows"], json!([row]));
}

#[tokio::test]
async fn ld_2_a_stored_row_that_its_type_cannot_read_any_more_is_named_and_the_others_are_served() {
    let boards = Boards::new();
    let (_, link) = boards.link().await;
    let stored = Table::<Value>::new("board.grown");
    let put = boards.rig.ledger.write(move |tx| {
        stored.put(tx, "a", &json!({}))?;
        stored.put(tx, "b", &json!("of a former type"))?;
        stored.put(tx, "c", &json!({}))
    });
    put.await.unwrap();
    let unreadable = json!({"key": "b", "value": null, "omittedBytes": 18, "unreadable": true});
    let of = json!({"kind": "table", "name": "board.grown"});
    let page = boards.call(&link, "live.open", of).await.unwrap();
    assert_eq!(keys_of(&page), ["a", "b", "c"]);
    assert_eq!(page["rows"][1], unreadable);
    assert!(page["rows"][2]["unreadable"].is_null());
    let of = json!({"kind": "table", "name": "board.grown", "keys": ["b"]});
    let page = boards.call(&link, "live.page", of).await.unwrap();
    assert_eq!(page["rows"], json!([unreadable]));
}

/// The keys of a page.
fn keys_of(page: &Value) -> Vec<&str> {
    let rows = page["rows"].as_array().unwrap().iter();
    rows.map(|row| row["key"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn ld_2_a_row_without_a_key_is_neither_told_nor_on_a_page() {
    let boards = Boards::new();
    let (_, mut link) = boards.link().await;
    boards.open(&link, json!({})).await;
    boards.put(json!({"": 1, "a": 1})).await;
    assert_eq!(keys(&link.apply()), [["a"]]);
    let of = json!({"kind": "table", "name": "board.rows", "keys": ["", "a"]});
    let page = boards.call(&link, "live.page", of).await.unwrap();
    assert_eq!(page["rows"], json!([{"key": "a", "value": 1}]));
    assert_eq!(boards.open(&link, json!({})).await["rows"], page["rows"]);
}

#[tokio::test]
async fn ld_2_a_session_follows_so_much_and_is_told_what_the_bound_is() {
    let boards = Boards::on(Rig::with(|options| options.follows_per_session = 3));
    let (_, link) = boards.link().await;
    let of =
        |n: u32| json!({"kind": "table", "name": "board.rows", "params": {"under": n.to_string()}});
    for n in [0, 1, 2, 0, 2] {
        boards.call(&link, "live.open", of(n)).await.unwrap();
    }
    let error = boards.call(&link, "live.open", of(3)).await.unwrap_err();
    assert_eq!(error.reason(), Some(RpcReason::QuotaExceeded));
    let quota = error.quota().unwrap();
    assert_eq!(
        (quota.name.as_str(), quota.limit),
        ("follows_per_session", 3)
    );
    let close = json!({"kind": "table", "name": "board.rows", "scope": "1/*"});
    boards.call(&link, "live.close", close).await.unwrap();
    boards.call(&link, "live.open", of(3)).await.unwrap();
    // Those of a session that has ended are gone with it.
    let (_, other) = boards.link().await;
    boards.call(&other, "live.open", of(0)).await.unwrap();
}
