//! The program: what it prints, how it fails, how it ends (docs/commands.md).

use std::fs;

use serde_json::Value;

use crate::{
    running::{Running, output, program, stderr},
    support::client::raw_http,
};

#[tokio::test]
async fn it_says_where_it_listens_once_it_accepts() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    assert_eq!(running.lines[0]["event"], "listening");
    assert_eq!(running.lines[0]["kind"], "session");
    assert_eq!(running.lines[1]["kind"], "local");
    let said = raw_http(
        running.address(),
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    )
    .await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_termination_signal_closes_connections_with_server_restarting() {
    use bowline_protocol::Offer;

    use crate::support::{Install, client::Attempt};

    let dir = tempfile::tempdir().unwrap();
    let mut running = Running::start(dir.path());
    let made = output(dir.path(), &["pair", "--json"]);
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let offer: Offer = made["offer"].as_str().unwrap().parse().unwrap();
    let install = Install::new();
    let attempt = Attempt::of_offer(&offer, &install);
    let mut client = attempt.connect().await;
    assert!(client.is_served().await);

    let pid = rustix::process::Pid::from_child(&running.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(client.ended().await, Some(4450));
    let status = tokio::task::spawn_blocking(move || running.child.wait().unwrap());
    assert!(
        crate::support::within("its end", status)
            .await
            .unwrap()
            .success()
    );
    assert!(
        !dir.path().join("daemon.sock").exists(),
        "nothing stays behind"
    );

    // BX-4: who was paired still is, and the session goes on.
    let running = Running::start(dir.path());
    let session = client.welcome.session.clone().unwrap();
    let mut attempt = attempt.paired();
    attempt.address = running.address();
    let mut back = attempt
        .resume(&session, session.next_seq - 1)
        .connect()
        .await;
    let state = back.welcome.session.clone().unwrap().state;
    assert_eq!(state, bowline_protocol::SessionState::Resumed);
    assert!(back.is_served().await);
}

#[test]
fn commands_ask_the_running_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let status = output(dir.path(), &["status", "--json"]);
    assert!(status.status.success(), "{}", stderr(&status));
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["listen"][0], running.lines[0]["address"]);
    for (command, word) in [
        (&["status"][..], "listening"),
        (&["sessions"], "SESSION"),
        (&["connections"], "local"),
        (&["devices"], "DEVICE"),
        (&["devices", "list"], "DEVICE"),
        (&["pair", "--ttl", "30s"], "bowline://pair?"),
    ] {
        let output = output(dir.path(), command);
        assert!(output.status.success(), "{command:?}: {}", stderr(&output));
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(word), "{command:?}: {text}");
    }
    let unknown = format!("dev_{}", "a".repeat(26));
    let refused = output(dir.path(), &["devices", "revoke", &unknown]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains(&unknown), "{}", stderr(&refused));
}

#[test]
fn without_a_daemon_commands_say_how_to_start_it() {
    let dir = tempfile::tempdir().unwrap();
    for command in [
        &["status"][..],
        &["pair"],
        &["sessions"],
        &["connections"],
        &["devices"],
    ] {
        let output = output(dir.path(), command);
        assert_eq!(output.status.code(), Some(3), "{command:?}");
        let said = stderr(&output);
        assert!(
            said.contains("no daemon answers at") && said.contains("bowline-daemon run"),
            "{said}"
        );
    }
}

#[test]
fn a_port_in_use_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (args, flag) in [
        (&["--listen", &*address][..], "with --listen"),
        (
            &["--listen", "127.0.0.1:0", "--metrics", &*address],
            "with --metrics",
        ),
    ] {
        let output = output(dir.path(), args);
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        assert!(said.contains(&address) && said.contains(flag), "{said}");
    }
}

#[tokio::test]
async fn metrics_are_where_the_flag_says_and_the_program_tells_where() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start_with(dir.path(), &["--metrics", "127.0.0.1:0"], 3);
    let line = &running.lines[2];
    assert_eq!(
        (&line["event"], &line["kind"]),
        (&"listening".into(), &"metrics".into())
    );
    let address = line["address"].as_str().unwrap().parse().unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let page = raw_http(address, request).await;
    assert!(page.contains("\nbowline_uptime_seconds "), "{page}");
    let checked = program(dir.path(), &["config", "check"])
        .env("BOWLINE_METRICS", "127.0.0.1:9464")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&checked.stdout);
    assert!(text.contains("metrics = \"127.0.0.1:9464\""), "{text}");
}

