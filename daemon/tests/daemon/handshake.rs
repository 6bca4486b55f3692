//! Before a connection is attached: every malformed or hostile beginning gets its own typed end,
//! changes nothing, and leaves the others alone (SV-4, BX-3, LS-6, LS-7, LS-8).

use std::time::Duration;

use bowline_protocol::limits::{MAX_HELLO_BYTES, MAX_NOISE_MESSAGE};
use bowline_testkit::eventually;
use futures_util::SinkExt;
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{
    Install, TestDaemon,
    client::{Attempt, Wire, paired, raw_http},
    within,
};

const NOISE: &[u8] = b"\x00\x01\xfe\xff{\"not\":\"noise\"}";

#[tokio::test]
async fn http_that_is_no_session_is_answered_with_what_is_missing() {
    let daemon = TestDaemon::start().await;
    let (_, mut other) = paired(&daemon).await;
    let address = daemon.address();
    let upgrade = "GET /v1/session HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (request, status) in [
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            "404",
        ),
        (
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            "200",
        ),
        (
            "GET /v1/session HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            "426",
        ),
        (
            "POST /v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "405",
        ),
        (format!("{upgrade}\r\n"), "400"),
        (
            format!("{upgrade}Sec-WebSocket-Protocol: other\r\n\r\n"),
            "400",
        ),
        (
            format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000)),
            "431",
        ),
        ("\u{1}\u{2}nonsense\r\n\r\n".to_owned(), "400"),
    ] {
        let said = raw_http(address, request.as_bytes()).await;
        let line = said.lines().next().unwrap_or_default();
        assert!(line.contains(status), "{request:.60?} → {line}");
    }
    let said = raw_http(address, format!("{upgrade}\r\n").as_bytes()).await;
    assert!(said.contains("bowline.v1"), "it says what to offer: {said}");
    assert!(other.is_served().await);
}

#[tokio::test]
async fn ls_6_a_socket_that_says_nothing_is_ended_at_every_stage() {
    let daemon = TestDaemon::with(|settings| {
        settings.limits.handshake_timeout = Duration::from_millis(300);
    })
    .await;
    let install = Install::new();

    let mut silent = TcpStream::connect(daemon.address()).await.unwrap();
    let mut said = Vec::new();
    let _ = within("the end", silent.read_to_end(&mut said)).await;

    let mut upgraded = Wire::dial(daemon.address()).await;
    assert_eq!(upgraded.ended().await, Some(4408), "no message 1");

    let offer = daemon.offer().await;
    let attempt = Attempt::of_offer(&offer, &install);
    let (mut welcomed, _, _) = attempt.welcome().await.unwrap();
    assert_eq!(welcomed.ended().await, Some(4408), "no session.ready");
    daemon.quiet().await;
    assert_eq!(daemon.devices().await, [], "nothing changed");

    let mut client = attempt.connect().await;
    assert!(client.is_served().await, "the token was not used up");
}

#[tokio::test]
async fn ls_8_bytes_that_are_no_noise_end_with_crypto_failed_at_every_stage() {
    let daemon = TestDaemon::start().await;
    let (install, mut other) = paired(&daemon).await;

    for bytes in [&b""[..], NOISE, &[7; 96], &[0; MAX_NOISE_MESSAGE]] {
        let mut wire = Wire::dial(daemon.address()).await;
        wire.send(bytes.to_vec()).await;
        // Longer than any hello: refused for that before anything is tried.
        let code = if bytes.len() > MAX_HELLO_BYTES + 96 {
            1000
        } else {
            4440
        };
        assert_eq!(
            wire.ended().await,
            Some(code),
            "{} bytes as message 1",
            bytes.len()
        );
    }
    for bytes in [&b""[..], NOISE, &[0; MAX_NOISE_MESSAGE]] {
        let (mut wire, _, _) = Attempt::new(&daemon, &install).welcome().await.unwrap();
        wire.send(bytes.to_vec()).await;
        assert_eq!(
            wire.ended().await,
            Some(4440),
            "{} bytes after the welcome",
            bytes.len()
        );

        let mut client = Attempt::new(&daemon, &install).connect().await;
        assert!(client.is_served().await);
        client.wire.send(bytes.to_vec()).await;
        assert_eq!(
            client.ended().await,
            Some(4440),
            "{} bytes when attached",
            bytes.len()
        );
    }
    assert!(other.is_served().await);
}

#[tokio::test]
async fn text_frames_are_a_bad_request_at_every_stage() {
    let daemon = TestDaemon::start().await;
    let (install, mut other) = paired(&daemon).await;
    let hello = r#"{"protocol":1,"purpose":"session"}"#;

    let mut wire = Wire::dial(daemon.address()).await;
    wire.send_text(hello).await;
    assert_eq!(wire.ended().await, Some(1000));

    let (mut wire, _, _) = Attempt::new(&daemon, &install).welcome().await.unwrap();
    wire.send_text(hello).await;
    assert_eq!(wire.ended().await, Some(1000));

    let mut client = Attempt::new(&daemon, &install).connect().await;
    client.wire.send_text(hello).await;
    assert_eq!(client.ended().await, Some(1000));
    assert!(other.is_served().await);
}

