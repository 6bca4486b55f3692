//! A daemon and a client in temporary folders, driven as from a shell. Everything has a deadline.
#![allow(dead_code, reason = "each kind of case uses its part")]

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use bowline_sim::world::program;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take, however slow the machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// One daemon's folder, one client's, and one to work in.
pub(crate) struct Rig {
    daemon: Option<Child>,
    /// Where the running daemon takes sessions, `127.0.0.1:PORT`.
    pub(crate) address: String,
    /// Last, so that it outlives what works in it.
    folder: TempDir,
}

/// How a program ended and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    /// −1 if by a signal.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Rig {
    /// Folders, and nothing running.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("work")).unwrap();
        Self {
            daemon: None,
            address: String::new(),
            folder,
        }
    }

    /// A running daemon and a client that is paired with it.
    pub(crate) fn paired() -> Self {
        let mut rig = Self::new();
        rig.up(&[]);
        rig.pair();
        rig
    }

    /// The daemon's state folder.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("D")
    }

    /// The client's state folder.
    pub(crate) fn client(&self) -> PathBuf {
        self.folder.path().join("C")
    }

    /// A folder for agents and for files of a test.
    pub(crate) fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// The file that the daemon's standard error goes to, over all its starts.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("daemon.log")
    }

    /// `bowline-daemon run` with more arguments, not started yet; for tests that want its environment or its files otherwise.
    pub(crate) fn daemon_command(&self, args: &[&str]) -> Command {
        let mut command = clean(&program("bowline-daemon").unwrap(), self.folder.path());
        let listen = match self.address.as_str() {
            "" => "127.0.0.1:0",
            before => before,
        };
        command
            .arg("--state-dir")
            .arg(self.state())
            .args(["run", "--listen", listen])
            .args(args);
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file());
        command.stderr(log.unwrap());
        command
    }

    /// A program of ours, not started yet, without settings of whoever runs the tests.
    pub(crate) fn program(&self, name: &str) -> Command {
        clean(&program(name).unwrap(), self.folder.path())
    }

    /// A command of this rig run by another program, as `nice` or `unshare` are: that program, its arguments, then the command.
    pub(crate) fn wrapped(&self, wrapper: &[&str], command: &Command) -> Command {
        let mut outer = Command::new(wrapper[0]);
        outer
            .args(&wrapper[1..])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => outer.env(name, value),
                None => outer.env_remove(name),
            };
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file());
        outer.stderr(log.unwrap());
        outer
    }

    /// Starts the daemon and waits until it listens; on the port of its first start.
    pub(crate) fn up(&mut self, args: &[&str]) {
        let command = self.daemon_command(args);
        self.start(command);
    }

    /// Starts a daemon from a command of [`Rig::daemon_command`] and waits until it listens.
    pub(crate) fn start(&mut self, mut command: Command) {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = lines(child.stdout.take().unwrap());
        self.daemon = Some(child);
        loop {
            let line = lines.recv_timeout(DEADLINE);
            let line = line.unwrap_or_else(|_| panic!("the daemon did not listen: {}", self.log()));
            let line: Value = serde_json::from_str(&line).unwrap();
            match line["kind"].as_str() {
                Some("session") => self.address = line["address"].as_str().unwrap().to_owned(),
                // The last one that every daemon prints.
                Some("local") => break,
                _ => {}
            }
        }
    }

    /// The daemon's process.
    pub(crate) fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("the daemon was started").id()
    }

    /// Sends the daemon a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.daemon.as_ref().expect("the daemon was started");
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    /// Whether the daemon's process is still there.
    pub(crate) fn runs(&mut self) -> bool {
        let child = self.daemon.as_mut().expect("the daemon was started");
        child.try_wait().unwrap().is_none()
    }

    /// Waits for the daemon's end; its exit code, −1 if by a signal.
    pub(crate) fn ended(&mut self) -> i32 {
        until("the daemon ends", || !self.runs());
        let mut child = self.daemon.take().expect("the daemon was started");
        child.wait().unwrap().code().unwrap_or(-1)
    }

    /// SIGTERM, and the end it leads to.
    pub(crate) fn stop(&mut self) -> i32 {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended();
    }

    /// Pairs the client with the daemon.
    pub(crate) fn pair(&self) {
        let offer = self.bd(&["pair", "--json"]);
        let offer: Value = serde_json::from_str(&offer.stdout).unwrap();
        let paired = self.bl(&["pair", offer["offer"].as_str().unwrap()]);
        assert_eq!(paired.code, 0, "{paired:?}");
    }

    /// `bowline-daemon --state-dir D …`.
    pub(crate) fn bd(&self, args: &[&str]) -> Ended {
        let mut command = clean(&program("bowline-daemon").unwrap(), self.folder.path());
        command.arg("--state-dir").arg(self.state()).args(args);
        finish(command)
    }

    /// `bowline --state-dir C …`, in the folder to work in.
    pub(crate) fn bl(&self, args: &[&str]) -> Ended {
        finish(self.bl_command(args))
    }

    /// The same, not started yet.
    pub(crate) fn bl_command(&self, args: &[&str]) -> Command {
        let mut command = clean(&program("bowline").unwrap(), self.folder.path());
        command
            .arg("--state-dir")
            .arg(self.client())
            .args(args)
            .current_dir(self.work());
        command
    }

    /// A script of bash, with `$D` and `$C` for the folders, `$BD` and `$BL` for the programs on them, `$DAEMON` for the
    /// daemon's process id (if it runs) and the programs on PATH.
    pub(crate) fn sh(&self, script: &str) -> Ended {
        let programs = program("bowline-daemon").unwrap();
        let programs = programs.parent().unwrap();
        let mut command = clean(Path::new("/bin/bash"), self.folder.path());
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("PATH", format!("{}:{path}", programs.display()))
            .env("D", self.state())
            .env("C", self.client())
            .env(
                "BD",
                format!("bowline-daemon --state-dir {}", self.state().display()),
            )
            .env(
                "BL",
                format!("bowline --state-dir {}", self.client().display()),
            )
            .args(["-c", script])
            .current_dir(self.work());
        if let Some(daemon) = &self.daemon {
            command.env("DAEMON", daemon.id().to_string());
        }
        finish(command)
    }

    /// One request on the local socket: the whole response. `"intentId": "new"` is replaced by a fresh one.
    pub(crate) fn rpc(&self, method: &str, mut params: Value) -> Value {
        if params["intentId"] == "new" {
            params["intentId"] = json!(uuid::Uuid::now_v7().to_string());
        }
        let mut socket = UnixStream::connect(self.state().join("daemon.sock")).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        writeln!(socket, "{request}").unwrap();
        for line in BufReader::new(socket).lines() {
            let message: Value = serde_json::from_str(&line.unwrap()).unwrap();
            if message["id"] == 1 {
                return message;
            }
        }
        panic!("{method}: closed without an answer");
    }

    /// A new agent in the folder to work in, with a first prompt: its id.
    pub(crate) fn agent(&self, provider: &str, prompt: &str) -> String {
        let params = json!({
            "intentId": "new", "provider": provider, "cwd": self.work(), "prompt": prompt,
        });
        let answer = self.rpc("agents.create", params);
        let id = answer["result"]["agent"]["id"].as_str();
        id.unwrap_or_else(|| panic!("not created: {answer}"))
            .to_owned()
    }

    /// Waits until that many turns of the agent have ended: the items of its timeline.
    pub(crate) fn turns(&self, agent: &str, ended: usize) -> Vec<Value> {
        let mut items = Vec::new();
        until(&format!("{ended} turns ended"), || {
            let answer = self.rpc("agents.history", json!({"agentId": agent, "limit": 500}));
            items = answer["result"]["items"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            items
                .iter()
                .filter(|item| item["kind"] == "turn_end")
                .count()
                >= ended
        });
        items
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let pid = Pid::from_child(&daemon);
            if daemon.try_wait().is_ok_and(|ended| ended.is_none()) {
                // As its user would, so that it ends its agents too; continued first, in case a test has stopped it.
                let _ = kill_process(pid, Signal::CONT);
                let _ = kill_process(pid, Signal::TERM);
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_secs(10)
                    && daemon.try_wait().is_ok_and(|ended| ended.is_none())
                {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// The text of the output items of a timeline, in order.
pub(crate) fn output(items: &[Value]) -> String {
    let texts = items.iter().filter(|item| item["kind"] == "output");
    texts.filter_map(|item| item["text"].as_str()).collect()
}

/// A program without settings of whoever runs the tests, and with a home of its own.
fn clean(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("BOWLINE_") || text.to_ascii_uppercase().ends_with("_PROXY") {
            command.env_remove(&name);
        }
    }
    command
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("XDG_STATE_HOME")
        .env_remove("XDG_RUNTIME_DIR")
        .env("HOME", home)
        .stdin(Stdio::null());
    command
}

/// Runs a program to its end. One that does not end is killed, and what it said is shown.
pub(crate) fn finish(mut command: Command) -> Ended {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = all(child.stdout.take().unwrap());
    let stderr = all(child.stderr.take().unwrap());
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if begun.elapsed() > DEADLINE => break None,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let _ = child.kill();
    let _ = child.wait();
    // Something that the program left behind may hold the pipes.
    let text = |from: mpsc::Receiver<Vec<u8>>| {
        let mut bytes = Vec::new();
        while let Ok(more) = from.recv_timeout(Duration::from_secs(5)) {
            bytes.extend(more);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let ended = Ended {
        code: status.and_then(|status| status.code()).unwrap_or(-1),
        stdout: text(stdout),
        stderr: text(stderr),
    };
    assert!(status.is_some(), "it did not end: {ended:?}");
    ended
}

/// What can be read, as it comes.
fn all(mut from: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count) = from.read(&mut buffer) {
            if count == 0 || send.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    receive
}

/// The lines of it, as they come. Reading goes on when nobody wants them any more.
pub(crate) fn lines(from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { break };
            let _ = send.send(line);
        }
    });
    receive
}

/// Waits for a condition that only can be asked for.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(
            begun.elapsed() < DEADLINE,
            "not within {DEADLINE:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a program of the system is there. In CI its absence fails the test; elsewhere the test says what it lacks.
pub(crate) fn has(tool: &str, package: &str) -> bool {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join(tool).is_file());
    if !found {
        let missing = format!("{tool} is not here: apt-get install {package}");
        assert!(std::env::var_os("CI").is_none(), "{missing}");
        eprintln!("skipped: {missing}");
    }
    found
}

/// The processes whose command line contains this text; only for texts that nothing else on the machine has.
pub(crate) fn processes_with(text: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(text) && pid != std::process::id() {
            found.push(pid);
        }
    }
    found
}
