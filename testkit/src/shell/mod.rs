//! Programs run as from a shell, for tests: without the settings of the test machine, with their
//! lines as they arrive, and with a time limit for every wait.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking"
)]

mod daemon;
mod running;

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use serde_json::Value;

pub use self::{daemon::Daemon, running::Running};

/// Longest wait on any machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Exit code and output of a program.
#[derive(Debug)]
pub struct Ended {
    /// −1 if ended by a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ended {
    /// The lines of stdout, each a JSON object.
    pub fn json(&self) -> Vec<Value> {
        let parse = |line: &str| {
            let value: Value = serde_json::from_str(line).unwrap();
            assert!(value.is_object(), "{line}");
            value
        };
        self.stdout.lines().map(parse).collect()
    }
}

/// A program without the settings of the test machine, with its own home and without input.
pub fn clean(program: impl AsRef<OsStr>, home: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("BOWLINE_") || text.to_ascii_uppercase().ends_with("_PROXY") {
            command.env_remove(&name);
        }
    }
    for name in ["XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"] {
        command.env_remove(name);
    }
    command
        .env("HOME", home)
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::null());
    command
}

/// Runs a program to its end; after the deadline kills it and shows its output.
pub fn finish(command: Command) -> Ended {
    Running::start(command).finish()
}

/// Reads lines as they arrive, without their line ends, and continues without a receiver.
pub fn lines(from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line);
            let _ = send.send(text.trim_end_matches(['\r', '\n']).to_owned());
            line.clear();
        }
    });
    receive
}
