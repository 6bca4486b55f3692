//! Time that goes back: restored backups and clock jumps.

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
    sync::mpsc,
    time::Duration,
};

use bowline_testkit::blocking::eventually;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::rig::{Rig, lines, preloaded};

/// A running `bowline watch --json` and its output.
struct Watch {
    child: Child,
    said: mpsc::Receiver<String>,
    newest: Option<Value>,
}

impl Watch {
    fn start(rig: &Rig) -> Self {
        let mut command = rig.bl_command(&["watch", "--json"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let said = lines(child.stdout.take().unwrap());
        Self {
            child,
            said,
            newest: None,
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until the host is online and shows exactly these agents.
    fn shows(&mut self, titles: &[&str]) {
        let mut expected: Vec<_> = titles.iter().map(|title| (*title).to_owned()).collect();
        expected.sort();
        eventually(format!("{expected:?} are shown"), || {
            while let Ok(line) = self.said.try_recv() {
                self.newest = serde_json::from_str(&line).ok();
            }
            self.newest.as_ref().is_some_and(|snapshot| {
                let host = &snapshot["hosts"][0];
                host["state"] == "online"
                    && host["directory"]["state"] == "ready"
                    && titles_of(&host["directory"]["agents"]) == expected
            })
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn titles_of(agents: &Value) -> Vec<String> {
    let agents = agents.as_array().cloned().unwrap_or_default();
    let mut titles: Vec<_> = agents
        .iter()
        .filter_map(|agent| agent["title"].as_str().map(str::to_owned))
        .collect();
    titles.sort();
    titles
}

fn titled(rig: &Rig, titles: &[&str]) {
    for title in titles {
        let params = json!({
            "intentId": "new", "provider": "shell", "cwd": rig.work(), "title": title,
        });
        let answer = rig.rpc("agents.create", params);
        assert!(answer["result"].is_object(), "{answer}");
    }
}

pub(super) fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// C43: after a backup was restored, clients that were offline showed removed agents and missed
/// existing ones.
#[test]
fn case_c43_a_client_of_a_restored_daemon_shows_what_is_there() {
    let mut rig = Rig::paired();
    let mut watch = Watch::start(&rig);
    watch.shows(&[]);
    rig.stop();
    let backup = rig.state().with_extension("backup");
    copy(&rig.state(), &backup);
    rig.up(&[]);
    titled(&rig, &["one", "two", "three"]);
    watch.shows(&["one", "two", "three"]);
    watch.signal(Signal::STOP);
    rig.stop();
    copy(&backup, &rig.state());
    rig.up(&[]);
    let others = ["four", "five", "six", "seven", "eight"];
    titled(&rig, &others);
    watch.signal(Signal::CONT);
    watch.shows(&others);
}

/// C44: the clock of the daemon's machine jumps by a day and an hour, and the same request takes
/// effect again.
#[test]
fn case_c44_a_request_has_its_effect_once_whatever_the_clock_does() {
    let mut rig = Rig::new();
    // It shifts the wall clock of the process by the seconds in a file.
    let Some(library) = preloaded(&rig, "wallclock.c") else {
        return;
    };
    let shift = rig.work().join("shift");
    let set = |seconds: i64| fs::write(&shift, seconds.to_string()).unwrap();
    set(0);
    let start = |rig: &mut Rig| {
        let mut command = rig.daemon_command(&[]);
        command
            .env("LD_PRELOAD", &library)
            .env("WALLCLOCK_FILE", &shift);
        rig.start(command);
    };
    start(&mut rig);
    rig.pair();
    let request = json!({
        "intentId": uuid::Uuid::now_v7().to_string(), "provider": "shell", "cwd": rig.work(), "title": "once",
    });
    let first = rig.rpc("agents.create", request.clone());
    assert!(first["result"].is_object(), "{first}");
    let there = |rig: &Rig| {
        rig.rpc("agents.list", json!({}))["result"]["agents"]
            .as_array()
            .unwrap()
            .len()
    };
    let offer = rig.bd(&["pair", "--json"]);
    let offer: Value = serde_json::from_str(&offer.stdout).unwrap();
    for (jump, is_killed) in [
        (25 * 3_600, false),
        (-25 * 3_600, true),
        (60 * 86_400, true),
    ] {
        set(jump);
        // Verifies the jump of the clock.
        let pong = rig.rpc("system.ping", json!({}));
        let far = pong["result"]["serverTime"].as_i64().unwrap() - now();
        assert!(
            (far / 1_000 - jump).abs() < 3_600,
            "{far} ms ahead after a jump of {jump} s"
        );
        assert_eq!(rig.rpc("agents.create", request.clone()), first);
        if is_killed {
            rig.kill();
        } else {
            rig.stop();
        }
        start(&mut rig);
        // Outcomes are removed at the start.
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(rig.rpc("agents.create", request.clone()), first);
        assert_eq!(there(&rig), 1);
    }
    // The offer made before the jumps is one minute old, like the session of the client that paired
    // first.
    let paired = rig.bl(&["pair", "--yes", offer["offer"].as_str().unwrap()]);
    assert_eq!(paired.code, 0, "{paired:?}");
}

fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.unwrap().as_millis()).unwrap()
}
