//! Limits and their effects (RL-4, LS-2 and LS-6).

use std::{net::IpAddr, time::Duration};

use bowline_protocol::{
    identity::random_bytes,
    relay::{
        CloseText, DaemonMessage, KnownDevices, RelayMessage, client_path,
        limits::STRANGERS_PER_DAEMON,
    },
};
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_tungstenite::tungstenite::{Message, http::header};

use crate::peers::{Daemon, client, client_from, dial, identity, route, start, within};

/// LS-2: at the limit the client socket that is silent longest is closed, so that a client with
/// half-open sockets is never locked out.
#[tokio::test]
async fn rl_4_over_the_limit_of_a_session_the_most_silent_client_gives_way() {
    let (_relay, address) = start(|s| s.limits.sockets_per_session = 3).await;
    let mut daemon = Daemon::register(address).await;
    let mut pair = daemon.pair().await;
    let mut second = client(address, &daemon.server, &pair.session).await;
    let second_lane = pair.data.opened().await;
    let mut third = client(address, &daemon.server, &pair.session).await;
    pair.data.opened().await;
    // The first and the third send; the second is silent.
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
    // A closed socket frees its permit.
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

/// A proxy's report of client addresses counts only if the proxy is trusted.
#[tokio::test]
async fn limits_are_those_of_the_client_behind_a_trusted_proxy() {
    let absent = identity().server_id().clone();
    let path = client_path(&absent, &route(&absent));
    for (trusted, expected) in [(true, 4404), (false, 4429)] {
        let (_relay, address) = start(|s| {
            s.limits.opens_per_minute = 1;
            if trusted {
                s.trusted_proxy = vec!["127.0.0.0/8".parse().unwrap()];
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

/// LS-6: a socket that never completes its request is closed.
#[tokio::test]
async fn rl_4_a_request_that_never_ends_is_ended() {
    let (_relay, address) =
        start(|s| s.limits.handshake_timeout = Duration::from_millis(200)).await;
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
                .try_write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
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

/// Many clients that connect and leave leave no state behind.
#[tokio::test]
async fn sessions_that_come_and_go_leave_nothing_behind() {
    let (relay, address) = start(|_| {}).await;
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
    let mut stream = TcpStream::connect(relay.metrics().unwrap()).await.unwrap();
    stream
        .try_write(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut said = String::new();
    let _ = within("metrics", stream.read_to_string(&mut said)).await;
    assert!(said.contains("\nbowline_relay_sessions 0\n"), "{said}");
    assert!(said.contains("\nbowline_relay_clients 0\n"), "{said}");
    assert!(said.contains("\nbowline_relay_daemons 1\n"), "{said}");
}

/// TR-10: those whom the daemon does not know have a small pool of their own, and none of them
/// keeps its place for ever.
#[tokio::test]
async fn tr_10_strangers_take_no_places_of_known_devices() {
    let (_relay, address) = start(|s| s.limits.sockets_per_daemon = 2).await;
    let mut daemon = Daemon::register(address).await;
    let friends = [route(&daemon.server), route(&daemon.server)];
    let known = KnownDevices::of(&friends).unwrap();
    let known = serde_json::to_string(&DaemonMessage::Devices(known)).unwrap();
    daemon.control.socket.send(Message::text(known)).await;
    // The list has no answer; a stranger beyond the pool of friends shows that it has arrived.
    let mut strangers = Vec::new();
    for _ in 0..STRANGERS_PER_DAEMON {
        let session = route(&daemon.server);
        strangers.push(client(address, &daemon.server, &session).await);
        assert_eq!(daemon.control.opened().await, session);
    }
    let mut kept = Vec::new();
    for session in &friends {
        kept.push(client(address, &daemon.server, session).await);
        // It is still there when the next stranger comes, for whom another stranger goes.
        let newcomer = route(&daemon.server);
        strangers.push(client(address, &daemon.server, &newcomer).await);
        for awaited in [session, &newcomer] {
            loop {
                match daemon.control.hear().await {
                    RelayMessage::SessionOpened { session } if session == *awaited => break,
                    RelayMessage::SessionClosed { session } => assert!(!friends.contains(&session)),
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}
