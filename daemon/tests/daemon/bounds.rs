//! Everything is bounded, and what happens at the bound is typed (SV-4, LS-1, LS-2, LS-6, LS-12,
//! LS-19).

use std::time::Duration;

use bowline_daemon::connection::Kind;
use bowline_protocol::limits::MAX_CHUNK;
use bowline_testkit::eventually;
use serde_json::json;

use crate::support::{
    TestDaemon,
    client::{Attempt, Wire, paired, raw_http},
};

#[tokio::test]
async fn ls_1_an_oversize_answer_is_an_error_of_that_request() {
    let daemon = TestDaemon::with(|settings| settings.limits.max_message_bytes = 100_000).await;
    let (_, mut client) = paired(&daemon).await;
    let answer = client.call("test.big", json!({"bytes": 100_000})).await;
    assert_eq!(answer["error"]["data"]["reason"], "response_too_large");
    // Just within the limit, and longer than a chunk.
    let answer = client.call("test.big", json!({"bytes": 99_900})).await;
    assert_eq!(answer["result"].as_str().unwrap().len(), 99_900);
}

#[tokio::test]
async fn a_request_over_the_limit_closes_with_message_too_large() {
    let daemon = TestDaemon::with(|settings| settings.limits.max_message_bytes = 100_000).await;
    let (install, mut other) = paired(&daemon).await;
    let mut client = Attempt::new(&daemon, &install).connect().await;
    let padding = "x".repeat(90_000);
    let answer = client.call("test.echo", json!({"p": padding})).await;
    assert!(answer["result"]["p"].is_string(), "two chunks are fine");
    client.say(&" ".repeat(2 * MAX_CHUNK)).await;
    assert_eq!(client.ended().await, Some(4413));

    // During the handshake as well.
    let (mut wire, mut channel, _) = Attempt::new(&daemon, &install).welcome().await.unwrap();
    let mut messages = Vec::new();
    let text = vec![b' '; 2 * MAX_CHUNK];
    channel
        .gather(&text, |message| messages.push(message.to_vec()))
        .unwrap();
    channel
        .finish(|message| messages.push(message.to_vec()))
        .unwrap();
    for message in messages {
        wire.send(message).await;
    }
    assert_eq!(wire.ended().await, Some(4413));
    assert!(other.is_served().await);
}

#[tokio::test]
async fn ls_19_a_client_that_does_not_read_loses_its_own_socket_only() {
    let daemon = TestDaemon::start().await;
    let (slow_install, mut slow) = paired(&daemon).await;
    let (_, mut other) = paired(&daemon).await;
    // Far more than its queue and the kernel's buffers hold; the other one reads along.
    let mut seq = 0;
    until_slow(&daemon, &mut other, &mut seq).await;
    // It catches up, and is told.
    assert_eq!(slow.ended().await, Some(4420));
    assert!(other.is_served().await);

    // It comes back and goes on: what the log still holds is sent again, the rest is a reset.
    let session = slow.welcome.session.clone().unwrap();
    let mut back = Attempt::new(&daemon, &slow_install)
        .resume(&session, seq - 2)
        .connect()
        .await;
    assert_eq!(back.event().await["seq"], seq - 1);
    assert_eq!(back.event().await["seq"], seq);
    assert!(back.is_served().await);
}

/// Emits until the connection that does not read is being closed.
async fn until_slow(
    daemon: &TestDaemon,
    other: &mut crate::support::client::Client,
    seq: &mut u64,
) {
    let closing = || daemon.connections().iter().any(|c| c.state == "closing");
    for _ in 0..500 {
        other.call("test.emit", json!({"bytes": 200_000})).await;
        let event = other.event().await;
        *seq += 1;
        assert_eq!(event["seq"], *seq, "the other one misses nothing");
        if closing() {
            return;
        }
    }
    panic!("100 MB were queued for a client that reads nothing");
}

