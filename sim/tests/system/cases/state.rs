//! Files and clocks that do not say what they said before.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::rig::{DEADLINE, Rig, finish, has, lines, until};

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
    type Spoil<'a> = &'a dyn Fn(&Path);
    let cases: &[(&str, Spoil<'_>)] = &[
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

/// A request on another socket than that in the state folder.
fn ask(socket: &Path, method: &str, mut params: Value) -> Value {
    if params["intentId"] == "new" {
        params["intentId"] = json!(uuid::Uuid::now_v7().to_string());
    }
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    writeln!(stream, "{request}").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

/// C8: on a full disk devices heard `rate_limited` and could not even read; the metric stayed at zero.
#[test]
fn case_c8_on_a_full_disk_reading_goes_on_and_the_reason_names_it() {
    if !rustix::process::geteuid().is_root() || !has("unshare", "util-linux") {
        eprintln!("skipped: a small disk of its own needs root");
        return;
    }
    let mut rig = Rig::new();
    let socket = rig.work().join("daemon.sock");
    let at = socket.to_str().unwrap().to_owned();
    fs::create_dir(rig.state()).unwrap();
    let daemon = rig.daemon_command(&["--socket", &at]);
    let mut command = Command::new("unshare");
    command
        .args([
            "-m",
            "sh",
            "-c",
            "mount -t tmpfs -o size=3m small \"$SMALL\" && exec \"$@\"",
            "sh",
        ])
        .arg(daemon.get_program())
        .args(daemon.get_args())
        .env("SMALL", rig.state());
    for (name, value) in daemon.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stderr(fs::File::create(rig.work().join("log")).unwrap());
    rig.start(command);
    let offer = rig.bd(&["--socket", &at, "pair", "--json"]);
    let offer: Value = serde_json::from_str(&offer.stdout).unwrap();
    assert_eq!(rig.bl(&["pair", offer["offer"].as_str().unwrap()]).code, 0);
    let create = || {
        let params = json!({"intentId": "new", "provider": "shell", "cwd": rig.work(), "title": "x".repeat(900)});
        ask(&socket, "agents.create", params)
    };
    let agent = create();
    let agent = agent["result"]["agent"]["id"].as_str().unwrap();

    // Its disk as seen from here.
    let disk = PathBuf::from(format!("/proc/{}/root{}", rig.pid(), rig.state().display()));
    let ballast = disk.join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    while file.write_all(&[0; 4_096]).is_ok() {}
    drop(file);
    let mut refused = Value::Null;
    until("a write is refused", || {
        refused = create()["error"].take();
        refused.is_object()
    });
    assert_eq!(
        refused["data"]["reason"], "storage_unavailable",
        "{refused}"
    );
    assert!(
        refused["message"].as_str().unwrap().contains("disk"),
        "{refused}"
    );
    let status = ask(&socket, "daemon.status", json!({}));
    assert!(status["result"]["storageFailingSince"].is_i64(), "{status}");
    assert!(
        status["result"]["ledger"]["failedCommits"].as_u64() > Some(0),
        "{status}"
    );
    let shown = rig.bd(&["--socket", &at, "status"]);
    assert!(shown.stdout.contains("cannot be written"), "{shown:?}");
    // Another process of the client, so another cursor: the attach would have something to write.
    let listed = rig.bl(&["agents", "--json"]);
    assert_eq!(listed.code, 0, "{listed:?}");
    assert!(listed.stdout.contains(agent), "{listed:?}");
    let history = rig.bl(&["history", agent]);
    assert_eq!(history.code, 0, "{history:?}");
    let offer = rig.bd(&["--socket", &at, "pair"]);
    assert!(
        offer.code != 0 && offer.stderr.contains("disk"),
        "{offer:?}"
    );

    fs::remove_file(ballast).unwrap();
    until("writes are taken again", || create()["result"].is_object());
    let status = ask(&socket, "daemon.status", json!({}));
    assert!(
        status["result"]["storageFailingSince"].is_null(),
        "{status}"
    );
    let log = fs::read_to_string(rig.work().join("log")).unwrap();
    let said = log
        .lines()
        .filter(|line| line.contains("cannot be written"))
        .count();
    assert!(said <= 2, "not one line a try: {log}");
}

/// C8 at the client: a folder that may not be written to kept `bowline hosts` from reading.
#[test]
fn case_c8_a_read_only_client_folder_is_read() {
    if !rustix::process::geteuid().is_root() || !has("unshare", "util-linux") {
        eprintln!("skipped: a read-only mount needs root");
        return;
    }
    let rig = Rig::paired();
    rig.agent("shell", "echo there");
    let read_only = "unshare -m sh -c 'mount --bind \"$C\" \"$C\" && mount -o remount,ro,bind \"$C\" && exec \"$@\"' sh";
    for command in ["hosts", "agents"] {
        let ended = rig.sh(&format!("{read_only} $BL {command} --json"));
        assert_eq!(ended.code, 0, "{command}: {ended:?}");
        assert!(ended.stdout.contains("srv_"), "{ended:?}");
    }
    let ended = rig.sh(&format!(
        "{read_only} $BL --timeout 20s run --provider shell 'echo x'"
    ));
    assert_ne!(ended.code, 0);
    assert!(
        ended.stderr.contains("Read-only") && ended.stderr.contains(rig.client().to_str().unwrap()),
        "{ended:?}"
    );
}

/// C11: after `sudo bowline pair` the client's files were root's.
#[test]
fn case_c11_what_root_makes_in_a_users_folder_is_the_users() {
    use std::os::unix::fs::{MetadataExt, chown};
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make files of root's");
        return;
    }
    let mut rig = Rig::new();
    fs::create_dir(rig.client()).unwrap();
    chown(rig.client(), Some(12_345), Some(12_345)).unwrap();
    rig.up(&[]);
    rig.pair();
    let made: Vec<_> = fs::read_dir(rig.client()).unwrap().flatten().collect();
    assert!(made.len() >= 2, "{made:?}");
    for entry in made {
        assert_eq!(entry.metadata().unwrap().uid(), 12_345, "{entry:?}");
    }
}

/// C8's kind: `ulimit -f`, by which the system ends a program rather than failing its write.
#[test]
fn case_c8_a_limit_of_file_sizes_ends_no_daemon() {
    let mut rig = Rig::new();
    let daemon = rig.daemon_command(&[]);
    let limited = ["bash", "-c", "ulimit -f 400 && exec \"$@\"", "bash"];
    rig.start(rig.wrapped(&limited, &daemon));
    let prompt = "head -c 150000 /dev/zero | tr '\\0' x";
    until("a write is refused", || {
        let params =
            json!({"intentId": "new", "provider": "shell", "cwd": rig.work(), "prompt": prompt});
        let answer = rig.rpc("agents.create", params);
        answer["error"]["data"]["reason"] == "storage_unavailable"
    });
    assert!(rig.runs(), "{}", rig.log());
    let listed = rig.rpc("agents.list", json!({}));
    assert!(listed["result"]["agents"].is_array(), "{listed}");
    let status = rig.rpc("daemon.status", json!({}));
    assert!(status["result"]["storageFailingSince"].is_i64(), "{status}");
    assert_eq!(rig.stop(), 0, "{}", rig.log());
}

/// C8 and C11: a start that its own files are in the way of says whose they are, or that the disk is full, and what to do.
#[test]
fn case_c11_a_daemon_that_may_not_use_its_files_says_whose_they_are() {
    use std::os::unix::fs::{PermissionsExt, chown};
    if !rustix::process::geteuid().is_root() || !has("setpriv", "util-linux") {
        eprintln!("skipped: only root can make files of root's");
        return;
    }
    let mut rig = Rig::new();
    rig.up(&[]);
    assert_eq!(rig.stop(), 0);
    // The user may not reach where the programs were built.
    let daemon = rig.daemon_command(&[]);
    let program = rig.work().join("bowline-daemon");
    fs::copy(daemon.get_program(), &program).unwrap();
    let state = rig.state();
    let own = |path: &Path, user: u32| chown(path, Some(user), Some(user)).unwrap();
    own(state.parent().unwrap(), 12_345);
    own(&rig.work(), 12_345);
    let start = || {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "12345", "--regid", "12345", "--clear-groups"])
            .arg(&program)
            .args(daemon.get_args());
        for (name, value) in daemon.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        finish(command)
    };
    let told = |path: &Path| {
        let ended = start();
        assert_eq!(ended.code, 1, "{ended:?}");
        let text = format!("{} belongs to root", path.display());
        assert!(ended.stderr.contains(&text), "{text}: {ended:?}");
        let remedy = format!("sudo chown -R 12345 {}", state.display());
        assert!(ended.stderr.contains(&remedy), "{ended:?}");
    };
    told(&state);
    own(&state, 12_345);
    let names = ["daemon.lock", "identity.json", "store.json", "bowline.db"];
    for name in names {
        own(&state.join(name), 12_345);
    }
    for name in names {
        let path = state.join(name);
        own(&path, 0);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        told(&path);
        own(&path, 12_345);
    }
}

