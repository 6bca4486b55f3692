//! Disks and permissions that fail at run time: full, read-only, owned by another user, removed.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
};

use bowline_testkit::blocking::eventually;
use serde_json::{Value, json};

use super::rig::{DEADLINE, Rig, finish, has};

/// A request on a given socket.
pub(super) fn ask(socket: &Path, method: &str, mut params: Value) -> Value {
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

/// Starts the daemon with its state on a disk of 3 MiB. Gives the folder as this process sees it;
/// `None` where that cannot be done, which is printed.
pub(super) fn on_a_small_disk(rig: &mut Rig, socket: &Path) -> Option<PathBuf> {
    if !rustix::process::geteuid().is_root() || !has("unshare", "util-linux") {
        eprintln!("skipped: a small disk of its own needs root");
        return None;
    }
    fs::create_dir(rig.state()).unwrap();
    let daemon = rig.daemon_command(&["--socket", socket.to_str().unwrap()]);
    let mut command = Command::new("unshare");
    command
        .args([
            "-m",
            "sh",
            "-c",
            "mount -t tmpfs -o size=3m,mode=700 small \"$SMALL\" && exec \"$@\"",
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
    // The daemon's disk, in this mount namespace.
    let disk = format!("/proc/{}/root{}", rig.pid(), rig.state().display());
    Some(disk.into())
}

/// C8: on a full disk devices got `rate_limited` and could not even read; the metric stayed at
/// zero.
#[test]
fn case_c8_on_a_full_disk_reading_goes_on_and_the_reason_names_it() {
    let mut rig = Rig::new();
    let socket = rig.work().join("daemon.sock");
    let Some(disk) = on_a_small_disk(&mut rig, &socket) else {
        return;
    };
    let at = socket.to_str().unwrap().to_owned();
    let offer = rig.bd(&["--socket", &at, "pair", "--json"]);
    let offer: Value = serde_json::from_str(&offer.stdout).unwrap();
    assert_eq!(
        rig.bl(&["pair", "--yes", offer["offer"].as_str().unwrap()])
            .code,
        0
    );
    let create = || {
        let params = json!({"intentId": "new", "provider": "shell", "cwd": rig.work(), "title": "x".repeat(900)});
        ask(&socket, "agents.create", params)
    };
    let agent = create();
    let agent = agent["result"]["agent"]["id"].as_str().unwrap();

    let ballast = disk.join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    while file.write_all(&[0; 4_096]).is_ok() {}
    drop(file);
    let mut refused = Value::Null;
    eventually("a write is refused", || {
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
    // Another client process has another cursor: its attach would write.
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
    eventually("writes are taken again", || create()["result"].is_object());
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

/// C8 for the client: a read-only folder prevented `bowline hosts` from reading.
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

/// C11: after `sudo bowline pair` the client's files belonged to root.
#[test]
fn case_c11_root_leaves_no_file_in_a_users_folder() {
    use std::os::unix::fs::chown;
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make files of root's");
        return;
    }
    let mut rig = Rig::new();
    fs::create_dir(rig.client()).unwrap();
    chown(rig.client(), Some(12_345), Some(12_345)).unwrap();
    rig.up(&[]);
    let offer = rig.bd(&["pair", "--json"]);
    let offer: Value = serde_json::from_str(&offer.stdout).unwrap();
    let ended = rig.bl(&["pair", "--yes", offer["offer"].as_str().unwrap()]);
    assert_eq!(ended.code, 1, "{ended:?}");
    let whose = format!(
        "{} belongs to user 12345: run this as that user",
        rig.client().display()
    );
    assert!(ended.stderr.contains(&whose), "{ended:?}");
    assert_eq!(fs::read_dir(rig.client()).unwrap().count(), 0);
}

/// Like C8: `ulimit -f`, with which the system ends a program instead of failing its write.
#[test]
fn case_c8_a_limit_of_file_sizes_ends_no_daemon() {
    let mut rig = Rig::new();
    let daemon = rig.daemon_command(&[]);
    let limited = ["bash", "-c", "ulimit -f 400 && exec \"$@\"", "bash"];
    rig.start(rig.wrapped(&limited, &daemon));
    let prompt = "head -c 150000 /dev/zero | tr '\\0' x";
    eventually("a write is refused", || {
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

/// C8 and C11: a start that fails over its files reports their owner, or the full disk, and the
/// remedy.
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
    // The test user may lack access to the build folder.
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

/// C6: a daemon kept running after its folder was removed, and lost everything at its end.
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
