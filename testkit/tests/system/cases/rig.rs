//! A daemon and a client in temporary folders, driven as from a shell. All waits are bounded.
#![allow(dead_code, reason = "each kind of case uses its part")]

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use bowline_testkit::{blocking::eventually, world::program};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) use bowline_testkit::shell::{DEADLINE, Daemon, Ended, clean, finish, lines};

/// The section of a configuration for a provider `shell`. The built-in one exists only without it
/// and without any other.
pub(crate) const SHELL: &str =
    "[[provider]]\nname = \"shell\"\nkind = \"command\"\ncommand = [\"/bin/sh\", \"-c\", \"--\"]\n";

/// Folders of a daemon and a client, and a work folder.
pub(crate) struct Rig {
    daemon: Option<Daemon>,
    /// Session address of the running daemon, `127.0.0.1:PORT`.
    pub(crate) address: String,
    /// Last, so that it outlives the programs that use it.
    folder: TempDir,
}

impl Rig {
    /// Folders without running programs.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("work")).unwrap();
        Self {
            daemon: None,
            address: String::new(),
            folder,
        }
    }

    /// A running daemon and a paired client.
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

    /// A folder for agents and test files.
    pub(crate) fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// The daemon's standard error, over all its starts.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("daemon.log")
    }

    /// `bowline-daemon run` with further arguments, not started yet, for tests that change its
    /// environment or files.
    pub(crate) fn daemon_command(&self, args: &[&str]) -> Command {
        let mut command = clean(program("bowline-daemon").unwrap(), self.folder.path());
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

    /// A program without the settings of the test machine, not started yet.
    pub(crate) fn program(&self, name: &str) -> Command {
        clean(program(name).unwrap(), self.folder.path())
    }

    /// A command of this rig run by another program such as `nice` or `unshare`: that program, its
    /// arguments, then the command.
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

    /// Starts the daemon and waits until it listens; restarts use the first port.
    pub(crate) fn up(&mut self, args: &[&str]) {
        let command = self.daemon_command(args);
        self.start(command);
    }

    /// Starts a command of [`Rig::daemon_command`] and waits until it listens.
    pub(crate) fn start(&mut self, command: Command) {
        let daemon = Daemon::start(command);
        self.address.clone_from(&daemon.address);
        self.daemon = Some(daemon);
    }

    /// The daemon, which was started.
    pub(crate) fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().expect("the daemon was started")
    }

    /// The daemon's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("the daemon was started").pid()
    }

    /// Sends the daemon a signal.
    pub(crate) fn signal(&mut self, signal: Signal) {
        self.daemon().signal(signal);
    }

    /// Whether the daemon's process runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.daemon().runs()
    }

    /// Waits for the daemon's end; returns its exit code, −1 if ended by a signal.
    pub(crate) fn ended(&mut self) -> i32 {
        self.daemon().ended()
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn stop(&mut self) -> i32 {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.daemon().kill();
    }

    /// Pairs the client with the daemon.
    pub(crate) fn pair(&self) {
        let offer = self.bd(&["pair", "--json"]);
        let offer: Value = serde_json::from_str(&offer.stdout).unwrap();
        let paired = self.bl(&["pair", "--yes", offer["offer"].as_str().unwrap()]);
        assert_eq!(paired.code, 0, "{paired:?}");
    }

    /// `bowline-daemon --state-dir D …`.
    pub(crate) fn bd(&self, args: &[&str]) -> Ended {
        let mut command = clean(program("bowline-daemon").unwrap(), self.folder.path());
        command.arg("--state-dir").arg(self.state()).args(args);
        finish(command)
    }

    /// `bowline --state-dir C …`, in the work folder.
    pub(crate) fn bl(&self, args: &[&str]) -> Ended {
        finish(self.bl_command(args))
    }

    /// The same, not started yet.
    pub(crate) fn bl_command(&self, args: &[&str]) -> Command {
        let mut command = clean(program("bowline").unwrap(), self.folder.path());
        command
            .arg("--state-dir")
            .arg(self.client())
            .args(args)
            .current_dir(self.work());
        command
    }

    /// A bash script with `$D` and `$C` as folders, `$BD` and `$BL` as the programs with them,
    /// `$DAEMON` as the daemon's process id (if running) and the programs in PATH.
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
            command.env("DAEMON", daemon.pid().to_string());
        }
        finish(command)
    }

    /// One request on the local socket; returns the whole response. `"intentId": "new"` is replaced
    /// by a fresh id.
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

    /// Creates an agent in the work folder with a first prompt; returns its id.
    pub(crate) fn agent(&self, provider: &str, prompt: &str) -> String {
        let params = json!({
            "intentId": "new", "provider": provider, "cwd": self.work(), "prompt": prompt,
        });
        let answer = self.rpc("agents.create", params);
        let id = answer["result"]["agent"]["id"].as_str();
        id.unwrap_or_else(|| panic!("not created: {answer}"))
            .to_owned()
    }

    /// Waits until this many turns of the agent have ended; returns its timeline.
    pub(crate) fn turns(&self, agent: &str, ended: usize) -> Vec<Value> {
        let mut items = Vec::new();
        eventually(format!("{ended} turns ended"), || {
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

/// The text of a timeline's output items, in order.
pub(crate) fn output(items: &[Value]) -> String {
    let texts = items.iter().filter(|item| item["kind"] == "output");
    texts.filter_map(|item| item["text"].as_str()).collect()
}

/// Whether a system program is installed. If not, CI fails the test; elsewhere the test reports it
/// and passes.
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

/// Compiles a C file beside these tests into a library for `LD_PRELOAD`; `None` without a compiler.
pub(crate) fn preloaded(rig: &Rig, source: &str) -> Option<PathBuf> {
    if !has("cc", "gcc") {
        return None;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/system/cases");
    let library = rig.work().join(source).with_extension("so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(folder.join(source));
    let made = finish(cc);
    assert_eq!(made.code, 0, "{made:?}");
    Some(library)
}

/// Processes whose command line contains a text unique on this machine.
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

/// A loopback address that nothing listens on, for a program that must know its port before it
/// starts.
pub(super) fn free_address() -> SocketAddr {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    taken.local_addr().unwrap()
}
