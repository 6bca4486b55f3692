//! Dialling: names, addresses, proxies, certificates, tokens, statuses.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    path::Path,
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bowline_testkit::blocking::eventually;
use serde_json::{Value, json};

use super::{
    proxies::{head, serve},
    rig::{Rig, finish, lines},
};
use crate::cases::rig::{DEADLINE, free_address};

/// A relay that ends with the test.
pub(super) struct Relay {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Relay {
    fn start(rig: &Rig, args: &[&str], token: Option<&str>) -> Self {
        Self::at(rig, "127.0.0.1:0", args, token)
    }

    /// A relay that daemons dial by a name.
    pub(super) fn named(rig: &Rig, name: &str) -> Self {
        let at = free_address();
        let origin = format!("ws://{name}:{}", at.port());
        let args = ["--allowed-hosts", name, "--origin", &origin];
        Self::at(rig, &at.to_string(), &args, None)
    }

    fn at(rig: &Rig, listen: &str, args: &[&str], token: Option<&str>) -> Self {
        let mut command = rig.program("bowline-relay");
        command.args(["run", "--listen", listen]).args(args);
        if let Some(token) = token {
            command.env("BOWLINE_DAEMON_TOKEN", token);
        }
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.unwrap();
        let line = lines(child.stdout.take().unwrap()).recv_timeout(DEADLINE);
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let address = line["address"].as_str().unwrap().parse().unwrap();
        Self { child, address }
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The daemon's n-th relay in its status.
fn relay_of(rig: &Rig, number: usize) -> Value {
    rig.rpc("daemon.status", json!({}))["result"]["relays"][number].clone()
}

/// Waits until the daemon is registered at its n-th relay.
pub(super) fn registered(rig: &Rig, number: usize) {
    eventually("the daemon is registered", || {
        relay_of(rig, number)["state"] == "registered"
    });
}

/// Reason and message of the daemon's last failed attempt at its first relay.
pub(super) fn failed(rig: &Rig) -> (String, String) {
    let mut error = Value::Null;
    eventually("an attempt at the relay fails", || {
        error = relay_of(rig, 0)["lastError"].clone();
        error.is_object()
    });
    let text = |name: &str| error[name].as_str().unwrap().to_owned();
    (text("reason"), text("message"))
}

/// All bytes of the files under a folder.
fn all_bytes(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            bytes.extend(all_bytes(&path));
        } else {
            bytes.extend(std::fs::read(&path).unwrap_or_default());
        }
    }
    bytes
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

/// C32: a 404 at the relay's address was reported as `daemon_offline`, and `WS://` was refused.
/// `http://` was accepted.
#[test]
fn case_c32_a_status_at_the_relays_place_is_told_as_what_it_is() {
    let web = serve(|mut stream| {
        head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    });
    let mut rig = Rig::new();
    rig.up(&["--relay", &format!("WS://{web}")]);
    let (reason, message) = failed(&rig);
    assert_eq!(reason, "not_bowline", "{message}");
    assert!(
        message.contains("404") && message.contains("no relay there"),
        "{message}"
    );
    let said = rig.bd(&["status"]);
    assert!(said.stdout.contains("404"), "{said:?}");
    for (wrong, right) in [("http://foo", "ws://"), ("HTTPS://foo", "wss://")] {
        let refused = rig.bd(&["config", "check", "--relay", wrong]);
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.stderr.contains(right), "{refused:?}");
    }
}

/// C33: `ws://Zm9v/YmFy@127.0.0.1:48100` was parsed as host and path, so the token appeared in
/// offers, logs and clients' files.
#[test]
fn case_c33_a_token_is_percent_encoded_or_refused_and_stands_nowhere() {
    let mut rig = Rig::new();
    for wrong in [
        "ws://S3CRET/YmFy@127.0.0.1:48100",
        "ws://Zm9v/S3CRET@127.0.0.1:48100",
        "ws://S3CRET#x@h",
        "ws://S3CRET?x@h",
    ] {
        let mut command = rig.daemon_command(&[]);
        command.env("BOWLINE_RELAY", wrong).stderr(Stdio::piped());
        let refused = finish(command);
        let said = format!("{refused:?}");
        assert!(
            refused.code == 2 && said.contains("%2F") && !said.contains("S3CRET"),
            "{said}"
        );
        let config = rig.work().join("wrong.toml");
        std::fs::write(&config, format!("relay = [\"{wrong}\"]\n")).unwrap();
        let refused = rig.bd(&["--config", config.to_str().unwrap(), "config", "check"]);
        let said = format!("{refused:?}");
        assert!(
            refused.code == 2 && said.contains("wrong.toml:1") && !said.contains("S3CRET"),
            "{said}"
        );
    }
    let relay = Relay::start(&rig, &[], Some("S3CRET/x@#"));
    let mut command = rig.daemon_command(&["--log", "trace"]);
    command.env(
        "BOWLINE_RELAY",
        format!("ws://S3CRET%2Fx%40%23@{}", relay.address),
    );
    rig.start(command);
    registered(&rig, 0);
    rig.pair();
    let offer = rig.bd(&["pair", "--json"]).stdout;
    assert!(offer.contains(&relay.port().to_string()), "{offer}");
    let run = rig.bl(&[
        "--only",
        "relay",
        "run",
        "--provider",
        "shell",
        "echo through",
    ]);
    assert_eq!((run.code, run.stdout.trim()), (0, "through"), "{run:?}");
    let status = format!(
        "{:?}{:?}",
        rig.bd(&["status"]),
        rig.bd(&["status", "--json"])
    );
    assert!(!format!("{offer}{status}").contains("S3CRET"));
    assert!(!rig.log().contains("S3CRET"), "{}", rig.log());
    assert!(!holds(&all_bytes(&rig.client()), "S3CRET"));
}

/// A wrong token was reported as `pairing_token_invalid`.
#[test]
fn case_c33_a_wrong_token_is_told_as_the_relays() {
    let mut rig = Rig::new();
    let relay = Relay::start(&rig, &[], Some("right"));
    let mut command = rig.daemon_command(&[]);
    command.env("BOWLINE_RELAY", format!("ws://wr0ng@{}", relay.address));
    rig.start(command);
    let (reason, message) = failed(&rig);
    assert_eq!(reason, "relay_token_invalid", "{message}");
    assert!(
        message.contains("daemon_token") && message.contains("BOWLINE_RELAY"),
        "{message}"
    );
    eventually("the log says it", || rig.log().contains("daemon_token"));
    assert!(!rig.log().contains("wr0ng"), "{}", rig.log());
}

/// C35: hanging name lookups blocked the thread pool, and with it new agents and every other relay,
/// for minutes.
#[cfg(target_os = "linux")]
#[test]
fn case_c35_names_that_hang_hold_nothing_else_up() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root may give a process another resolv.conf");
        return;
    }
    // A name server that receives queries and never answers, at an address used only by this test.
    let [high, low] = (std::process::id() as u16).to_be_bytes();
    let hole = UdpSocket::bind(SocketAddr::from(([127, 35, high, low], 53))).unwrap();
    let questions = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&questions);
    let server = hole.local_addr().unwrap().ip();
    thread::spawn(move || {
        while hole.recv_from(&mut [0; 512]).is_ok() {
            seen.fetch_add(1, Ordering::SeqCst);
        }
    });
    let mut rig = Rig::new();
    let relay = Relay::named(&rig, "good.test");
    std::fs::write(
        rig.work().join("resolv.conf"),
        format!("nameserver {server}\n"),
    )
    .unwrap();
    std::fs::write(rig.work().join("hosts"), "127.0.0.1 localhost good.test\n").unwrap();
    let mut relays: Vec<_> = (0..15).map(|n| format!("ws://hang{n}.test")).collect();
    relays.push(format!("ws://good.test:{}", relay.port()));
    let command = rig.daemon_command(&["--relay", &relays.join(",")]);
    let script = format!(
        "mount --bind {0}/resolv.conf /etc/resolv.conf && mount --bind {0}/hosts /etc/hosts && exec \"$0\" \"$@\"",
        rig.work().display()
    );
    let command = rig.wrapped(&["unshare", "--mount", "bash", "-c", &script], &command);
    let begun = Instant::now();
    rig.start(command);
    registered(&rig, 15);
    eventually("names are looked up", || {
        questions.load(Ordering::SeqCst) >= 15
    });
    rig.agent("shell", "true");
    // Formerly 103 s and 11 s; a loaded machine is slower, but not by that much.
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
    let (reason, message) = failed(&rig);
    assert_eq!(reason, "unreachable", "{message}");
    assert!(message.contains("name servers"), "{message}");
}

