//! Responses to HTTP requests that are no valid upgrade.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::http::header;

use crate::peers::{Daemon, dial, route, start, status, within};

pub(crate) async fn get(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut said = String::new();
    within("an answer", stream.read_to_string(&mut said))
        .await
        .unwrap();
    said
}

#[tokio::test]
async fn tr_16_health_is_there_for_everybody_and_metrics_on_a_listener_of_their_own() {
    let (relay, address) = start(|_| {}).await;
    let mut daemon = Daemon::register(address).await;
    let mut pair = daemon.pair().await;
    pair.data.send(pair.lane, "12345").await;
    pair.client.binary().await;
    let said = get(address, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(
        said.starts_with("HTTP/1.1 200") && said.ends_with("ok\n"),
        "{said}"
    );
    let page = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let said = get(address, page).await;
    assert!(said.starts_with("HTTP/1.1 404"), "{said}");
    let metrics = relay.metrics().unwrap();
    let foreign = page.replace("localhost", "evil.example");
    let said = get(metrics, &foreign).await;
    assert!(said.starts_with("HTTP/1.1 403"), "{said}");
    let mut said = get(metrics, page).await;
    // The sockets of the requests above are gone a moment after their answers.
    while !said.contains("bowline_relay_sockets 3\n") {
        said = within("closed sockets", get(metrics, page)).await;
    }
    for line in [
        "bowline_relay_daemons 1",
        "bowline_relay_sessions 1",
        "bowline_relay_clients 1",
        "bowline_relay_messages_total{direction=\"to_client\"} 1",
        "bowline_relay_bytes_total{direction=\"to_client\"} 5",
        "bowline_relay_registrations_total{outcome=\"registered\"} 1",
    ] {
        assert!(said.lines().any(|said| said == line), "{line} in {said}");
    }
    let session = pair.session.as_str();
    assert!(!said.contains(session), "metrics name nobody");
}

#[tokio::test]
async fn everything_else_is_told_what_is_wrong() {
    let (_relay, address) = start(|_| {}).await;
    let answer = async |request: &str| {
        let said = get(address, &format!("{request}\r\nHost: localhost\r\n\r\n")).await;
        said.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(answer("GET / HTTP/1.1").await, "404");
    assert_eq!(answer("POST /v1/daemon HTTP/1.1").await, "405");
    assert_eq!(
        answer("GET /v1/daemon HTTP/1.1").await,
        "400",
        "no subprotocol"
    );
    let protocol = "Sec-WebSocket-Protocol: bowline.relay.v1";
    assert_eq!(
        answer(&format!("GET /v1/daemon HTTP/1.1\r\n{protocol}")).await,
        "426"
    );
    assert_eq!(answer("GET /v1/daemon/data HTTP/1.1").await, "426");
    // C39: HTTP/1.0 has no upgrades, but one was granted.
    let upgrade = format!(
        "{protocol}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    );
    assert_eq!(
        answer(&format!("GET /v1/daemon HTTP/1.0\r\n{upgrade}")).await,
        "426"
    );
    let with_body = format!("GET /v1/daemon HTTP/1.1\r\n{upgrade}\r\nContent-Length: 5");
    assert_eq!(answer(&with_body).await, "400");
    assert_eq!(answer("nonsense").await, "400");

    let daemon = Daemon::register(address).await;
    let bearer = (header::AUTHORIZATION, &*daemon.token.to_header());
    let path = "/v1/daemon/data?session=";
    assert_eq!(
        status(dial(address, path, std::slice::from_ref(&bearer)).await),
        400
    );
    assert_eq!(
        status(dial(address, "/v1/daemon/data", &[bearer]).await),
        400
    );
    let path = format!("{path}{}", route(&daemon.server));
    assert_eq!(status(dial(address, &path, &[]).await), 401);
    let basic = (header::AUTHORIZATION, "Basic eDp5");
    assert_eq!(status(dial(address, &path, &[basic]).await), 401);
}
