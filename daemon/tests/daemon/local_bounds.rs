//! The bounds of local connections, and what is said at each (SV-4, LS-2 and LS-19).

use std::time::Duration;

use bowline_testkit::eventually;
use serde_json::json;

use crate::support::{TestDaemon, local::Local};

#[tokio::test]
async fn one_connection_too_many_is_told_why_and_places_come_back() {
    let daemon = TestDaemon::with(|settings| settings.limits.max_local_connections = 2).await;
    let mut first = Local::connect(&daemon).await;
    let second = Local::connect(&daemon).await;
    assert!(first.is_served().await);
    let mut third = Local::connect(&daemon).await;
    let error = third.line().await.unwrap();
    assert_eq!(error["id"], json!(null));
    assert_eq!(error["error"]["data"]["reason"], "overloaded");
    let said = error["error"]["message"].as_str().unwrap();
    assert!(said.contains("limits.max_local_connections"), "{said}");
    let closing = third.line().await.unwrap();
    assert_eq!(closing["method"], "connection.closing");
    assert_eq!(closing["params"]["reason"], "session_capacity");
    assert_eq!(third.line().await, None);
    drop(second);
    eventually("a place is free", async || daemon.connections().len() == 1).await;
    assert!(Local::connect(&daemon).await.is_served().await);
    assert!(first.is_served().await);
}

#[tokio::test]
async fn our_client_says_why_it_was_turned_away() {
    use bowline_runtime::local::{CallError, Client, Endpoint};

    let daemon = TestDaemon::with(|settings| settings.limits.max_local_connections = 1).await;
    let endpoint = Endpoint::new(daemon.daemon.socket()).unwrap();
    let mut first = Local::connect(&daemon).await;
    assert!(first.is_served().await);
    let client = Client::connect(&endpoint).await.unwrap();
    let refused = client
        .call::<serde_json::Value>("system.ping", &json!({}))
        .await;
    match refused {
        Err(CallError::Closed(closed)) => {
            assert_eq!(closed.reason.as_str(), "session_capacity");
            assert!(
                closed.to_string().contains("max_local_connections"),
                "{closed}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_hundred_connections_at_once_are_all_served() {
    let daemon = TestDaemon::start().await;
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(Local::connect(&daemon).await);
    }
    for local in &mut crowd {
        assert!(local.is_served().await);
    }
    assert_eq!(daemon.connections().len(), 100);
}

#[tokio::test]
async fn ls_19_a_client_that_asks_and_never_reads_is_asked_for_no_more_and_closed() {
    let daemon = TestDaemon::with(|settings| {
        settings.limits.write_timeout = Duration::from_secs(4);
    })
    .await;
    let mut other = Local::connect(&daemon).await;
    assert!(other.is_served().await);
    let mut greedy = Local::connect(&daemon).await;
    let line =
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"test.big\",\"params\":{\"bytes\":500000}}\n";
    // Some are being worked on when the socket is full; what they answer must wait its turn.
    let row = || {
        let rows = daemon.connections();
        rows.into_iter().max_by_key(|row| row.served).unwrap()
    };
    greedy.write(line.repeat(100)).await;
    let mut asked = 0;
    while greedy.write_some(line.as_bytes()).await {
        asked += 1;
        assert!(asked < 100_000, "requests are read for ever");
    }
    let (served, queued) = (row().served, row().queued_bytes);
    assert!(
        served < 400,
        "{served} answers of half a megabyte are asked for"
    );
    assert!(
        (1_500_000..3_000_000).contains(&queued),
        "{queued} bytes are held"
    );
    assert!(other.is_served().await);

    let closing = || {
        let rows = daemon.connections();
        rows.len() == 1 || rows.iter().any(|row| row.state == "closing")
    };
    eventually("it is closed", async || closing()).await;
    let said = greedy.rest().await;
    let last = said.trim_ascii_end().rsplit(|b| *b == b'\n').next();
    let last = String::from_utf8_lossy(last.unwrap());
    assert!(
        last.contains("connection.closing") && last.contains("slow_consumer"),
        "it is told why, whole"
    );
    assert!(other.is_served().await, "nobody else noticed");
}

#[tokio::test]
async fn ls_19_a_client_that_reads_slowly_and_steadily_is_not_closed() {
    let write_timeout = Duration::from_secs(1);
    let daemon = TestDaemon::with(|settings| settings.limits.write_timeout = write_timeout).await;
    let mut slow = Local::connect(&daemon).await;
    for id in 0..8 {
        let params = json!({"bytes": 500_000});
        let ask = json!({"jsonrpc": "2.0", "id": id, "method": "test.big", "params": params});
        slow.write(format!("{ask}\n")).await;
    }
    // A megabyte a second of 4 MB: several times its time to take all that waits, but it always
    // takes some of it.
    let began = tokio::time::Instant::now();
    let mut read = Vec::new();
    while began.elapsed() < 3 * write_timeout {
        read.extend(slow.some(50_000).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(read.len() < 3_900_000, "it was never slow");
    while read.iter().filter(|b| **b == b'\n').count() < 8 {
        let line = slow.raw_line().await.expect("the other answers");
        assert!(!line.contains("connection.closing"), "{line}");
        read.extend(line.into_bytes());
    }
    assert!(slow.is_served().await);
}

#[tokio::test]
async fn ls_19_a_client_that_follows_and_never_reads_gets_slow_consumer() {
    let daemon = TestDaemon::start().await;
    let mut other = Local::connect(&daemon).await;
    let mut slow = Local::connect(&daemon).await;
    // Local connections get events of what they subscribe to.
    let agent = "agt_1";
    let subscribed = slow.call("test.subscribe", json!({"agentId": agent})).await;
    assert_eq!(subscribed["result"], json!({}));
    let closing = || {
        daemon
            .connections()
            .iter()
            .any(|row| row.state == "closing")
            || daemon.connections().len() == 1
    };
    for _ in 0..500 {
        let emitted = other
            .call("test.emit", json!({"bytes": 200_000, "agentId": agent}))
            .await;
        assert_eq!(emitted["result"], json!({}), "{emitted}");
        if closing() {
            break;
        }
    }
    assert!(
        closing(),
        "100 MB were queued for a client that reads nothing"
    );
    // It catches up, and is told.
    let rest = slow.rest().await;
    let last = rest
        .split(|b| *b == b'\n')
        .rfind(|line| !line.is_empty())
        .unwrap();
    let last = String::from_utf8_lossy(last);
    assert!(
        last.contains("connection.closing") && last.contains("slow_consumer"),
        "{last}"
    );
    assert!(other.is_served().await);
}
