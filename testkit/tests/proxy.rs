//! The proxy's faults, verified with an echo server on real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests may panic"
)]

use std::{io, net::SocketAddr, time::Duration};

use bowline_testkit::{Chaos, Plan, Proxy, eventually};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// Longer than any step takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);
/// Long enough to show that nothing arrives.
const SILENCE: Duration = Duration::from_millis(100);

async fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = writer.shutdown().await;
            });
        }
    });
    addr
}

async fn say(stream: &mut TcpStream, text: &str) -> io::Result<String> {
    stream.write_all(text.as_bytes()).await?;
    hear(stream, text.len()).await
}

async fn hear(stream: &mut TcpStream, count: usize) -> io::Result<String> {
    let mut buffer = vec![0; count];
    timeout(DEADLINE, stream.read_exact(&mut buffer))
        .await
        .expect("a reply in time")?;
    Ok(String::from_utf8(buffer).unwrap())
}

#[tokio::test]
async fn bytes_and_ends_pass_and_are_counted() {
    let proxy = Proxy::start(echo_server().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(say(&mut stream, "hello").await.unwrap(), "hello");
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert!(rest.is_empty(), "the orderly end came back");
    eventually("the connection is over", async || {
        proxy.counters().open == 0
    })
    .await;
    let counters = proxy.counters();
    assert_eq!((counters.accepted, counters.refused), (1, 0));
    assert_eq!((counters.to_target, counters.to_client), (5, 5));
}

#[tokio::test]
async fn a_large_transfer_passes_whole_and_in_order() {
    let proxy = Proxy::start(echo_server().await).await.unwrap();
    let stream = TcpStream::connect(proxy.addr()).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let sent: Vec<u8> = (0..3_000_000_u32)
        .map(|n| u8::try_from(n % 251).unwrap())
        .collect();
    let expected = sent.clone();
    let sending = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    timeout(DEADLINE, reader.read_to_end(&mut received))
        .await
        .unwrap()
        .unwrap();
    sending.await.unwrap();
    assert!(received == expected);
}

#[tokio::test]
async fn a_cut_resets_what_is_open_and_nothing_later() {
    let proxy = Proxy::start(echo_server().await).await.unwrap();
    let mut old = TcpStream::connect(proxy.addr()).await.unwrap();
    say(&mut old, "x").await.unwrap();
    proxy.cut();
    let error = hear(&mut old, 1).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let mut new = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(say(&mut new, "y").await.unwrap(), "y");
    assert_eq!(proxy.counters().cut, 1);
}

#[tokio::test]
async fn a_number_of_bytes_passes_each_way_over_all_connections_and_then_none() {
    let proxy = Proxy::start(echo_server().await).await.unwrap();
    let mut one = TcpStream::connect(proxy.addr()).await.unwrap();
    let mut two = TcpStream::connect(proxy.addr()).await.unwrap();
    say(&mut one, "before").await.unwrap();
    proxy.pass_only(6);
    assert_eq!(say(&mut one, "abc").await.unwrap(), "abc");
    assert_eq!(say(&mut two, "def").await.unwrap(), "def");
    let mut buffer = [0; 1];
    for stream in [&mut one, &mut two] {
        stream.write_all(b"g").await.unwrap();
        assert!(timeout(SILENCE, stream.read(&mut buffer)).await.is_err());
    }
    proxy.pass_only(1);
    eventually("one more byte, there and back", async || {
        proxy.counters().to_client > 12
    })
    .await;
    proxy.thaw();
    assert_eq!(hear(&mut one, 1).await.unwrap(), "g");
    assert_eq!(hear(&mut two, 1).await.unwrap(), "g");
}

#[tokio::test]
async fn a_freeze_holds_bytes_and_a_thaw_delivers_them() {
    let proxy = Proxy::start(echo_server().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    say(&mut stream, "x").await.unwrap();
    proxy.freeze();
    stream.write_all(b"held").await.unwrap();
    let mut buffer = [0; 1];
    assert!(timeout(SILENCE, stream.read(&mut buffer)).await.is_err());
    let mut late = TcpStream::connect(proxy.addr()).await.unwrap();
    late.write_all(b"too").await.unwrap();
    assert!(timeout(SILENCE, late.read(&mut buffer)).await.is_err());
    proxy.thaw();
    assert_eq!(hear(&mut stream, 4).await.unwrap(), "held");
    assert_eq!(hear(&mut late, 3).await.unwrap(), "too");
}

#[tokio::test]
async fn a_frozen_connection_can_be_cut() {
    let proxy = Proxy::start(echo_server().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    say(&mut stream, "x").await.unwrap();
    proxy.freeze();
    proxy.cut();
    assert!(hear(&mut stream, 1).await.is_err());
}

#[tokio::test]
async fn a_blackhole_loses_old_connections_in_silence_and_serves_new_ones() {
    let proxy = Proxy::start(echo_server().await).await.unwrap();
    let mut old = TcpStream::connect(proxy.addr()).await.unwrap();
    say(&mut old, "x").await.unwrap();
    proxy.blackhole();
    old.write_all(b"lost").await.unwrap();
    let mut buffer = [0; 1];
    assert!(timeout(SILENCE, old.read(&mut buffer)).await.is_err());
    let mut new = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(say(&mut new, "y").await.unwrap(), "y");
    proxy.cut();
    assert!(hear(&mut old, 1).await.is_err(), "only a cut ends it");
}

#[tokio::test]
async fn while_refusing_new_connections_are_reset_and_old_ones_go_on() {
    let proxy = Proxy::start(echo_server().await).await.unwrap();
    let mut old = TcpStream::connect(proxy.addr()).await.unwrap();
    say(&mut old, "x").await.unwrap();
    proxy.refuse(true);
    // If the reset overtakes the handshake, the connect itself fails.
    if let Ok(mut new) = TcpStream::connect(proxy.addr()).await {
        assert!(say(&mut new, "n").await.is_err());
    }
    assert_eq!(say(&mut old, "y").await.unwrap(), "y");
    proxy.refuse(false);
    let mut new = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(say(&mut new, "z").await.unwrap(), "z");
    assert_eq!(proxy.counters().refused, 1);
}

#[tokio::test]
async fn a_delay_is_added_each_way() {
    let proxy = Proxy::start(echo_server().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    say(&mut stream, "x").await.unwrap();
    proxy.delay(Duration::from_millis(60));
    let began = tokio::time::Instant::now();
    say(&mut stream, "y").await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(120));
}

#[tokio::test]
async fn what_is_lost_comes_later_and_what_follows_it_waits() {
    const WORDS: u32 = 60;
    let proxy = Proxy::start(echo_server().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    proxy.lose(20, SILENCE);
    let began = tokio::time::Instant::now();
    let mut late = 0;
    for n in 0..WORDS {
        let said = tokio::time::Instant::now();
        let word = format!("{n:04}");
        assert_eq!(say(&mut stream, &word).await.unwrap(), word);
        late += u32::from(said.elapsed() >= SILENCE);
    }
    assert!((5..WORDS).contains(&late), "{late} of {WORDS} were late");
    assert!(began.elapsed() >= SILENCE * late);
}

#[tokio::test]
async fn a_new_target_serves_new_connections() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = gone.local_addr().unwrap();
    drop(gone);
    let proxy = Proxy::start(nobody).await.unwrap();
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    assert!(say(&mut stream, "x").await.is_err(), "no listener");
    proxy.set_target(echo_server().await);
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(say(&mut stream, "y").await.unwrap(), "y");
}

#[tokio::test]
async fn dropping_the_proxy_ends_its_connections() {
    let proxy = Proxy::start(echo_server().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    say(&mut stream, "x").await.unwrap();
    let addr = proxy.addr();
    drop(proxy);
    assert!(hear(&mut stream, 1).await.is_err());
    let gone = async {
        while TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, gone).await.expect("the port is closed");
}

#[tokio::test]
async fn chaos_breaks_connections_and_leaves_a_healthy_path() {
    let proxy = Proxy::start(echo_server().await).await.unwrap();
    let mut plan = Plan::new(11);
    plan.least = Duration::from_millis(1);
    plan.most = Duration::from_millis(8);
    plan.blackholes = true;
    let chaos = Chaos::start(proxy.clone(), &plan);
    let mut broken = 0;
    let began = tokio::time::Instant::now();
    while broken < 10 {
        assert!(
            began.elapsed() < DEADLINE,
            "chaos broke only {broken} connections"
        );
        if let Ok(mut stream) = TcpStream::connect(proxy.addr()).await {
            while say(&mut stream, "x").await.is_ok() {}
            broken += 1;
        }
    }
    let report = chaos.stop().await;
    assert!(report.cuts + report.blackholes >= 10, "{report:?}");
    proxy.cut();
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(say(&mut stream, "healthy").await.unwrap(), "healthy");
}
