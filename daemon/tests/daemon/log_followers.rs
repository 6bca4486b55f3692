//! Live logs as apps follow them: the whole daemon and the whole runtime, with proxies between them
//! that cut, refuse and lead elsewhere.

use std::{collections::BTreeMap, sync::Arc};

use bowline_daemon::setup::Services;
use bowline_protocol::RpcReason;
use bowline_runtime::{
    Beyond, LogRow, LogSubscription, LogView, TableState, machines::data::load::LoadError,
};
use serde_json::{Value, json};

use crate::support::{TestDaemon, app::App, diary::Diary, within};

fn diary() -> Services {
    Services::none().with(Diary)
}

impl App {
    fn follow_log(&self, name: &str, params: Value) -> Reader {
        let log = self.runtime.subscribe_log(&self.host, name, &params);
        Reader {
            log: log.unwrap(),
            last: None,
            shown: Vec::new(),
        }
    }

    async fn add(&self, log: &str, n: u64, text: &str) -> u64 {
        let add = json!({"log": log, "n": n, "text": text});
        let added = self.run("diary.add", add).await;
        added["index"].as_u64().unwrap()
    }

    async fn say(&self, log: &str, index: u64, text: &str) {
        let say = json!({"log": log, "index": index, "text": text});
        self.run("diary.say", say).await;
    }
}

/// A subscriber that folds diffs, and allows neither gaps nor texts that shrink.
struct Reader {
    log: LogSubscription,
    last: Option<Arc<LogView>>,
    shown: Vec<Arc<LogRow>>,
}

impl Reader {
    async fn next(&mut self) -> Arc<LogView> {
        let view = self.log.next().await.unwrap();
        let diff = view.diff(self.last.as_deref());
        assert!(diff.apply(&mut self.shown, LogRow::append));
        assert!(self.shown.iter().eq(view.items()), "the diff is right");
        let indexes: Vec<u64> = view.items().map(|row| row.index).collect();
        let has_gap = |pair: &[u64]| pair[0] + 1 != pair[1];
        assert!(!indexes.windows(2).any(has_gap), "{indexes:?}");
        if let Some(last) = &self.last {
            let new = texts(&view);
            for (index, text) in texts(last) {
                let is_more = |new: &String| new.starts_with(&text);
                assert!(new.get(&index).is_none_or(is_more), "{index}: {text}");
            }
        }
        self.last = Some(Arc::clone(&view));
        view
    }

    /// Waits for a view, which may be the one taken last.
    async fn until(&mut self, what: &str, is: impl Fn(&LogView) -> bool) -> Arc<LogView> {
        if let Some(last) = self.last.as_ref().filter(|last| is(last)) {
            return Arc::clone(last);
        }
        let found = async {
            loop {
                let view = self.next().await;
                if is(&view) {
                    return view;
                }
            }
        };
        within(what, found).await
    }

    /// Waits until these are the texts of the newest items, and current.
    async fn shows(&mut self, expected: &BTreeMap<u64, String>) {
        self.until(&format!("{expected:?}"), |view| {
            let is_current = matches!(view.state, TableState::Ready | TableState::Empty);
            is_current && texts(view) == *expected
        })
        .await;
    }
}

fn texts(view: &LogView) -> BTreeMap<u64, String> {
    let items = view.items();
    let items = items.map(|row| {
        let value: Value = serde_json::from_str(row.json().get()).unwrap();
        let text = value["text"].as_str().unwrap_or_default();
        (row.index, text.to_owned())
    });
    items.collect()
}

#[tokio::test]
async fn ld_2_items_and_texts_stay_right_over_cuts_and_switches_of_path() {
    let daemon = TestDaemon::of(diary(), |_| {}).await;
    let (app, other) = (App::paired(&daemon, 2).await, App::paired(&daemon, 1).await);
    let mut castle = app.follow_log("diary.entries", json!({"log": "castle"}));
    castle.shows(&BTreeMap::new()).await;
    let mut kept = BTreeMap::new();
    for n in 0..60_u64 {
        app.disturb(n);
        if n % 3 == 0 {
            let index = other.add("castle", n, "").await;
            kept.insert(index, String::new());
            other.add("hut", n, "elsewhere").await;
        }
        let index = kept.len() as u64 - 1 - n % 4 % kept.len() as u64;
        let text = format!("{n},");
        other.say("castle", index, &text).await;
        kept.entry(index).or_default().push_str(&text);
        if n % 6 == 0 {
            castle.until("some", |view| !view.is_empty()).await;
        }
    }
    app.heal();
    castle.shows(&kept).await;
    let counters = app.runtime.counters(&app.host).unwrap();
    assert!(counters.resumed > 0, "{counters:?}");
    assert_eq!(
        (counters.reset, counters.event_gaps),
        (1, 0),
        "{counters:?}"
    );
}