#[tokio::test]
async fn a_frame_longer_than_any_noise_message_ends_with_crypto_failed() {
    let daemon = TestDaemon::start().await;
    let (install, mut other) = paired(&daemon).await;

    let mut wire = Wire::dial(daemon.address()).await;
    wire.send(vec![0; MAX_NOISE_MESSAGE + 1]).await;
    assert_eq!(wire.ended().await, Some(4440));

    let mut client = Attempt::new(&daemon, &install).connect().await;
    client.wire.send(vec![0; 4 << 20]).await;
    assert_eq!(client.ended().await, Some(4440));
    assert!(other.is_served().await);
}

#[tokio::test]
async fn malformed_hellos_are_refused_by_what_is_wrong_with_them() {
    let daemon = TestDaemon::start().await;
    let attempt = Attempt::new(&daemon, &Install::new());
    let good = serde_json::to_string(&attempt.hello).unwrap();
    for (hello, reason, code) in [
        ("{".to_owned(), "bad_request", 1000),
        ("[]".to_owned(), "bad_request", 1000),
        (
            good.replace("\"session\"", "\"other\""),
            "bad_request",
            1000,
        ),
        (
            good.replace("\"client\"", "\"klient\""),
            "bad_request",
            1000,
        ),
        (
            good.replace("\"protocol\":1", "\"protocol\":2"),
            "protocol_unsupported",
            1000,
        ),
        // Another version is told so whatever else it sends.
        ("{\"protocol\":9}".to_owned(), "protocol_unsupported", 1000),
    ] {
        let refused = attempt.refused_raw(hello.as_bytes()).await;
        assert_eq!(refused, (reason.to_owned(), Some(code)), "{hello}");
    }
    let long = good.replace("\"linux\"", &format!("\"{}\"", "x".repeat(MAX_HELLO_BYTES)));
    assert_eq!(
        attempt.refused_raw(long.as_bytes()).await.1,
        Some(1000),
        "over the hello's bound"
    );
    assert_eq!(daemon.devices().await, []);
}

#[tokio::test]
async fn bx_3_a_replayed_first_message_changes_nothing() {
    let daemon = TestDaemon::start().await;
    let (_, mut other) = paired(&daemon).await;
    let install = Install::new();
    let offer = daemon.offer().await;
    let attempt = Attempt::of_offer(&offer, &install);
    let (_, recorded) = attempt.message_1();

    for second in [None, Some(NOISE.to_vec()), Some(recorded.clone())] {
        let mut thief = Wire::dial(daemon.address()).await;
        thief.send(recorded.clone()).await;
        assert!(
            thief.receive().await.is_ok(),
            "an answer that it cannot read"
        );
        match second {
            Some(bytes) => {
                thief.send(bytes).await;
                assert_eq!(thief.ended().await, Some(4440));
            }
            None => drop(thief),
        }
    }
    daemon.quiet_but(1).await;
    assert_eq!(
        daemon.devices().await.len(),
        1,
        "the other device alone is paired"
    );
    assert_eq!(daemon.session_count().await, 1);

    let mut client = attempt.connect().await;
    assert!(
        client.is_served().await,
        "the token is still good for its owner"
    );
    assert!(other.is_served().await);
}

#[tokio::test]
async fn a_message_sent_twice_ends_the_connection() {
    let daemon = TestDaemon::start().await;
    let (install, mut other) = paired(&daemon).await;
    let mut client = Attempt::new(&daemon, &install).connect().await;
    let mut sealed = Vec::new();
    let text = br#"{"jsonrpc":"2.0","id":1,"method":"system.ping"}"#;
    let channel = &mut client.channel;
    channel
        .gather(text, |message| sealed.push(message.to_vec()))
        .unwrap();
    channel
        .finish(|message| sealed.push(message.to_vec()))
        .unwrap();
    client.wire.send(sealed[0].clone()).await;
    assert!(client.next_answer().await["result"].is_object());
    client.wire.send(sealed[0].clone()).await;
    assert_eq!(client.ended().await, Some(4440));
    assert!(other.is_served().await);
}

#[tokio::test]
async fn websocket_pings_are_answered_and_count_as_nothing_else() {
    let daemon = TestDaemon::start().await;
    let (_, mut client) = paired(&daemon).await;
    let ping = Message::Ping(b"x".to_vec().into());
    client.wire.socket.send(ping).await.unwrap();
    assert!(client.is_served().await);
}

#[tokio::test]
async fn a_client_that_vanishes_is_forgotten() {
    let daemon = TestDaemon::start().await;
    let (install, client) = paired(&daemon).await;
    drop(client);
    daemon.quiet().await;
    let (wire, _, _) = Attempt::new(&daemon, &install).welcome().await.unwrap();
    drop(wire);
    daemon.quiet().await;
    eventually("its place is free", async || {
        daemon.connections().is_empty()
    })
    .await;
}
