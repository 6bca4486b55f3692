//! What runs under the daemon: started without harm to it, ended as a whole, its output kept to the last byte.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::rig::{DEADLINE, Rig, finish, has, output, processes_with, until};

/// A duration that nothing else on the machine sleeps for, by which a process is found.
fn unique() -> String {
    let id = uuid::Uuid::now_v7().as_u128();
    format!("9{:07}.{:07}", id % 10_000_000, (id >> 64) % 10_000_000)
}

/// A running `sleep` of that duration, not the shell that has it in its command line.
fn sleeps(duration: &str) -> bool {
    let wanted = format!("sleep {duration}");
    processes_with(&wanted).into_iter().any(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.trim() == wanted
    })
}

/// The ends of turns: status and exit code.
fn ends(items: &[Value]) -> Vec<(String, Option<i64>)> {
    let ends = items.iter().filter(|item| item["kind"] == "turn_end");
    ends.map(|end| {
        let status = end["status"].as_str().unwrap_or_default();
        (status.to_owned(), end["exitCode"].as_i64())
    })
    .collect()
}

/// What was printed on one stream.
fn stream(items: &[Value], name: &str) -> String {
    let texts = items.iter().filter(|item| item["stream"] == name);
    texts.filter_map(|item| item["text"].as_str()).collect()
}

/// The texts of errors in a timeline.
fn errors(items: &[Value]) -> String {
    let errors = items.iter().filter(|item| item["kind"] == "error");
    errors.filter_map(|item| item["text"].as_str()).collect()
}

/// Waits until the agent has printed something that contains the text.
fn printed(rig: &Rig, agent: &str, text: &str) -> String {
    let mut all = String::new();
    until(&format!("{text} is printed"), || {
        let answer = rig.rpc("agents.history", json!({"agentId": agent, "limit": 500}));
        all = output(answer["result"]["items"].as_array().unwrap());
        all.contains(text)
    });
    all
}

/// A running daemon whose configuration is that.
fn configured(rig: &mut Rig, toml: &str) {
    let file = rig.work().join("daemon.toml");
    fs::write(&file, toml).unwrap();
    rig.up(&["--config", file.to_str().unwrap()]);
}

/// A process that is ended with the test.
struct Helper(Child);

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::CONT);
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// C13: a user's network folder hung, and with it the whole daemon.
#[test]
fn case_c13_a_folder_that_hangs_holds_only_its_own_agent() {
    if !has("bindfs", "bindfs") || !has("fusermount", "fuse") {
        return;
    }
    let mut rig = Rig::new();
    rig.up(&[]);
    let (real, mount) = (rig.work().join("real"), rig.work().join("mount"));
    fs::create_dir(&real).unwrap();
    fs::create_dir(&mount).unwrap();
    let mut command = Command::new("bindfs");
    command.arg("-f").arg(&real).arg(&mount);
    let bindfs = Helper(command.stderr(Stdio::null()).spawn().unwrap());
    let mounted = || {
        fs::read_to_string("/proc/mounts")
            .unwrap()
            .contains(mount.to_str().unwrap())
    };
    until("the folder is mounted", mounted);
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
    // The system remembers for a second what it has seen of a folder.
    std::thread::sleep(Duration::from_millis(1500));

    let send = json!({"intentId": "new", "agentId": agent, "text": "echo x"});
    rig.rpc("agents.send", send.clone());
    // As many as the pool had that once looked at folders, and more.
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (1..=5).map(|n| scope.spawn(move || create(n))).collect();
        std::thread::sleep(Duration::from_millis(200));
        let begun = Instant::now();
        assert!(rig.rpc("system.ping", json!({}))["result"].is_object());
        let other = rig.agent("shell", "echo other");
        assert_eq!(output(&rig.turns(&other, 1)), "other\n");
        // All of them hang for 5 s and longer; much less on a machine at rest.
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

    // SIGTERM is heard while another turn hangs on its way in.
    rig.rpc("agents.send", send);
    let begun = Instant::now();
    assert_eq!(rig.stop(), 0);
    assert!(begun.elapsed() < Duration::from_secs(20));
    drop(bindfs);
    let _ = finish({
        let mut unmount = Command::new("fusermount");
        unmount.arg("-uz").arg(&mount);
        unmount
    });
}

/// C14: output that a slow store held up past a second was dropped, and the turn said `completed`.
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
    until("strace is there", traced);
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

