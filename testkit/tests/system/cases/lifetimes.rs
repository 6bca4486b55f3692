//! Starts on a full disk, and ends on signals.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::Stdio,
    time::{Duration, Instant},
};

use bowline_testkit::blocking::eventually;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{
    processes::{Helper, printed, sleeps, unique},
    rig::{DEADLINE, Rig, finish, has, lines, preloaded},
};

/// C8: on a full disk a daemon fails to start with one line, changes no files, and starts once
/// there is space.
#[test]
fn case_c8_a_start_on_a_full_disk_says_so_and_harms_nothing() {
    if !rustix::process::geteuid().is_root() || !has("unshare", "util-linux") {
        eprintln!("skipped: a small disk of its own needs root");
        return;
    }
    let rig = Rig::new();
    fs::create_dir(rig.state()).unwrap();
    let daemon = rig.daemon_command(&[]);
    // The arguments are the daemon's command. A successful start is ended with SIGTERM once it
    // listens.
    let script = r#"
        mount -t tmpfs -o size=3m,mode=700 small "$SMALL" && cd "$SMALL" || exit 9
        full() { dd if=/dev/zero of="$SMALL/ballast" bs=4k 2>/dev/null; }
        listens() {
            "$@" >"$OUT" 2>&1 & daemon=$!
            for i in $(seq 600); do grep -q '"local"' "$OUT" && break; sleep 0.1; done
            kill $daemon; wait $daemon; echo "listened and ended with $?"
        }
        full; timeout 60 "$@"; echo "new: $?"
        rm ballast; listens "$@"
        full; cp identity.json store.json bowline.db "$KEPT"; timeout 60 "$@"; echo "again: $?"
        cmp identity.json "$KEPT/identity.json" && cmp store.json "$KEPT/store.json" && cmp bowline.db "$KEPT/bowline.db" && echo untouched
        rm ballast; listens "$@""#;
    let kept = rig.work().join("kept");
    fs::create_dir(&kept).unwrap();
    let mut command = rig.wrapped(&["unshare", "-m", "bash", "-c", script, "bash"], &daemon);
    command
        .env("SMALL", rig.state())
        .env("KEPT", kept)
        .env("OUT", rig.work().join("out"));
    let ended = finish(command);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(
        lines,
        [
            "new: 1",
            "listened and ended with 0",
            "again: 1",
            "untouched",
            "listened and ended with 0"
        ],
        "{ended:?}"
    );
    let said: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(said.len(), 2, "one line a start: {ended:?}");
    let full = format!(
        "the disk of {} is full: free some space",
        rig.state().display()
    );
    assert!(said.iter().all(|line| line.contains(&full)), "{ended:?}");
}

/// C3: a second SIGTERM during the orderly end ends the daemon at once; the next start cleans up.
#[test]
fn case_c3_a_second_request_to_end_ends_the_daemon_at_once() {
    let mut rig = Rig::new();
    rig.up(&[]);
    let duration = unique();
    // Ignores SIGTERM, so that the orderly end takes two seconds.
    let prompt = format!("trap '' TERM; echo up; sleep {duration}; sleep {duration}");
    let agent = rig.agent("shell", &prompt);
    printed(&rig, &agent, "up");
    rig.signal(Signal::TERM);
    // Sent twice in quick succession, for example by terminal and shell: counts once.
    std::thread::sleep(Duration::from_millis(50));
    rig.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(650));
    assert!(rig.runs(), "an orderly end is under way: {}", rig.log());
    rig.signal(Signal::TERM);
    assert_eq!(rig.ended(), 143, "{}", rig.log());
    assert!(
        rig.log().contains("SIGTERM again: ending at once"),
        "{}",
        rig.log()
    );
    rig.up(&[]);
    let items = rig.turns(&agent, 1);
    assert_eq!(super::processes::ends(&items)[0].0, "interrupted");
    eventually("nothing of the turn runs", || !sleeps(&duration));
    assert_eq!(rig.stop(), 0);
}

/// C3: a blocked orderly end is aborted after 15 s, with a log line.
#[cfg(target_os = "linux")]
#[test]
fn case_c3_an_orderly_end_that_hangs_is_ended_after_fifteen_seconds() {
    let mut rig = Rig::new();
    let Some(library) = preloaded(&rig, "hang.c") else {
        return;
    };
    let mut command = rig.daemon_command(&[]);
    command.env("LD_PRELOAD", library);
    rig.start(command);
    let asked = Instant::now();
    rig.signal(Signal::TERM);
    assert_eq!(rig.ended(), 1, "{}", rig.log());
    assert!(asked.elapsed() >= Duration::from_secs(15), "not before");
    let log = rig.log();
    assert!(
        log.contains("not everything ended within 15s: ending at once"),
        "{log}"
    );
}

/// C3: SIGHUP of a relay without a certificate is logged and ends nothing.
#[test]
fn case_c3_a_hangup_of_a_relay_without_tls_only_says_so() {
    let rig = Rig::new();
    let mut command = rig.program("bowline-relay");
    command
        .args(["run", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut relay = Helper(command.spawn().unwrap());
    let said = lines(relay.0.stderr.take().unwrap());
    let line = lines(relay.0.stdout.take().unwrap()).recv_timeout(DEADLINE);
    let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
    let pid = Pid::from_child(&relay.0);
    for _ in 0..2 {
        kill_process(pid, Signal::HUP).unwrap();
        let text = said.recv_timeout(DEADLINE).unwrap();
        assert!(
            text.contains("INFO") && text.contains("SIGHUP: there is no certificate to read again"),
            "{text}"
        );
        let mut socket = TcpStream::connect(line["address"].as_str().unwrap()).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(socket, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut page = String::new();
        socket.read_to_string(&mut page).unwrap();
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    }
    kill_process(pid, Signal::TERM).unwrap();
    let status = relay.0.wait().unwrap();
    assert_eq!(status.code(), Some(0));
}
