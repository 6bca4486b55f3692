//! Two machines in a temporary folder: one with a daemon, one with the program under test.

pub(crate) mod daemon;
pub(crate) mod program;

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;

pub(crate) use daemon::Daemon;
pub(crate) use program::{Ended, Running};

/// How long anything may take, however slow the machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A daemon, and a client beside it.
pub(crate) struct World {
    pub(crate) daemon: Daemon,
    folder: tempfile::TempDir,
}

impl World {
    /// A fresh daemon and a client that nobody knows.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("work")).unwrap();
        Self {
            daemon: Daemon::start(&folder.path().join("daemon"), "127.0.0.1:0"),
            folder,
        }
    }

    /// A fresh daemon and a client that is paired with it.
    pub(crate) fn paired() -> Self {
        let world = Self::new();
        let offer = world.daemon.offer();
        assert_eq!(world.bowline(&["pair", &offer]).code, 0);
        world
    }

    /// The client's state directory.
    pub(crate) fn state(&self) -> std::path::PathBuf {
        self.folder.path().join("client")
    }

    /// A directory for agents, and for files of a test.
    pub(crate) fn work(&self) -> std::path::PathBuf {
        self.folder.path().join("work")
    }

    /// The program with these arguments, on the client's state.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = clean(env!("CARGO_BIN_EXE_bowline"), self.folder.path());
        command
            .arg("--state-dir")
            .arg(self.state())
            .args(args)
            .current_dir(self.work());
        command
    }

    /// Starts the program.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::start(self.command(args))
    }

    /// Runs the program to its end.
    pub(crate) fn bowline(&self, args: &[&str]) -> Ended {
        self.start(args).finish()
    }

    /// The only agent there is.
    pub(crate) fn only_agent(&self) -> Value {
        let listed = self.bowline(&["agents", "--json"]);
        assert_eq!(listed.code, 0, "{listed:?}");
        let lines = listed.json();
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines[0]["agent"].clone()
    }

    /// Waits until the only agent has that status.
    pub(crate) fn until_status(&self, status: &str) {
        until(&format!("the agent is {status}"), || {
            self.only_agent()["status"] == status
        });
    }
}

/// A program of ours, without the settings of the machine that the tests run on.
pub(crate) fn clean(program: impl AsRef<std::ffi::OsStr>, home: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BOWLINE_")) {
        command.env_remove(name);
    }
    for name in ["XDG_STATE_HOME", "XDG_CONFIG_HOME"] {
        command.env_remove(name);
    }
    command.env("HOME", home).env("SHELL", "/bin/sh");
    command
}

/// Waits until it is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < DEADLINE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The object without members that no test can know (ids, times), which must be there.
pub(crate) fn without(mut value: Value, unknown: &[&str]) -> Value {
    for key in unknown {
        let member = value.as_object_mut().unwrap().remove(*key);
        assert!(member.is_some(), "`{key}` is missing in {value}");
    }
    value
}

/// What the lines of a run amount to: the items in order, each with its whole text.
pub(crate) fn items(lines: &[Value]) -> Vec<Value> {
    let mut items: Vec<Value> = Vec::new();
    for line in lines {
        match line["event"].as_str() {
            Some("item") => items.push(line["item"].clone()),
            Some("delta") => {
                let index = &line["index"];
                let grown = items
                    .iter_mut()
                    .find(|item| item["index"] == *index)
                    .unwrap();
                assert_eq!(grown["id"], line["itemId"]);
                let text = [
                    grown["text"].as_str().unwrap(),
                    line["text"].as_str().unwrap(),
                ];
                grown["text"] = text.concat().into();
            }
            _ => {}
        }
    }
    let indices: Vec<_> = items
        .iter()
        .map(|item| item["index"].as_u64().unwrap())
        .collect();
    let first = indices.first().copied().unwrap_or_default();
    let expected: Vec<_> = (first..).take(items.len()).collect();
    assert_eq!(indices, expected, "each item once and in order");
    items
}
