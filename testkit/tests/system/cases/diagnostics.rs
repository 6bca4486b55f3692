//! Unwritable diagnostics, closed pipes, signals, and untrusted text.

use std::{
    fs::File,
    io::{Read, Write},
    net::TcpStream,
    process::Stdio,
};

use bowline_testkit::{blocking::eventually, world::program};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::rig::{DEADLINE, Rig, lines, output};

/// The metrics page of an address.
fn page(address: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(
        socket,
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut page = String::new();
    socket.read_to_string(&mut page).unwrap();
    page
}

/// A metric without labels.
fn metric(address: &str, name: &str) -> u64 {
    let page = page(address);
    let mut lines = page.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value
        .unwrap_or_else(|| panic!("no {name}: {page}"))
        .parse()
        .unwrap()
}

/// The log's reader closed, and the first thread that logged ended half of the daemon: it ran on
/// without serving.
#[test]
fn case_c1_a_log_reader_that_goes_away_changes_nothing() {
    let mut rig = Rig::new();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = rig.daemon_command(&["--log", "debug"]);
    command.stderr(writer);
    rig.start(command);
    drop(reader);
    rig.pair();
    let agent = rig.agent("shell", "echo out");
    assert_eq!(output(&rig.turns(&agent, 1)), "out\n");
    assert_eq!(rig.bd(&["status"]).code, 0);
    assert_eq!(rig.stop(), 0);
}

/// A reader that pauses delays neither the daemon nor its end.
#[test]
fn case_c1_a_log_reader_that_stands_still_keeps_nobody_waiting() {
    let mut rig = Rig::new();
    let (reader, writer) = std::io::pipe().unwrap();
    // Full from the start.
    let mut filled = writer.try_clone().unwrap();
    std::thread::spawn(move || while filled.write_all(&[b'x'; 4096]).is_ok() {});
    let mut command = rig.daemon_command(&["--log", "trace"]);
    command.stderr(writer);
    rig.start(command);
    rig.pair();
    for _ in 0..5 {
        assert_eq!(rig.bd(&["status"]).code, 0);
    }
    assert_eq!(rig.stop(), 0);
    drop(reader);
}

/// A full disk under the log: lost lines are dropped and counted, in daemon and relay.
#[test]
fn case_c1_a_full_disk_under_the_log_is_counted() {
    let mut rig = Rig::new();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let mut command = rig.daemon_command(&["--log", "debug", "--metrics", "127.0.0.1:0"]);
    command.stderr(full());
    rig.start(command);
    rig.pair();
    let status: Value = serde_json::from_str(&rig.bd(&["status", "--json"]).stdout).unwrap();
    let metrics = status["metrics"].as_str().unwrap();
    assert!(metric(metrics, "bowline_log_lines_dropped_total") > 0);
    assert_eq!(rig.stop(), 0);

    let mut relay = std::process::Command::new(program("bowline-relay").unwrap());
    relay
        .args(["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"])
        .env("XDG_CONFIG_HOME", "/nowhere");
    let relay = relay.stdout(Stdio::piped()).stderr(full()).spawn();
    let mut relay = relay.unwrap();
    let said = lines(relay.stdout.take().unwrap());
    let mut address = String::new();
    while address.is_empty() {
        let line: Value = serde_json::from_str(&said.recv_timeout(DEADLINE).unwrap()).unwrap();
        if line["kind"] == "metrics" {
            address = line["address"].as_str().unwrap().to_owned();
        }
    }
    // A hangup without a certificate is logged, and the log cannot be written.
    kill_process(Pid::from_child(&relay), Signal::HUP).unwrap();
    eventually("the relay counts", || {
        metric(&address, "bowline_relay_log_lines_dropped_total") > 0
    });
    kill_process(Pid::from_child(&relay), Signal::TERM).unwrap();
    assert_eq!(relay.wait().unwrap().code(), Some(0));
}

/// Lines logged before an end are written, and lost lines are reported once there is space again.
#[test]
fn case_c1_the_last_lines_get_out() {
    let mut rig = Rig::new();
    rig.up(&[]);
    assert_eq!(rig.stop(), 0);
    let log = rig.log();
    assert!(
        log.contains("SIGTERM") && log.trim_end().ends_with("stopped"),
        "{log}"
    );
    let second = {
        rig.up(&[]);
        rig.bd(&["run", "--listen", "127.0.0.1:0"])
    };
    assert_eq!(second.code, 1, "{second:?}");
    assert!(second.stderr.contains("another daemon"), "{second:?}");
}

/// `status >/dev/full` and `status | true` panicked, like every other command that prints.
#[test]
fn case_c2_closed_pipes_are_quiet_and_full_disks_are_told_once() {
    let rig = Rig::paired();
    let agent = rig.agent("shell", "echo out");
    rig.turns(&agent, 1);
    let history = format!("$BL history {agent}");
    let history_json = format!("$BL history {agent} --json");
    for command in [
        "$BD status",
        "$BD status --json",
        "$BD sessions",
        "$BD connections --json",
        "$BD devices",
        "$BD pair",
        "$BD pair --json",
        "$BD config check",
        "$BD --help",
        "$BD --version",
        "$BL hosts",
        "$BL agents --json",
        "$BL run --provider shell 'echo x'",
        &history,
        &history_json,
        "$BL --help",
        "$BL watch --json",
        "bowline-relay --version",
    ] {
        // A pipe whose reader has closed before the first write.
        let closed = rig.sh(&format!("exec 3> >(:); wait $!; {command} >&3"));
        assert_eq!((closed.code, closed.stderr.as_str()), (0, ""), "{command}");
        let full = rig.sh(&format!("{command} >/dev/full"));
        assert_eq!(full.code, 1, "{command}: {full:?}");
        assert_eq!(full.stderr.lines().count(), 1, "{command}: {full:?}");
        assert!(full.stderr.contains("No space left"), "{command}: {full:?}");
        // Standard error is unwritable too.
        let both = rig.sh(&format!("{command} >/dev/full 2>&1"));
        assert_eq!(both.code, 1, "{command}: {both:?}");
    }
    for command in [
        "$BD nonsense",
        "$BD run --listen x",
        "$BL nonsense",
        "bowline-relay --x",
    ] {
        for elsewhere in ["2>/dev/full", "2>&-", "2> >(:)"] {
            let ended = rig.sh(&format!("{command} {elsewhere}"));
            assert_eq!(ended.code, 2, "{command} {elsewhere}: {ended:?}");
        }
    }
    for command in ["$BD status", "$BL hosts"] {
        assert_eq!(
            rig.sh(&format!("{command} >&- 2>&- <&-")).code,
            0,
            "{command}"
        );
    }
}

/// Closed descriptors 0 to 2 must not be reused for a database or a socket that diagnostics are
/// written to; and a daemon that cannot print its addresses still serves.
#[test]
fn case_c2_a_daemon_without_standard_files_serves() {
    for files in [">&- 2>&- <&-", ">/dev/full 2>/dev/full"] {
        let rig = Rig::new();
        let script = format!(
            "exec 5>&1; $BD run --listen 127.0.0.1:0 --log trace {files} 5>&- & daemon=$!
             for i in $(seq 300); do $BD status >/dev/null 2>&1 && break; sleep 0.1; done
             $BD status --json; for i in 0 1 2; do readlink /proc/$daemon/fd/$i; done
             kill $daemon; wait $daemon; echo ended $?"
        );
        let ended = rig.sh(&script);
        assert!(ended.stdout.contains("serverId"), "{files}: {ended:?}");
        assert_eq!(
            ended.stdout.matches("/dev/").count(),
            3,
            "{files}: {ended:?}"
        );
        assert!(ended.stdout.contains("ended 0"), "{files}: {ended:?}");
    }
}

/// A closed terminal acted like `kill -9`: children survived, the socket stayed.
#[test]
fn case_c3_a_closed_terminal_is_an_orderly_end() {
    let mut rig = Rig::paired();
    // A number of its own: another checkout may run this test at the same time.
    let sleep = format!("sleep 7{}", std::process::id());
    rig.agent("shell", &format!("exec {sleep}"));
    let sleeping = || !super::rig::processes_with(&sleep).is_empty();
    eventually("it runs", sleeping);
    rig.signal(Signal::HUP);
    // Sent again, as shells do; that must not shorten the end.
    rig.signal(Signal::HUP);
    assert_eq!(rig.ended(), 0);
    assert!(rig.log().contains("SIGHUP"), "{}", rig.log());
    assert!(!rig.state().join("daemon.sock").exists());
    assert!(!sleeping());
}

/// `nohup` is respected.
#[test]
fn case_c3_a_hangup_that_was_ignored_stays_ignored() {
    let rig = Rig::new();
    let ended = rig.sh(
        "nohup $BD run --listen 127.0.0.1:0 >/dev/null 2>&1 & daemon=$!
         for i in $(seq 300); do $BD status >/dev/null 2>&1 && break; sleep 0.1; done
         kill -HUP $daemon; sleep 0.3; $BD status >/dev/null && echo serves
         kill $daemon; wait $daemon; echo ended $?",
    );
    assert_eq!(ended.stdout, "serves\nended 0\n", "{ended:?}");
}

/// `bowline` leaves its agent running, reports that, and exits with the code of the signal.
#[test]
fn case_c3_a_client_that_is_told_to_end_says_what_goes_on() {
    let rig = Rig::paired();
    for (signal, code) in [(Signal::HUP, 129), (Signal::INT, 130), (Signal::TERM, 143)] {
        let mut command = rig.bl_command(&["run", "--provider", "shell", "echo on; exec sleep 60"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut client = command.spawn().unwrap();
        let out = lines(client.stdout.take().unwrap());
        assert_eq!(out.recv_timeout(DEADLINE).unwrap(), "on");
        kill_process(Pid::from_child(&client), signal).unwrap();
        let said = lines(client.stderr.take().unwrap());
        assert!(
            said.recv_timeout(DEADLINE)
                .unwrap()
                .contains("continues on")
        );
        assert_eq!(client.wait().unwrap().code(), Some(code));
    }
}

/// A stopping daemon removed any file at its socket's path, and a removed socket never came back.
#[test]
fn case_c6_a_socket_file_that_was_removed_comes_back_and_anothers_stays() {
    let mut rig = Rig::new();
    rig.up(&[]);
    let socket = rig.state().join("daemon.sock");
    std::fs::remove_file(&socket).unwrap();
    eventually("the socket is there again", || {
        rig.bd(&["status"]).code == 0
    });
    assert!(rig.log().contains("is there again"), "{}", rig.log());
    std::fs::remove_file(&socket).unwrap();
    let other = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    eventually("it is said", || {
        rig.log().contains("another program already answers")
    });
    assert_eq!(rig.stop(), 0);
    assert!(socket.exists());
    drop(other);
}

/// A socket path that is too long was refused only after identity and database were created.
#[test]
fn case_c7_a_socket_path_that_is_too_long_is_refused_before_anything_is_made() {
    let rig = Rig::new();
    let long = rig.work().join("x".repeat(90));
    for command in ["run --listen 127.0.0.1:0", "config check", "status"] {
        let ended = rig.sh(&format!(
            "bowline-daemon --state-dir {} {command}",
            long.display()
        ));
        assert_eq!(
            ended.code,
            if command.starts_with("run") { 1 } else { 2 },
            "{ended:?}"
        );
        let bytes = long.join("daemon.sock").as_os_str().len().to_string();
        for word in [&bytes, "107", "--socket", "daemon.sock"] {
            assert!(ended.stderr.contains(word), "{word}: {ended:?}");
        }
    }
    assert!(!long.exists());
}

/// The state folder is reported as an absolute path.
#[test]
fn case_c7_a_relative_state_folder_is_told_as_it_is_everywhere() {
    let rig = Rig::new();
    let ended = rig.sh(
        "bowline-daemon --state-dir here run --listen 127.0.0.1:0 >out 2>/dev/null & daemon=$!
         for i in $(seq 300); do bowline-daemon --state-dir here status >/dev/null 2>&1 && break; sleep 0.1; done
         bowline-daemon --state-dir here status --json; kill $daemon; wait $daemon",
    );
    let status: Value = serde_json::from_str(ended.stdout.trim()).unwrap();
    let here = rig.work().canonicalize().unwrap().join("here");
    assert_eq!(status["stateDir"], here.to_str().unwrap());
    assert_eq!(status["socket"], here.join("daemon.sock").to_str().unwrap());
}

/// Readers that split lines at U+2028 (such as Node's readline) found several lines in one.
#[test]
fn case_c27_lines_of_json_hold_no_line_end_of_any_kind() {
    let rig = Rig::paired();
    let text = "a\u{2028}b\u{2029}c\u{85}d";
    let clean = |said: &str| !said.contains(['\u{2028}', '\u{2029}', '\u{85}']);
    let ran = rig.bl(&[
        "run",
        "--provider",
        "shell",
        "--json",
        &format!("echo '{text}'"),
    ]);
    assert!(ran.code == 0 && clean(&ran.stdout), "{ran:?}");
    assert!(ran.stdout.contains(r"a\u2028b\u2029c\u0085d"), "{ran:?}");
    let first: Value = serde_json::from_str(ran.stdout.lines().next().unwrap()).unwrap();
    let agent = first["agent"]["id"].as_str().unwrap();
    let history = rig.bl(&["history", agent, "--json"]);
    assert!(clean(&history.stdout), "{history:?}");
    assert_eq!(
        output(&rig.turns(agent, 1)),
        format!("{text}\n"),
        "it means the same"
    );
    let request = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"agents.history","params":{{"agentId":"{agent}"}}}}"#
    );
    let mut socket =
        std::os::unix::net::UnixStream::connect(rig.state().join("daemon.sock")).unwrap();
    writeln!(socket, "{request}").unwrap();
    let line = lines(socket).recv_timeout(DEADLINE).unwrap();
    assert!(clean(&line) && line.contains(r"a\u2028b"), "{line}");
}

