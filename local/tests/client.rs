//! The client against a scripted peer that answers out of order, late, never or wrongly.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{collections::BTreeSet, future::Future, time::Duration};

use bowline_local::{Batch, CallError, Client, ClientOptions, NotificationEvent, Notifications};
use bowline_protocol::{Reason, RpcReason};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex},
    task::JoinSet,
};

/// Timeout of every wait, generous for slow machines; reaching it fails the test.
const PATIENCE: Duration = Duration::from_secs(20);

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("in time")
}

/// A scripted daemon.
struct Peer(BufReader<DuplexStream>);

impl Peer {
    /// The next text; `None` at the end.
    async fn read(&mut self) -> Option<Value> {
        let mut line = String::new();
        match within(self.0.read_line(&mut line)).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap()),
        }
    }

    async fn say(&mut self, text: &str) {
        within(self.0.write_all(format!("{text}\n").as_bytes()))
            .await
            .unwrap();
    }

    async fn answer(&mut self, request: &Value) {
        let answer = json!({"jsonrpc": "2.0", "id": request["id"], "result": request["params"]});
        self.say(&answer.to_string()).await;
    }
}

fn pair_with(options: ClientOptions) -> (Client, Notifications, Peer) {
    let (near, far) = duplex(1 << 16);
    let (client, notifications) = Client::over(near, options);
    (client, notifications, Peer(BufReader::new(far)))
}

fn pair() -> (Client, Notifications, Peer) {
    pair_with(ClientOptions::default())
}

/// Starts a call and returns the task with its result.
fn ask(client: &Client, n: u64) -> tokio::task::JoinHandle<Result<Value, CallError>> {
    let client = client.clone();
    tokio::spawn(async move { client.call("echo", &json!([n])).await })
}

#[tokio::test]
async fn sv_4_answers_in_any_order_find_their_requests() {
    let (client, _, mut peer) = pair();
    let calls: Vec<_> = (0..100).map(|n| ask(&client, n)).collect();
    let mut requests = Vec::new();
    for _ in 0..100 {
        requests.push(peer.read().await.unwrap());
    }
    let ids: BTreeSet<_> = requests.iter().map(|r| r["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), 100, "each has an id of its own");
    for request in requests.iter().rev() {
        peer.answer(request).await;
    }
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().unwrap(), json!([n]));
    }
    assert_eq!(client.pending(), 0);
}

#[tokio::test]
async fn requests_over_the_bound_wait_for_their_turn() {
    let options = ClientOptions {
        max_pending: 8,
        ..ClientOptions::default()
    };
    let (client, _, mut peer) = pair_with(options);
    let mut calls = JoinSet::new();
    for n in 0..1_000_u64 {
        let client = client.clone();
        calls.spawn(async move {
            let answer: Value = client.call("echo", &json!([n])).await.unwrap();
            assert_eq!(answer, json!([n]));
        });
    }
    let (mut unanswered, mut served) = (Vec::new(), 0);
    while served < 1_000 {
        unanswered.push(peer.read().await.unwrap());
        assert!(client.pending() <= 8);
        if unanswered.len() == 8 {
            served += 8;
            for request in unanswered.drain(..) {
                peer.answer(&request).await;
            }
        }
    }
    within(calls.join_all()).await;
}

#[tokio::test]
async fn a_deadline_ends_its_request_and_nothing_else() {
    let (client, _, mut peer) = pair();
    let late = client
        .call_within::<Value>(Duration::from_millis(30), "slow", &json!({}))
        .await;
    assert!(
        matches!(&late, Err(CallError::Timeout { method, .. }) if method == "slow"),
        "{late:?}"
    );
    assert_eq!(client.pending(), 1, "the daemon may still be at it");
    let slow = peer.read().await.unwrap();
    let next = ask(&client, 1);
    let request = peer.read().await.unwrap();
    peer.answer(&slow).await;
    peer.answer(&request).await;
    assert_eq!(
        next.await.unwrap().unwrap(),
        json!([1]),
        "the late answer is not taken for another"
    );
    assert_eq!(client.pending(), 0);
}

#[tokio::test]
async fn a_request_whose_future_is_dropped_is_forgotten_once_it_is_answered() {
    let options = ClientOptions {
        max_pending: 2,
        ..ClientOptions::default()
    };
    let (client, _, mut peer) = pair_with(options);
    for _ in 0..100 {
        let dropped = ask(&client, 1);
        let request = peer.read().await.unwrap();
        dropped.abort();
        assert!(dropped.await.unwrap_err().is_cancelled());
        peer.answer(&request).await;
    }
    let call = ask(&client, 2);
    let request = peer.read().await.unwrap();
    peer.answer(&request).await;
    assert_eq!(
        call.await.unwrap().unwrap(),
        json!([2]),
        "no place was lost"
    );
}

