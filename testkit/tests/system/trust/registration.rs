//! TR-9: a hostile relay that a daemon uses passes the challenge of an honest relay on to it, and
//! the proof back. The daemon is not registered at the honest relay by that, whatever name the
//! attacker uses.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use bowline_protocol::relay::client_path;
use bowline_testkit::blocking::eventually;
use serde_json::{Value, json};

use super::relay::Relay;
use crate::cases::rig::{DEADLINE, Rig};

/// Passes everything on between a daemon and an honest relay, with a `Host` of its choice.
struct Attacker {
    address: SocketAddr,
    passed: Arc<AtomicUsize>,
    victim: Arc<Mutex<Option<Victim>>>,
}

#[derive(Clone)]
struct Victim {
    relay: String,
    host: String,
}

impl Attacker {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let passed = Arc::new(AtomicUsize::new(0));
        let victim = Arc::<Mutex<Option<Victim>>>::default();
        let (count, chosen) = (Arc::clone(&passed), Arc::clone(&victim));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (count, chosen) = (Arc::clone(&count), Arc::clone(&chosen));
                thread::spawn(move || {
                    let victim = chosen.lock().unwrap().clone();
                    if let Some(victim) = victim {
                        let _ = pass_on(stream, &victim, &count);
                    }
                });
            }
        });
        Self {
            address,
            passed,
            victim,
        }
    }

    fn attack(&self, relay: &Relay, host: &str) {
        let relay = relay.address.clone();
        let host = host.to_owned();
        *self.victim.lock().unwrap() = Some(Victim { relay, host });
        self.passed.store(0, SeqCst);
    }
}

fn pass_on(mut daemon: TcpStream, victim: &Victim, count: &AtomicUsize) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        daemon.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let lines = head.split("\r\n").map(|line| match line.split_once(':') {
        Some((name, _)) if name.eq_ignore_ascii_case("host") => format!("Host: {}", victim.host),
        _ => line.to_owned(),
    });
    let head = lines.collect::<Vec<_>>().join("\r\n");
    let mut relay = TcpStream::connect(&victim.relay)?;
    relay.write_all(head.as_bytes())?;
    let (mut daemon_reads, mut relay_reads) = (daemon.try_clone()?, relay.try_clone()?);
    let back = thread::spawn(move || std::io::copy(&mut relay_reads, &mut daemon));
    count.fetch_add(1, SeqCst);
    std::io::copy(&mut daemon_reads, &mut relay)?;
    let _ = back.join();
    Ok(())
}

/// What a client of the daemon hears at a relay: a close code, or nothing because it waits there.
fn close_code(relay: &str, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(relay).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: bowline.v1\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let mut frame = [0; 4];
    stream.read_exact(&mut frame).ok()?;
    (frame[0] == 0x88).then(|| u16::from_be_bytes([frame[2], frame[3]]))
}

fn relay_of(rig: &Rig) -> Value {
    rig.rpc("daemon.status", json!({}))["result"]["relays"][0].clone()
}

#[test]
fn tr_9_a_challenge_passed_on_from_another_relay_does_not_register() {
    let attacker = Attacker::start();
    let mut rig = Rig::new();
    let plain = Relay::start(&rig, &[]);
    let named = Relay::start(&rig, &["--origin", "ws://relay.example.org"]);
    rig.up(&["--relay", &format!("ws://{}", attacker.address)]);
    let status = rig.rpc("daemon.status", json!({}));
    let server = status["result"]["serverId"].as_str().unwrap().parse();
    let route = format!("rk_{}", "a".repeat(26)).parse().unwrap();
    let path = client_path(&server.unwrap(), &route);
    let own = attacker.address.to_string();
    for (relay, host) in [
        // The attacker says who the honest relay is …
        (&plain, plain.address.as_str()),
        // … or who the daemon thinks it speaks to.
        (&plain, &own),
        (&named, &own),
        (&named, "localhost"),
    ] {
        attacker.attack(relay, host);
        eventually("two proofs are passed on", || {
            attacker.passed.load(SeqCst) >= 2
        });
        eventually("the relay refuses them", || {
            relay_of(&rig)["lastError"]["reason"] == "relay_origin_unknown"
        });
        let shown = relay_of(&rig);
        assert_eq!(shown["registrations"], 0, "{shown}");
        let message = shown["lastError"]["message"].as_str().unwrap();
        assert!(message.contains(&format!("--origin ws://{own}")), "{shown}");
        assert_eq!(close_code(&relay.address, &path), Some(4404), "{host}");
    }
    // The relay's owner learns of it too.
    assert!(plain.log().contains("`origin`"), "{}", plain.log());

    // The same daemon at the honest relay itself.
    rig.stop();
    rig.up(&["--relay", &format!("ws://{}", plain.address)]);
    eventually("registered", || relay_of(&rig)["state"] == "registered");
}
