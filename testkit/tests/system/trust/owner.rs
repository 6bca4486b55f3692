//! TR-7: an agent is not the daemon's owner. What it runs, however detached, pairs and revokes
//! nothing. On systems other than Linux less is recognised (docs/commands.md).
#![cfg(target_os = "linux")]

use std::{fs, process::Command};

use bowline_testkit::{blocking::eventually, world::program};
use serde_json::{Value, json};

use crate::cases::rig::{Ended, Rig, finish, has, output};

/// What only the owner may do.
const OWNERS: [&str; 7] = [
    "pair --yes --json",
    "pair --ask --json",
    "devices",
    "devices revoke DEVICE",
    "offers",
    "offers approve OFFER --code 000000",
    "offers cancel OFFER",
];

/// A daemon with a paired device and an open offer.
struct Scene {
    rig: Rig,
    device: String,
    offer: String,
}

impl Scene {
    fn new() -> Self {
        let rig = Rig::paired();
        let value = |args: &[&str]| -> Value {
            let ended = rig.bd(args);
            serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"))
        };
        let offer = value(&["pair", "--ask", "--json"]);
        let devices = value(&["devices", "--json"]);
        Self {
            offer: offer["offerId"].as_str().unwrap().to_owned(),
            device: devices["devices"][0]["deviceId"]
                .as_str()
                .unwrap()
                .to_owned(),
            rig,
        }
    }

    /// The command line of `bowline-daemon` with these words.
    fn line(&self, words: &str) -> String {
        let words = words
            .replace("DEVICE", &self.device)
            .replace("OFFER", &self.offer);
        let program = program("bowline-daemon").unwrap();
        format!(
            "{} --state-dir {} {words}",
            program.display(),
            self.rig.state().display()
        )
    }

    /// Runs the script in a turn of its own; it may outlive the turn. Returns what it leaves in
    /// `said` of the work folder, once that ends in `code=…`.
    fn in_a_turn(&self, script: &str) -> String {
        let said = self.rig.work().join("said");
        let _ = fs::remove_file(&said);
        let agent = self.rig.agent("shell", script);
        self.rig.turns(&agent, 1);
        let mut text = String::new();
        eventually("it has ended", || {
            text = fs::read_to_string(&said).unwrap_or_default();
            text.trim_end()
                .lines()
                .last()
                .is_some_and(|line| line.starts_with("code="))
        });
        text
    }

