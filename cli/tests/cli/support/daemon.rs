//! A daemon process that can be stopped, killed and started again on the same state and port.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{clean, until};

/// A running daemon; ended with its commands when dropped.
pub(crate) struct Daemon {
    /// Where it listens.
    pub(crate) address: String,
    state: PathBuf,
    child: Child,
}

impl Daemon {
    pub(crate) fn start(state: &Path, listen: &str) -> Self {
        let mut child = daemon(state, &["run", "--name", "workshop", "--listen", listen])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let lines: Vec<Value> = stdout
            .lines()
            .take(2)
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect();
        assert_eq!(lines.len(), 2, "it listens for sessions and locally");
        Self {
            address: lines[0]["address"].as_str().unwrap().to_owned(),
            state: state.to_owned(),
            child,
        }
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again after a [`Daemon::kill`], where it was.
    pub(crate) fn again(&mut self) {
        *self = Self::start(&self.state.clone(), &self.address.clone());
    }

    /// Stops it from answering; its sockets stay open.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends a [`Daemon::freeze`].
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// What a command of the daemon's says, as JSON.
    pub(crate) fn ask(&self, args: &[&str]) -> Value {
        let output = daemon(&self.state, args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A fresh pairing offer.
    pub(crate) fn offer(&self) -> String {
        self.ask(&["pair", "--json"])["offer"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// How many session connections there are.
    pub(crate) fn sessions(&self) -> usize {
        let listed = self.ask(&["connections", "--json"]);
        let rows = listed["connections"].as_array().unwrap();
        rows.iter().filter(|row| row["session"].is_string()).count()
    }

    /// Withdraws the pairing of the one device there is.
    pub(crate) fn revoke_the_device(&self) {
        let devices = self.ask(&["devices", "--json"]);
        let id = devices["devices"][0]["deviceId"].as_str().unwrap();
        let status = daemon(&self.state, &["devices", "revoke", id])
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // In case a test has frozen it; then as its user would, so that it ends its commands too.
        self.thaw_quietly();
        let ended = |child: &mut Child| child.try_wait().map_or(true, |status| status.is_some());
        if !ended(&mut self.child) {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        }
        if !std::thread::panicking() {
            until("the daemon ends", || ended(&mut self.child));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    fn thaw_quietly(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = kill_process(Pid::from_child(&self.child), Signal::CONT);
        }
    }
}

fn daemon(state: &Path, args: &[&str]) -> Command {
    let mut command = clean(binary(), state);
    command.arg("--state-dir").arg(state).args(args);
    command
}

/// The daemon's program: it stands beside ours, once it is built.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let folder = Path::new(env!("CARGO_BIN_EXE_bowline")).parent().unwrap();
        let binary = folder.join(format!("bowline-daemon{}", std::env::consts::EXE_SUFFIX));
        if !binary.exists() {
            build(folder);
        }
        assert!(
            binary.exists(),
            "no daemon at {}; build it: cargo build -p bowline-daemon --bin bowline-daemon",
            binary.display()
        );
        binary
    })
}

fn build(folder: &Path) {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args([
            "build",
            "--locked",
            "-p",
            "bowline-daemon",
            "--bin",
            "bowline-daemon",
        ])
        .arg("--target-dir")
        .arg(folder.parent().unwrap());
    if folder.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().unwrap();
    assert!(status.success(), "the daemon does not build: {status}");
}
