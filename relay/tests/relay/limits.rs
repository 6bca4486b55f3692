//! Bounds, and what happens at each (RL-4, lessons 2 and 6).

use std::{net::IpAddr, time::Duration};

use bowline_protocol::{
    identity::random_bytes,
    relay::{CloseText, client_path},
};
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_tungstenite::tungstenite::{Message, http::header};

use crate::peers::{Daemon, client, client_from, dial, identity, route, start, within};

/// Lesson 2: at the limit the client socket that has been silent longest gives way, so that one whose old sockets are
/// half-open is never locked out.
#[tokio::test]
async fn rl_4_over_the_limit_of_a_session_the_most_silent_client_gives_way() {
    let (_relay, address) = start(|s| s.limits.sockets_per_session = 3).await;
    let mut daemon = Daemon::register(address).await;
    let mut pair = daemon.pair().await;
    let mut second = client(address, &daemon.server, &pair.session).await;
    let second_lane = pair.data.opened().await;
    let mut third = client(address, &daemon.server, &pair.session).await;
    pair.data.opened().await;
    // The first and the third speak; the second is the silent one.
    pair.client.send(Message::binary("hi")).await;
    pair.data.heard().await;
    third.send(Message::binary("hi")).await;
    pair.data.heard().await;

    let mut fourth = client(address, &daemon.server, &pair.session).await;
    assert_eq!(second.ended().await, (4421, "session_capacity".to_owned()));
    assert_eq!(pair.data.closed().await, (second_lane, 4421));
    let fourth_lane = pair.data.opened().await;
    pair.data.send(fourth_lane, "welcome").await;
    assert_eq!(fourth.binary().await, "welcome");
    pair.data.send(pair.lane, "unharmed").await;
    assert_eq!(pair.client.binary().await, "unharmed");
}

#[tokio::test]
async fn rl_4_over_the_limit_of_a_daemon_the_new_client_is_refused_and_other_daemons_are_not() {
    let (_relay, address) = start(|s| s.limits.sockets_per_daemon = 2).await;
    let mut daemon = Daemon::register(address).await;
    let mut one = daemon.pair().await;
    let two = daemon.pair().await;
    let mut over = client(address, &daemon.server, &route(&daemon.server)).await;
    assert_eq!(over.end_code().await, 4421);
    let mut other = Daemon::register(address).await;
    other.pair().await;
    one.data.send(one.lane, "unharmed").await;
    assert_eq!(one.client.binary().await, "unharmed");
    // A place that is left is free again.
    drop(two.client);
    assert_eq!(daemon.control.closed().await, two.session);
    daemon.pair().await;
}

#[tokio::test]
async fn rl_4_an_address_has_so_many_sockets_and_is_told_when_to_come_back() {
    let (_relay, address) = start(|s| s.limits.sockets_per_address = 4).await;
    let mut daemon = Daemon::register(address).await;
    let pair = daemon.pair().await;
    let session = route(&daemon.server);
    let _fourth = client(address, &daemon.server, &session).await;
    assert_eq!(daemon.control.opened().await, session);
    let mut over = client(address, &daemon.server, &session).await;
    let (code, text) = over.ended().await;
    assert_eq!(code, 4429);
    assert!(
        CloseText::retry_after(&text).is_some_and(|wait| wait > Duration::ZERO),
        "{text}"
    );
    drop(pair);
    assert!(daemon.control.closed().await != session);
    within("room again", async {
        loop {
            let mut again = client(address, &daemon.server, &session).await;
            let quiet = tokio::time::timeout(Duration::from_millis(100), again.ended()).await;
            if quiet.is_err() {
                break;
            }
        }
    })
    .await;
}

/// Every address of 127.0.0.0/8 is one of the machine's own on Linux.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn rl_4_a_flood_is_limited_and_others_do_not_notice() {
    let (_relay, address) = start(|s| s.limits.opens_per_minute = 20).await;
    let mut daemon = Daemon::register(address).await;
    let mut pair = daemon.pair().await;
    let from = |text: &str| Some(text.parse::<IpAddr>().unwrap());
    let absent = identity().server_id().clone();
    let path = client_path(&absent, &route(&absent));
    let mut limited = 0;
    for _ in 0..60 {
        let mut flood = client_from(from("127.0.0.2"), address, &path).await;
        let (code, text) = flood.ended().await;
        if code == 4429 {
            limited += 1;
            let wait = CloseText::retry_after(&text).unwrap();
            assert!(wait <= Duration::from_secs(60), "{text}");
        } else {
            assert_eq!(code, 4404);
        }
    }
    assert!(limited >= 30, "{limited} of 60");
    let path = client_path(&daemon.server, &pair.session);
    let mut other = client_from(from("127.0.0.3"), address, &path).await;
    let lane = pair.data.opened().await;
    pair.data.send(lane, "no queue here").await;
    assert_eq!(other.binary().await, "no queue here");
}

#[tokio::test]
async fn rl_4_registrations_are_limited_on_their_own() {
    let (_relay, address) = start(|s| s.limits.registrations_per_minute = 2).await;
    let mut daemon = Daemon::register(address).await;
    Daemon::register(address).await;
    let protocol = (header::SEC_WEBSOCKET_PROTOCOL, "bowline.relay.v1");
    let mut third = dial(address, "/v1/daemon", &[protocol]).await.unwrap();
    assert_eq!(third.end_code().await, 4429);
    daemon.pair().await;
}