/// C14: what is on its way when a turn is cancelled or its daemon stops is kept, and a prompt that nobody reads
/// harms nobody.
#[test]
fn case_c14_output_of_a_turn_that_is_stopped_is_kept() {
    let mut rig = Rig::new();
    configured(
        &mut rig,
        "[[provider]]\nname = \"deaf\"\nkind = \"command\"\ncommand = [\"echo\", \"said\"]\nprompt = \"stdin\"\n",
    );
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

/// C14, C15: what goes on printing in the background neither holds the turn for ever, nor is cut in silence, nor dies
/// of it.
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
        until("it prints on", || mark.exists());
    };
    lives();
    assert_eq!(rig.stop(), 0);
    lives();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// C16: what left the process group of its turn outlived cancel, archive, and the end of the daemon.
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
        until("all of them run", || {
            all.iter().all(|duration| sleeps(duration))
        });
        match how {
            "SIGTERM" => {
                assert_eq!(rig.stop(), 0);
                until("none runs", || !all.iter().any(|duration| sleeps(duration)));
                rig.up(&[]);
            }
            "kill -9" => {
                rig.kill();
                assert!(
                    all.iter().all(|duration| sleeps(duration)),
                    "nobody is there to end them"
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
        until(&format!("none runs after {how}"), || !left());
    }
}

/// C16: even the launcher may be killed; what carries the mark is found then.
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
    until("it runs", || sleeps(&duration));
    kill_process(Pid::from_raw(launcher).unwrap(), Signal::KILL).unwrap();
    let items = rig.turns(&agent, 1);
    assert_eq!(ends(&items), [("failed".to_owned(), None)]);
    assert!(errors(&items).contains("launcher"), "{items:?}");
    until("nothing is left", || !sleeps(&duration));
}

/// C17: an agent updated the daemon it ran under, and the new daemon killed itself.
#[test]
fn case_c17_a_daemon_started_by_its_own_agent_lives() {
    for (kill, run) in [
        ("kill -9", "exec bowline-daemon"),
        ("kill -9", "bowline-daemon"),
        ("kill -9", "setsid nohup bowline-daemon"),
    ] {
        let mut rig = Rig::new();
        let mut command = rig.daemon_command(&[]);
        let programs = bowline_sim::world::program("bowline-daemon").unwrap();
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
        until("the new daemon answers", answers);
        let items = rig.turns(&agent, 1);
        assert_eq!(
            ends(&items),
            [("interrupted".to_owned(), None)],
            "{kill} {run}"
        );
        until("the rest of the turn is ended", || !sleeps(&other));
        let pid = || {
            let status: Value =
                serde_json::from_str(&rig.bd(&["status", "--json"]).stdout).unwrap();
            status["pid"].as_i64().unwrap()
        };
        let new = i32::try_from(pid()).unwrap();
        assert_ne!(u32::try_from(new).unwrap(), daemon);
        // It does its work, and its own agents carry the names of their own turns.
        let agent = rig.agent("shell", "echo $BOWLINE_AGENT");
        assert_eq!(output(&rig.turns(&agent, 1)).trim(), agent);
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(i32::try_from(pid()).unwrap(), new, "it lives on");
        kill_process(Pid::from_raw(new).unwrap(), Signal::TERM).unwrap();
        until("it ends", || rig.bd(&["status", "--json"]).code != 0);
    }
}

