//! The program: output, errors and shutdown (docs/commands.md).

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

use crate::peers::{Daemon, within};

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowline-relay"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BOWLINE_")) {
        command.env_remove(name);
    }
    // Without any configuration of the machine that runs the tests.
    let nowhere = std::env::temp_dir().join("bowline-no-such-directory");
    command
        .env("XDG_CONFIG_HOME", &nowhere)
        .env("APPDATA", &nowhere);
    command.args(args);
    command
}

fn output(args: &[&str]) -> Output {
    program(args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A relay process; killed when dropped.
pub(crate) struct Running {
    child: Child,
    line: Value,
}

impl Running {
    pub(crate) fn start(args: &[&str]) -> Self {
        let args = [&["run", "--listen", "127.0.0.1:0"], args].concat();
        let mut child = program(&args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let line = stdout.lines().next().unwrap().unwrap();
        let line = serde_json::from_str(&line).unwrap();
        Self { child, line }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.line["address"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn it_says_where_it_listens_once_it_accepts() {
    let program = Running::start(&[]);
    assert_eq!(program.line["event"], "listening");
    assert_eq!(program.line["kind"], "relay");
    let mut daemon = Daemon::register(program.address()).await;
    daemon.pair().await;
}

/// Every peer gets a close frame with a separate time to reconnect.
#[cfg(unix)]
#[tokio::test]
async fn a_termination_signal_sends_everybody_away_for_a_moment() {
    use bowline_protocol::relay::{
        CloseText,
        limits::{DAEMON_RESTART_SPREAD, RESTART_SPREAD},
    };

    let mut program = Running::start(&[]);
    let mut daemon = Daemon::register(program.address()).await;
    let mut pairs = Vec::new();
    for _ in 0..10 {
        pairs.push(daemon.pair().await);
    }
    program.signal(rustix::process::Signal::TERM);
    let mut waits = Vec::new();
    for pair in &mut pairs {
        let (code, text) = pair.client.ended().await;
        assert_eq!(code, 4450);
        waits.push(CloseText::retry_after(&text).unwrap());
        assert_eq!(pair.data.0.end_code().await, 4450);
    }
    let (code, text) = daemon.control.socket.ended().await;
    assert_eq!(code, 4450);
    let wait = CloseText::retry_after(&text).unwrap();
    assert!(wait <= DAEMON_RESTART_SPREAD, "{wait:?}");
    // A client reaches the daemon there.
    let clients = DAEMON_RESTART_SPREAD..=RESTART_SPREAD;
    assert!(waits.iter().all(|wait| clients.contains(wait)), "{waits:?}");
    waits.sort();
    waits.dedup();
    assert!(waits.len() > 1, "they come back one after the other");
    drop((pairs, daemon));
    let ended = tokio::task::spawn_blocking(move || program.child.wait().unwrap());
    assert!(within("its end", ended).await.unwrap().success());
}

/// LS-5: silence while the relay itself was stopped does not count.
#[cfg(unix)]
#[tokio::test]
async fn a_relay_that_slept_does_not_blame_its_daemons() {
    use futures_util::StreamExt;
    use rustix::process::Signal;

    let program = Running::start(&["--heartbeat", "300ms", "--control-grace", "300ms"]);
    let mut daemon = Daemon::register(program.address()).await;
    let mut pair = daemon.pair().await;
    // Reading answers pings.
    let control = tokio::spawn(async move {
        while let Some(Ok(message)) = daemon.control.socket.0.next().await {
            if message.is_close() {
                panic!("{message:?}");
            }
        }
    });
    program.signal(Signal::STOP);
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    program.signal(Signal::CONT);
    // Long enough for a timeout to fire.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    pair.data.send(pair.lane, "good morning").await;
    assert_eq!(pair.client.binary().await, "good morning");
    assert!(!control.is_finished(), "the control socket is still there");
    control.abort();
}

#[tokio::test]
async fn several_threads_serve_as_one_does() {
    let program = Running::start(&["--threads", "2"]);
    let mut daemon = Daemon::register(program.address()).await;
    let mut pairs = Vec::new();
    for _ in 0..10 {
        let mut pair = daemon.pair().await;
        pair.data.send(pair.lane, "x").await;
        assert_eq!(pair.client.binary().await, "x");
        pairs.push(pair);
    }
}

#[test]
fn a_port_in_use_is_named_with_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = output(&["--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(
        said.contains(&address) && said.contains("--listen"),
        "{said}"
    );
}

#[test]
fn wrong_settings_are_named_and_usage_has_its_own_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("relay.toml");
    std::fs::write(&file, "listen = [\"127.0.0.1:0\"]\nlisten_on = 1\n").unwrap();
    let wrong = output(&["--config", file.to_str().unwrap()]);
    assert_eq!(wrong.status.code(), Some(2));
    let said = stderr(&wrong);
    assert!(
        said.contains("relay.toml:2") && said.contains("listen_on"),
        "{said}"
    );
    let half = output(&["--listen", "127.0.0.1:0", "--tls-cert", "/nowhere"]);
    assert_eq!(half.status.code(), Some(2));
    assert!(stderr(&half).contains("tls_key"));
    assert_eq!(output(&["--no-such-flag"]).status.code(), Some(2));
    assert_eq!(output(&["--help"]).status.code(), Some(0));
}

#[test]
fn a_variable_counts_where_no_flag_is_given() {
    let output = program(&["--listen", "127.0.0.1:0"])
        .env("BOWLINE_THREADS", "none")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("none"));
}

/// The token and the file that holds it are one setting: the flag of the one wins over the variable
/// of the other.
#[test]
fn a_flag_wins_over_the_variable_of_the_same_setting_in_another_form() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "token\n").unwrap();
    let file = file.to_str().unwrap();
    let said = |flags: &[&str], variables: &[(&str, &str)]| {
        // Ends after the token was resolved.
        let mut command = program(&["--threads", "0"]);
        command.args(flags).envs(variables.iter().copied());
        stderr(&command.output().unwrap())
    };
    let (token, token_file) = ("BOWLINE_DAEMON_TOKEN", "BOWLINE_DAEMON_TOKEN_FILE");
    for flag in [["--daemon-token", "t"], ["--daemon-token-file", file]] {
        let said = said(&flag, &[(token, "other"), (token_file, "/no/such/token")]);
        assert!(said.contains("`threads`"), "{flag:?}: {said}");
    }
    let both = said(&[], &[(token, "t"), (token_file, file)]);
    assert!(both.contains("one of them"), "{both}");
}