/// C6: a daemon whose folder was removed went on, and everything was lost at its end.
#[test]
fn case_c6_a_daemon_whose_files_are_gone_says_so_and_ends() {
    type Lose = fn(&Path);
    let cases: [(&str, Lose); 2] = [
        ("removed", |dir| fs::remove_dir_all(dir).unwrap()),
        ("replaced", |dir| {
            let copy = dir.join("copy.db");
            fs::copy(dir.join("bowline.db"), &copy).unwrap();
            fs::rename(copy, dir.join("bowline.db")).unwrap();
        }),
    ];
    for (how, lose) in cases {
        let mut rig = Rig::new();
        rig.up(&[]);
        lose(&rig.state());
        assert_eq!(rig.ended(), 1, "{how}");
        let said = rig.log();
        assert!(said.contains("bowline.db") && said.contains(how), "{said}");
    }
}

/// C9: a pipe in the place of a file made the start wait for ever.
#[test]
fn case_c9_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting() {
    let rig = Rig::new();
    fs::create_dir_all(rig.state()).unwrap();
    for (folder, file, command) in [
        ("$D", "identity.json", "$BD run --listen 127.0.0.1:0"),
        ("$C", "profile.json", "$BL hosts"),
    ] {
        let script = format!("mkdir -p {folder} && mkfifo {folder}/{file} && {command}");
        let ended = rig.sh(&script);
        assert_ne!(ended.code, 0, "{ended:?}");
        let says = ended.stderr.contains(file) && ended.stderr.contains("a pipe");
        assert!(says, "{ended:?}");
    }
}
