//! A daemon process that ends with its agents.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{DEADLINE, lines};
use crate::blocking::eventually;

/// Longest time for an orderly end when dropped.
const END: Duration = Duration::from_secs(10);

/// A daemon that was started.
pub struct Daemon {
    child: Child,
    /// Its session address, `127.0.0.1:PORT`.
    pub address: String,
}

impl Daemon {
    /// Starts `bowline-daemon run` and waits until it listens for sessions and locally.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = lines(child.stdout.take().unwrap());
        let mut daemon = Self {
            child,
            address: String::new(),
        };
        loop {
            let line = lines.recv_timeout(DEADLINE);
            let line = line.unwrap_or_else(|error| panic!("the daemon does not listen: {error}"));
            let line: Value = serde_json::from_str(&line).unwrap();
            let address = line.get("address").and_then(Value::as_str);
            match line.get("kind").and_then(Value::as_str) {
                Some("session") => address.unwrap().clone_into(&mut daemon.address),
                // The last line that every daemon prints.
                Some("local") => return daemon,
                _ => {}
            }
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Whether its process runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end; returns its exit code, −1 if ended by a signal.
    pub fn ended(&mut self) -> i32 {
        eventually("the daemon ends", || !self.runs());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Kills it without warning.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let runs = |child: &mut Child| child.try_wait().is_ok_and(|ended| ended.is_none());
        if runs(&mut self.child) {
            // A regular stop, so that it ends its agents too; continued first, in case a test has
            // suspended it.
            for signal in [Signal::CONT, Signal::TERM] {
                let _ = kill_process(Pid::from_child(&self.child), signal);
            }
            let begun = Instant::now();
            while begun.elapsed() < END && runs(&mut self.child) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
