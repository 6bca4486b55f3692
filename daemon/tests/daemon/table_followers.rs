//! Live tables as apps follow them: the whole daemon and the whole runtime, with proxies between
//! them that cut, refuse and lead elsewhere.

use std::{collections::BTreeMap, sync::Arc};

use bowline_daemon::config::Settings;
use bowline_protocol::RpcReason;
use bowline_runtime::{
    Beyond, LiveError, TableRow, TableState, TableSubscription, TableView,
    machines::data::load::LoadError,
};
use serde_json::{Value, json};

use crate::support::{
    TestDaemon,
    app::{App, board},
    within,
};

/// Changes rows, or removes those of `null`.
async fn put(app: &App, rows: Value) {
    app.run("board.put", json!({ "rows": rows })).await;
}

fn follow(app: &App, name: &str, params: Value) -> Follower {
    let table = app.runtime.subscribe_table(&app.host, name, &params);
    Follower {
        table: table.unwrap(),
        last: None,
        shown: Vec::new(),
        newest: BTreeMap::new(),
    }
}

/// A subscriber that folds diffs, and allows no row to go back or to come again.
struct Follower {
    table: TableSubscription,
    last: Option<Arc<TableView>>,
    shown: Vec<Arc<TableRow>>,
    /// The greatest number shown of each row, in tests whose values are numbers that grow.
    newest: BTreeMap<String, u64>,
}

impl Follower {
    async fn next(&mut self) -> Result<Arc<TableView>, LiveError> {
        let view = self.table.next().await?;
        let diff = view.diff(self.last.as_deref());
        assert!(diff.apply(&mut self.shown, |_, _| panic!("rows have no text")));
        assert!(self.shown.iter().eq(view.rows.iter()), "the diff is right");
        for row in view.rows.iter() {
            if let Ok(number) = row.value.get().parse() {
                let newest = self.newest.insert(row.key.to_string(), number);
                assert!(newest.is_none_or(|newest| newest <= number), "{row:?}");
            }
        }
        self.last = Some(Arc::clone(&view));
        Ok(view)
    }

    /// Waits for a view, which may be the one taken last.
    async fn until(&mut self, what: &str, is: impl Fn(&TableView) -> bool) -> Arc<TableView> {
        if let Some(last) = self.last.as_ref().filter(|last| is(last)) {
            return Arc::clone(last);
        }
        let found = async {
            loop {
                let view = self.next().await.unwrap();
                if is(&view) {
                    return view;
                }
            }
        };
        within(what, found).await
    }

    async fn shows(&mut self, expected: &Value) {
        self.until(&expected.to_string(), |view| {
            matches!(view.state, TableState::Ready | TableState::Empty) && rows(view) == *expected
        })
        .await;
    }
}

fn rows(view: &TableView) -> Value {
    let rows = view.rows.iter();
    let rows = rows.map(|row| {
        let value = serde_json::from_str(row.value.get()).unwrap();
        (row.key.to_string(), value)
    });
    Value::Object(rows.collect())
}

#[tokio::test]
async fn ld_2_rows_stay_right_over_cuts_and_switches_of_path() {
    let daemon = TestDaemon::of(board(), |_| {}).await;
    let (app, other) = (App::paired(&daemon, 2).await, App::paired(&daemon, 1).await);
    let mut castle = follow(&app, "board.rows", json!({"under": "castle"}));
    castle.shows(&json!({})).await;
    let mut kept = BTreeMap::new();
    for n in 1..=60_u64 {
        let (key, gone) = (format!("castle/{}", n % 7), format!("castle/{}", n % 5));
        let mut change = json!({(format!("hut/{n}")): n});
        change[&gone] = Value::Null;
        kept.remove(&gone);
        change[&key] = json!(n);
        kept.insert(key, n);
        app.disturb(n);
        put(&other, change).await;
        if n % 6 == 0 {
            castle
                .until("some rows", |view| !view.rows.is_empty())
                .await;
        }
    }
    app.heal();
    castle.shows(&json!(kept)).await;
    let counters = app.runtime.counters(&app.host).unwrap();
    assert!(counters.resumed > 0, "{counters:?}");
    assert_eq!(
        (counters.reset, counters.event_gaps),
        (1, 0),
        "{counters:?}"
    );
}