#[tokio::test]
async fn errors_of_the_daemon_are_typed_and_the_connection_goes_on() {
    let (client, _, mut peer) = pair();
    let call = ask(&client, 1);
    let id = peer.read().await.unwrap()["id"].clone();
    let error = json!({"code": -32000, "message": "later", "data": {"reason": "overloaded"}});
    peer.say(&json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string())
        .await;
    match call.await.unwrap() {
        Err(CallError::Rpc(error)) => assert_eq!(error.reason(), Some(RpcReason::Overloaded)),
        other => panic!("{other:?}"),
    }
    let client_2 = client.clone();
    let typed = tokio::spawn(async move { client_2.call::<u32>("echo", &json!(["x"])).await });
    let request = peer.read().await.unwrap();
    peer.answer(&request).await;
    assert!(matches!(
        typed.await.unwrap(),
        Err(CallError::Result { .. })
    ));
    assert_eq!(client.closed(), None);
}

#[tokio::test]
async fn inv_13_the_end_is_told_with_its_reason_to_all_who_wait() {
    let options = ClientOptions {
        max_pending: 2,
        ..ClientOptions::default()
    };
    let (client, mut notifications, mut peer) = pair_with(options);
    let calls: Vec<_> = (0..5).map(|n| ask(&client, n)).collect();
    peer.read().await.unwrap();
    peer.say(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"64 are open"}}"#)
        .await;
    peer.say(
        r#"{"jsonrpc":"2.0","method":"connection.closing","params":{"reason":"session_capacity"}}"#,
    )
    .await;
    drop(peer);
    for call in calls {
        match within(call).await.unwrap() {
            Err(CallError::Closed(closed)) => {
                assert_eq!(closed.reason, Reason::SessionCapacity);
                assert_eq!(closed.said.as_deref(), Some("64 are open"));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(within(client.ended()).await.reason, Reason::SessionCapacity);
    assert!(matches!(
        ask(&client, 9).await.unwrap(),
        Err(CallError::Closed(_))
    ));
    match within(notifications.next()).await.unwrap() {
        NotificationEvent::Notification(closing) => {
            assert_eq!(closing.method, "connection.closing")
        }
        NotificationEvent::Missed(_) => panic!("nothing was missed"),
    }
    assert_eq!(
        within(notifications.next()).await.unwrap_err().reason,
        Reason::SessionCapacity
    );
}

#[tokio::test]
async fn an_end_without_a_word_is_a_lost_connection() {
    let (client, _, mut peer) = pair();
    let call = ask(&client, 1);
    peer.read().await.unwrap();
    drop(peer);
    match within(call).await.unwrap() {
        Err(CallError::Closed(closed)) => assert_eq!(closed.reason, Reason::ConnectionLost),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_too_long_is_typed_in_both_directions() {
    let options = ClientOptions {
        max_request_bytes: 200,
        max_answer_bytes: 1_000,
        ..ClientOptions::default()
    };
    let (client, _, mut peer) = pair_with(options);
    let long = client
        .call::<Value>("echo", &json!(["x".repeat(200)]))
        .await;
    assert!(
        matches!(long, Err(CallError::TooLong { limit: 200, .. })),
        "{long:?}"
    );
    let call = ask(&client, 1);
    peer.read().await.expect("only the second one was sent");
    peer.say(&"x".repeat(2_000)).await;
    match within(call).await.unwrap() {
        Err(CallError::Closed(closed)) => assert_eq!(closed.reason, Reason::MessageTooLarge),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_not_a_daemon() {
    let (client, _, mut peer) = pair();
    let call = ask(&client, 1);
    peer.say("220 mail.example.org ESMTP").await;
    match within(call).await.unwrap() {
        Err(CallError::Closed(closed)) => assert_eq!(closed.reason, Reason::NotBowline),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_batch_over_the_limit_is_not_sent() {
    let (client, _, mut peer) = pair();
    let mut batch = Batch::new();
    for _ in 0..1_025 {
        batch.call("echo", &json!([])).unwrap();
    }
    let refused = client.batch(batch).await;
    assert!(
        matches!(refused, Err(CallError::TooMany { limit: 1_024, .. })),
        "{refused:?}"
    );
    let call = ask(&client, 1);
    let request = peer.read().await.expect("only the call was sent");
    peer.answer(&request).await;
    assert!(within(call).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_batch_that_is_refused_as_a_whole_ends_for_all_who_wait_for_it_and_for_no_one_else() {
    let (client, _, mut peer) = pair();
    let mut batch = Batch::new();
    for _ in 0..300 {
        batch.call("echo", &json!([])).unwrap();
    }
    let asking = client.clone();
    let results = tokio::spawn(async move { asking.batch(batch).await });
    peer.read().await.unwrap();
    let refusal = json!({"code": -32600, "message": "the answers are too long"});
    peer.say(&json!({"jsonrpc": "2.0", "id": null, "error": refusal}).to_string())
        .await;
    let results = within(results).await.unwrap().unwrap();
    assert_eq!(results.len(), 300);
    assert!(results.iter().all(|one| matches!(
        one,
        Err(CallError::Rpc(error)) if error.message == "the answers are too long"
    )));
    assert_eq!(client.pending(), 0, "the places are free again");
    let call = ask(&client, 1);
    let request = peer.read().await.unwrap();
    peer.answer(&request).await;
    assert!(within(call).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_batch_is_one_text_and_its_answers_come_in_its_order() {
    let (client, _, mut peer) = pair();
    let mut batch = Batch::new();
    batch.call("a", &json!([1])).unwrap();
    batch.notify("n", &json!({})).unwrap();
    batch.call("b", &json!([2])).unwrap();
    let asking = client.clone();
    let results = tokio::spawn(async move { asking.batch(batch).await });
    let text = peer.read().await.unwrap();
    let items = text.as_array().unwrap();
    let methods: Vec<_> = items
        .iter()
        .map(|item| item["method"].as_str().unwrap())
        .collect();
    assert_eq!(methods, ["a", "n", "b"]);
    assert!(items[1].get("id").is_none());
    let no_such = json!({"code": -32601, "message": "no method `a`"});
    let answers = json!([
        {"jsonrpc": "2.0", "id": items[2]["id"], "result": true},
        {"jsonrpc": "2.0", "id": items[0]["id"], "error": no_such},
    ]);
    peer.say(&answers.to_string()).await;
    let results = within(results).await.unwrap().unwrap();
    assert!(matches!(&results[0], Err(CallError::Rpc(error)) if error.code == -32601));
    assert_eq!(results[1].as_ref().unwrap().get(), "true");
    assert_eq!(results.len(), 2);
    assert!(client.batch(Batch::new()).await.unwrap().is_empty());
}

#[tokio::test]
async fn notifications_come_in_order_and_a_request_is_answered_as_json_rpc_asks() {
    let (client, mut notifications, mut peer) = pair();
    for seq in 1..=3 {
        let event = json!({"seq": seq, "event": {"type": "x"}});
        let text = json!({"jsonrpc": "2.0", "method": "session.event", "params": event});
        peer.say(&text.to_string()).await;
    }
    peer.say(r#"{"jsonrpc":"2.0","id":"q","method":"client.sing"}"#)
        .await;
    for seq in 1..=3 {
        match within(notifications.next()).await.unwrap() {
            NotificationEvent::Notification(event) => {
                assert_eq!(event.params::<Value>().unwrap()["seq"], seq)
            }
            NotificationEvent::Missed(_) => panic!("nothing was missed"),
        }
    }
    let answer = peer.read().await.unwrap();
    assert_eq!(
        (&answer["id"], &answer["error"]["code"]),
        (&json!("q"), &json!(-32601))
    );
    client.notify("note", &json!({})).await.unwrap();
    assert_eq!(peer.read().await.unwrap()["method"], "note");
}

#[tokio::test]
async fn the_last_handle_ends_the_connection_after_what_was_handed_over() {
    let (client, notifications, mut peer) = pair();
    let clone = client.clone();
    drop(client);
    clone.notify("last", &json!({})).await.unwrap();
    drop((clone, notifications));
    assert_eq!(peer.read().await.unwrap()["method"], "last");
    assert_eq!(peer.read().await, None);
}

#[tokio::test]
async fn a_peer_that_does_not_read_costs_bounded_memory_and_bounded_time() {
    let (client, _, mut peer) = pair();
    let text = json!(["x".repeat(60_000)]);
    let mut sent = 0;
    while sent < 1_000 {
        let notify = client.notify("note", &text);
        if tokio::time::timeout(Duration::from_millis(50), notify)
            .await
            .is_err()
        {
            break;
        }
        sent += 1;
    }
    // The queue, the buffer and the pipe hold some; the rest waits.
    assert!(
        sent < 100,
        "{sent} texts of 60 kB were taken for a peer that reads nothing"
    );
    drop(client);
    let mut rest = Vec::new();
    let _ = within(peer.0.read_to_end(&mut rest)).await;
    assert!(rest.len() < 10 << 20);
}