/// Escape sequences in a prompt took effect on every terminal that showed it; likewise folders and
/// names.
#[test]
fn case_c28_text_of_others_cannot_act_on_a_terminal_or_in_a_log() {
    let mut rig = Rig::new();
    rig.up(&["--log", "debug"]);
    rig.pair();
    let evil = "\u{1b}]52;c;ZXZpbA==\u{7}\u{202e}\u{2066}\u{9b}2J";
    let agent = rig.agent("shell", &format!("true #{evil}"));
    rig.turns(&agent, 1);
    let harmless =
        |said: &str| !said.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}', '\u{2066}']);
    let history = rig.bl(&["history", &agent]);
    assert!(harmless(&history.stdout), "{history:?}");
    assert!(
        history.stdout.contains(r"> true #\u{1b}]52;c;"),
        "{history:?}"
    );
    for command in [
        "$BL agents",
        "timeout 3 $BL watch",
        "$BD devices",
        "$BD status",
    ] {
        let ended = rig.sh(command);
        assert!(
            harmless(&ended.stdout) && harmless(&ended.stderr),
            "{command}: {ended:?}"
        );
    }
    // Command line errors come from a third-party library.
    let long = format!("--{evil}");
    for ended in [
        rig.bl(&[evil]),
        rig.bl(&["--timeout", evil, "hosts"]),
        rig.bd(&["run", &long]),
    ] {
        assert!(ended.code == 2 && harmless(&ended.stderr), "{ended:?}");
        assert!(ended.stderr.contains("--help"), "{ended:?}");
    }
    let folder = format!("/nowhere/{evil}\nforged");
    let failed = rig.bl(&["run", "--provider", "shell", "--cwd", &folder, "true"]);
    assert!(failed.code != 0 && harmless(&failed.stderr), "{failed:?}");
    let missing = rig.bl(&["history", evil]);
    assert!(
        missing.code == 2 && harmless(&missing.stderr),
        "{missing:?}"
    );
    assert!(harmless(&rig.log()), "{}", rig.log());
    assert!(!rig.log().contains("\nforged"), "{}", rig.log());
    // A command's own output is unchanged.
    let own = rig.bl(&["run", "--provider", "shell", r"printf '\033[31mred\033[0m'"]);
    assert_eq!(own.stdout, "\u{1b}[31mred\u{1b}[0m");
    let named = rig.bd(&["config", "check", "--name", "a\u{202e}b"]);
    assert_eq!(named.code, 2, "{named:?}");
}