#[test]
fn a_second_daemon_on_the_same_state_is_refused_and_the_first_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let second = output(dir.path(), &["--listen", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(1));
    let said = stderr(&second);
    assert!(said.contains(dir.path().to_str().unwrap()), "{said}");
    assert!(
        said.contains(&format!("process {}", running.child.id())),
        "{said}"
    );
    assert!(output(dir.path(), &["status"]).status.success());
}

#[cfg(unix)]
#[test]
fn a_killed_daemon_leaves_nothing_that_stops_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    drop(running);
    assert!(
        dir.path().join("daemon.sock").exists(),
        "it had no chance to tidy up"
    );
    let _next = Running::start(dir.path());
    assert!(output(dir.path(), &["status"]).status.success());
}

#[test]
fn inv_9_a_corrupt_identity_or_store_is_named_and_never_replaced() {
    for file in ["identity.json", "bowline.db"] {
        let dir = tempfile::tempdir().unwrap();
        drop(Running::start(dir.path()));
        let path = dir.path().join(file);
        for stale in ["bowline.db-wal", "bowline.db-shm"] {
            let _ = fs::remove_file(dir.path().join(stale));
        }
        fs::write(&path, "garbage, but somebody may still want it").unwrap();
        let output = output(dir.path(), &["--listen", "127.0.0.1:0"]);
        assert_eq!(output.status.code(), Some(1), "{file}");
        assert!(
            stderr(&output).contains(path.to_str().unwrap()),
            "{}",
            stderr(&output)
        );
        let left = fs::read(&path).unwrap();
        assert_eq!(left, b"garbage, but somebody may still want it", "{file}");
    }
}

#[test]
fn the_configuration_is_checked_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test.toml");
    let flag = file.to_str().unwrap();
    fs::write(
        &file,
        "name = \"from-file\"\n[limits]\nidle_timeout = \"10m\"\n",
    )
    .unwrap();
    let shown = output(
        dir.path(),
        &[
            "--config",
            flag,
            "config",
            "check",
            "--listen",
            "127.0.0.1:9",
        ],
    );
    assert!(shown.status.success(), "{}", stderr(&shown));
    let text = String::from_utf8_lossy(&shown.stdout);
    for line in [
        "name = \"from-file\"",
        "127.0.0.1:9",
        "idle_timeout = \"10m\"",
        "name = \"shell\"",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let variable = program(dir.path(), &["--config", flag, "config", "check"])
        .env("BOWLINE_NAME", "from-variable")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&variable.stdout).contains("from-variable"));

    fs::write(&file, "name = \"x\"\nlisten_on = \"y\"\n").unwrap();
    let wrong = output(dir.path(), &["--config", flag, "config", "check"]);
    assert_eq!(wrong.status.code(), Some(2));
    let said = stderr(&wrong);
    assert!(
        said.contains("test.toml:2") && said.contains("listen_on"),
        "{said}"
    );
}

/// A relay's token in its URL and the file that holds it are one setting: the flag of the one wins
/// over the variable of the other.
#[test]
fn a_flag_wins_over_the_variable_of_the_same_setting_in_another_form() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    fs::write(&file, "token\n").unwrap();
    let file = file.to_str().unwrap();
    let (url, bare) = ("wss://t@relay.example.org", "wss://relay.example.org");
    let (relay, token_file) = ("BOWLINE_RELAY", "BOWLINE_RELAY_TOKEN_FILE");
    let check = |flags: &[&str], variables: &[(&str, &str)]| {
        let mut command = program(dir.path(), &["config", "check"]);
        command.args(flags).envs(variables.iter().copied());
        command.output().unwrap()
    };
    for (flags, variables) in [
        (["--relay", url], &[(token_file, "/no/such/token")][..]),
        (["--relay-token-file", file], &[(relay, url)]),
        (
            ["--relay-token-file", file],
            &[(relay, url), (token_file, "/no/such/token")],
        ),
        (["--relay", bare], &[(relay, url), (token_file, file)]),
    ] {
        let checked = check(&flags, variables);
        assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
    }
    let both = check(&[], &[(relay, url), (token_file, file)]);
    assert_eq!(both.status.code(), Some(2), "one layer holds both");
}

#[test]
fn usage_errors_have_their_own_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(
        output(dir.path(), &["--no-such-flag"]).status.code(),
        Some(2)
    );
    assert_eq!(
        output(dir.path(), &["pair", "--ttl", "0s"]).status.code(),
        Some(2)
    );
    assert_eq!(output(dir.path(), &["--help"]).status.code(), Some(0));
}