#[tokio::test]
async fn ld_2_a_restart_of_the_daemon_loses_and_repeats_no_row() {
    let mut daemon = TestDaemon::of(board(), |_| {}).await;
    let app = App::paired(&daemon, 1).await;
    put(&app, json!({"a": 1, "b": 1})).await;
    let mut table = follow(&app, "board.rows", json!({}));
    table.shows(&json!({"a": 1, "b": 1})).await;
    for n in 2..=4 {
        let proxy = &app.proxies[0];
        proxy.refuse(true);
        daemon = daemon.again(board()).await;
        table
            .until("stale while offline", |view| {
                view.state == TableState::Stale && view.rows.len() == 2
            })
            .await;
        let other = App::paired(&daemon, 1).await;
        put(&other, json!({"a": n})).await;
        proxy.set_target(daemon.address());
        proxy.refuse(false);
        table.shows(&json!({"a": n, "b": 1})).await;
        put(&app, json!({"b": null})).await;
        table.shows(&json!({"a": n})).await;
        table.newest.remove("b");
        put(&app, json!({"b": 1})).await;
        table.shows(&json!({"a": n, "b": 1})).await;
    }
}

#[tokio::test]
async fn ld_2_a_scope_that_is_refused_shows_the_reason_and_keeps_nothing_else_waiting() {
    let daemon = TestDaemon::of(board(), |_| {}).await;
    let app = App::paired(&daemon, 1).await;
    for (name, params, reason) in [
        (
            "board.own",
            json!({"under": "others"}),
            RpcReason::Forbidden,
        ),
        ("board.nothing", json!({}), RpcReason::NotFound),
        ("board.rows", json!({"over": 1}), RpcReason::Unsupported),
    ] {
        let mut table = follow(&app, name, params);
        let refused = LoadError::Rejected(reason);
        let view = table
            .until(name, |view| view.state == TableState::Refused)
            .await;
        assert_eq!((view.error, view.rows.len()), (Some(refused), 0));
    }
    let mut own = follow(&app, "board.own", json!({}));
    own.shows(&json!({})).await;
}

#[tokio::test]
async fn ld_2_rows_too_large_for_an_event_or_a_message_are_there_all_the_same() {
    let daemon = TestDaemon::of(board(), |_| {}).await;
    let app = App::paired(&daemon, 1).await;
    let mut table = follow(&app, "board.rows", json!({}));
    put(&app, json!({"a": 1, "b": 1})).await;
    table.shows(&json!({"a": 1, "b": 1})).await;
    let large = "x".repeat(100_000);
    put(&app, json!({"a": large, "c": large, "b": null})).await;
    table.shows(&json!({"a": large, "c": large})).await;
    put(&app, json!({"c": "x".repeat(300_000)})).await;
    let view = table
        .until("its size", |view| {
            let last = view.rows.last();
            last.is_some_and(|row| row.omitted_bytes == Some(300_002))
        })
        .await;
    assert_eq!(view.rows.last().unwrap().value.get(), "null");
}

#[tokio::test]
async fn ld_2_a_long_table_is_a_window_that_moves_with_its_reader() {
    let daemon = TestDaemon::of(board(), |_: &mut Settings| {}).await;
    let app = App::paired(&daemon, 1).await;
    for from in (0..1_000).step_by(250) {
        let rows = (from..from + 250).map(|n| (format!("{n:04}"), json!(n)));
        put(&app, Value::Object(rows.collect())).await;
    }
    let mut table = follow(&app, "board.rows", json!({}));
    let mut wanted = 0;
    while wanted < 1_000 {
        let view = table
            .until("more rows", |view| {
                view.rows.len() > wanted && view.state == TableState::Ready
            })
            .await;
        wanted = view.rows.len();
        assert_eq!(view.beyond == Beyond::None, wanted == 1_000);
        table.table.load_more().unwrap();
        // A cut in between.
        app.proxies[0].cut();
    }
    put(&app, json!({"0500": null, "0500a": 1})).await;
    let changed = table
        .until("the change", |view| {
            view.rows.iter().any(|row| &*row.key == "0500a")
        })
        .await;
    assert_eq!(changed.rows.len(), 1_000);
}
