//! Files and clocks that do not say what they said before.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::rig::{Rig, finish, has, lines, until};

/// `bowline watch --json`, and what it says.
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

    /// Waits until the host is online and shows agents of these titles and no others.
    fn shows(&mut self, titles: &[&str]) {
        let mut expected: Vec<_> = titles.iter().map(|title| (*title).to_owned()).collect();
        expected.sort();
        until(&format!("{expected:?} are shown"), || {
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

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// C43: after a backup was put back, clients that were away showed agents that were gone and missed those that were there.
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

/// A library that shifts the wall clock of what it is loaded into by the seconds that a file says.
fn shifting(rig: &Rig) -> Option<PathBuf> {
    if !has("cc", "gcc") {
        return None;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/system/cases/wallclock.c");
    let library = rig.work().join("wallclock.so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(source);
    let made = finish(cc);
    assert_eq!(made.code, 0, "{made:?}");
    Some(library)
}

/// C44: the clock of the daemon's machine jumps by a day and an hour, and the same request has its effect again.
#[test]
fn case_c44_a_request_has_its_effect_once_whatever_the_clock_does() {
    let mut rig = Rig::new();
    let Some(library) = shifting(&rig) else {
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
        // The clock has jumped indeed.
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
        // Outcomes are swept at the start.
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(rig.rpc("agents.create", request.clone()), first);
        assert_eq!(there(&rig), 1);
    }
    // The offer from before all that is a minute old, and so is the session of the client that paired first.
    let paired = rig.bl(&["pair", offer["offer"].as_str().unwrap()]);
    assert_eq!(paired.code, 0, "{paired:?}");
}

fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.unwrap().as_millis()).unwrap()
}

/// C9: identity and database that do not belong together made a new daemon without a word.
#[test]
fn case_c9_files_that_do_not_belong_together_start_nothing() {
    let mut rig = Rig::paired();
    rig.stop();
    let good = rig.state().with_extension("good");
    copy(&rig.state(), &good);
    let other = Rig::paired();
    let theirs = other.state();
    let from = |name: &str| theirs.join(name);
    let cases: &[(&str, &dyn Fn(&Path))] = &[
        ("identity.json is missing", &|dir| {
            fs::remove_file(dir.join("identity.json")).unwrap()
        }),
        ("bowline.db is empty", &|dir| {
            fs::write(dir.join("bowline.db"), "").unwrap()
        }),
        ("bowline.db is missing", &|dir| {
            fs::remove_file(dir.join("bowline.db")).unwrap()
        }),
        ("belong", &|dir| {
            let _ = fs::copy(from("identity.json"), dir.join("identity.json")).unwrap();
        }),
        ("another daemon", &|dir| {
            // Theirs runs: its database is in the log beside it, mostly.
            for name in ["bowline.db", "bowline.db-wal"] {
                fs::copy(from(name), dir.join(name)).unwrap();
            }
        }),
        ("is corrupt", &|dir| {
            fs::write(dir.join("identity.json"), "").unwrap()
        }),
        ("is a folder", &|dir| {
            fs::remove_file(dir.join("bowline.db")).unwrap();
            fs::create_dir(dir.join("bowline.db")).unwrap();
        }),
    ];
    for (expected, spoil) in cases {
        copy(&good, &rig.state());
        let _ = fs::remove_dir(rig.state().join("bowline.db"));
        spoil(&rig.state());
        let before = content(&rig.state());
        let ended = finish(rig.daemon_command(&[]));
        let said = ended.stderr;
        let last = said.lines().last().unwrap_or_default();
        assert_eq!(ended.code, 1, "{expected}: {last}");
        assert!(said.contains(expected), "{expected}: {said}");
        assert_eq!(
            content(&rig.state()),
            before,
            "{expected}: left as they were"
        );
        let _ = fs::remove_dir(rig.state().join("bowline.db"));
    }
    copy(&good, &rig.state());
    rig.up(&[]);
    let known = rig.bl(&["agents"]);
    assert_eq!(
        known.code, 0,
        "with its files back it knows its devices: {known:?}"
    );
}

/// Identity, database and log of a state folder.
fn content(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    [
        "identity.json",
        "bowline.db",
        "bowline.db-wal",
        "store.json",
    ]
    .iter()
    .map(|name| dir.join(name))
    .filter_map(|path| Some((path.clone(), fs::read(path).ok()?)))
    .collect()
}

/// C10: files of a newer version were called corrupt, and people moved them away.
#[test]
fn case_c10_files_of_a_newer_version_are_said_to_be_that() {
    let mut rig = Rig::paired();
    rig.stop();
    let identity = rig.state().join("identity.json");
    let old = fs::read_to_string(&identity).unwrap();
    let newer = r#"{"version":99,"of":"another form"}"#;
    fs::write(&identity, newer).unwrap();
    let ended = finish(rig.daemon_command(&[]));
    assert_eq!(ended.code, 1);
    let said = ended.stderr;
    assert!(
        said.contains("newer version") && said.contains("99") && said.contains("up to 1"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(&identity).unwrap(), newer);
    fs::write(&identity, old).unwrap();
    for name in ["profile.json", "hosts.json"] {
        let path = rig.client().join(name);
        let old = fs::read(&path).unwrap();
        fs::write(&path, newer).unwrap();
        let ended = rig.bl(&["hosts", "--json"]);
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.stdout.contains("newer_state"), "{ended:?}");
        assert!(
            ended.stdout.contains("newer version") && ended.stdout.contains(name),
            "{ended:?}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), newer);
        fs::write(path, old).unwrap();
    }
}

/// C9 at the client: what shows that there were hosts is not taken for a new install.
#[test]
fn case_c9_a_client_that_lost_its_files_does_not_begin_anew() {
    let rig = Rig::paired();
    for (name, reason) in [
        ("hosts.json", "hosts_missing"),
        ("profile.json", "identity_missing"),
    ] {
        let path = rig.client().join(name);
        let old = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let ended = rig.bl(&["hosts", "--json"]);
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(
            ended.stdout.contains(reason) && ended.stdout.contains(name),
            "{ended:?}"
        );
        assert!(!path.exists(), "no other one is made");
        fs::write(path, old).unwrap();
    }
    let hosts = rig.bl(&["hosts"]);
    assert_eq!(hosts.code, 0, "{hosts:?}");
}
