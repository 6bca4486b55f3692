//! Intents that say what they are expected to change: the whole daemon and the whole runtime, with
//! proxies between them (LD-3).

use std::sync::Arc;

use bowline_protocol::{IntentId, RpcReason, live::Json};
use bowline_runtime::{
    HostState, Intent, IntentError, IntentFailure, Outcome, Patch, PatchChange, PatchError,
    Receipt, TableState, TableSubscription, TableView,
};
use serde_json::{Value, json};

use crate::support::{
    TestDaemon,
    app::{App, board},
    within,
};

const ROWS: &str = "board.rows";

fn json_of(value: &Value) -> Json {
    serde_json::from_value(value.clone()).unwrap()
}

fn patch(key: &str, change: PatchChange) -> Patch {
    Patch {
        table: ROWS.to_owned(),
        params: Some(json_of(&json!({"under": "castle"}))),
        key: key.to_owned(),
        change,
    }
}

fn upsert(key: &str, value: Value) -> Patch {
    patch(key, PatchChange::Upsert(json_of(&value)))
}

impl App {
    /// Changes rows, and shows that it does.
    fn put(&self, rows: Value, patches: Vec<Patch>) -> Receipt {
        let Value::Object(params) = json!({ "rows": rows }) else {
            panic!("an object");
        };
        let method = "board.put".to_owned();
        let intent = Intent::Custom { method, params };
        let sent = self.runtime.send_with(&self.host, intent, patches);
        sent.unwrap()
    }

    fn castle(&self) -> TableSubscription {
        let of = json!({"under": "castle"});
        self.runtime.subscribe_table(&self.host, ROWS, &of).unwrap()
    }

    pub(crate) async fn away(&self) {
        self.proxies[0].refuse(true);
        self.proxies[0].cut();
        let mut snapshots = self.runtime.subscribe();
        let is_away = |state: HostState| state != HostState::Online;
        let found = snapshots.wait_for(|all| all.hosts.iter().all(|host| is_away(host.state)));
        within("away", found).await.unwrap();
    }
}

/// What is shown of each row: its value, and whether it is pending or has failed.
fn rows(view: &TableView) -> Value {
    let rows = view.rows.iter().map(|row| {
        let value: Value = serde_json::from_str(row.value.get()).unwrap();
        let mark = match (&row.failure, row.pending) {
            (Some(_), _) => "failed",
            (None, true) => "pending",
            (None, false) => "there",
        };
        (row.key.to_string(), json!([value, mark]))
    });
    Value::Object(rows.collect())
}

async fn shows(table: &mut TableSubscription, expected: Value) -> Arc<TableView> {
    let found = async {
        let mut view = table.current();
        loop {
            if let Some(view) = view.take().filter(|view| rows(view) == expected) {
                return view;
            }
            view = Some(table.next().await.unwrap());
        }
    };
    within(&expected.to_string(), found).await
}

/// Follows until the rows are as expected; no view on the way shows anything but the given ones.
async fn goes(table: &mut TableSubscription, over: &[Value], to: Value) {
    let follow = async {
        loop {
            let shown = rows(&table.next().await.unwrap());
            if shown == to {
                return;
            }
            assert!(over.contains(&shown), "{shown} on the way to {to}");
        }
    };
    within(&to.to_string(), follow).await;
}

async fn done(receipt: Receipt) {
    let outcome = within("the outcome", receipt.outcome()).await;
    assert!(matches!(outcome, Some(Outcome::Done { .. })), "{outcome:?}");
}