#[tokio::test]
async fn ls_19_a_client_that_asks_and_does_not_read_is_not_asked_for_more() {
    let daemon = TestDaemon::start().await;
    let (install, mut other) = paired(&daemon).await;
    let mut greedy = Attempt::new(&daemon, &install).connect().await;
    let mut asked = 0_u64;
    // Once answers no longer fit anywhere, requests are not read any more.
    let flood = async {
        loop {
            greedy.ask("test.big", json!({"bytes": 500_000})).await;
            asked += 1;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(2), flood).await;
    let served = daemon
        .connections()
        .iter()
        .filter(|c| c.kind == Some(Kind::Session))
        .map(|c| c.served)
        .max();
    assert!(
        served.unwrap() < 400,
        "served {served:?} of {asked}: answers pile up"
    );
    assert!(other.is_served().await);
}

#[tokio::test]
async fn ls_12_a_long_replay_is_paced_and_arrives_whole() {
    let daemon = TestDaemon::start().await;
    let (install, mut client) = paired(&daemon).await;
    let session = client.welcome.session.clone().unwrap();
    for _ in 0..35 {
        client.call("test.emit", json!({"bytes": 100_000})).await;
    }
    // More than its outbound queue holds comes at once, while new events are made.
    let mut back = Attempt::new(&daemon, &install)
        .resume(&session, 0)
        .connect()
        .await;
    client.call("test.emit", json!({"bytes": 10})).await;
    for seq in 1..=36 {
        assert_eq!(back.event().await["seq"], seq);
    }
    assert!(back.is_served().await);
}

#[tokio::test]
async fn ls_2_a_half_open_socket_is_given_up_after_the_silence_allowed() {
    let daemon = TestDaemon::with(|settings| {
        settings.limits.heartbeat_timeout = Some(Duration::from_millis(400));
    })
    .await;
    let (_, mut silent) = paired(&daemon).await;
    let (_, mut alive) = paired(&daemon).await;
    let ended = tokio::spawn(async move { silent.ended().await });
    while !ended.is_finished() {
        assert!(alive.is_served().await, "whoever pings stays");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ended.await.unwrap(), Some(4411));
    daemon.quiet_but(1).await;
}

#[tokio::test]
async fn sockets_over_the_limit_are_turned_away_and_places_come_back() {
    let daemon = TestDaemon::with(|settings| settings.limits.max_connections = 2).await;
    let (install, mut client) = paired(&daemon).await;
    let second = Wire::dial(daemon.address()).await;
    let said = raw_http(daemon.address(), b"").await;
    assert!(said.starts_with("HTTP/1.1 503"), "{said}");
    drop(second);
    daemon.quiet_but(1).await;
    let mut again = Attempt::new(&daemon, &install).connect().await;
    assert!(again.is_served().await && client.is_served().await);
}

#[tokio::test]
async fn over_a_sessions_cap_the_longest_idle_connection_gives_way() {
    let daemon = TestDaemon::start().await;
    let (install, mut first) = paired(&daemon).await;
    let mut others = Vec::new();
    for _ in 0..8 {
        let mut client = Attempt::new(&daemon, &install).connect().await;
        assert!(client.is_served().await);
        others.push(client);
    }
    assert_eq!(first.ended().await, Some(4421));
    for client in &mut others {
        assert!(client.is_served().await);
    }
    eventually("it is no longer listed", async || {
        daemon.connections().len() == 8
    })
    .await;
}

#[tokio::test]
async fn sv_5_connections_are_listed_with_what_they_did() {
    let daemon = TestDaemon::start().await;
    let (install, mut client) = paired(&daemon).await;
    let _never = client.ask("test.never", json!({})).await;
    assert!(client.is_served().await);
    let row = daemon.connections().pop().unwrap();
    assert_eq!(
        (row.kind, row.state, row.pending),
        (Some(Kind::Session), "processing", 1)
    );
    assert_eq!(row.device_id, Some(install.device_id()));
    assert_eq!(row.session, Some(install.session.external().log_hash()));
    assert_eq!(row.client.as_deref(), Some("test 1 (linux)"));
    assert!(row.bytes_in > 0 && row.bytes_out > 0 && row.peer.is_some());
}
