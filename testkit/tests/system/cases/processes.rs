//! Processes of agents: started without harm to the daemon, ended as a whole, with complete output.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bowline_testkit::blocking::eventually;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::rig::{Rig, SHELL, finish, has, output, processes_with};

/// A duration that no other `sleep` on the machine uses, to find the process.
pub(super) fn unique() -> String {
    let id = uuid::Uuid::now_v7().as_u128();
    format!("9{:07}.{:07}", id % 10_000_000, (id >> 64) % 10_000_000)
}

/// A running `sleep` of that duration, excluding the shell with it in its command line.
pub(super) fn sleeps(duration: &str) -> bool {
    let wanted = format!("sleep {duration}");
    processes_with(&wanted).into_iter().any(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.trim() == wanted
    })
}

/// Status and exit code of ended turns.
pub(super) fn ends(items: &[Value]) -> Vec<(String, Option<i64>)> {
    let ends = items.iter().filter(|item| item["kind"] == "turn_end");
    ends.map(|end| {
        let status = end["status"].as_str().unwrap_or_default();
        (status.to_owned(), end["exitCode"].as_i64())
    })
    .collect()
}

/// Output of one stream.
pub(super) fn stream(items: &[Value], name: &str) -> String {
    let texts = items.iter().filter(|item| item["stream"] == name);
    texts.filter_map(|item| item["text"].as_str()).collect()
}

/// Error texts of a timeline.
pub(super) fn errors(items: &[Value]) -> String {
    let errors = items.iter().filter(|item| item["kind"] == "error");
    errors.filter_map(|item| item["text"].as_str()).collect()
}

/// Waits until the agent has printed a text.
pub(super) fn printed(rig: &Rig, agent: &str, text: &str) -> String {
    let mut all = String::new();
    eventually(format!("{text} is printed"), || {
        let answer = rig.rpc("agents.history", json!({"agentId": agent, "limit": 500}));
        all = output(answer["result"]["items"].as_array().unwrap());
        all.contains(text)
    });
    all
}

/// A running daemon with this configuration.
pub(super) fn configured(rig: &mut Rig, toml: &str) {
    let file = rig.work().join("daemon.toml");
    fs::write(&file, toml).unwrap();
    rig.up(&["--config", file.to_str().unwrap()]);
}

/// A process that ends with the test.
pub(super) struct Helper(pub(super) Child);

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::CONT);
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// C13: a hanging network folder of one user blocked the whole daemon.
#[test]
fn case_c13_a_folder_that_hangs_holds_only_its_own_agent() {
    if !has("bindfs", "bindfs") || !has("fusermount", "fuse") {
        return;
    }
    let mut rig = Rig::new();
    rig.up(&[]);
    let (real, mount, bindfs) = mounted(&rig);
    for n in 0..=5 {
        fs::create_dir(real.join(n.to_string())).unwrap();
    }
    let create = |n: i32| {
        let cwd = mount.join(n.to_string());
        rig.rpc(
            "agents.create",
            json!({"intentId": "new", "provider": "shell", "cwd": cwd, "title": "m"}),
        )
    };
    let created = create(0);
    let agent = created["result"]["agent"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    kill_process(Pid::from_child(&bindfs.0), Signal::STOP).unwrap();
    // The system caches folder data for a second.
    std::thread::sleep(Duration::from_millis(1500));

    let send = json!({"intentId": "new", "agentId": agent, "text": "echo x"});
    rig.rpc("agents.send", send.clone());
    // More than the former thread pool for folder checks could hold.
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (1..=5).map(|n| scope.spawn(move || create(n))).collect();
        std::thread::sleep(Duration::from_millis(200));
        let begun = Instant::now();
        assert!(rig.rpc("system.ping", json!({}))["result"].is_object());
        let other = rig.agent("shell", "echo other");
        assert_eq!(output(&rig.turns(&other, 1)), "other\n");
        // All of them hang for at least 5 s; other agents need much less on an idle machine.
        assert!(
            begun.elapsed() < Duration::from_secs(4),
            "{:?}",
            begun.elapsed()
        );
        for answer in waiting {
            let answer = answer.join().unwrap();
            let text = answer["error"]["message"].as_str().unwrap_or_default();
            assert!(text.contains("does not answer"), "{answer}");
        }
    });
    let items = rig.turns(&agent, 1);
    assert!(
        errors(&items).contains("does not answer within"),
        "{items:?}"
    );
    assert_eq!(ends(&items), [("failed".to_owned(), None)]);

    // SIGTERM works while another turn hangs during its start.
    rig.rpc("agents.send", send);
    let begun = Instant::now();
    assert_eq!(rig.stop(), 0);
    assert!(begun.elapsed() < Duration::from_secs(20));
    unmount(bindfs, &mount);
}

