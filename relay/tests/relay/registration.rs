//! Control sockets: permission to register, replaced registrations, and detection of dead ones
//! (RL-2, RL-5).

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bowline_protocol::relay::{Registration, RelayMessage};
use futures_util::StreamExt;
use tokio_tungstenite::tungstenite::{
    Message,
    http::header::{self, HeaderName},
};

use crate::peers::{
    Control, Daemon, answer, client, dial_data, identity, route, start, status, within,
};

#[tokio::test]
async fn rl_5_a_daemon_that_proves_its_identity_is_registered() {
    let (_relay, address) = start(|_| {}).await;
    let daemon = Daemon::register(address).await;
    assert_eq!(daemon.heartbeat_ms, 4_000);
    assert!(daemon.sessions.is_empty());
}

/// LS-17: a `serverId` alone does not permit a registration.
#[tokio::test]
async fn rl_5_ls_17_an_impostor_cannot_register_and_the_daemon_does_not_notice() {
    let (_relay, address) = start(|_| {}).await;
    let owner = identity();
    let mut daemon = Daemon::register_as(address, &owner).await;
    let impostor = identity();
    let refused = async |forge: &dyn Fn(&mut Registration)| {
        let (mut control, nonce) = Control::challenged(address).await;
        let mut registration = answer(address, &impostor, &nonce, None);
        forge(&mut registration);
        control.say(registration).await;
        assert_eq!(control.socket.end_code().await, 4407);
    };
    refused(&|r| r.server_id = owner.server_id().clone()).await;
    refused(&|r| {
        r.server_id = owner.server_id().clone();
        r.public_key = owner.verifying_key();
    })
    .await;

    // A proof made for another relay, or earlier, is invalid.
    let (mut first, nonce) = Control::challenged(address).await;
    let overheard = answer(address, &owner, &nonce, None);
    let (mut second, other) = Control::challenged(address).await;
    assert_ne!(nonce, other, "each socket has a challenge of its own");
    second.say(overheard).await;
    assert_eq!(second.socket.end_code().await, 4407);
    first.say(answer(address, &impostor, &nonce, None)).await;
    assert!(
        matches!(first.hear().await, RelayMessage::Registered { .. }),
        "as itself it may"
    );

    let session = route(&daemon.server);
    let _client = client(address, &daemon.server, &session).await;
    assert_eq!(daemon.control.opened().await, session);
}

#[tokio::test]
async fn a_second_proven_registration_replaces_the_first_and_its_token() {
    let (_relay, address) = start(|_| {}).await;
    let owner = identity();
    let mut first = Daemon::register_as(address, &owner).await;
    let session = route(&first.server);
    let _client = client(address, &first.server, &session).await;
    assert_eq!(first.control.opened().await, session);

    let mut second = Daemon::register_as(address, &owner).await;
    assert_eq!(
        second.sessions,
        std::slice::from_ref(&session),
        "sync tells it what is here"
    );
    assert_eq!(first.control.socket.end_code().await, 4430);
    assert_eq!(status(first.dial(&session).await), 401);
    let mut data = second.data(&session).await;
    data.opened().await;
    let other = route(&second.server);
    let _other = client(address, &second.server, &other).await;
    assert_eq!(second.control.opened().await, other);
}

#[tokio::test]
async fn a_replacement_leaves_data_sockets_and_clients_alone() {
    let (_relay, address) = start(|_| {}).await;
    let owner = identity();
    let mut first = Daemon::register_as(address, &owner).await;
    let mut pair = first.pair().await;
    let second = Daemon::register_as(address, &owner).await;
    assert_eq!(second.sessions, [pair.session.clone()]);
    assert_eq!(first.control.socket.end_code().await, 4430);
    drop(first);
    pair.data.send(pair.lane, "still here").await;
    assert_eq!(pair.client.binary().await, "still here");
    pair.client.send(Message::binary("and so am I")).await;
    assert_eq!(pair.data.heard().await.1, "and so am I");
}

#[tokio::test]
async fn a_private_relay_asks_for_its_token() {
    let (_relay, address) = start(|s| s.daemon_token = Some("secret".into())).await;
    for (token, code) in [
        (None, Some(4405)),
        (Some("guess"), Some(4405)),
        (Some("secret"), None),
    ] {
        let (mut control, nonce) = Control::challenged(address).await;
        let token = token.map(str::to_owned);
        control
            .say(answer(address, &identity(), &nonce, token))
            .await;
        match code {
            Some(code) => assert_eq!(control.socket.end_code().await, code),
            None => assert!(matches!(
                control.hear().await,
                RelayMessage::Registered { .. }
            )),
        }
    }
}

#[tokio::test]
async fn rl_4_a_challenge_is_not_open_for_ever() {
    let (_relay, address) =
        start(|s| s.limits.handshake_timeout = Duration::from_millis(200)).await;
    let (mut control, _nonce) = Control::challenged(address).await;
    assert_eq!(control.socket.end_code().await, 4408);
}