/// What a proxy says about its clients counts if the proxy is trusted, and not otherwise.
#[tokio::test]
async fn limits_are_those_of_the_client_behind_a_trusted_proxy() {
    let absent = identity().server_id().clone();
    let path = client_path(&absent, &route(&absent));
    for (trusted, expected) in [(true, 4404), (false, 4429)] {
        let (_relay, address) = start(|s| {
            s.limits.opens_per_minute = 1;
            if trusted {
                s.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
            }
        })
        .await;
        let code = async |client: &str| {
            let protocol = (header::SEC_WEBSOCKET_PROTOCOL, "bowline.v1");
            let name = header::HeaderName::from_static("x-forwarded-for");
            let headers = [protocol, (name, client)];
            let mut socket = dial(address, &path, &headers).await.unwrap();
            socket.end_code().await
        };
        assert_eq!(code("192.0.2.1").await, 4404);
        assert_eq!(code("192.0.2.1").await, 4429, "the same client again");
        assert_eq!(code("192.0.2.2").await, expected, "trusted: {trusted}");
        assert_eq!(
            code("6.6.6.6, 192.0.2.1").await,
            4429,
            "a client cannot hide behind a claim"
        );
    }
}

#[tokio::test]
async fn a_message_over_the_limit_closes_its_own_socket_only() {
    let (_relay, address) = start(|_| {}).await;
    let mut daemon = Daemon::register(address).await;
    let mut pair = daemon.pair().await;
    let mut big = client(address, &daemon.server, &pair.session).await;
    let lane = pair.data.opened().await;
    big.send(Message::binary(vec![0; 65_536])).await;
    assert_eq!(big.ended().await, (4413, "message_too_large".to_owned()));
    assert_eq!(pair.data.closed().await, (lane, 4413));
    let mut text = client(address, &daemon.server, &pair.session).await;
    let lane = pair.data.opened().await;
    text.send(Message::text("hello")).await;
    assert_eq!(text.end_code().await, 4400);
    assert_eq!(pair.data.closed().await, (lane, 4400));
    pair.data.send(pair.lane, "unharmed").await;
    assert_eq!(pair.client.binary().await, "unharmed");
}

#[tokio::test]
async fn inv_9_a_malformed_identity_is_an_error_of_its_own() {
    let (_relay, address) = start(|_| {}).await;
    let server = identity().server_id().clone();
    let session = route(&server);
    for path in [
        format!("/v1/client/{server}/rk_x"),
        format!("/v1/client/srv_x/{session}"),
        format!("/v1/client/{server}"),
        format!("/v1/client/{server}/{session}/"),
        "/v1/client/".to_owned(),
    ] {
        let mut client = client_from(None, address, &path).await;
        assert_eq!(
            client.ended().await,
            (4407, "identity_missing".to_owned()),
            "{path}"
        );
    }
}

/// Lesson 6: a socket that never finishes its request does not stay.
#[tokio::test]
async fn rl_4_a_request_that_never_ends_is_ended() {
    let (_relay, address) = start(|s| s.limits.handshake = Duration::from_millis(200)).await;
    let stream = TcpStream::connect(address).await.unwrap();
    stream.try_write(b"GET /v1/daemon HTTP/1.1\r\n").unwrap();
    let mut stream = stream;
    let read = within("the end", stream.read_to_end(&mut Vec::new())).await;
    assert!(read.is_err() || read.unwrap() == 0);
}

#[tokio::test]
async fn rl_4_a_socket_over_the_limit_of_all_is_turned_away_and_places_come_free() {
    let (_relay, address) = start(|s| s.limits.sockets = 3).await;
    let mut daemon = Daemon::register(address).await;
    let pair = daemon.pair().await;
    let mut over = TcpStream::connect(address).await.unwrap();
    let mut said = String::new();
    let _ = within("the answer", over.read_to_string(&mut said)).await;
    assert!(said.starts_with("HTTP/1.1 503"), "{said}");
    drop(pair);
    daemon.control.closed().await;
    within("a place", async {
        loop {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream
                .try_write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
                .unwrap();
            let mut said = String::new();
            let _ = stream.read_to_string(&mut said).await;
            if said.starts_with("HTTP/1.1 200") {
                break;
            }
        }
    })
    .await;
}

/// A storm of clients that come and go leaves nothing behind.
#[tokio::test]
async fn sessions_that_come_and_go_leave_nothing_behind() {
    let (_relay, address) = start(|_| {}).await;
    let mut daemon = Daemon::register(address).await;
    for round in 0..200 {
        let session = route(&daemon.server);
        let mut one = client(address, &daemon.server, &session).await;
        assert_eq!(daemon.control.opened().await, session, "round {round}");
        let quick = random_bytes::<1>().unwrap()[0].is_multiple_of(2);
        if quick {
            drop(one);
        } else {
            let mut data = daemon.data(&session).await;
            let lane = data.opened().await;
            data.send(lane, "x").await;
            assert_eq!(one.binary().await, "x");
            drop(one);
        }
        assert_eq!(daemon.control.closed().await, session, "round {round}");
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .try_write(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    let mut said = String::new();
    let _ = within("metrics", stream.read_to_string(&mut said)).await;
    assert!(said.contains("\nbowline_relay_sessions 0\n"), "{said}");
    assert!(said.contains("\nbowline_relay_clients 0\n"), "{said}");
    assert!(said.contains("\nbowline_relay_daemons 1\n"), "{said}");
}
