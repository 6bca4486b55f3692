//! One run of a program: its lines as they arrive, and its exit.

use std::{
    io::{Read, Write},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{DEADLINE, Ended};

/// How long the rest of a program's output may take, since processes that it left may hold the
/// pipes.
const REST: Duration = Duration::from_secs(5);

/// A running program; killed when dropped.
pub struct Running {
    child: Child,
    stdout: Output,
    stderr: Output,
}

/// The bytes of one pipe.
struct Output {
    arriving: mpsc::Receiver<Vec<u8>>,
    read: Vec<u8>,
    /// Bytes of the lines that were passed.
    passed: usize,
}

impl Output {
    fn of(mut from: impl Read + Send + 'static) -> Self {
        let (send, arriving) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                let arrived = buffer.get(..count).unwrap_or_default();
                if send.send(arrived.to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            arriving,
            read: Vec::new(),
            passed: 0,
        }
    }

    fn next_line(&mut self) -> Option<String> {
        let rest = self.read.get(self.passed..)?;
        let line = rest.split_inclusive(|byte| *byte == b'\n').next()?;
        let is_whole = line.ends_with(b"\n");
        self.passed += if is_whole { line.len() } else { 0 };
        is_whole.then(|| String::from_utf8_lossy(line).into_owned())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }

    /// Everything to the end.
    fn all(&mut self) -> String {
        while let Ok(more) = self.arriving.recv_timeout(REST) {
            self.read.extend(more);
        }
        self.text()
    }
}

impl Running {
    /// Starts a program with pipes for its input and output.
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            stdout: Output::of(child.stdout.take().unwrap()),
            stderr: Output::of(child.stderr.take().unwrap()),
            child,
        }
    }

    /// Waits for the next line of stdout that contains `part`; the lines before it are passed.
    pub fn line_with(&mut self, part: &str) -> String {
        loop {
            while let Some(line) = self.stdout.next_line() {
                if line.contains(part) {
                    return line;
                }
            }
            match self.stdout.arriving.recv_timeout(DEADLINE) {
                Ok(more) => self.stdout.read.extend(more),
                Err(error) => {
                    panic!(
                        "no line with `{part}` ({error}) after: {}",
                        self.stdout.text()
                    )
                }
            }
        }
    }

    /// Writes its whole standard input, which must be piped.
    pub fn input(&mut self, text: &str) {
        let mut stdin = self.child.stdin.take().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
    }

    /// Sends Ctrl-C.
    pub fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
    }

    /// Kills it without warning.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end; after the deadline kills it and shows its output.
    pub fn finish(mut self) -> Ended {
        drop(self.child.stdin.take());
        let begun = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if begun.elapsed() > DEADLINE => break None,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let _ = self.child.kill();
        let ended = Ended {
            code: status.and_then(|status| status.code()).unwrap_or(-1),
            stdout: self.stdout.all(),
            stderr: self.stderr.all(),
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
