//! SV-4: many requests over one connection, side by side, answered as they finish and matched by
//! id.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};

use crate::support::{
    TestDaemon,
    client::{Attempt, paired},
};

#[tokio::test]
async fn requests_run_side_by_side_and_are_matched_by_id() {
    let daemon = TestDaemon::start().await;
    let (_, mut client) = paired(&daemon).await;
    let slow = client.ask("test.gate", json!({})).await;
    let mut asked = BTreeSet::new();
    for n in 0..100 {
        asked.insert(client.ask("test.echo", json!({"n": n})).await);
    }
    let mut answered = BTreeSet::new();
    for _ in 0..100 {
        let answer = client.next_answer().await;
        let id = answer["id"].as_u64().unwrap();
        assert_ne!(id, slow, "the slow one holds nobody up");
        assert_eq!(
            answer["result"]["n"].as_u64().unwrap(),
            id - slow - 1,
            "its own answer"
        );
        answered.insert(id);
    }
    assert_eq!(answered, asked);
    client.call("test.open", json!({})).await;
    assert_eq!(client.answer(slow).await["result"], json!({}));
}

#[tokio::test]
async fn ls_20_a_thousand_requests_over_one_connection() {
    let daemon = TestDaemon::start().await;
    let (_, mut client) = paired(&daemon).await;
    for n in 0..1_000 {
        let answer = client.call("test.echo", json!({"n": n})).await;
        assert_eq!(answer["result"]["n"], n);
    }
    let row = daemon.connections().pop().unwrap();
    // One more for the ping of pairing.
    assert_eq!((row.served, row.pending, row.state), (1_001, 0, "idle"));
}

#[tokio::test]
async fn malformed_texts_are_answered_and_survived() {
    let daemon = TestDaemon::start().await;
    let (_, mut client) = paired(&daemon).await;
    for (text, id, code) in [
        ("{", Value::Null, -32700),
        ("", Value::Null, -32700),
        ("[]", Value::Null, -32600),
        ("7", Value::Null, -32600),
        (
            r#"{"jsonrpc":"1.0","id":5,"method":"system.ping"}"#,
            json!(5),
            -32600,
        ),
        (
            r#"{"jsonrpc":"2.0","id":"a","method":7}"#,
            json!("a"),
            -32600,
        ),
        (
            r#"{"jsonrpc":"2.0","id":6,"method":"no.such"}"#,
            json!(6),
            -32601,
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"test.big","params":{"bytes":"x"}}"#,
            json!(7),
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":null,"method":"no.such"}"#,
            Value::Null,
            -32601,
        ),
    ] {
        client.say(text).await;
        let answer = client.next_answer().await;
        assert_eq!(
            (&answer["id"], &answer["error"]["code"]),
            (&id, &json!(code)),
            "{text}"
        );
    }
    client.say("\u{fffd}").await;
    assert_eq!(client.next_answer().await["error"]["code"], -32700);
    assert!(client.is_served().await);
}

#[tokio::test]
async fn notifications_and_answers_are_never_answered() {
    let daemon = TestDaemon::start().await;
    let (_, mut client) = paired(&daemon).await;
    client.notify("system.ping", json!({})).await;
    client.notify("no.such", json!({})).await;
    client.notify("test.echo", json!({})).await;
    client.notify("session.ready", json!({})).await;
    client.notify("session.ack", json!({"seq": "x"})).await;
    client.say(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).await;
    let id = client.ask("test.echo", json!({})).await;
    assert_eq!(
        client.next_answer().await["id"],
        id,
        "the first answer is the request's"
    );
}

