//! One run of the program: its lines as they come, and how it ended.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::DEADLINE;

/// A program that runs. Killed when dropped.
pub(crate) struct Running {
    child: Child,
    incoming: mpsc::Receiver<String>,
    stdout: String,
    stderr: Option<JoinHandle<String>>,
}

/// How a program ended and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    /// −1 if by a signal.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        let (lines, incoming) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            while stdout.read_line(&mut line).unwrap() > 0 {
                if lines.send(std::mem::take(&mut line)).is_err() {
                    break;
                }
            }
        });
        let stderr = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        Self {
            child,
            incoming,
            stdout: String::new(),
            stderr: Some(stderr),
        }
    }

    /// Waits for a line of stdout that contains this.
    pub(crate) fn line_with(&mut self, part: &str) -> String {
        loop {
            let line = self.incoming.recv_timeout(DEADLINE);
            let line = line.unwrap_or_else(|error| {
                panic!("no line with `{part}` ({error}) after: {}", self.stdout)
            });
            self.stdout.push_str(&line);
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Writes all of its standard input.
    pub(crate) fn input(&mut self, text: &str) {
        let mut stdin = self.child.stdin.take().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
    }

    /// Ctrl-C.
    pub(crate) fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
    }

    /// Ends it at once, as nothing can be prepared for.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end. One that does not end is killed, and what it said is shown.
    pub(crate) fn finish(mut self) -> Ended {
        drop(self.child.stdin.take());
        let begun = Instant::now();
        let status = loop {
            self.stdout.extend(self.incoming.try_iter());
            match self.child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if begun.elapsed() > DEADLINE => break None,
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        self.child.kill().unwrap();
        // Both pipes end with the program.
        self.stdout.extend(self.incoming.iter());
        let ended = Ended {
            code: status.and_then(|status| status.code()).unwrap_or(-1),
            stdout: std::mem::take(&mut self.stdout),
            stderr: self.stderr.take().unwrap().join().unwrap(),
        };
        assert!(status.is_some(), "it did not end: {ended:?}");
        ended
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// The lines of stdout, each of which must be a JSON object.
    pub(crate) fn json(&self) -> Vec<Value> {
        let parse = |line: &str| {
            let value: Value = serde_json::from_str(line).unwrap();
            assert!(value.is_object(), "{line}");
            value
        };
        self.stdout.lines().map(parse).collect()
    }
}