#[tokio::test]
async fn what_is_no_registration_is_refused() {
    let (_relay, address) = start(|_| {}).await;
    for (message, code) in [
        (Message::text("garbage"), 4400),
        (Message::text(r#"{"type":"register"}"#), 4400),
        (Message::binary("register"), 4400),
        (Message::text("x".repeat(4097)), 4413),
    ] {
        let (mut control, _nonce) = Control::challenged(address).await;
        control.socket.send(message).await;
        assert_eq!(control.socket.end_code().await, code);
    }
    // One challenge has one answer.
    let owner = identity();
    let (mut control, nonce) = Control::challenged(address).await;
    control.say(answer(address, &owner, &nonce, None)).await;
    control.say(answer(address, &owner, &nonce, None)).await;
    assert_eq!(control.socket.end_code().await, 4400);
    // A message of a later protocol version is ignored.
    let mut daemon = Daemon::register(address).await;
    let later = Message::text(r#"{"type":"weather"}"#);
    daemon.control.socket.send(later).await;
    let session = route(&daemon.server);
    let _client = client(address, &daemon.server, &session).await;
    assert_eq!(daemon.control.opened().await, session);
}

/// `Host` decides nothing: whoever passes a challenge on also chooses that.
#[tokio::test]
async fn tr_9_a_proof_for_another_origin_does_not_register() {
    let (_relay, address) = start(|_| {}).await;
    let name: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let (_named, there) = start(|s| s.origin = vec![format!("ws://{name}").parse().unwrap()]).await;
    let registers = async |relay, dialled, headers: &[(HeaderName, &str)]| {
        let (mut control, nonce) = Control::challenged_with(relay, headers).await;
        control
            .say(answer(dialled, &identity(), &nonce, None))
            .await;
        match control.socket.next().await {
            Some(Message::Text(text)) => assert!(text.contains("\"registered\""), "{text}"),
            Some(Message::Close(Some(frame))) => {
                assert_eq!(u16::from(frame.code), 4415);
                assert_eq!(frame.reason.as_str(), "relay_origin_unknown");
                return false;
            }
            other => panic!("{other:?}"),
        }
        true
    };
    assert!(registers(address, address, &[]).await);
    assert!(!registers(address, there, &[]).await);
    // Behind a proxy the local address is nobody's name.
    let forwarded = HeaderName::from_static("x-forwarded-for");
    for header in [
        (forwarded, "192.0.2.1"),
        (header::FORWARDED, "for=192.0.2.1"),
    ] {
        assert!(!registers(address, address, &[header]).await);
    }
    // A relay with origins is reached at these only.
    assert!(registers(there, name, &[]).await);
    assert!(!registers(there, there, &[]).await);
}

/// LS-3: a ping detects a control socket that is open but dead.
#[tokio::test]
async fn a_half_open_control_socket_is_found_within_two_heartbeats() {
    let heartbeat = Duration::from_millis(300);
    let (_relay, address) = start(|s| {
        s.limits.heartbeat = heartbeat;
        s.limits.peer_wait = Duration::from_millis(50);
    })
    .await;
    let daemon = Daemon::register(address).await;
    let since = Instant::now();
    // Its socket stays open and is not read: no pong is ever sent.
    loop {
        let session = route(&daemon.server);
        if client(address, &daemon.server, &session)
            .await
            .end_code()
            .await
            == 4404
        {
            break;
        }
    }
    assert!(since.elapsed() >= heartbeat, "not before it was asked");
    let mut control = daemon.control;
    assert_eq!(control.socket.end_code().await, 4411);
}

#[tokio::test]
async fn a_daemon_that_answers_pings_stays_for_as_long_as_it_likes() {
    let heartbeat = Duration::from_millis(100);
    let (_relay, address) = start(|s| s.limits.heartbeat = heartbeat).await;
    let mut daemon = Daemon::register(address).await;
    let mut pings = 0;
    within("ten pings", async {
        while pings < 10 {
            match daemon.control.socket.0.next().await.unwrap().unwrap() {
                Message::Ping(_) => pings += 1,
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
    let session = route(&daemon.server);
    let _client = client(address, &daemon.server, &session).await;
    assert_eq!(daemon.control.opened().await, session);
}

#[tokio::test]
async fn a_daemon_that_leaves_is_gone_at_once_and_its_token_with_it() {
    let (_relay, address) = start(|_| {}).await;
    let owner = identity();
    let mut daemon = Daemon::register_as(address, &owner).await;
    let session = route(&daemon.server);
    let mut waiting = client(address, &daemon.server, &session).await;
    assert_eq!(daemon.control.opened().await, session);
    let token = daemon.token.clone();
    daemon.control.socket.0.close(None).await.unwrap();
    daemon.control.socket.ended().await;
    within("4404", async {
        while client(address, &daemon.server, &route(&daemon.server))
            .await
            .end_code()
            .await
            != 4404
        {}
    })
    .await;
    assert_eq!(status(dial_data(address, &token, &session).await), 401);
    // It reconnects before its sessions end, and serves the waiting clients.
    let back = Daemon::register_as(address, &owner).await;
    assert_eq!(back.sessions, std::slice::from_ref(&session));
    let mut data = back.data(&session).await;
    let lane = data.opened().await;
    data.send(lane, "welcome back").await;
    assert_eq!(waiting.binary().await, "welcome back");
}
