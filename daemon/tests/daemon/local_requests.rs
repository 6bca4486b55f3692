//! Many requests over one local connection, of mixed methods, each answered exactly once (SV-4,
//! LS-20).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{TestDaemon, local::Local};

/// A request of some method or other, and what its answer must look like.
fn request(n: u64) -> (&'static str, Value, fn(u64, &Value) -> bool) {
    match n % 8 {
        0 => ("system.ping", json!({}), |_, answer| {
            answer["result"]["serverTime"].is_i64()
        }),
        1 => ("test.echo", json!({"n": n}), |n, answer| {
            answer["result"]["n"] == n
        }),
        2 => ("system.info", json!({}), |_, answer| {
            answer["result"]["serverId"].is_string()
        }),
        3 => ("devices.list", json!({}), |_, answer| {
            answer["result"]["devices"].is_array()
        }),
        4 => ("sessions.list", json!({"limit": 1}), |_, answer| {
            answer["result"]["sessions"].is_array()
        }),
        5 => ("daemon.status", json!({}), |_, answer| {
            answer["result"]["uptimeMs"].is_u64()
        }),
        6 => ("no.such", json!({}), |_, answer| {
            answer["error"]["code"] == -32601
        }),
        _ => ("test.big", json!({"bytes": "x"}), |_, answer| {
            answer["error"]["code"] == -32602
        }),
    }
}

#[tokio::test]
async fn ls_20_ten_thousand_requests_in_turn() {
    let daemon = TestDaemon::start().await;
    let mut local = Local::connect(&daemon).await;
    for n in 0..10_000 {
        let (method, params, is_right) = request(n);
        local.ask(method, params).await;
        let answer = local.line().await.unwrap();
        assert_eq!(answer["id"], n + 1, "the next line is the answer");
        assert!(is_right(n, &answer), "{method}: {answer}");
    }
    let row = daemon.connections().pop().unwrap();
    assert_eq!((row.served, row.pending, row.state), (10_000, 0, "idle"));
}

/// Asks so many at once; counts the answers by id, and those that were right.
async fn at_once(daemon: &TestDaemon, count: u64) -> (BTreeMap<u64, u32>, u64) {
    let mut local = Local::connect(daemon).await;
    let mut text = String::new();
    for n in 0..count {
        let (method, params, _) = request(n);
        let line = json!({"jsonrpc": "2.0", "id": n, "method": method, "params": params});
        text.push_str(&format!("{line}\n"));
    }
    local.write(text).await;
    let (mut seen, mut right) = (BTreeMap::new(), 0);
    for _ in 0..count {
        let answer = local.line().await.unwrap();
        let n = answer["id"].as_u64().unwrap();
        *seen.entry(n).or_default() += 1;
        if request(n).2(n, &answer) {
            right += 1;
        } else {
            assert_eq!(answer["error"]["data"]["reason"], "overloaded", "{answer}");
        }
    }
    assert!(local.is_served().await, "nothing more had come");
    (seen, right)
}

#[tokio::test]
async fn ls_20_a_thousand_requests_at_once() {
    let daemon = TestDaemon::with(|settings| settings.limits.max_in_flight = 1_000).await;
    let (seen, right) = at_once(&daemon, 1_000).await;
    assert_eq!(seen.len(), 1_000);
    assert!(seen.values().all(|count| *count == 1), "each exactly once");
    assert_eq!(right, 1_000);
}

#[tokio::test]
async fn over_the_limit_each_is_answered_exactly_once_too() {
    let daemon = TestDaemon::with(|settings| settings.limits.max_in_flight = 1).await;
    let (seen, right) = at_once(&daemon, 1_000).await;
    assert_eq!(seen.len(), 1_000);
    assert!(seen.values().all(|count| *count == 1), "each exactly once");
    assert!(right > 0 && right < 1_000, "{right}");
}

#[tokio::test]
async fn ids_come_back_to_the_letter() {
    let daemon = TestDaemon::start().await;
    let mut local = Local::connect(&daemon).await;
    for id in [
        "1",
        "-7",
        "1.5",
        "1e3",
        "\"\"",
        "\"a\\u0000\\\"b\"",
        "null",
        "18446744073709551616",
    ] {
        local
            .write(format!(
                "{{\"id\":{id},\"method\":\"system.ping\",\"jsonrpc\":\"2.0\"}}\n"
            ))
            .await;
        let answer = local.raw_line().await.unwrap();
        assert!(answer.contains(&format!("\"id\":{id},")), "{id}: {answer}");
        assert!(answer.contains("serverTime"), "{id}: {answer}");
    }
}

#[tokio::test]
async fn batches_and_single_requests_run_side_by_side() {
    let daemon = TestDaemon::start().await;
    let mut local = Local::connect(&daemon).await;
    // The batch waits for its slowest part; others do not wait for the batch.
    local
        .write(
            "[{\"jsonrpc\":\"2.0\",\"id\":\"slow\",\"method\":\"test.gate\"},\
              {\"jsonrpc\":\"2.0\",\"method\":\"test.echo\"},\
              {\"jsonrpc\":\"2.0\",\"id\":\"fast\",\"method\":\"system.ping\"}]\n",
        )
        .await;
    assert!(local.is_served().await, "while the batch is at it");
    local.ask("test.open", json!({})).await;
    let mut lines = [local.line().await.unwrap(), local.line().await.unwrap()];
    lines.sort_by_key(Value::is_array);
    assert_eq!(lines[0]["result"], json!({}));
    let ids: Vec<_> = lines[1]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["id"].clone())
        .collect();
    assert_eq!(ids.len(), 2, "none for the notification: {ids:?}");
    assert!(ids.contains(&json!("slow")) && ids.contains(&json!("fast")));
}