/// A folder, its mount point, and the process that serves the mount.
fn mounted(rig: &Rig) -> (PathBuf, PathBuf, Helper) {
    let (real, mount) = (rig.work().join("real"), rig.work().join("mount"));
    fs::create_dir(&real).unwrap();
    fs::create_dir(&mount).unwrap();
    let mut command = Command::new("bindfs");
    command.arg("-f").arg(&real).arg(&mount);
    let bindfs = Helper(command.stderr(Stdio::null()).spawn().unwrap());
    eventually("the folder is mounted", || {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        mounts.contains(mount.to_str().unwrap())
    });
    (real, mount, bindfs)
}

fn unmount(bindfs: Helper, mount: &Path) {
    drop(bindfs);
    let mut command = Command::new("fusermount");
    command.arg("-uz").arg(mount);
    let _ = finish(command);
}

/// C13: agents in a hanging folder used up all running turns and blocked all others.
#[test]
fn case_c13_many_agents_whose_folder_hangs_leave_room_for_others() {
    if !has("bindfs", "bindfs") || !has("fusermount", "fuse") {
        return;
    }
    let mut rig = Rig::new();
    rig.up(&[]);
    let (_, mount, bindfs) = mounted(&rig);
    let agents: Vec<String> = (0..40)
        .map(|_| {
            let params = json!({"intentId": "new", "provider": "shell", "cwd": mount});
            let created = rig.rpc("agents.create", params);
            let id = created["result"]["agent"]["id"].as_str();
            id.unwrap().to_owned()
        })
        .collect();
    kill_process(Pid::from_child(&bindfs.0), Signal::STOP).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    for agent in &agents {
        let params = json!({"intentId": "new", "agentId": agent, "text": "echo x"});
        rig.rpc("agents.send", params);
    }
    let begun = Instant::now();
    let other = rig.agent("shell", "echo other");
    assert_eq!(output(&rig.turns(&other, 1)), "other\n");
    let waited = begun.elapsed();
    let listed = rig.rpc("agents.list", json!({"limit": 100}));
    let agents = listed["result"]["agents"].as_array().unwrap();
    let running = |agent: &&Value| agent["status"] == "running";
    assert!(
        agents.iter().filter(running).count() > 32,
        "those hang still, after {waited:?}: {agents:?}"
    );
    assert_eq!(rig.stop(), 0);
    unmount(bindfs, &mount);
}

/// C18: the private relay's token and the daemon's folders were in every agent's environment.
#[test]
fn tr_6_case_c18_agents_get_nothing_of_the_daemons_own() {
    let mut rig = Rig::new();
    let mut command = rig.daemon_command(&[]);
    command
        .env("BOWLINE_RELAY", "ws://s3cret-token@127.0.0.1:9")
        .env("BOWLINE_NAME", "named")
        .env("NOTIFY_SOCKET", "/no/such/socket")
        .env("LISTEN_FDS", "1")
        .env("INVOCATION_ID", "x")
        .env("MINE", "stays");
    rig.start(command);
    let agent = rig.agent(
        "shell",
        "env; tr '\\0' '\\n' </proc/$PPID/environ; tr '\\0' ' ' </proc/$PPID/cmdline; ls -l /proc/$$/fd",
    );
    let all = output(&rig.turns(&agent, 1));
    for gone in [
        "s3cret",
        "BOWLINE_RELAY",
        "BOWLINE_NAME",
        "NOTIFY_SOCKET",
        "LISTEN_FDS",
        "INVOCATION_ID",
    ] {
        assert!(!all.contains(gone), "{gone} in {all}");
    }
    for there in ["MINE=stays", "BOWLINE_TURN=", "BOWLINE_AGENT=agt_"] {
        assert!(all.contains(there), "{there} not in {all}");
    }
    for file in ["socket:", "bowline.db", "anon_inode"] {
        assert!(!all.contains(file), "{file} is inherited: {all}");
    }
}

