//! Topics on the wire: every event of what a session follows, once and in order, and how a client
//! learns that some are missing.

use bowline_daemon::setup::Services;
use bowline_protocol::{SessionState, handshake::SessionWelcome};
use serde_json::{Value, json};

use crate::support::{
    Install, TestDaemon,
    client::{Attempt, Client, paired},
    grants::{intent, paired_with, reason},
    live::Board,
    local::Local,
};

async fn board() -> TestDaemon {
    TestDaemon::of(Services::none().with(Board), |_| {}).await
}

fn of(params: Value) -> Value {
    json!({"kind": "topic", "name": "board.said", "params": params})
}

async fn say(client: &mut Client, key: &str, body: Value) -> Value {
    let said = intent(client, "board.say", json!({"key": key, "body": body})).await;
    assert_eq!(reason(&said), "none", "{said}");
    said
}

/// What an app keeps of a topic: its cursor in the session.
struct Follower {
    daemon: TestDaemon,
    install: Install,
    client: Client,
    session: SessionWelcome,
    last_seq: u64,
}

impl Follower {
    async fn start(daemon: TestDaemon) -> Self {
        let (install, mut client) = paired(&daemon).await;
        let opened = client.call("live.open", of(json!({"under": "a"}))).await;
        let opened = &opened["result"];
        assert_eq!(
            (&opened["scope"], &opened["rows"]),
            (&json!("a/*"), &json!([]))
        );
        Self {
            last_seq: opened["seq"].as_u64().unwrap(),
            session: client.welcome.session.clone().unwrap(),
            daemon,
            install,
            client,
        }
    }

    /// Comes back at its cursor; returns whether no event is missing.
    async fn back(&mut self) -> bool {
        let attempt = Attempt::new(&self.daemon, &self.install);
        self.client = attempt.resume(&self.session, self.last_seq).connect().await;
        self.session = self.client.welcome.session.clone().unwrap();
        let mut open = of(json!({"under": "a"}));
        match self.session.state {
            SessionState::Resumed => open["seq"] = json!(self.last_seq),
            SessionState::New | SessionState::Reset => self.last_seq = self.session.next_seq - 1,
        }
        let opened = self.client.call("live.open", open).await;
        opened["result"]["resumed"] == true
    }

    /// The next event's key and body.
    async fn next(&mut self) -> (String, Value) {
        let event = self.client.event().await;
        self.last_seq += 1;
        assert_eq!(event["seq"], self.last_seq, "a gap");
        let event = &event["event"];
        assert_eq!(
            (&event["type"], &event["name"]),
            (&json!("topic.event"), &json!("board.said"))
        );
        assert!(event["intentId"].is_string());
        (
            event["key"].as_str().unwrap().to_owned(),
            event["body"].clone(),
        )
    }
}

#[tokio::test]
async fn ld_2_a_topic_tells_each_follower_every_event_once_and_in_order_with_rows() {
    let daemon = board().await;
    let (_, mut client) = paired(&daemon).await;
    // Two scopes that cover the key are no reason to send it twice.
    for params in [json!({}), json!({"row": "a/1"})] {
        let opened = client.call("live.open", of(params)).await;
        assert!(opened["result"]["scope"].is_string(), "{opened}");
    }
    let table = json!({"kind": "table", "name": "board.rows"});
    client.call("live.open", table).await;
    let around = json!([{"x": 1}, {"y": 2, "x": null}]);
    let params = json!({"key": "a/1", "body": {"n": 1.50}, "around": around});
    let said = intent(&mut client, "board.say", params).await;
    let events = [
        client.event().await,
        client.event().await,
        client.event().await,
    ];
    assert_eq!(events[0]["event"]["upserts"][0]["key"], "x");
    assert_eq!(events[1]["event"]["body"], json!({"n": 1.50}));
    assert_eq!(events[2]["event"]["removed"], json!(["x"]));
    assert_eq!(said["seq"], events[2]["seq"]);

    let close = json!({"kind": "topic", "name": "board.said", "scope": "*"});
    client.call("live.close", close).await;
    say(&mut client, "b", json!(1)).await;
    let told = say(&mut client, "a/1", json!(2)).await;
    let event = client.event().await;
    assert_eq!(
        (&event["event"]["body"], &event["seq"]),
        (&json!(2), &told["seq"])
    );
    assert_eq!(client.next_kept_event(), None);
}

