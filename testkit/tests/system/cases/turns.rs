//! Processes and output of a turn: complete output, and no surviving process.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use bowline_testkit::blocking::eventually;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{
    processes::{Helper, configured, ends, errors, printed, sleeps, stream, unique},
    rig::{DEADLINE, Rig, SHELL, finish, has, output, processes_with},
};

/// C14: output delayed by a slow store for over a second was dropped, and the turn was `completed`.
#[test]
fn case_c14_every_byte_arrives_however_slow_the_store() {
    if !has("strace", "strace") {
        return;
    }
    let rig = Rig::paired();
    let mut command = Command::new("strace");
    let pid = rig.pid().to_string();
    command.args(["-f", "-q", "-p", &pid, "-e", "trace=fsync,fdatasync", "-e"]);
    command.arg("inject=fsync,fdatasync:delay_enter=400000");
    let _strace = Helper(command.stderr(Stdio::null()).spawn().unwrap());
    let traced = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status
            .lines()
            .any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
    };
    eventually("strace is there", traced);
    let long = r"head -c 200000 /dev/zero | tr '\0' x; echo; echo END; printf '\303\251\303' >&2";
    let agents: Vec<String> = (0..3).map(|_| rig.agent("shell", long)).collect();
    for agent in &agents {
        let items = rig.turns(agent, 1);
        let text = output(&items);
        assert!(text.len() > 200_000, "{} bytes", text.len());
        assert!(text.contains("x\nEND\n"), "the end is missing");
        let errors = stream(&items, "stderr");
        assert_eq!(errors, "\u{e9}\u{fffd}", "the other stream is cut");
        assert_eq!(ends(&items), [("completed".to_owned(), Some(0))]);
    }
}

/// C14: output in transit when a turn is cancelled or its daemon stops is kept, and an unread
/// prompt does no harm.
#[test]
fn case_c14_output_of_a_turn_that_is_stopped_is_kept() {
    let mut rig = Rig::new();
    let deaf = "[[provider]]\nname = \"deaf\"\nkind = \"command\"\ncommand = [\"echo\", \"said\"]\nprompt = \"stdin\"\n";
    configured(&mut rig, &[deaf, SHELL].concat());
    let last =
        "trap 'printf bye; printf \"\\303\"; exit 3' TERM; echo up; while :; do sleep 0.05; done";
    let cancelled = rig.agent("shell", last);
    printed(&rig, &cancelled, "up");
    rig.rpc(
        "agents.cancel",
        json!({"intentId": "new", "agentId": cancelled}),
    );
    let items = rig.turns(&cancelled, 1);
    assert_eq!(stream(&items, "stdout"), "up\nbye\u{fffd}");
    assert_eq!(ends(&items), [("cancelled".to_owned(), Some(3))]);
    let stopped = rig.agent("shell", last);
    printed(&rig, &stopped, "up");
    assert_eq!(rig.stop(), 0);
    rig.up(&[]);
    let items = rig.turns(&stopped, 1);
    assert_eq!(stream(&items, "stdout"), "up\nbye\u{fffd}");
    assert_eq!(ends(&items)[0].0, "interrupted");
    assert_eq!(rig.stop(), 0);
    let file = rig.work().join("daemon.toml");
    rig.up(&["--config", file.to_str().unwrap()]);
    let deaf = rig.agent("deaf", &"x".repeat(60_000));
    let items = rig.turns(&deaf, 1);
    assert_eq!(output(&items), "said\n");
    assert_eq!(ends(&items), [("completed".to_owned(), Some(0))]);
}

