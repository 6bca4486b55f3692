//! A daemon process that can be stopped, killed and restarted with the same state and port.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use bowline_testkit::shell::{self, clean};
use rustix::process::Signal;
use serde_json::Value;

/// A running daemon; ends with its commands when dropped.
pub(crate) struct Daemon {
    process: shell::Daemon,
    /// Its listening address.
    pub(crate) address: String,
    state: PathBuf,
}

impl Daemon {
    pub(crate) fn start(state: &Path, listen: &str) -> Self {
        let mut command = daemon(state, &["run", "--name", "workshop", "--listen", listen]);
        command.stderr(Stdio::null());
        let process = shell::Daemon::start(command);
        Self {
            address: process.address.clone(),
            process,
            state: state.to_owned(),
        }
    }

    /// Kills it without warning.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Restarts it after a [`Daemon::kill`].
    pub(crate) fn again(&mut self) {
        *self = Self::start(&self.state.clone(), &self.address.clone());
    }

    /// Suspends the process; its sockets stay open.
    pub(crate) fn freeze(&self) {
        self.process.signal(Signal::STOP);
    }

    /// Resumes it after a [`Daemon::freeze`].
    pub(crate) fn thaw(&self) {
        self.process.signal(Signal::CONT);
    }

    /// Output of a daemon command as JSON.
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

    /// Number of session connections.
    pub(crate) fn sessions(&self) -> usize {
        let listed = self.ask(&["connections", "--json"]);
        let rows = listed["connections"].as_array().unwrap();
        rows.iter().filter(|row| row["session"].is_string()).count()
    }

    /// Revokes the only device.
    pub(crate) fn revoke_the_device(&self) {
        let devices = self.ask(&["devices", "--json"]);
        let id = devices["devices"][0]["deviceId"].as_str().unwrap();
        let status = daemon(&self.state, &["devices", "revoke", id])
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success());
    }
}

fn daemon(state: &Path, args: &[&str]) -> Command {
    let mut command = clean(binary(), state);
    command.arg("--state-dir").arg(state).args(args);
    command
}

/// The daemon's program, built into the folder of the program under test.
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
            "no daemon at {}; build it: cargo build -p bowline-daemon-program",
            binary.display()
        );
        binary
    })
}

fn build(folder: &Path) {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["build", "--locked", "-p", "bowline-daemon-program"])
        .arg("--target-dir")
        .arg(folder.parent().unwrap());
    if folder.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().unwrap();
    assert!(status.success(), "the daemon does not build: {status}");
}
