//! Behaviour while the daemon is absent: not connected yet, or disconnected.

use std::time::{Duration, Instant};

use bowline_protocol::relay::limits::HELD_BYTES;
use tokio_tungstenite::tungstenite::Message;

use crate::peers::{Daemon, client, identity, route, start};

#[tokio::test]
async fn without_a_daemon_a_client_is_told_within_a_second() {
    let (_relay, address) = start(|_| {}).await;
    let server = identity().server_id().clone();
    let since = Instant::now();
    let mut client = client(address, &server, &route(&server)).await;
    assert_eq!(client.ended().await, (4404, "daemon_offline".to_owned()));
    // Within a second on an idle machine; waiting for a data socket would take ten.
    assert!(since.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_daemon_that_does_not_serve_a_session_in_time_is_not_waited_for() {
    let (_relay, address) = start(|s| s.limits.peer_wait = Duration::from_millis(300)).await;
    let mut daemon = Daemon::register(address).await;
    let session = route(&daemon.server);
    let mut client = client(address, &daemon.server, &session).await;
    assert_eq!(daemon.control.opened().await, session);
    assert_eq!(client.ended().await, (4408, "handshake_timeout".to_owned()));
    assert_eq!(daemon.control.closed().await, session);
}

#[tokio::test]
async fn what_clients_say_before_the_data_socket_is_there_is_held_and_comes_first() {
    let (_relay, address) = start(|_| {}).await;
    let mut daemon = Daemon::register(address).await;
    let session = route(&daemon.server);
    let mut one = client(address, &daemon.server, &session).await;
    let mut two = client(address, &daemon.server, &session).await;
    assert_eq!(daemon.control.opened().await, session);
    for n in 0..5 {
        one.send(Message::binary(format!("one {n}"))).await;
        two.send(Message::binary(format!("two {n}"))).await;
    }
    let mut data = daemon.data(&session).await;
    // Each lane opens before its first message, and messages are in order.
    let mut said = [(None, 0), (None, 0)];
    while said.iter().any(|(_, count)| *count < 5) {
        use bowline_protocol::relay::LaneFrame::{Close, Data, Open};
        match data.hear().await {
            Open { lane } => {
                let free = said.iter_mut().find(|(known, _)| known.is_none()).unwrap();
                free.0 = Some(lane);
            }
            Data { lane, payload } => {
                let (_, count) = said.iter_mut().find(|(l, _)| *l == Some(lane)).unwrap();
                let text = std::str::from_utf8(&payload).unwrap();
                assert!(text.ends_with(&count.to_string()), "{text} at {count}");
                *count += 1;
            }
            Close { .. } => panic!("nobody left"),
        }
    }
}

/// A client that leaves while the daemon dials leaves no trace on the data socket.
#[tokio::test]
async fn a_client_that_left_in_the_meantime_is_not_mentioned() {
    let (_relay, address) = start(|_| {}).await;
    let mut daemon = Daemon::register(address).await;
    let session = route(&daemon.server);
    let mut stays = client(address, &daemon.server, &session).await;
    assert_eq!(daemon.control.opened().await, session);
    let mut leaves = client(address, &daemon.server, &session).await;
    leaves.send(Message::binary("never mind")).await;
    leaves.0.close(None).await.unwrap();
    leaves.ended().await;
    stays.send(Message::binary("here")).await;
    let mut data = daemon.data(&session).await;
    let lane = data.opened().await;
    assert_eq!(data.heard().await, (lane, "here".into()));
}

/// At most 64 KiB are buffered; the rest stays with the sender, and no byte is lost.
#[tokio::test]
async fn more_than_may_be_held_stays_with_the_sender() {
    let (_relay, address) = start(|_| {}).await;
    let mut daemon = Daemon::register(address).await;
    let session = route(&daemon.server);
    let mut client = client(address, &daemon.server, &session).await;
    assert_eq!(daemon.control.opened().await, session);
    let message = vec![7; 20_000];
    let count = 20 * HELD_BYTES / message.len();
    let sending = tokio::spawn(async move {
        for _ in 0..count {
            client.send(Message::binary(message.clone())).await;
        }
        client
    });
    let mut data = daemon.data(&session).await;
    data.opened().await;
    for _ in 0..count {
        assert_eq!(data.heard().await.1, vec![7; 20_000]);
    }
    sending.await.unwrap();
}

#[tokio::test]
async fn when_the_daemon_dies_its_clients_are_told_at_once() {
    let (_relay, address) = start(|_| {}).await;
    let mut daemon = Daemon::register(address).await;
    let mut pair = daemon.pair().await;
    drop((daemon, pair.data));
    let since = Instant::now();
    assert_eq!(
        pair.client.ended().await,
        (4404, "daemon_offline".to_owned())
    );
    // Within a second on an idle machine; waiting for a data socket would take ten.
    assert!(since.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_lost_data_socket_ends_its_session_and_no_other() {
    let (_relay, address) = start(|_| {}).await;
    let mut daemon = Daemon::register(address).await;
    let mut one = daemon.pair().await;
    let mut two = daemon.pair().await;
    drop(one.data);
    assert_eq!(one.client.end_code().await, 4404);
    assert_eq!(daemon.control.closed().await, one.session);
    two.data.send(two.lane, "untouched").await;
    assert_eq!(two.client.binary().await, "untouched");
}

/// A daemon whose control socket is gone but whose data sockets are open gets time to reconnect (a
/// short network failure).
#[tokio::test]
async fn sessions_outlive_a_control_socket_for_a_while_and_no_longer() {
    let grace = Duration::from_secs(2);
    let (_relay, address) = start(|s| s.limits.control_grace = grace).await;
    let owner = identity();
    let mut daemon = Daemon::register_as(address, &owner).await;
    let mut pair = daemon.pair().await;
    drop(daemon);
    let daemon = Daemon::register_as(address, &owner).await;
    assert_eq!(daemon.sessions, [pair.session.clone()]);
    pair.data
        .send(pair.lane, "as if nothing had happened")
        .await;
    assert_eq!(pair.client.binary().await, "as if nothing had happened");

    drop(daemon);
    let since = Instant::now();
    assert_eq!(pair.client.end_code().await, 4404);
    assert!(since.elapsed() >= grace, "not before its time");
    assert_eq!(pair.data.0.end_code().await, 4404);
}