/// C14, C15: background output neither holds the turn open forever, nor is cut silently, nor ends
/// its process.
#[test]
fn case_c15_what_prints_in_the_background_lives_on_and_the_cut_is_said() {
    let mut rig = Rig::new();
    rig.up(&[]);
    let mark = rig.work().join("alive");
    let prompt = format!(
        "(while :; do echo tick; touch {}; sleep 0.05; done) & echo $!",
        mark.display()
    );
    let agent = rig.agent("shell", &prompt);
    let items = rig.turns(&agent, 1);
    assert_eq!(ends(&items), [("completed".to_owned(), Some(0))]);
    assert!(errors(&items).contains("goes on printing"), "{items:?}");
    let end = items
        .iter()
        .find(|item| item["kind"] == "turn_end")
        .unwrap();
    assert!(end["text"].as_str().unwrap().contains("not kept"));
    let pid = output(&items)
        .lines()
        .find_map(|line| line.parse::<i32>().ok())
        .unwrap();
    let lives = || {
        let _ = fs::remove_file(&mark);
        eventually("it prints on", || mark.exists());
    };
    lives();
    assert_eq!(rig.stop(), 0);
    lives();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// C16: processes outside the turn's process group survived cancel, archive, and the end of the
/// daemon.
#[test]
fn case_c16_everything_a_turn_started_ends_with_it() {
    let mut rig = Rig::new();
    rig.up(&[]);
    let (plain, bare, orphan, deaf) = (unique(), unique(), unique(), unique());
    let all = [&plain, &bare, &orphan, &deaf];
    let prompt = format!(
        "setsid sleep {plain} & env -i setsid sleep {bare} & \
         (env -i setsid sh -c 'sleep {orphan} & exit' &) ; \
         setsid sh -c 'trap \"\" TERM; sleep {deaf}; :' & echo up; wait"
    );
    for how in ["agents.cancel", "agents.archive", "SIGTERM", "kill -9"] {
        let agent = rig.agent("shell", &prompt);
        eventually("all of them run", || {
            all.iter().all(|duration| sleeps(duration))
        });
        match how {
            "SIGTERM" => {
                assert_eq!(rig.stop(), 0);
                eventually("none runs", || !all.iter().any(|duration| sleeps(duration)));
                rig.up(&[]);
            }
            "kill -9" => {
                rig.kill();
                assert!(
                    all.iter().all(|duration| sleeps(duration)),
                    "no process to end them"
                );
                rig.up(&[]);
            }
            method => {
                rig.rpc(method, json!({"intentId": "new", "agentId": agent}));
            }
        }
        let items = rig.turns(&agent, 1);
        let status = if how.starts_with("agents") {
            "cancelled"
        } else {
            "interrupted"
        };
        assert_eq!(ends(&items)[0].0, status, "{how}");
        let left = || all.iter().any(|duration| sleeps(duration));
        eventually(format!("none runs after {how}"), || !left());
    }
}

/// C16: even the launcher may be killed; processes are then found by their mark.
#[test]
fn case_c16_a_turn_whose_launcher_is_killed_ends_and_says_so() {
    let mut rig = Rig::new();
    rig.up(&[]);
    let duration = unique();
    let agent = rig.agent(
        "shell",
        &format!("setsid sleep {duration} & echo $PPID; wait"),
    );
    let launcher = printed(&rig, &agent, "\n").trim().parse().unwrap();
    eventually("it runs", || sleeps(&duration));
    kill_process(Pid::from_raw(launcher).unwrap(), Signal::KILL).unwrap();
    let items = rig.turns(&agent, 1);
    assert_eq!(ends(&items), [("failed".to_owned(), None)]);
    assert!(errors(&items).contains("launcher"), "{items:?}");
    eventually("nothing is left", || !sleeps(&duration));
}

/// C17: an agent updated its own daemon, and the new daemon killed itself.
#[test]
fn case_c17_a_daemon_started_by_its_own_agent_lives() {
    for (kill, run) in [
        ("kill -9", "exec bowline-daemon"),
        ("kill -9", "bowline-daemon"),
        ("kill -9", "setsid nohup bowline-daemon"),
    ] {
        let mut rig = Rig::new();
        let mut command = rig.daemon_command(&[]);
        let programs = bowline_testkit::world::program("bowline-daemon").unwrap();
        let programs = programs.parent().unwrap().display();
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{programs}:{path}"));
        rig.start(command);
        let (daemon, state) = (rig.pid(), rig.state());
        let other = unique();
        let prompt = format!(
            "sleep {other} & {kill} {daemon}; echo killed; sleep 0.3; {run} --state-dir {} run --listen 127.0.0.1:0",
            state.display()
        );
        let agent = rig.agent("shell", &prompt);
        rig.ended();
        let answers = || {
            let status = rig.bd(&["status", "--json"]);
            status.code == 0
        };
        eventually("the new daemon answers", answers);
        let items = rig.turns(&agent, 1);
        assert_eq!(
            ends(&items),
            [("interrupted".to_owned(), None)],
            "{kill} {run}"
        );
        eventually("the rest of the turn is ended", || !sleeps(&other));
        let pid = || {
            let status: Value =
                serde_json::from_str(&rig.bd(&["status", "--json"]).stdout).unwrap();
            status["pid"].as_i64().unwrap()
        };
        let new = i32::try_from(pid()).unwrap();
        assert_ne!(u32::try_from(new).unwrap(), daemon);
        // The new daemon works, and its agents have their own environment.
        let agent = rig.agent("shell", "echo $BOWLINE_AGENT");
        assert_eq!(output(&rig.turns(&agent, 1)).trim(), agent);
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(i32::try_from(pid()).unwrap(), new, "it lives on");
        kill_process(Pid::from_raw(new).unwrap(), Signal::TERM).unwrap();
        eventually("it ends", || rig.bd(&["status", "--json"]).code != 0);
    }
}

/// C17: a daemon started from an agent for testing survives the stop of the outer daemon.
#[test]
fn case_c17_a_daemon_below_another_ones_agent_outlives_that_daemon_and_not_a_cancel() {
    let mut rig = Rig::new();
    let mut command = rig.daemon_command(&[]);
    let programs = bowline_testkit::world::program("bowline-daemon").unwrap();
    let path = std::env::var("PATH").unwrap();
    command.env(
        "PATH",
        format!("{}:{path}", programs.parent().unwrap().display()),
    );
    rig.start(command);
    let below = rig.work().join("B");
    let runs = || {
        below.join("daemon.sock").exists() && !processes_with(below.to_str().unwrap()).is_empty()
    };
    let prompt = format!(
        "bowline-daemon --state-dir {} run --listen 127.0.0.1:0; echo ended",
        below.display()
    );
    let agent = rig.agent("shell", &prompt);
    eventually("the lower daemon runs", runs);
    rig.rpc(
        "agents.cancel",
        json!({"intentId": "new", "agentId": agent}),
    );
    rig.turns(&agent, 1);
    eventually("it is cancelled", || {
        processes_with(below.to_str().unwrap()).is_empty()
    });

    rig.agent("shell", &prompt);
    eventually("the lower daemon runs again", runs);
    assert_eq!(rig.stop(), 0);
    let status = || {
        let mut command = Command::new(&programs);
        command
            .arg("--state-dir")
            .arg(&below)
            .args(["status", "--json"]);
        finish(command)
    };
    eventually("it answers", || status().code == 0);
    let status: Value = serde_json::from_str(&status().stdout).unwrap();
    let pid = i32::try_from(status["pid"].as_i64().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    eventually("it ends", || {
        processes_with(below.to_str().unwrap()).is_empty()
    });
}

/// C20: in a container the daemon is process 1, and orphans of its agents stayed as zombies.
#[test]
fn case_c20_nothing_that_agents_orphan_stays_uncollected() {
    let mut rig = Rig::new();
    rig.up(&[]);
    let agent = rig.agent(
        "shell",
        "for i in 1 2 3 4 5; do (setsid sleep 0.01 &); done; sleep 0.5; echo up; exec sleep 600",
    );
    printed(&rig, &agent, "up");
    let zombies = || {
        let mut found = 0;
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let environ = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            if environ.contains("(sleep) Z") && environ.contains(&format!(") Z {}", rig.pid())) {
                found += 1;
            }
        }
        found
    };
    assert_eq!(zombies(), 0);
    // The launcher reaps them, so none is left below it either.
    let children = |pid: u32| {
        let out = finish({
            let mut ps = Command::new("/bin/sh");
            ps.args(["-c", &format!("cat /proc/{pid}/task/*/children")]);
            ps
        });
        out.stdout
            .split_whitespace()
            .map(|pid| pid.parse::<u32>().unwrap())
            .collect::<Vec<_>>()
    };
    eventually("one launcher with one program", || {
        let launchers = children(rig.pid());
        launchers.len() == 1 && children(launchers[0]).len() == 1
    });
}

/// C22, C25: output over the limit ended with 0 and no message; turns over the limit waited
/// silently.
#[test]
fn case_c22_case_c25_bounds_that_users_meet_are_said() {
    let rig = Rig::paired();
    let long = "yes 0123456789abcdef0123456789abcdef | head -c 5000000";
    let plain = rig.bl(&["run", "--provider", "shell", long]);
    assert_eq!(plain.code, 0, "the program's own end stays what it is");
    assert!(plain.stderr.contains("not kept"), "{}", plain.stderr);
    let told = rig.bl(&["--json", "run", "--provider", "shell", long]);
    let last: Value = serde_json::from_str(told.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["event"], &last["truncated"]),
        (&json!("done"), &json!(true)),
        "{last}"
    );
    let short = rig.bl(&["--json", "run", "--provider", "shell", "echo x"]);
    let last: Value = serde_json::from_str(short.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last.get("truncated"), None, "{last}");
}

