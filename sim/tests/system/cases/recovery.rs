//! Refusals that are not proved, copies of one daemon, retries, tasks that die.

use std::{
    net::TcpListener,
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

use bowline_sim::world::program;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{
    Message, accept_hdr,
    handshake::server::{Request, Response},
    http::HeaderValue,
    protocol::CloseFrame,
};

use super::rig::{DEADLINE, Rig, has, lines, until};

/// Answers in the place of a daemon: takes every WebSocket, and closes it with one code after the other.
struct Impostor {
    served: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Impostor {
    fn at(address: &str, codes: &'static [u16]) -> Self {
        // The port may still be the daemon's for a moment.
        let mut listener = None;
        until("the port is free", || {
            listener = TcpListener::bind(address).ok();
            listener.is_some()
        });
        let listener = listener.unwrap();
        listener.set_nonblocking(true).unwrap();
        let (served, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let thread = std::thread::spawn({
            let (served, stop) = (Arc::clone(&served), Arc::clone(&stop));
            move || {
                while !stop.load(SeqCst) {
                    let Ok((stream, _)) = listener.accept() else {
                        std::thread::sleep(Duration::from_millis(10));
                        continue;
                    };
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
                            reason: "".into(),
                        };
                        let _ = socket.send(Message::Close(Some(frame)));
                        served.fetch_add(1, SeqCst);
                        // Until the other side has read it.
                        while socket.read().is_ok() {}
                    }
                }
            }
        });
        Self {
            served,
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

/// A child that is killed with its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A relay on a free port, and its URL.
fn relay(rig: &Rig) -> (Killed, String) {
    let (relay, address) = relay_at(rig, "127.0.0.1:0");
    (relay, format!("ws://{address}"))
}

/// A relay at an address, and which port it has got.
fn relay_at(rig: &Rig, listen: &str) -> (Killed, String) {
    let mut command = std::process::Command::new(program("bowline-relay").unwrap());
    let mut child = command
        .args(["--listen", listen])
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

/// C37b: while a daemon was down something in its place closed with 4402, and the client was in its final error for good.
#[test]
fn case_c37b_forged_close_codes_while_the_daemon_is_down_end_nothing() {
    let mut rig = Rig::paired();
    let mut watch = rig.bl_command(&["watch", "--json"]);
    let mut watch = watch
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let snapshots = lines(watch.stdout.take().unwrap());
    let _watch = Killed(watch);
    let next = || -> String {
        let line = snapshots
            .recv_timeout(DEADLINE)
            .expect("watch says something");
        let snapshot: Value = serde_json::from_str(&line).unwrap();
        let state = snapshot["hosts"][0]["state"].as_str();
        state
            .unwrap_or_else(|| panic!("no state: {line}"))
            .to_owned()
    };
    while next() != "online" {}
    rig.stop();
    {
        let impostor = Impostor::at(
            &rig.address,
            &[4402, 4401, 4406, 4400, 4403, 4407, 4409, 4430],
        );
        until("some codes were believed or not", || {
            impostor.served.load(SeqCst) >= 4
        });
    }
    rig.up(&[]);
    loop {
        match next().as_str() {
            "online" => break,
            state => assert_ne!(state, "error", "a stranger's word is not final"),
        }
    }
}

/// C42: a copied state folder, and the two daemons pushed each other out of the relay every few seconds for ever, without a word.
#[test]
fn case_c42_two_daemons_of_one_identity_are_told_of_by_their_status() {
    let mut rig = Rig::new();
    let (_relay, url) = relay(&rig);
    rig.up(&["--relay", &url]);
    let registered = |rig: &Rig| {
        let status = rig.rpc("daemon.status", json!({}));
        status["result"]["relays"][0]["registrations"].as_u64() >= Some(1)
    };
    until("registered", || registered(&rig));
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
    until("the daemon says who else is there", || {
        let status = rig.rpc("daemon.status", json!({}));
        let error = &status["result"]["relays"][0]["lastError"];
        error["reason"] == "replaced"
            && error["message"]
                .as_str()
                .unwrap()
                .contains("another daemon with this identity")
    });
    until("the log says so as well", || {
        rig.log().contains("copy of the state folder")
    });
}

/// X1: no thread could be made for a moment, a look-up's task died of it, and the relay link stayed `connecting` for ever.
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
    let (first, address) = relay_at(&rig, "127.0.0.1:0");
    let port = address.rsplit(':').next().unwrap();
    // A name, so that each connection needs a look-up.
    let hosts = rig.work().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost relay.test\n").unwrap();
    std::fs::create_dir(rig.state()).unwrap();
    // The user may not reach where the programs were built.
    let daemon = rig.daemon_command(&["--relay", &format!("ws://relay.test:{port}")]);
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
    until("registered", || relay_of(&rig)["state"] == "registered");
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
    until("the relay is missed", || {
        let relay = relay_of(&rig);
        relay["state"] != "registered" && relay["lastError"].is_object()
    });
    let (_second, _) = relay_at(&rig, &address);
    // The daemon serves meanwhile; what an agent's program needs may be refused, with a word.
    let params = json!({"intentId": "new", "provider": "shell", "cwd": "/", "prompt": "echo x"});
    let created = rig.rpc("agents.create", params);
    assert!(
        created["result"].is_object() || created["error"].is_object(),
        "{created}"
    );
    std::thread::sleep(Duration::from_secs(2));
    limit(&rig, &usual);
    until("registered again", || {
        relay_of(&rig)["state"] == "registered"
    });
    let agent = rig.agent("shell", "echo well");
    let items = rig.turns(&agent, 1);
    assert_eq!(super::rig::output(&items), "well\n", "{items:?}");
    assert!(rig.runs());
    assert_eq!(rig.stop(), 0, "{}", rig.log());
}
