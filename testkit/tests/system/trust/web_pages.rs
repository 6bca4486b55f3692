//! TR-16: a web page in a browser on the user's machine can talk neither to the daemon nor to a
//! relay there, unless its origin is allowed.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

use super::relay::Relay;
use crate::cases::rig::{DEADLINE, Rig};

const PAGE: &str = "https://app.example.org";

/// The status of a request with further headers.
fn status(address: &str, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\n{headers}\r\n").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line.split(' ').nth(1).unwrap_or_default().to_owned()
}

/// The status of a WebSocket request as a browser sends it for a page of that origin, or as a
/// program sends it.
fn upgrade(address: &str, path: &str, host: &str, origin: Option<&str>) -> String {
    let origin = origin.map(|origin| format!("Origin: {origin}\r\n"));
    let headers = format!(
        "Host: {host}\r\n{}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: bowline.v1, bowline.relay.v1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        origin.unwrap_or_default()
    );
    status(address, path, &headers)
}

#[test]
fn tr_16_a_page_of_a_foreign_origin_is_refused() {
    let mut rig = Rig::new();
    rig.up(&["--allowed-origins", PAGE]);
    let relay = Relay::start(&rig, &["--allowed-origins", PAGE]);
    let none = Relay::start(&rig, &[]);
    let client = format!("/v1/client/srv_{}/x", "a".repeat(26));
    let doors = [
        (rig.address.as_str(), "/v1/session"),
        (&relay.address, "/v1/daemon"),
        (&relay.address, client.as_str()),
    ];
    for (address, path) in doors {
        let knock = |origin| upgrade(address, path, "127.0.0.1", origin);
        assert_eq!(knock(None), "101", "a program: {path}");
        assert_eq!(knock(Some(PAGE)), "101", "the app's own page: {path}");
        for foreign in ["https://evil.example", "null", "http://app.example.org"] {
            assert_eq!(knock(Some(foreign)), "403", "{foreign}: {path}");
        }
    }
    let refused = upgrade(&none.address, "/v1/daemon", "127.0.0.1", Some(PAGE));
    assert_eq!(refused, "403", "by default no page is let in");
}

/// DNS rebinding: the page's own name resolves to 127.0.0.1, and the browser takes what answers
/// there for the page's server.
#[test]
fn tr_16_a_foreign_name_of_this_machine_is_refused() {
    let mut rig = Rig::new();
    rig.up(&[
        "--advertise",
        "workshop.example:4717",
        "--metrics",
        "127.0.0.1:0",
    ]);
    let status_of = |rig: &Rig| rig.rpc("daemon.status", serde_json::json!({}));
    let metrics = status_of(&rig)["result"]["metrics"].clone();
    let metrics = metrics.as_str().unwrap();
    let relay = Relay::start(&rig, &["--allowed-hosts", "workshop.example"]);
    for (address, path) in [
        (rig.address.as_str(), "/healthz"),
        (metrics, "/metrics"),
        (&relay.address, "/healthz"),
        (&relay.metrics, "/metrics"),
    ] {
        for own in [
            "localhost",
            "127.0.0.1:4717",
            "[::1]:4717",
            "workshop.example:80",
        ] {
            let answer = status(address, path, &format!("Host: {own}\r\n"));
            assert_eq!(answer, "200", "{own}: {path}");
        }
        for foreign in ["evil.example", "localhost.evil.example:4717"] {
            let answer = status(address, path, &format!("Host: {foreign}\r\n"));
            assert_eq!(answer, "403", "{foreign}: {path}");
        }
    }
    let session = upgrade(&rig.address, "/v1/session", "evil.example", None);
    assert_eq!(session, "403");
    let control = upgrade(&relay.address, "/v1/daemon", "evil.example", None);
    assert_eq!(control, "403");
}

#[test]
fn tr_16_a_relays_metrics_are_not_on_its_public_listener() {
    let rig = Rig::new();
    let relay = Relay::start(&rig, &[]);
    let answer = status(&relay.address, "/metrics", "Host: localhost\r\n");
    assert_eq!(answer, "404");
    let mut stream = TcpStream::connect(&relay.metrics).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    assert!(page.contains("\nbowline_relay_sockets "), "{page}");
}