/// C25: the thirty-third turn; one device has at most 24 of them.
#[test]
fn tr_12_case_c25_a_turn_that_waits_for_a_place_says_so() {
    let mut rig = Rig::paired();
    let go = rig.work().join("go");
    let wait = format!("while [ ! -e {} ]; do sleep 0.2; done", go.display());
    let run = |rig: &Rig, prompt: &str| {
        let mut child = rig.bl_command(&["run", "--provider", "shell", prompt]);
        let child = child.stdout(Stdio::piped()).stderr(Stdio::piped());
        Helper(child.spawn().unwrap())
    };
    for _ in 0..24 {
        rig.agent("shell", &wait);
    }
    let others: Vec<Helper> = (0..8).map(|_| run(&rig, &wait)).collect();
    eventually("all places are taken", || {
        let listed = rig.rpc("agents.list", json!({"limit": 100}));
        let agents = listed["result"]["agents"].as_array().unwrap();
        let running = agents.iter().filter(|agent| agent["status"] == "running");
        running.count() == 32
    });
    let mut child = run(&rig, "echo ran");
    let said = super::rig::lines(child.0.stderr.take().unwrap());
    let line = said.recv_timeout(DEADLINE).expect("it says that it waits");
    assert!(line.contains("the prompt is queued"), "{line}");
    let listed = rig.rpc("agents.list", json!({"limit": 100}));
    let agents = listed["result"]["agents"].as_array().unwrap();
    let queued = agents.iter().filter(|agent| agent["attention"] == "queued");
    assert_eq!(queued.count(), 1, "{listed}");
    fs::write(&go, "").unwrap();
    for mut child in others.into_iter().chain([child]) {
        eventually("it runs", || child.0.try_wait().unwrap().is_some());
    }
    assert_eq!(rig.stop(), 0);
}