/// C17: a daemon that a user tries out from an agent is not ended because the one above it stops.
#[test]
fn case_c17_a_daemon_below_another_ones_agent_outlives_that_daemon_and_not_a_cancel() {
    let mut rig = Rig::new();
    let mut command = rig.daemon_command(&[]);
    let programs = bowline_sim::world::program("bowline-daemon").unwrap();
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
    until("the lower daemon runs", runs);
    rig.rpc(
        "agents.cancel",
        json!({"intentId": "new", "agentId": agent}),
    );
    rig.turns(&agent, 1);
    until("it is cancelled", || {
        processes_with(below.to_str().unwrap()).is_empty()
    });

    rig.agent("shell", &prompt);
    until("the lower daemon runs again", runs);
    assert_eq!(rig.stop(), 0);
    let status = || {
        let mut command = Command::new(&programs);
        command
            .arg("--state-dir")
            .arg(&below)
            .args(["status", "--json"]);
        finish(command)
    };
    until("it answers", || status().code == 0);
    let status: Value = serde_json::from_str(&status().stdout).unwrap();
    let pid = i32::try_from(status["pid"].as_i64().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    until("it ends", || {
        processes_with(below.to_str().unwrap()).is_empty()
    });
}

/// C18: the token of a private relay stood in the environment of every agent, and so did the daemon's folders.
#[test]
fn case_c18_agents_get_nothing_of_the_daemons_own() {
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

/// C19: agents got the daemon's raised limit of open files, with which some programs take minutes to start.
/// Also what a parent ignored (`nohup`) and where the shell believes to be (C24).
#[test]
fn case_c19_limits_signals_and_pwd_are_a_programs_own() {
    let mut rig = Rig::new();
    let daemon = rig.daemon_command(&[]);
    // A shell that lowers the limit and ignores signals, and becomes the daemon.
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
    // Above are those of real time, some of which belong to the system's library.
    let ignored = u64::from_str_radix(ignored, 16).unwrap() & 0x7fff_ffff;
    assert_eq!(ignored, 0, "{ignored:x}");
}

/// C20: in a container the daemon is process 1, and what its agents orphaned stayed as zombies.
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
    // The launcher collects them, so none is left below it either.
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
    until("one launcher with one program", || {
        let launchers = children(rig.pid());
        launchers.len() == 1 && children(launchers[0]).len() == 1
    });
}

/// C21: an agent that touched the terminal its daemon was started from stopped for ever.
#[test]
fn case_c21_agents_have_no_terminal() {
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
    until("the daemon answers", || {
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
    until("it ends by Ctrl-C", || {
        rig.bd(&["status", "--json"]).code != 0
    });
}

/// C22, C25: output over the bound ended with 0 and nobody was told; turns over the bound waited in silence.
#[test]
fn case_c25_bounds_that_users_meet_are_said() {
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

/// C25: the thirty-third turn.
#[test]
fn case_c25_a_turn_that_waits_for_a_place_says_so() {
    let mut rig = Rig::paired();
    let go = rig.work().join("go");
    let wait = format!("while [ ! -e {} ]; do sleep 0.2; done", go.display());
    for _ in 0..32 {
        rig.agent("shell", &wait);
    }
    let child = rig.bl_command(&["run", "--provider", "shell", "echo ran"]);
    let mut child = {
        let mut child = child;
        Helper(
            child
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        )
    };
    let said = super::rig::lines(child.0.stderr.take().unwrap());
    let line = said.recv_timeout(DEADLINE).expect("it says that it waits");
    assert!(line.contains("waits for a place"), "{line}");
    let listed = rig.rpc("agents.list", json!({"limit": 100}));
    let agents = listed["result"]["agents"].as_array().unwrap();
    let queued = agents.iter().filter(|agent| agent["attention"] == "queued");
    assert_eq!(queued.count(), 1, "{listed}");
    fs::write(&go, "").unwrap();
    until("it runs", || child.0.try_wait().unwrap().is_some());
    assert_eq!(rig.stop(), 0);
}

/// C23: a prompt that begins with `-` was an option of the program.
#[test]
fn case_c23_a_prompt_is_never_an_option() {
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
    configured(&mut rig, configuration);
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
    // The shell that there is without configuration takes them.
    let agent = rig.agent("shell", "-x; echo ran");
    let items = rig.turns(&agent, 1);
    assert!(output(&items).contains("ran\n"), "{items:?}");
}

/// C24: a missing folder and a missing program gave the same text.
#[test]
fn case_c24_what_is_missing_is_named() {
    let mut rig = Rig::new();
    let file = rig.work().join("agent");
    fs::write(&file, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let provider = |name: &str, program: &str| {
        format!("[[provider]]\nname = \"{name}\"\nkind = \"command\"\ncommand = [\"{program}\"]\n")
    };
    let configuration = [
        provider("missing", "/no/such/program"),
        provider("script", file.to_str().unwrap()),
        provider("unknown", "no-such-program-anywhere"),
        provider("folder", rig.work().to_str().unwrap()),
    ];
    configured(&mut rig, &configuration.concat());
    for (name, says) in [
        ("missing", "`/no/such/program` is not there"),
        ("script", "`/no/such/interpreter`"),
        ("unknown", "PATH"),
        ("folder", "may not be executed"),
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

/// An update that replaces the program's file under a running daemon does not keep its agents from starting.
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

/// `config check` approved of what `run` refused.
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
        assert_eq!((checked.code, run.code), (1, 1), "{checked:?} {run:?}");
        assert_eq!(checked.stderr, run.stderr);
        assert!(checked.stderr.contains("provider `a`"), "{checked:?}");
    }
}