#[tokio::test]
async fn ld_3_a_change_is_shown_at_once_and_becomes_the_daemons_without_a_step_back() {
    let daemon = TestDaemon::of(board(), |_| {}).await;
    let app = App::paired(&daemon, 1).await;
    let mut castle = app.castle();
    shows(&mut castle, json!({})).await;
    let (mine, theirs) = (json!({"n": 0}), json!({"n": 0, "by": "daemon"}));
    let mut there = json!({});
    for n in 0..20 {
        let key = format!("castle/{n:02}");
        let before = there.clone();
        let mut pending = there.clone();
        pending[&key] = json!([mine, "pending"]);
        there[&key] = json!([theirs, "there"]);
        let sent = app.put(json!({ (&key): theirs }), vec![upsert(&key, mine.clone())]);
        goes(&mut castle, &[before, pending], there.clone()).await;
        done(sent).await;
    }
    // Members that are merged, and a row that goes.
    let merge = patch(
        "castle/00",
        PatchChange::Merge(json_of(&json!({"by": "me"}))),
    );
    let gone = patch("castle/01", PatchChange::Remove);
    let changed = json!({"castle/00": {"n": 0, "by": "me"}, "castle/01": null});
    let before = there.clone();
    let mut pending = there.clone();
    pending["castle/00"] = json!([{"n": 0, "by": "me"}, "pending"]);
    pending.as_object_mut().unwrap().remove("castle/01");
    let mut after = pending.clone();
    after["castle/00"] = json!([{"n": 0, "by": "me"}, "there"]);
    let sent = app.put(changed, vec![merge, gone]);
    goes(&mut castle, &[before, pending], after).await;
    done(sent).await;
}

#[tokio::test]
async fn ld_3_what_is_expected_stays_over_newer_rows_and_over_a_restart_of_the_app() {
    let daemon = TestDaemon::of(board(), |_| {}).await;
    let (mut app, other) = (App::paired(&daemon, 1).await, App::paired(&daemon, 1).await);
    done(other.put(json!({"castle/a": {"n": 1, "x": 1}}), Vec::new())).await;
    let mut castle = app.castle();
    shows(
        &mut castle,
        json!({"castle/a": [{"n": 1, "x": 1}, "there"]}),
    )
    .await;
    app.away().await;
    let merge = patch("castle/a", PatchChange::Merge(json_of(&json!({"x": 2}))));
    let first = app.put(json!({"castle/a": {"n": 3, "x": 2}}), vec![merge]);
    let second = app.put(json!({"castle/b": 1}), vec![upsert("castle/b", json!(1))]);
    let pending = json!({"castle/a": [{"n": 1, "x": 2}, "pending"], "castle/b": [1, "pending"]});
    let view = shows(&mut castle, pending.clone()).await;
    assert_eq!(view.state, TableState::Stale);
    done(other.put(json!({"castle/a": {"n": 2, "x": 1}}), Vec::new())).await;

    // Without a network, the new process shows what the last one had, and over it the same (LD-5).
    let id = second.id;
    drop((castle, first, second));
    app.restart().await;
    let mut castle = app.castle();
    let view = shows(&mut castle, pending).await;
    assert!(view.state != TableState::Ready, "{:?}", view.state);
    app.proxies[0].refuse(false);
    let there = json!({"castle/a": [{"n": 3, "x": 2}, "there"], "castle/b": [1, "there"]});
    shows(&mut castle, there).await;
    let receipt = app.runtime.receipt(&app.host, id).unwrap();
    done(receipt.unwrap()).await;
}

#[tokio::test]
async fn ld_3_a_refused_change_says_why_until_it_is_dismissed_also_after_a_restart() {
    let daemon = TestDaemon::of(board(), |_| {}).await;
    let mut app = App::paired(&daemon, 1).await;
    done(app.put(json!({"castle/a": 1}), Vec::new())).await;
    let mut castle = app.castle();
    shows(&mut castle, json!({"castle/a": [1, "there"]})).await;
    // A key that is too long makes the daemon refuse all of it.
    let refused = json!({"castle/a": 2, "castle/b": 2, "x".repeat(513): 1});
    let patches = vec![upsert("castle/a", json!(2)), upsert("castle/b", json!(2))];
    let sent = app.put(refused, patches);
    let id = sent.id;
    let outcome = within("the outcome", sent.outcome()).await;
    let Some(Outcome::Refused { error }) = outcome else {
        panic!("{outcome:?}");
    };
    // The row that is there is as it was; the other is shown as it would have been.
    let failed = json!({"castle/a": [1, "failed"], "castle/b": [2, "failed"]});
    for _ in 0..2 {
        let view = shows(&mut castle, failed.clone()).await;
        for row in view.rows.iter() {
            let failure = row.failure.as_ref().unwrap();
            assert_eq!(failure.intent_id, id);
            assert_eq!(failure.error, IntentFailure::Refused(error.clone()));
        }
        app.restart().await;
        castle = app.castle();
    }
    done(app.put(json!({"castle/a": 3}), vec![upsert("castle/a", json!(3))])).await;
    let changed = json!({"castle/a": [3, "failed"], "castle/b": [2, "failed"]});
    shows(&mut castle, changed).await;
    app.runtime.dismiss(&app.host, id).unwrap();
    shows(&mut castle, json!({"castle/a": [3, "there"]})).await;
    app.restart().await;
    castle = app.castle();
    shows(&mut castle, json!({"castle/a": [3, "there"]})).await;
}