#[tokio::test]
async fn ld_2_events_of_a_topic_are_replayed_after_a_cut_and_a_loss_is_told() {
    let mut follower = Follower::start(board().await).await;
    let (_, mut writer) = paired(&follower.daemon).await;
    // The writer's pairing is an event as well.
    follower.client.event().await;
    follower.last_seq += 1;
    for round in 0..5 {
        for n in 0..4 {
            say(&mut writer, "a/1", json!([round, n])).await;
            say(&mut writer, "b/1", json!("of others")).await;
            if n == 1 {
                assert_eq!(follower.next().await.1, json!([round, 0]));
                assert!(follower.back().await, "nothing is missing");
            }
        }
        for n in 1..4 {
            assert_eq!(follower.next().await, ("a/1".to_owned(), json!([round, n])));
        }
    }
    // The cursor is lost.
    say(&mut writer, "a/1", json!("missed")).await;
    follower.session.stamp = None;
    assert!(!follower.back().await, "something may be missing");
    say(&mut writer, "a/1", json!("after the reset")).await;
    assert_eq!(follower.next().await.1, json!("after the reset"));

    // The daemon forgets what was followed when it starts again.
    follower.daemon = follower.daemon.again(Services::none().with(Board)).await;
    assert!(
        !follower.back().await,
        "nobody was told between start and return"
    );
    assert_eq!(follower.session.state, SessionState::Resumed);
    assert!(follower.back().await);
}

#[tokio::test]
async fn ld_10_a_follow_that_began_anew_without_a_number_in_between_is_not_continued() {
    let mut follower = Follower::start(board().await).await;
    let opened = follower
        .client
        .call("live.open", of(json!({"under": "a"})))
        .await;
    let follow = opened["result"]["follow"].clone();
    assert!(follow.as_u64().unwrap() < 1 << 53, "{opened}");
    let held = |seq: u64, follow: &Value| {
        let mut open = of(json!({"under": "a"}));
        open["seq"] = json!(seq);
        open["follow"] = follow.clone();
        open
    };
    let seq = follower.last_seq;
    let same = follower.client.call("live.open", held(seq, &follow)).await;
    assert_eq!(same["result"]["resumed"], json!(true));
    // Each answer has another number, and all of them continue it.
    for number in [&follow, &same["result"]["follow"]] {
        let same = follower.client.call("live.open", held(seq, number)).await;
        assert_eq!(same["result"]["resumed"], json!(true), "{same}");
    }

    follower.daemon = follower.daemon.again(Services::none().with(Board)).await;
    // Told to nobody, so the session's number stays.
    let mut local = Local::connect(&follower.daemon).await;
    let said = json!({"intentId": uuid::Uuid::now_v7().to_string(), "key": "a/1", "body": 1});
    local.call("board.say", said).await;
    let attempt = Attempt::new(&follower.daemon, &follower.install);
    let mut client = attempt.resume(&follower.session, seq).connect().await;
    // The first answer may be lost with its connection, and the second must say the same.
    for _ in 0..2 {
        let anew = client.call("live.open", held(seq, &follow)).await;
        let anew = &anew["result"];
        assert_eq!(
            (&anew["resumed"], &anew["seq"]),
            (&Value::Null, &json!(seq))
        );
        assert_ne!(anew["follow"], follow);
    }
}

#[tokio::test]
async fn ld_2_what_a_topic_refuses() {
    let daemon = board().await;
    let mut local = Local::connect(&daemon).await;
    let (_, mut client) = paired(&daemon).await;
    for (method, asked, says) in [
        (
            "live.open",
            json!({"kind": "topic", "name": "board.rows"}),
            "no topic `board.rows`",
        ),
        (
            "live.open",
            json!({"kind": "table", "name": "board.said"}),
            "no table `board.said`",
        ),
        (
            "live.open",
            json!({"kind": "topic", "name": "board.said", "limit": 1}),
            "no rows",
        ),
        (
            "live.open",
            json!({"kind": "topic", "name": "board.said", "after": "a"}),
            "no rows",
        ),
        ("live.page", of(json!({})), "no rows"),
        ("live.open", of(json!({"over": 1})), "unknown field `over`"),
        (
            "live.open",
            json!({"kind": "topic", "name": "board.said", "seq": 1_000}),
            "`seq` is 1000",
        ),
    ] {
        let answer = client.call(method, asked.clone()).await;
        let said = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(said.contains(says), "{asked}: {answer}");
    }
    let viewer = json!({"grant": {"role": "viewer"}});
    let (_, _, mut viewer) = paired_with(&mut local, viewer).await;
    let secrets = json!({"kind": "topic", "name": "board.secrets"});
    assert_eq!(
        reason(&viewer.call("live.open", secrets).await),
        "not_granted"
    );
    // Also where nobody follows, so that its author learns it.
    for (key, bytes) in [("a", 70_000), ("", 1), (&*"x".repeat(513), 1)] {
        let params = json!({"key": key, "body": "x".repeat(bytes)});
        let refused = intent(&mut client, "board.say", params).await;
        assert_eq!(reason(&refused), "unsupported", "{bytes} bytes");
    }
    let said = say(&mut client, "a", json!(1)).await;
    assert_eq!(said["seq"], 1, "only the viewer's pairing was told");
}