/// C19: agents inherited the daemon's raised limit of open files, with which some programs take
/// minutes to start; also ignored signals (`nohup`) and the shell's `PWD` (C24).
#[test]
fn tr_6_case_c19_limits_signals_and_pwd_are_a_programs_own() {
    let mut rig = Rig::new();
    let daemon = rig.daemon_command(&[]);
    // A shell that lowers the limit, ignores signals, and becomes the daemon.
    let mut command = Command::new("/bin/bash");
    let script = "ulimit -Sn 777; trap '' HUP INT QUIT USR1; cd /usr; exec \"$@\"";
    command
        .args(["-c", script, "bash"])
        .arg(daemon.get_program())
        .args(daemon.get_args());
    for (name, value) in daemon.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    rig.start(command);
    let agent = rig.agent(
        "shell",
        "ulimit -Sn; echo $PWD; env | grep PWD=; sed -n 's/^SigIgn:.//p' /proc/self/status",
    );
    let all = output(&rig.turns(&agent, 1));
    let (rest, ignored) = all.trim().rsplit_once('\n').unwrap();
    let work = rig.work();
    assert_eq!(rest, format!("777\n{0}\nPWD={0}", work.to_str().unwrap()));
    // Above are real-time signals, some of which the system's library uses.
    let ignored = u64::from_str_radix(ignored, 16).unwrap() & 0x7fff_ffff;
    assert_eq!(ignored, 0, "{ignored:x}");
}

/// C19, C3: signals blocked by a service manager stayed blocked in the daemon, which missed
/// SIGTERM, and in agents.
#[test]
fn tr_6_case_c19_a_signal_mask_is_not_inherited() {
    if !has("python3", "python3") {
        return;
    }
    let mut rig = Rig::new();
    let daemon = rig.daemon_command(&[]);
    let mut command = Command::new("python3");
    let script = "import os, signal, sys\n\
                  signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR1})\n\
                  os.execv(sys.argv[1], sys.argv[1:])";
    command
        .args(["-c", script])
        .arg(daemon.get_program())
        .args(daemon.get_args());
    rig.start(command);
    let agent = rig.agent("shell", "sed -n 's/^SigBlk:.//p' /proc/self/status");
    let blocked = output(&rig.turns(&agent, 1));
    assert_eq!(u64::from_str_radix(blocked.trim(), 16), Ok(0));
    assert_eq!(rig.stop(), 0, "SIGTERM works");
}

/// C21: an agent that used the daemon's terminal stopped forever.
#[test]
fn tr_6_case_c21_agents_have_no_terminal() {
    if !has("script", "bsdutils") {
        return;
    }
    let rig = Rig::new();
    let daemon = rig.daemon_command(&[]);
    let line: Vec<String> = std::iter::once(daemon.get_program())
        .chain(daemon.get_args())
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    let mut command = Command::new("script");
    command.args(["-qfc", &line.join(" "), "/dev/null"]);
    for (name, value) in daemon.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut script = Helper(command.spawn().unwrap());
    eventually("the daemon answers", || {
        rig.bd(&["status", "--json"]).code == 0
    });
    let agent = rig.agent(
        "shell",
        "stty sane </dev/tty; echo $?; echo mine >/dev/tty; echo $?",
    );
    let items = rig.turns(&agent, 1);
    let all = output(&items);
    assert!(!all.contains("\n0\n") && !all.starts_with("0\n"), "{all}");
    assert_eq!(ends(&items), [("completed".to_owned(), Some(0))], "{all}");
    let _ = script.0.stdin.as_mut().unwrap().write_all(b"\x03");
    eventually("it ends by Ctrl-C", || {
        rig.bd(&["status", "--json"]).code != 0
    });
}

/// C23: a prompt that begins with `-` became an option of the program.
#[test]
fn tr_6_case_c23_a_prompt_is_never_an_option() {
    let mut rig = Rig::new();
    let configuration = r#"
        [[provider]]
        name = "bare"
        kind = "command"
        command = ["cat"]
        [[provider]]
        name = "placed"
        kind = "command"
        command = ["printf", "%s|", "--text={prompt}", "after"]
    "#;
    configured(&mut rig, &[configuration, SHELL].concat());
    let create = |provider: &str, prompt: &str| {
        rig.rpc(
            "agents.create",
            json!({"intentId": "new", "provider": provider, "cwd": rig.work(), "prompt": prompt}),
        )
    };
    let refused = create("bare", "--version");
    let text = refused["error"]["message"].as_str().unwrap();
    assert!(
        text.contains("begins with `-`") && text.contains("`--`"),
        "{refused}"
    );
    let agent = rig.agent("placed", "-x y");
    assert_eq!(output(&rig.turns(&agent, 1)), "--text=-x y|after|");
    let agent = rig.agent("shell", "-x; echo ran");
    let items = rig.turns(&agent, 1);
    assert!(output(&items).contains("ran\n"), "{items:?}");
}

