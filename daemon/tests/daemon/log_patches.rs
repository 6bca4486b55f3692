//! Items of logs that are replaced, and those that intents say they will add: the whole daemon and
//! the whole runtime, with proxies between them (LD-2, LD-3).

use bowline_daemon::setup::Services;
use bowline_runtime::{Intent, LogSubscription, LogView, Outcome, Patch, PatchChange, Receipt};
use serde_json::{Value, json};

use crate::support::{TestDaemon, app::App, diary::Diary, within};

const ENTRIES: &str = "diary.entries";

fn diary() -> Services {
    Services::none().with(Diary)
}

impl App {
    fn diary(&self) -> LogSubscription {
        let of = json!({"log": "a"});
        let log = self.runtime.subscribe_log(&self.host, ENTRIES, &of);
        log.unwrap()
    }

    /// Sends an intent, and shows at once that it appends this text.
    fn note(&self, method: &str, params: Value, text: &str) -> Receipt {
        let Value::Object(params) = params else {
            panic!("an object");
        };
        let json = |value: Value| serde_json::from_value(value).unwrap();
        let patch = Patch {
            table: ENTRIES.to_owned(),
            params: Some(json(json!({"log": "a"}))),
            key: String::new(),
            change: PatchChange::Append(json(json!({"n": 0, "text": text}))),
        };
        let method = method.to_owned();
        let intent = Intent::Custom { method, params };
        let sent = self.runtime.send_with(&self.host, intent, vec![patch]);
        sent.unwrap()
    }

    fn add_shown(&self, text: &str) -> Receipt {
        let add = json!({"log": "a", "n": 0, "text": text});
        self.note("diary.add", add, text)
    }

    fn refused(&self, text: &str) -> Receipt {
        let say = json!({"log": "a", "index": 999, "text": text});
        self.note("diary.say", say, text)
    }
}

/// The texts of the items: `?` after what is pending, `!` after what failed.
fn said(view: &LogView) -> String {
    let items = view.items().map(|row| {
        let value: Value = serde_json::from_str(row.json().get()).unwrap();
        let text = value["text"].as_str().unwrap_or_default().to_owned();
        match (&row.expected, row.failure()) {
            (None, _) => text,
            (Some(_), None) => format!("{text}?"),
            (Some(_), Some(_)) => format!("{text}!"),
        }
    });
    items.collect::<Vec<_>>().join(" ")
}

/// Follows until the log says this; no view on the way says anything but the given texts.
async fn goes(log: &mut LogSubscription, over: &[&str], to: &str) {
    let follow = async {
        loop {
            let shown = said(&log.next().await.unwrap());
            if shown == to {
                return;
            }
            let is_way = over.is_empty() || over.contains(&shown.as_str());
            assert!(is_way, "{shown} on the way to {to}");
        }
    };
    within(to, follow).await;
}

async fn done(receipt: Receipt) {
    let outcome = within("the outcome", receipt.outcome()).await;
    assert!(matches!(outcome, Some(Outcome::Done { .. })), "{outcome:?}");
}

#[tokio::test]
async fn ld_3_an_item_is_shown_at_once_and_becomes_the_daemons_in_one_step() {
    let daemon = TestDaemon::of(diary(), |_| {}).await;
    let app = App::paired(&daemon, 1).await;
    let mut log = app.diary();
    let mut there = "first".to_owned();
    done(app.add_shown(&there)).await;
    goes(&mut log, &["", "first?"], &there).await;
    for n in 0..20 {
        let pending = format!("{there} {n}?");
        let after = format!("{there} {n}");
        let sent = app.add_shown(&n.to_string());
        // Neither without it nor twice.
        goes(&mut log, &[&there, &pending], &after).await;
        done(sent).await;
        there = after;
    }
}

#[tokio::test]
async fn ld_3_expected_items_stay_in_order_after_newer_ones_and_over_a_restart_of_the_app() {
    let daemon = TestDaemon::of(diary(), |_| {}).await;
    let (mut app, other) = (App::paired(&daemon, 1).await, App::paired(&daemon, 1).await);
    done(other.add_shown("old")).await;
    let mut log = app.diary();
    goes(&mut log, &[], "old").await;
    app.away().await;
    let sent: Vec<_> = ["one", "two"].map(|text| app.add_shown(text)).into();
    goes(&mut log, &[], "old one? two?").await;
    done(other.add_shown("theirs")).await;

    // Without a network, the new process shows what the last one had, and after it the same (LD-5).
    let ids: Vec<_> = sent.iter().map(|receipt| receipt.id).collect();
    drop((log, sent));
    app.restart().await;
    let mut log = app.diary();
    goes(&mut log, &[], "old one? two?").await;
    app.proxies[0].refuse(false);
    goes(&mut log, &[], "old theirs one two").await;
    for id in ids {
        done(app.runtime.receipt(&app.host, id).unwrap().unwrap()).await;
    }
}

#[tokio::test]
async fn ld_3_a_refused_item_says_why_until_it_is_dismissed_also_after_a_restart() {
    let daemon = TestDaemon::of(diary(), |_| {}).await;
    let mut app = App::paired(&daemon, 1).await;
    done(app.add_shown("old")).await;
    let mut log = app.diary();
    goes(&mut log, &[], "old").await;
    let sent = app.refused("never");
    let id = sent.id;
    goes(&mut log, &[], "old never!").await;
    done(app.add_shown("new")).await;
    goes(&mut log, &[], "old new never!").await;
    drop((log, sent));
    app.restart().await;
    let mut log = app.diary();
    goes(&mut log, &[], "old new never!").await;
    app.runtime.dismiss(&app.host, id).unwrap();
    goes(&mut log, &[], "old new").await;
}

#[tokio::test]
async fn ld_2_items_that_are_replaced_are_right_over_cuts_and_switches_of_path() {
    let daemon = TestDaemon::of(diary(), |_| {}).await;
    let (app, other) = (App::paired(&daemon, 2).await, App::paired(&daemon, 1).await);
    let mut log = app.diary();
    let mut texts: Vec<String> = Vec::new();
    for n in 0..60_usize {
        app.disturb(n as u64);
        if n % 4 == 0 {
            let add = json!({"log": "a", "n": 0, "text": "new"});
            other.run("diary.add", add).await;
            texts.push("new".to_owned());
        }
        let (index, text) = (n * 7 % texts.len(), format!("{n},"));
        let change = json!({"log": "a", "index": index, "text": text});
        if n % 3 == 0 {
            other.run("diary.replace", change).await;
            texts[index] = text;
        } else {
            other.run("diary.say", change).await;
            texts[index].push_str(&text);
        }
    }
    app.heal();
    goes(&mut log, &[], &texts.join(" ")).await;
    let counters = app.runtime.counters(&app.host).unwrap();
    assert!(counters.resumed > 0, "{counters:?}");
}
