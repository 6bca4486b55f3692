//! TR-10: strangers cannot take the places of friends. A paired device still attaches within a
//! second while sockets that say nothing, or whose device nobody knows, crowd the daemon's listener
//! and the relay; and a new device can still pair.

use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use bowline_program::raise_file_limit;
use bowline_protocol::{PublicKey, RouteKey, ServerId, identity::random_bytes, relay::client_path};
use bowline_testkit::{
    eventually,
    world::{Client, DaemonOptions, DaemonProcess, RelayOptions, RelayProcess, quick_settings},
};
use serde_json::Value;
use tokio_tungstenite::tungstenite::{ClientRequestBuilder, WebSocket, client};

use crate::{Outcome, world::seed};

/// The time a device may take more than without strangers.
const MOST: Duration = Duration::from_secs(1);

/// Restarts the app, and measures until it is online again.
async fn attached(client: &mut Client) -> Result<Duration, Box<dyn std::error::Error>> {
    let begun = Instant::now();
    client.restart().await?;
    client.online().await?;
    Ok(begun.elapsed())
}

/// One silent socket: it says nothing, or the beginning of a request, or upgrades and begins a
/// message.
fn silent(daemon: SocketAddr, number: usize) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(daemon).ok()?;
    let _ = stream.set_write_timeout(Some(Duration::from_millis(100)));
    let upgrade = "GET /v1/session HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Protocol: bowline.v1\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut bytes = Vec::new();
    match number % 3 {
        0 => {}
        1 => bytes.extend(upgrade.as_bytes()),
        _ => {
            bytes.extend(upgrade.as_bytes());
            bytes.extend(b"\r\n\x82\xfe\xff\xff\0\0\0\0");
            bytes.extend([0; 32 << 10]);
        }
    }
    let _ = stream.write_all(&bytes);
    Some(stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn tr_10_silent_sockets_do_not_keep_a_paired_device_out() -> Outcome {
    raise_file_limit();
    let root = tempfile::tempdir()?;
    let daemon = DaemonProcess::start(DaemonOptions::new(root.path().join("daemon"))).await?;
    let mut client = Client::open(root.path().join("client"), quick_settings(seed()))?;
    client.pair(&daemon, &[daemon.address()]).await?;
    client.online().await?;
    let quiet = attached(&mut client).await?;

    // As many as this machine's limit of open files allows, up to 5,000, from one address.
    let address = daemon.address();
    let flood = tokio::task::spawn_blocking(move || {
        let sockets: Vec<_> = (0..5_000).map_while(|n| silent(address, n)).collect();
        println!("{} silent sockets", sockets.len());
        sockets
    })
    .await?;
    assert!(flood.len() >= 500, "only {} sockets", flood.len());
    let crowded = attached(&mut client).await?;
    println!("attached in {quiet:?}, among strangers in {crowded:?}");
    assert!(crowded <= quiet + MOST, "{crowded:?}");
    // A connection that stands is not dropped for the next ones.
    let before = client.counters();
    let more = tokio::task::spawn_blocking(move || {
        (0..500)
            .filter_map(|n| silent(address, n))
            .collect::<Vec<_>>()
    })
    .await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    client.online().await?;
    assert_eq!(client.counters().reset, before.reset);
    let listing: Value = daemon.ask("connections").await?;
    let rows = listing["connections"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["kind"] == "session"), "{listing}");
    assert!(rows.len() <= 300, "{} connections", rows.len());
    drop((flood, more));
    Ok(())
}

/// A client socket of a device that nobody knows.
fn stranger(relay: SocketAddr, server: &ServerId) -> WebSocket<TcpStream> {
    let key = PublicKey::from_bytes(random_bytes().unwrap());
    let path = client_path(server, &RouteKey::of_device(&key, server));
    let uri = format!("ws://{relay}{path}").parse().unwrap();
    let request = ClientRequestBuilder::new(uri).with_sub_protocol("bowline.v1");
    let (socket, _) = client(request, TcpStream::connect(relay).unwrap()).unwrap();
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn tr_10_strangers_at_a_relay_do_not_keep_a_paired_device_out() -> Outcome {
    let root = tempfile::tempdir()?;
    let relay = RelayProcess::start(RelayOptions::default()).await?;
    let daemon = DaemonProcess::start(DaemonOptions {
        args: vec!["--relay".to_owned(), relay.url()],
        ..DaemonOptions::new(root.path().join("daemon"))
    })
    .await?;
    daemon.registered().await?;
    let mut client = Client::open(root.path().join("client"), quick_settings(seed()))?;
    let relays = [relay.address()];
    client.pair_over(&daemon, &[], &relays).await?;
    client.online().await?;
    let quiet = attached(&mut client).await?;
    // The app is away while they come.
    client.runtime().close().await;

    let (address, server) = (relay.address(), client.server_id()?);
    let strangers = tokio::task::spawn_blocking(move || {
        let strangers = (0..300).map(|_| stranger(address, &server));
        strangers.collect::<Vec<_>>()
    })
    .await?;
    eventually("the daemon serves some of them", async || {
        let status: Value = daemon.ask("status").await.unwrap();
        status["relays"][0]["sessions"].as_u64() >= Some(16)
    })
    .await;
    let crowded = attached(&mut client).await?;
    println!("attached in {quiet:?}, among strangers in {crowded:?}");
    assert!(crowded <= quiet + MOST, "{crowded:?}");
    let status: Value = daemon.ask("status").await?;
    let sessions = status["relays"][0]["sessions"].as_u64().unwrap();
    assert!(sessions <= 70, "{sessions} sessions");

    // One of the strangers is the owner's new phone.
    let mut other = Client::open(root.path().join("other"), quick_settings(seed()))?;
    other.pair_over(&daemon, &[], &relays).await?;
    other.online().await?;
    drop(strangers);
    Ok(())
}