/// C39: daemon and relay answered an upgrade over HTTP/1.0 with 101.
#[test]
fn case_c39_http_1_0_is_not_upgraded() {
    let mut rig = Rig::new();
    let relay = Relay::start(&rig, &[], None);
    rig.up(&[]);
    let status = |address: &str, request: &str, headers: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let upgrade = "Host: localhost\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Protocol: bowline.v1, bowline.relay.v1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        write!(stream, "{request}\r\n{upgrade}{headers}\r\n").unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    let relay = relay.address.to_string();
    for (address, path) in [
        (rig.address.as_str(), "/v1/session"),
        (&relay, "/v1/daemon"),
    ] {
        let connection = "Connection: Upgrade\r\n";
        assert_eq!(
            status(address, &format!("GET {path} HTTP/1.1"), connection),
            "101",
            "{path}"
        );
        assert_eq!(
            status(address, &format!("GET {path} HTTP/1.0"), connection),
            "426",
            "{path}"
        );
        assert_eq!(
            status(address, &format!("GET {path} HTTP/1.1"), ""),
            "426",
            "{path}"
        );
        let body = "Connection: Upgrade\r\nContent-Length: 4\r\n";
        assert_eq!(
            status(address, &format!("GET {path} HTTP/1.1"), body),
            "400",
            "{path}"
        );
    }
}