#[tokio::test]
async fn ld_2_a_restart_of_the_daemon_loses_and_repeats_no_text() {
    let mut daemon = TestDaemon::of(diary(), |_| {}).await;
    let app = App::paired(&daemon, 1).await;
    let mut kept = BTreeMap::from([(app.add("a", 0, "0").await, "0".to_owned())]);
    let mut log = app.follow_log("diary.entries", json!({"log": "a"}));
    log.shows(&kept).await;
    for n in 1..=3 {
        let proxy = &app.proxies[0];
        proxy.refuse(true);
        daemon = daemon.again(diary()).await;
        log.until("stale while offline", |view| {
            view.state == TableState::Stale && !view.is_empty()
        })
        .await;
        let other = App::paired(&daemon, 1).await;
        let index = other.add("a", n, "new").await;
        other.say("a", 0, " more").await;
        kept.insert(index, "new".to_owned());
        kept.entry(0).or_default().push_str(" more");
        proxy.set_target(daemon.address());
        proxy.refuse(false);
        log.shows(&kept).await;
        app.say("a", index, "er").await;
        kept.entry(index).or_default().push_str("er");
        log.shows(&kept).await;
    }
}

#[tokio::test]
async fn ld_9_a_long_log_is_a_window_at_its_end_that_grows_back_to_its_beginning() {
    let daemon = TestDaemon::of(diary(), |_| {}).await;
    let app = App::paired(&daemon, 1).await;
    for n in 0..250 {
        app.add("a", n, "x").await;
    }
    let mut log = app.follow_log("diary.entries", json!({"log": "a"}));
    let mut held = 0;
    while held < 250 {
        let view = log
            .until("more items", |view| {
                view.len() > held && view.state == TableState::Ready
            })
            .await;
        held = view.len();
        assert_eq!((view.first, view.next), (0, 250));
        assert_eq!(view.items().next_back().map(|row| row.index), Some(249));
        assert_eq!(view.older == Beyond::None, held == 250);
        log.log.load_older().unwrap();
        // A cut in between.
        app.proxies[0].cut();
    }
    app.add("a", 250, "live").await;
    let view = log.until("the newest", |view| view.next == 251).await;
    assert_eq!(view.len(), 251);
}

#[tokio::test]
async fn ld_9_what_is_too_large_for_an_event_is_there_all_the_same_and_a_refusal_says_why() {
    let daemon = TestDaemon::of(diary(), |_| {}).await;
    let app = App::paired(&daemon, 1).await;
    let mut log = app.follow_log("diary.entries", json!({"log": "a"}));
    log.shows(&BTreeMap::new()).await;
    let large = "x".repeat(100_000);
    let mut kept = BTreeMap::from([(app.add("a", 0, "small").await, "small".to_owned())]);
    log.shows(&kept).await;
    kept.insert(app.add("a", 1, &large).await, large.clone());
    app.say("a", 1, "!").await;
    app.say("a", 0, &large).await;
    kept.entry(1).or_default().push('!');
    kept.entry(0).or_default().push_str(&large);
    log.shows(&kept).await;

    for (name, params, reason) in [
        ("diary.own", json!({"log": "others"}), RpcReason::Forbidden),
        ("diary.nothing", json!({}), RpcReason::NotFound),
        ("diary.entries", json!({"over": 1}), RpcReason::Unsupported),
    ] {
        let mut log = app.follow_log(name, params);
        let is_refused = |view: &LogView| view.state == TableState::Refused;
        let view = log.until(name, is_refused).await;
        let refused = LoadError::Rejected(reason);
        assert_eq!((view.error, view.len()), (Some(refused), 0));
    }
    let error = app
        .runtime
        .subscribe_log(&app.host, "Not a name", &json!({}));
    let error = error.err().unwrap().to_string();
    assert!(error.contains("names no table, log or topic"), "{error}");
}