#[tokio::test]
async fn ld_3_a_change_that_does_not_come_leaves_with_the_answer_and_one_too_large_once_fetched() {
    let daemon = TestDaemon::of(board(), |_| {}).await;
    let app = App::paired(&daemon, 2).await;
    let mut castle = app.castle();
    shows(&mut castle, json!({})).await;
    let sent = app.put(json!({"hut/a": 1}), vec![upsert("castle/a", json!(1))]);
    goes(
        &mut castle,
        &[json!({"castle/a": [1, "pending"]})],
        json!({}),
    )
    .await;
    done(sent).await;
    let large = "x".repeat(100_000);
    let there = json!({"castle/a": [large, "there"]});
    let sent = app.put(
        json!({ "castle/a": large }),
        vec![upsert("castle/a", json!(1))],
    );
    goes(&mut castle, &[json!({"castle/a": [1, "pending"]})], there).await;
    done(sent).await;
}

#[tokio::test]
async fn ld_3_patches_reach_their_rows_over_cuts_and_a_restart_of_the_daemon() {
    let mut daemon = TestDaemon::of(board(), |_| {}).await;
    let app = App::paired(&daemon, 1).await;
    let mut castle = app.castle();
    let mut sent = Vec::new();
    for n in 0..30 {
        let value = json!({ "n": n });
        let key = format!("castle/{}", n % 4);
        sent.push(app.put(json!({ (&key): value }), vec![upsert(&key, value)]));
        match n % 10 {
            3 | 6 => app.proxies[0].cut(),
            9 => {
                app.proxies[0].refuse(true);
                daemon = daemon.again(board()).await;
                app.proxies[0].set_target(daemon.address());
                app.proxies[0].refuse(false);
            }
            _ => {}
        }
    }
    for receipt in sent {
        done(receipt).await;
    }
    let last = |n: u32| json!([{ "n": n }, "there"]);
    let all = json!({
        "castle/0": last(28), "castle/1": last(29), "castle/2": last(26), "castle/3": last(27),
    });
    shows(&mut castle, all).await;
}

#[tokio::test]
async fn ld_3_patches_over_a_bound_are_refused_before_anything_is_stored() {
    let daemon = TestDaemon::of(board(), |_| {}).await;
    let app = App::paired(&daemon, 1).await;
    let send = |patches| {
        let method = "board.put".to_owned();
        let params = serde_json::Map::new();
        let intent = Intent::Custom { method, params };
        app.runtime.send_with(&app.host, intent, patches)
    };
    let refused = send(vec![patch("castle/a", PatchChange::Remove); 65]).unwrap_err();
    assert!(matches!(refused, IntentError::Patches(PatchError::TooMany)));
    let large = upsert("castle/a", json!("x".repeat(65_536)));
    let refused = send(vec![large]).unwrap_err();
    let too_large = |error: &PatchError| matches!(error, PatchError::TooLarge(_));
    assert!(matches!(&refused, IntentError::Patches(error) if too_large(error)));
    let nobody = IntentId::from_uuid(uuid::Uuid::nil());
    assert!(app.runtime.receipt(&app.host, nobody).unwrap().is_none());
    // What is refused later has its reason.
    let unknown = send(vec![upsert("castle/a", json!(1))]).unwrap();
    let outcome = within("the outcome", unknown.outcome()).await;
    let Some(Outcome::Refused { error }) = outcome else {
        panic!("{outcome:?}");
    };
    assert_ne!(error.reason(), Some(RpcReason::Overloaded));
}
