//! Two machines in a temporary folder: one with a daemon, one with the program under test.

pub(crate) mod daemon;

use std::process::{Command, Stdio};

use bowline_testkit::{
    blocking::eventually,
    shell::{Ended, Running, clean},
};
use serde_json::Value;

pub(crate) use daemon::Daemon;

/// A daemon and a client.
pub(crate) struct World {
    pub(crate) daemon: Daemon,
    folder: tempfile::TempDir,
}

impl World {
    /// A fresh daemon and an unpaired client.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("work")).unwrap();
        Self {
            daemon: Daemon::start(&folder.path().join("daemon"), "127.0.0.1:0"),
            folder,
        }
    }

    /// A fresh daemon and a paired client.
    pub(crate) fn paired() -> Self {
        let world = Self::new();
        let offer = world.daemon.offer();
        assert_eq!(world.bowline(&["pair", "--yes", &offer]).code, 0);
        world
    }

    /// The client's state directory.
    pub(crate) fn state(&self) -> std::path::PathBuf {
        self.folder.path().join("client")
    }

    /// A directory for agents and test files.
    pub(crate) fn work(&self) -> std::path::PathBuf {
        self.folder.path().join("work")
    }

    /// The program with arguments, on the client's state.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = clean(env!("CARGO_BIN_EXE_bowline"), self.folder.path());
        command
            .arg("--state-dir")
            .arg(self.state())
            .args(args)
            .stdin(Stdio::piped())
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

    /// The only agent.
    pub(crate) fn only_agent(&self) -> Value {
        let listed = self.bowline(&["agents", "--json"]);
        assert_eq!(listed.code, 0, "{listed:?}");
        let lines = listed.json();
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines[0]["agent"].clone()
    }

    /// Waits until the only agent has this status.
    pub(crate) fn until_status(&self, status: &str) {
        eventually(format!("the agent is {status}"), || {
            self.only_agent()["status"] == status
        });
    }
}

/// The object without members of unpredictable value (ids, times), which must be present.
pub(crate) fn without(mut value: Value, unknown: &[&str]) -> Value {
    for key in unknown {
        let member = value.as_object_mut().unwrap().remove(*key);
        assert!(member.is_some(), "`{key}` is missing in {value}");
    }
    value
}

/// Folds the lines of a run: the items in order, each with its whole text.
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