    /// Nothing of the scene has changed.
    fn is_as_before(&self) {
        let listed = self.rig.bd(&["offers", "--json"]);
        let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
        let offers = listed["offers"].as_array().unwrap();
        assert_eq!(offers.len(), 1, "{offers:?}");
        assert_eq!(offers[0]["offerId"], self.offer.as_str());
        let devices = self.rig.bd(&["devices", "--json"]);
        assert!(devices.stdout.contains(r#""revoked":false"#), "{devices:?}");
        assert!(!devices.stdout.contains(r#""revoked":true"#), "{devices:?}");
    }
}

fn is_refused(said: &str) {
    assert!(said.contains("code=4"), "{said}");
    assert!(
        said.contains("a terminal of your own"),
        "what to do: {said}"
    );
}

#[test]
fn tr_7_a_turn_cannot_do_what_the_owner_can() {
    let scene = Scene::new();
    for words in OWNERS {
        let line = scene.line(words);
        let said = scene.in_a_turn(&format!("{line} >said 2>&1; echo code=$? >>said"));
        is_refused(&said);
    }
    scene.is_as_before();
    // What is not the owner's alone still works, and the log tells of the attempts.
    let agent = scene.rig.agent("shell", &scene.line("status --json"));
    let status = output(&scene.rig.turns(&agent, 1));
    assert!(status.contains("serverId"), "{status}");
    let log = scene.rig.log();
    assert!(log.contains("only the owner may make"), "{log}");
}

#[test]
fn tr_7_neither_a_session_nor_a_fork_nor_an_empty_environment_leads_out() {
    if !has("setsid", "util-linux") {
        return;
    }
    let scene = Scene::new();
    let script = scene.rig.work().join("detached.sh");
    // Waits until the turn's own program has ended, and is an orphan of no known parent then.
    let detached = format!(
        "while kill -0 $1 2>/dev/null; do sleep 0.02; done\n{} >part 2>&1; echo code=$? >>part; mv part said\n",
        scene.line("pair --yes --json")
    );
    fs::write(&script, detached).unwrap();
    let script = script.display();
    let now = scene.line("pair --yes --json");
    for way in [
        format!("setsid -w {now} >said 2>&1; echo code=$? >>said"),
        format!("env -i {now} >said 2>&1; echo code=$? >>said"),
        format!("env -u BOWLINE_TURN setsid -w {now} >said 2>&1; echo code=$? >>said"),
        format!("(sh {script} $$ &)"),
        format!("(setsid sh {script} $$ &)"),
        format!("(setsid env -i PATH=\"$PATH\" sh {script} $$ >/dev/null 2>&1 &)"),
    ] {
        is_refused(&scene.in_a_turn(&way));
    }
    scene.is_as_before();
}

/// The program that connected is gone when the request arrives: nobody can tell whose it was.
#[test]
fn tr_7_a_connection_that_was_passed_on_makes_nobody_the_owner() {
    if !has("python3", "python3") {
        return;
    }
    let scene = Scene::new();
    let script = scene.rig.work().join("passed.py");
    fs::write(
        &script,
        "import os, socket, sys, time\n\
         s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n\
         s.sendall(b'{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"system.ping\"}\\n')\n\
         lines = s.makefile(); lines.readline()\n\
         if os.fork(): os._exit(0)\n\
         while os.getppid() == int(sys.argv[2]): time.sleep(0.01)\n\
         s.sendall(b'{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"pairing.create\",\"params\":{}}\\n')\n\
         answer = lines.readline()\n\
         open('part', 'w').write(answer + '\\ncode=0'); os.rename('part', 'said')\n",
    )
    .unwrap();
    let socket = scene.rig.state().join("daemon.sock");
    let command = format!(
        "exec setsid env -i PATH=\"$PATH\" python3 {} {} $$",
        script.display(),
        socket.display()
    );
    let said = scene.in_a_turn(&command);
    assert!(
        said.contains("forbidden") && !said.contains("bowline://"),
        "{said}"
    );
    scene.is_as_before();
}

/// The owner is let through, however the command is started.
#[test]
fn tr_7_the_owner_is_not_taken_for_an_agent() {
    let mut scene = Scene::new();
    // Agents are at work meanwhile.
    scene.rig.agent("shell", "exec sleep 600");
    let outside = |wrapper: &[&str], words: &str| -> Ended {
        let line = scene.line(words);
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).args(line.split(' '));
        finish(command)
    };
    for wrapper in [&["env"][..], &["env", "-i"], &["setsid", "-w"], &["nohup"]] {
        let ended = outside(wrapper, "pair --yes --json");
        assert_eq!(ended.code, 0, "{wrapper:?}: {ended:?}");
        assert!(ended.stdout.contains("bowline://"), "{ended:?}");
        assert_eq!(outside(wrapper, "devices").code, 0);
    }
    assert_eq!(outside(&["env"], "offers cancel OFFER").code, 0);
    assert_eq!(outside(&["env"], "devices revoke DEVICE").code, 0);
    assert_eq!(scene.rig.stop(), 0);
}

/// A daemon below an agent, as when an agent works on an app, belongs to that agent.
#[test]
fn tr_7_an_agent_owns_the_daemons_that_it_starts() {
    let scene = Scene::new();
    let program = program("bowline-daemon").unwrap();
    let own = format!("{} --state-dir own", program.display());
    let said = scene.in_a_turn(&format!(
        "{own} run --listen 127.0.0.1:0 >listening 2>&1 &\n\
         until grep -q '\"kind\":\"local\"' listening; do sleep 0.05; done\n\
         {own} pair --yes --json >part 2>&1; echo code=$? >>part; kill $!; wait; mv part said"
    ));
    assert!(
        said.contains("code=0") && said.contains("bowline://"),
        "{said}"
    );
    let listed = scene.rig.rpc("pairing.list", json!({}));
    assert!(listed["result"]["offers"].is_array(), "{listed}");
}
