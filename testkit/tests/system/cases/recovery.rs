//! Unproved refusals, copied daemons, retries, dying tasks.

use std::{
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Stdio},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bowline_protocol::relay::CLIENT_PATH;
use bowline_testkit::{blocking::eventually, world::program};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{
    Message, accept_hdr,
    handshake::server::{Request, Response},
    http::HeaderValue,
    protocol::CloseFrame,
};

use super::{
    proxies::{head, serve, splice},
    rig::{DEADLINE, Rig, free_address, has, lines},
};

/// Takes a daemon's place: accepts every WebSocket and closes it with one code after another.
struct Impostor {
    served: Arc<AtomicUsize>,
    /// Arrival times of connections.
    came: Arc<Mutex<Vec<Instant>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Impostor {
    fn at(address: &str, codes: &'static [u16], text: &'static str) -> Self {
        // The daemon may still hold the port briefly.
        let mut listener = None;
        eventually("the port is free", || {
            listener = TcpListener::bind(address).ok();
            listener.is_some()
        });
        let listener = listener.unwrap();
        listener.set_nonblocking(true).unwrap();
        let (served, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let came = Arc::<Mutex<Vec<_>>>::default();
        let thread = std::thread::spawn({
            let (served, stop) = (Arc::clone(&served), Arc::clone(&stop));
            let came = Arc::clone(&came);
            move || {
                while !stop.load(SeqCst) {
                    let Ok((stream, _)) = listener.accept() else {
                        std::thread::sleep(Duration::from_millis(10));
                        continue;
                    };
                    came.lock().unwrap().push(Instant::now());
                    stream.set_nonblocking(false).unwrap();
                    stream
                        .set_read_timeout(Some(Duration::from_secs(5)))
                        .unwrap();
                    let code = codes[served.load(SeqCst) % codes.len()];
                    #[expect(clippy::result_large_err, reason = "the library's own type")]
                    let protocol = |request: &Request, mut response: Response| {
                        let asked = request.headers().get("sec-websocket-protocol");
                        let asked = asked.cloned().unwrap_or(HeaderValue::from_static("x"));
                        response
                            .headers_mut()
                            .insert("sec-websocket-protocol", asked);
                        Ok(response)
                    };
                    if let Ok(mut socket) = accept_hdr(stream, protocol) {
                        let frame = CloseFrame {
                            code: code.into(),
                            reason: text.into(),
                        };
                        let _ = socket.send(Message::Close(Some(frame)));
                        served.fetch_add(1, SeqCst);
                        // Until the other side has read the close frame.
                        while socket.read().is_ok() {}
                    }
                }
            }
        });
        Self {
            served,
            came,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A child process that is killed with its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A relay on a free port, and its URL.
fn relay(rig: &Rig) -> (Killed, String) {
    let (relay, address) = relay_at(rig, "127.0.0.1:0", &[]);
    (relay, format!("ws://{address}"))
}

/// A relay at an address, and its port.
fn relay_at(rig: &Rig, listen: &str, args: &[&str]) -> (Killed, String) {
    let mut command = std::process::Command::new(program("bowline-relay").unwrap());
    let mut child = command
        .args(["--listen", listen, "--allowed-hosts", "relay.test"])
        .args(args)
        .env("HOME", rig.work())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = lines(child.stdout.take().unwrap());
    let line: Value = serde_json::from_str(&lines.recv_timeout(DEADLINE).unwrap()).unwrap();
    (Killed(child), line["address"].as_str().unwrap().to_owned())
}

/// States of a client's only host, from `bowline watch --json`.
struct States {
    _watch: Killed,
    snapshots: mpsc::Receiver<String>,
}

impl States {
    fn watched(rig: &Rig, args: &[&str]) -> Self {
        let mut watch = rig.bl_command(&[args, &["watch", "--json"]].concat());
        let watch = watch.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut watch = watch.unwrap();
        let snapshots = lines(watch.stdout.take().unwrap());
        let _watch = Killed(watch);
        Self { _watch, snapshots }
    }

    /// Waits for a state. Unproved claims are not final, so no state on the way may be.
    fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) {
        loop {
            let line = self.snapshots.recv_timeout(DEADLINE);
            let line = line.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"));
            let snapshot: Value = serde_json::from_str(&line).unwrap();
            let state = snapshot["hosts"][0]["state"].as_str();
            let state = state.unwrap_or_else(|| panic!("no state: {line}"));
            assert_ne!(state, "error", "{line}");
            if wanted(state) {
                return;
            }
        }
    }

    fn until_online(&self) {
        self.until("online", |state| state == "online");
    }

    /// Waits until the client has noticed that nobody answers. Before the next
    /// [`States::until_online`], since states from before the loss may still wait to be read.
    fn until_lost(&self) {
        self.until("the loss is noticed", |state| state != "online");
    }
}

/// C37b: while a daemon was down, another program in its place closed with 4402, and the client's
/// error became final.
#[test]
fn case_c37b_forged_close_codes_while_the_daemon_is_down_end_nothing() {
    let mut rig = Rig::paired();
    let watch = States::watched(&rig, &[]);
    watch.until_online();
    rig.stop();
    watch.until_lost();
    {
        let impostor = Impostor::at(
            &rig.address,
            &[4402, 4401, 4406, 4400, 4403, 4407, 4409, 4430],
            "",
        );
        eventually("some codes were believed or not", || {
            impostor.served.load(SeqCst) >= 4
        });
    }
    rig.up(&[]);
    watch.until_online();
}

/// A relay's front that passes everything on, until it sends clients messages that the relay never
/// sent.
struct Middle {
    address: SocketAddr,
    /// Where it leads, once that is known.
    relay: Arc<OnceLock<String>>,
    /// Open client sockets, on the clients' side.
    clients: Arc<Mutex<Vec<TcpStream>>>,
}

impl Middle {
    fn new() -> Self {
        let relay = Arc::new(OnceLock::<String>::new());
        let target = Arc::clone(&relay);
        let clients = Arc::<Mutex<Vec<TcpStream>>>::default();
        let noted = Arc::clone(&clients);
        let address = serve(move |mut stream| {
            let head = head(&mut stream);
            let Some(Ok(mut far)) = target.get().map(TcpStream::connect) else {
                return;
            };
            if head.starts_with(&format!("GET {CLIENT_PATH}")) {
                noted.lock().unwrap().push(stream.try_clone().unwrap());
            }
            let _ = far.write_all(head.as_bytes());
            splice(stream, far);
        });
        Self {
            address,
            relay,
            clients,
        }
    }

    /// Closes every client socket with a code. Nothing may be in transit: the frame must fall
    /// between two others.
    fn close(&self, code: u16) -> usize {
        let clients = std::mem::take(&mut *self.clients.lock().unwrap());
        let [high, low] = code.to_be_bytes();
        let told = clients.into_iter();
        told.filter_map(|mut client| client.write_all(&[0x88, 2, high, low]).ok())
            .count()
    }
}

/// C37b, during a session: a party between client and relay closes the session with codes that
/// would be final.
#[test]
fn case_c37b_forged_close_codes_of_a_relay_in_mid_session_end_nothing() {
    let mut rig = Rig::new();
    let middle = Middle::new();
    let origin = format!("ws://{}", middle.address);
    let (_relay, relay) = relay_at(&rig, "127.0.0.1:0", &["--origin", &origin]);
    middle.relay.set(relay).unwrap();
    rig.up(&["--relay", &format!("ws://{}", middle.address)]);
    eventually("registered", || {
        let status = rig.rpc("daemon.status", json!({}));
        status["result"]["relays"][0]["state"] == "registered"
    });
    rig.pair();
    let sessions = || rig.rpc("daemon.status", json!({}))["result"]["sessions"].clone();
    let watch = States::watched(&rig, &["--only", "relay"]);
    watch.until_online();
    let before = sessions();
    for code in [4402, 4401, 4400, 4406, 4430] {
        std::thread::sleep(Duration::from_millis(300));
        assert!(middle.close(code) > 0, "no client for {code}");
        watch.until_lost();
        watch.until_online();
    }
    assert_eq!(sessions(), before, "the same session all along");
    let run = rig.bl(&["--only", "relay", "run", "--provider", "shell", "echo well"]);
    assert_eq!((run.code, run.stdout.trim()), (0, "well"), "{run:?}");
}

/// C41 for close frames: a client stays away for the requested time in all its dials: reconnects,
/// probes, and the reconnect after the relay's recovery.
#[test]
fn case_c41_a_client_stays_away_for_as_long_as_it_was_asked_to() {
    const ASKED: Duration = Duration::from_secs(5);
    let mut rig = Rig::new();
    let (relay, address) = relay_at(&rig, "127.0.0.1:0", &[]);
    let url = format!("ws://{address}");
    rig.up(&["--relay", &url]);
    eventually("registered", || {
        let status = rig.rpc("daemon.status", json!({}));
        status["result"]["relays"][0]["state"] == "registered"
    });
    rig.pair();
    let watch = States::watched(&rig, &["--only", "relay"]);
    watch.until_online();
    // Only the client dials from here on.
    assert_eq!(rig.stop(), 0);
    drop(relay);
    watch.until_lost();
    let impostor = Impostor::at(&address, &[4429], "rate_limited;retryAfterMs=5000");
    eventually("two attempts", || impostor.came.lock().unwrap().len() >= 2);
    let came = Arc::clone(&impostor.came);
    drop(impostor);
    let (_relay, _) = relay_at(&rig, &address, &[]);
    rig.up(&["--relay", &url]);
    watch.until_online();
    let online = Instant::now();
    let came = came.lock().unwrap();
    let ends = came.iter().copied().chain([online]);
    let gaps: Vec<Duration> = ends.clone().skip(1).zip(ends).map(|(b, a)| b - a).collect();
    assert!(gaps.iter().all(|gap| *gap >= ASKED), "{gaps:?}");
    assert!(came.len() < 4, "{gaps:?}");
}

/// C42: two daemons with a copied state folder displaced each other at the relay every few seconds,
/// without any message.
#[test]
fn case_c42_two_daemons_of_one_identity_are_told_of_by_their_status() {
    let mut rig = Rig::new();
    let (_relay, url) = relay(&rig);
    rig.up(&["--relay", &url]);
    let registered = |rig: &Rig| {
        let status = rig.rpc("daemon.status", json!({}));
        status["result"]["relays"][0]["registrations"].as_u64() >= Some(1)
    };
    eventually("registered", || registered(&rig));
    let copy = rig.work().join("copy");
    let copied = rig.sh(&format!(
        "cp -r \"$D\" {copy}; rm -f {copy}/daemon.sock",
        copy = copy.display()
    ));
    assert_eq!(copied.code, 0, "{copied:?}");
    let mut other = std::process::Command::new(program("bowline-daemon").unwrap());
    let other = other
        .arg("--state-dir")
        .arg(&copy)
        .args(["run", "--listen", "127.0.0.1:0", "--relay", &url])
        .env("HOME", rig.work())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _other = Killed(other);
    eventually("the status reports the other daemon", || {
        let status = rig.rpc("daemon.status", json!({}));
        let error = &status["result"]["relays"][0]["lastError"];
        error["reason"] == "replaced"
            && error["message"]
                .as_str()
                .unwrap()
                .contains("another daemon with this identity")
    });
    eventually("the log says so as well", || {
        rig.log().contains("copy of the state folder")
    });
}

/// X1: a thread could not be started for a moment, a lookup task died, and the relay connection
/// stayed `connecting` forever.
#[test]
fn case_x1_a_daemon_that_may_start_no_thread_heals_once_it_may() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: a user of its own and a name of its own need root");
        return;
    }
    if !["unshare", "setpriv", "prlimit"]
        .iter()
        .all(|tool| has(tool, "util-linux"))
    {
        return;
    }
    let user = 12_345;
    let as_user = [
        "setpriv",
        "--reuid",
        "12345",
        "--regid",
        "12345",
        "--clear-groups",
    ];
    let mut rig = Rig::new();
    let free = free_address();
    let url = format!("ws://relay.test:{}", free.port());
    let (first, address) = relay_at(&rig, &free.to_string(), &["--origin", &url]);
    // A name, so that each connection needs a lookup.
    let hosts = rig.work().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost relay.test\n").unwrap();
    std::fs::create_dir(rig.state()).unwrap();
    // The test user may lack access to the build folder.
    let daemon = rig.daemon_command(&["--relay", &url]);
    let copy = rig.work().join("bowline-daemon");
    std::fs::copy(daemon.get_program(), &copy).unwrap();
    for path in [
        rig.state().parent().unwrap(),
        &rig.state(),
        &rig.work(),
        &copy,
    ] {
        std::os::unix::fs::chown(path, Some(user), Some(user)).unwrap();
    }
    let script = format!(
        "mount --bind {hosts} /etc/hosts && shift && exec {as_user} {copy} \"$@\"",
        hosts = hosts.display(),
        as_user = as_user.join(" "),
        copy = copy.display(),
    );
    rig.start(rig.wrapped(&["unshare", "-m", "sh", "-c", &script, "sh"], &daemon));
    let relay_of = |rig: &Rig| {
        let status = rig.rpc("daemon.status", json!({}));
        status["result"]["relays"][0].clone()
    };
    eventually("registered", || relay_of(&rig)["state"] == "registered");
    let limit = |rig: &Rig, limit: &str| {
        let mut command = rig.wrapped(&as_user, &std::process::Command::new("prlimit"));
        let pid = rig.pid().to_string();
        let set = command.args(["--pid", &pid, &format!("--nproc={limit}:")]);
        assert!(set.status().unwrap().success());
    };
    let before = std::fs::read_to_string(format!("/proc/{}/limits", rig.pid())).unwrap();
    let line = |limits: &str| -> Vec<String> {
        let mut lines = limits.lines();
        let line = lines.find(|line| line.starts_with("Max processes"));
        line.unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    // "Max processes SOFT HARD processes"
    let usual = line(&before)[2].clone();
    limit(&rig, "1");
    let now = std::fs::read_to_string(format!("/proc/{}/limits", rig.pid())).unwrap();
    assert_eq!(line(&now)[2], "1");
    drop(first);
    eventually("the relay is missed", || {
        let relay = relay_of(&rig);
        relay["state"] != "registered" && relay["lastError"].is_object()
    });
    let (_second, _) = relay_at(&rig, &address, &["--origin", &url]);
    // The daemon keeps serving; starting an agent's program may fail with an error.
    let params = json!({"intentId": "new", "provider": "shell", "cwd": "/", "prompt": "echo x"});
    let created = rig.rpc("agents.create", params);
    assert!(
        created["result"].is_object() || created["error"].is_object(),
        "{created}"
    );
    std::thread::sleep(Duration::from_secs(2));
    limit(&rig, &usual);
    eventually("registered again", || {
        relay_of(&rig)["state"] == "registered"
    });
    let agent = rig.agent("shell", "echo well");
    let items = rig.turns(&agent, 1);
    assert_eq!(super::rig::output(&items), "well\n", "{items:?}");
    assert!(rig.runs());
    assert_eq!(rig.stop(), 0, "{}", rig.log());
}
