//! Topics as apps follow them: the whole daemon and the whole runtime, with proxies between them
//! that cut, refuse and lead elsewhere (LD-10).

use bowline_protocol::RpcReason;
use bowline_runtime::{TopicBatch, TopicState, TopicSubscription, machines::data::load::LoadError};
use serde_json::{Value, json};

use crate::support::{
    TestDaemon,
    app::{App, board},
    within,
};

/// A subscriber of `board.said`, whose bodies are numbers.
struct Follower {
    topic: TopicSubscription,
    /// What was told: numbers, with `None` where some may be missing.
    told: Vec<Option<u64>>,
}

impl Follower {
    async fn start(app: &App, params: Value) -> Self {
        let topic = app
            .runtime
            .subscribe_topic(&app.host, "board.said", &params)
            .unwrap();
        let told = Vec::new();
        let mut follower = Self { topic, told };
        follower.until(TopicState::Following).await;
        follower
    }

    async fn next(&mut self) -> TopicBatch {
        let batch = within("a batch", self.topic.next()).await.unwrap();
        self.told.extend(batch.missed.then_some(None));
        for event in &batch.events {
            assert!(event.intent_id.is_some());
            self.told.push(Some(event.body.get().parse().unwrap()));
        }
        batch
    }

    async fn until(&mut self, state: TopicState) -> TopicBatch {
        loop {
            let batch = self.next().await;
            if batch.status.state == state {
                return batch;
            }
        }
    }

    /// Waits for this number, and gives what was told since the last call.
    async fn up_to(&mut self, number: u64) -> Vec<Option<u64>> {
        while self.told.last() != Some(&Some(number)) {
            self.next().await;
        }
        std::mem::take(&mut self.told)
    }
}

async fn say(app: &App, key: &str, number: u64) {
    app.run("board.say", json!({"key": key, "body": number}))
        .await;
}

#[tokio::test]
async fn ld_10_every_event_comes_once_and_in_order_over_cuts_and_switches_of_path() {
    let daemon = TestDaemon::of(board(), |_| {}).await;
    let (app, other) = (App::paired(&daemon, 2).await, App::paired(&daemon, 1).await);
    let mut castle = Follower::start(&app, json!({"under": "castle"})).await;
    // Two follows cover the key, and each reader has the event once.
    let mut row = Follower::start(&app, json!({"row": "castle/1"})).await;
    for n in 1..=60 {
        app.disturb(n);
        say(&other, "hut/1", n).await;
        say(&other, "castle/1", n).await;
    }
    app.heal();
    let all: Vec<_> = (1..=60).map(Some).collect();
    assert_eq!(castle.up_to(60).await, all);
    assert_eq!(row.up_to(60).await, all);
    let counters = app.runtime.counters(&app.host).unwrap();
    assert!(counters.resumed > 0, "{counters:?}");
    assert_eq!(
        (counters.reset, counters.event_gaps),
        (1, 0),
        "{counters:?}"
    );
}

#[tokio::test]
async fn ld_10_a_restart_of_the_daemon_is_a_mark_and_nothing_else_is_lost_or_repeated() {
    let mut daemon = TestDaemon::of(board(), |_| {}).await;
    let app = App::paired(&daemon, 1).await;
    let mut follower = Follower::start(&app, json!({})).await;
    say(&app, "a", 1).await;
    assert_eq!(follower.up_to(1).await, [Some(1)]);
    for n in 1..=3 {
        let proxy = &app.proxies[0];
        proxy.refuse(true);
        daemon = daemon.again(board()).await;
        follower.until(TopicState::Interrupted).await;
        // Nobody is told of this.
        say(&App::paired(&daemon, 1).await, "a", 10 * n).await;
        proxy.set_target(daemon.address());
        proxy.refuse(false);
        let batch = follower.until(TopicState::Following).await;
        assert!(batch.missed, "{batch:?}");
        say(&app, "a", 10 * n + 1).await;
        assert_eq!(follower.up_to(10 * n + 1).await, [None, Some(10 * n + 1)]);
    }
}

#[tokio::test]
async fn ld_10_a_topic_that_is_refused_shows_the_reason() {
    let daemon = TestDaemon::of(board(), |_| {}).await;
    let app = App::paired(&daemon, 1).await;
    for (name, params, reason) in [
        ("board.nothing", json!({}), RpcReason::NotFound),
        // It is a table.
        ("board.rows", json!({}), RpcReason::NotFound),
        ("board.said", json!({"over": 1}), RpcReason::Unsupported),
    ] {
        let topic = app.runtime.subscribe_topic(&app.host, name, &params);
        let topic = topic.unwrap();
        let told = Vec::new();
        let mut follower = Follower { topic, told };
        let batch = follower.until(TopicState::Refused).await;
        let refused = LoadError::Rejected(reason);
        assert_eq!((batch.status.error, follower.told), (Some(refused), vec![]));
    }
}
