//! A real relay for attacks on it.

use std::{
    path::PathBuf,
    process::{Child, Stdio},
};

use serde_json::Value;

use crate::cases::rig::{DEADLINE, Rig, lines};

/// A running relay and the addresses of its listeners.
pub(super) struct Relay {
    child: Child,
    pub(super) address: String,
    pub(super) metrics: String,
    log: PathBuf,
}

impl Relay {
    pub(super) fn start(rig: &Rig, args: &[&str]) -> Self {
        let mut command = rig.program("bowline-relay");
        let log = tempfile::NamedTempFile::new_in(rig.work()).unwrap();
        let (file, log) = log.keep().unwrap();
        command
            .args(["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(file);
        let mut child = command.spawn().unwrap();
        let said = lines(child.stdout.take().unwrap());
        let address = |kind: &str| {
            let line: Value = serde_json::from_str(&said.recv_timeout(DEADLINE).unwrap()).unwrap();
            assert_eq!(line["kind"], kind, "{line}");
            line["address"].as_str().unwrap().to_owned()
        };
        let (address, metrics) = (address("relay"), address("metrics"));
        Self {
            child,
            address,
            metrics,
            log,
        }
    }

    /// What it has logged so far.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