/// C40: clients could not use a private certificate authority.
#[test]
fn case_c40_a_relay_with_an_authority_of_ones_own_serves_clients_too() {
    let mut rig = Rig::new();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let [cert, key] =
        ["cert.pem", "key.pem"].map(|name| rig.work().join(name).to_str().unwrap().to_owned());
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let relay = Relay::start(&rig, &["--tls-cert", &cert, "--tls-key", &key], None);
    let url = format!("wss://localhost:{}", relay.port());
    rig.up(&["--relay", &url, "--relay-root", &cert]);
    registered(&rig, 0);
    rig.pair();
    let run = [
        "--only",
        "relay",
        "run",
        "--provider",
        "shell",
        "echo through",
    ];
    let trusting = rig.bl(&[&["--relay-root", &cert], &run[..]].concat());
    assert_eq!(
        (trusting.code, trusting.stdout.trim()),
        (0, "through"),
        "{trusting:?}"
    );
    let mut by_variable = rig.bl_command(&run);
    by_variable.env("BOWLINE_RELAY_ROOT", &cert);
    assert_eq!(finish(by_variable).code, 0);
    let config = rig.work().join("client.toml");
    std::fs::write(&config, format!("relay_root = [\"{cert}\"]\n")).unwrap();
    let by_file = rig.bl(&[&["--config", config.to_str().unwrap()], &run[..]].concat());
    assert_eq!(by_file.code, 0, "{by_file:?}");
    let doubting = rig.bl(&[&["--timeout", "3s"], &run[..]].concat());
    assert_eq!(doubting.code, 3, "{doubting:?}");
    assert!(doubting.stderr.contains("authority"), "{doubting:?}");
    let wrong = rig.bl(&["--relay-root", &key, "hosts"]);
    let missing = rig.bl(&["--relay-root", "missing.pem", "agents"]);
    assert!(
        missing.code == 2 && missing.stderr.contains("missing.pem"),
        "{missing:?} {wrong:?}"
    );
}

/// C41 for HTTP: `Retry-After` from a proxy in front of a relay is honoured.
#[test]
fn case_c41_retry_after_keeps_the_daemon_away() {
    let dialled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&dialled);
    let web = serve(move |mut stream| {
        head(&mut stream);
        count.fetch_add(1, Ordering::SeqCst);
        let busy =
            "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 600\r\nContent-Length: 0\r\n\r\n";
        let _ = stream.write_all(busy.as_bytes());
    });
    let mut rig = Rig::new();
    rig.up(&["--relay", &format!("ws://{web}")]);
    let (reason, message) = failed(&rig);
    assert_eq!(reason, "rate_limited", "{message}");
    thread::sleep(Duration::from_secs(6));
    assert_eq!(dialled.load(Ordering::SeqCst), 1);
}