/// C24: a missing folder and a missing program had the same error text.
#[test]
fn case_c24_what_is_missing_is_named() {
    let mut rig = Rig::new();
    let file = rig.work().join("agent");
    fs::write(&file, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let plain = rig.work().join("plain");
    fs::write(&plain, "#!/bin/sh\n").unwrap();
    let provider = |name: &str, program: &str| {
        format!("[[provider]]\nname = \"{name}\"\nkind = \"command\"\ncommand = [\"{program}\"]\n")
    };
    let configuration = [
        provider("missing", "/no/such/program"),
        provider("script", file.to_str().unwrap()),
        provider("unknown", "no-such-program-anywhere"),
        provider("folder", rig.work().to_str().unwrap()),
        provider("plain", plain.to_str().unwrap()),
        SHELL.to_owned(),
    ];
    configured(&mut rig, &configuration.concat());
    for (name, says) in [
        ("missing", "`/no/such/program` is not there"),
        ("script", "`/no/such/interpreter`"),
        ("unknown", "PATH"),
        ("folder", "is a folder"),
        ("plain", "may not be executed"),
    ] {
        let items = rig.turns(&rig.agent(name, "x"), 1);
        assert!(errors(&items).contains(says), "{name}: {items:?}");
        assert_eq!(ends(&items), [("failed".to_owned(), None)]);
    }
    let gone = rig.work().join("gone");
    fs::create_dir(&gone).unwrap();
    let params = json!({"intentId": "new", "provider": "shell", "cwd": &gone});
    let agent = rig.rpc("agents.create", params)["result"]["agent"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for (says, change) in [
        ("is not there any more", true),
        ("is no folder any more", false),
    ] {
        if change {
            fs::remove_dir(&gone).unwrap();
        } else {
            fs::write(&gone, "").unwrap();
        }
        rig.rpc(
            "agents.send",
            json!({"intentId": "new", "agentId": agent, "text": "x"}),
        );
        let count = 1 + usize::from(!change);
        let items = rig.turns(&agent, count);
        assert!(errors(&items).contains(says), "{items:?}");
    }
}

/// Replacing the program's file under a running daemon must not prevent agents from starting.
#[test]
fn case_c13_turns_start_after_the_programs_file_was_replaced() {
    let mut rig = Rig::new();
    let original = rig.daemon_command(&[]);
    let copy = rig.work().join("bowline-daemon");
    fs::copy(original.get_program(), &copy).unwrap();
    let mut command = Command::new(&copy);
    command.args(original.get_args());
    for (name, value) in original.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    rig.start(command);
    fs::remove_file(&copy).unwrap();
    fs::write(&copy, "something else").unwrap();
    let agent = rig.agent("shell", "echo ran");
    assert_eq!(output(&rig.turns(&agent, 1)), "ran\n");
}

/// `config check` accepted settings that `run` refused.
#[test]
fn case_newcomer_config_check_refuses_what_run_refuses() {
    let rig = Rig::new();
    let file = rig.work().join("daemon.toml");
    for provider in [
        "kind = \"acp\"\ncommand = [\"x\"]",
        "kind = \"command\"\ncommand = []",
        "kind = \"command\"\ncommand = [\"x\", \"{prompt}\", \"{prompt}\"]",
    ] {
        fs::write(&file, format!("[[provider]]\nname = \"a\"\n{provider}\n")).unwrap();
        let config = file.to_str().unwrap();
        let checked = rig.bd(&["config", "check", "--config", config]);
        let run = rig.bd(&["run", "--listen", "127.0.0.1:0", "--config", config]);
        assert_eq!((checked.code, run.code), (2, 2), "{checked:?} {run:?}");
        assert_eq!(checked.stderr, run.stderr);
        assert!(checked.stderr.contains("provider `a`"), "{checked:?}");
    }
}