#[tokio::test]
async fn a_batch_is_answered_as_a_batch() {
    let daemon = TestDaemon::start().await;
    let (_, mut client) = paired(&daemon).await;
    client
        .say(
            r#"[{"jsonrpc":"2.0","id":1,"method":"system.ping"},
                {"jsonrpc":"2.0","method":"system.ping"},
                {"jsonrpc":"2.0","id":2,"method":"test.echo","params":{"x":1}},
                1,
                {"jsonrpc":"2.0","id":3,"method":"no.such"}]"#,
        )
        .await;
    let batch = client.next_text().await.unwrap();
    let batch = batch.as_array().expect("an array");
    assert_eq!(batch.len(), 4, "none for the notification");
    let by_id = |id: Value| batch.iter().find(|answer| answer["id"] == id).unwrap();
    assert!(by_id(json!(1))["result"]["serverTime"].is_i64());
    assert_eq!(by_id(json!(2))["result"]["x"], 1);
    assert_eq!(by_id(json!(3))["error"]["code"], -32601);
    assert_eq!(by_id(Value::Null)["error"]["code"], -32600);

    client
        .say(r#"[{"jsonrpc":"2.0","method":"system.ping"}]"#)
        .await;
    assert!(
        client.is_served().await,
        "a batch of notifications has no answer"
    );

    let many = vec![r#"{"jsonrpc":"2.0","id":1,"method":"system.ping"}"#; 1_025].join(",");
    client.say(&format!("[{many}]")).await;
    assert_eq!(client.next_answer().await["error"]["code"], -32600);
}

#[tokio::test]
async fn a_request_over_the_limit_is_overloaded_and_the_others_go_on() {
    let daemon = TestDaemon::with(|settings| settings.limits.max_in_flight = 4).await;
    let (_, mut client) = paired(&daemon).await;
    assert_eq!(client.welcome.limits.max_in_flight, 4);
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(client.ask("test.gate", json!({})).await);
    }
    let answer = client.call("test.echo", json!({})).await;
    assert_eq!(answer["error"]["data"]["reason"], "overloaded");
    let batch = [r#"{"jsonrpc":"2.0","id":90,"method":"test.echo"}"#; 2].join(",");
    client.say(&format!("[{batch}]")).await;
    let batch = client.next_text().await.unwrap();
    assert_eq!(batch[0]["error"]["data"]["reason"], "overloaded");
    assert_eq!(batch[1]["error"]["data"]["reason"], "overloaded");

    // Another connection opens the gate; it has a limit of its own.
    let (_, mut other) = paired(&daemon).await;
    other.call("test.open", json!({})).await;
    for id in held {
        assert_eq!(client.answer(id).await["result"], json!({}));
    }
    assert!(client.is_served().await);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered_with_timeout() {
    let daemon = TestDaemon::with(|settings| {
        settings.limits.request_timeout = Some(Duration::from_millis(200));
    })
    .await;
    let (_, mut client) = paired(&daemon).await;
    let never = client.ask("test.never", json!({})).await;
    client
        .say(
            r#"[{"jsonrpc":"2.0","id":70,"method":"test.never"},
                {"jsonrpc":"2.0","id":71,"method":"system.ping"}]"#,
        )
        .await;
    let answer = client.next_answer().await;
    assert_eq!(
        (&answer["id"], &answer["error"]["data"]["reason"]),
        (&json!(never), &json!("timeout"))
    );
    let batch = client.next_answer().await;
    let timed_out = batch
        .as_array()
        .unwrap()
        .iter()
        .find(|answer| answer["id"] == 70)
        .unwrap();
    assert_eq!(timed_out["error"]["data"]["reason"], "timeout");
    assert!(client.is_served().await);
    let row = daemon.connections().pop().unwrap();
    assert_eq!((row.pending, row.state), (0, "idle"));
}

#[tokio::test]
async fn a_remote_client_gets_no_local_method() {
    let daemon = TestDaemon::start().await;
    let (_, mut client) = paired(&daemon).await;
    for method in [
        "daemon.status",
        "connections.list",
        "devices.revoke",
        "pairing.create",
    ] {
        let answer = client.call(method, json!({})).await;
        assert_eq!(answer["error"]["data"]["reason"], "forbidden", "{method}");
    }
}

#[tokio::test]
async fn the_first_text_need_not_be_session_ready() {
    let daemon = TestDaemon::start().await;
    let (install, _first) = paired(&daemon).await;
    let (wire, channel, welcome) = Attempt::new(&daemon, &install).welcome().await.unwrap();
    let mut client = crate::support::client::Client::attached(wire, channel, welcome);
    assert!(
        client.is_served().await,
        "any sealed text proves the client"
    );
}

#[tokio::test]
async fn an_event_made_before_an_answer_goes_out_before_it() {
    let daemon = TestDaemon::start().await;
    let (_, mut client) = paired(&daemon).await;
    for n in 1..=20 {
        let id = client.ask("test.emit", json!({"bytes": 10})).await;
        let event = client.next_text().await.unwrap();
        assert_eq!(event["params"]["seq"], n, "{event}");
        assert_eq!(client.next_text().await.unwrap()["id"], id);
    }
}
