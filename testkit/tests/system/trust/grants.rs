//! TR-4, TR-5 and TR-15 as people use them: the real programs, from `pair --role` to `audit`.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::cases::rig::{Rig, processes_with};

/// Pairs with these flags of `pair`.
fn pair(rig: &Rig, flags: &[&str]) {
    let made = rig.bd(&[&["pair", "--json"], flags].concat());
    assert_eq!(made.code, 0, "{made:?}");
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let paired = rig.bl(&["pair", "--yes", made["offer"].as_str().unwrap()]);
    assert_eq!(paired.code, 0, "{paired:?}");
}

fn devices(rig: &Rig) -> Vec<Value> {
    let listed = rig.bd(&["devices", "--json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    listed["devices"].as_array().unwrap().clone()
}

fn audit(rig: &Rig) -> Vec<Value> {
    let shown = rig.bd(&["audit", "--json"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    let lines = shown.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn tr_4_a_device_gets_its_role_when_it_pairs_and_another_one_later() {
    let mut rig = Rig::new();
    rig.up(&[]);
    pair(&rig, &["--role", "viewer", "--expires", "30d"]);
    let refused = rig.bl(&["run", "echo no"]);
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(
        refused.stderr.contains("`owner`") && refused.stderr.contains("`viewer`"),
        "{refused:?}"
    );
    assert!(!refused.stdout.contains("no\n"));
    assert_eq!(rig.bl(&["agents"]).code, 0, "it reads");
    let device = &devices(&rig)[0];
    assert_eq!(device["grant"]["role"], "viewer");
    let ends = device["grant"]["expiresAt"].as_i64().unwrap();
    let paired = device["pairedAt"].as_i64().unwrap();
    assert_eq!(ends - paired, 30 * 24 * 3_600 * 1_000);

    let id = device["deviceId"].as_str().unwrap();
    let work = rig.work();
    let set = rig.bd(&[
        "devices",
        "set",
        id,
        "--role",
        "owner",
        "--expires",
        "never",
    ]);
    assert_eq!(set.code, 0, "{set:?}");
    let ran = rig.bl(&["run", "echo now"]);
    assert_eq!((ran.code, ran.stdout.contains("now")), (0, true), "{ran:?}");
    let inner = work.join("inner");
    fs::create_dir(&inner).unwrap();
    let set = rig.bd(&[
        "devices",
        "set",
        id,
        "--root",
        inner.to_str().unwrap(),
        "--json",
    ]);
    let set: Value = serde_json::from_str(&set.stdout).unwrap();
    assert_eq!(set["grant"]["role"], "owner", "what is not named stays");
    let outside = rig.bl(&["run", "echo outside"]);
    assert!(outside.stderr.contains("inner"), "{outside:?}");
    let inside = rig.bl(&["run", "--cwd", inner.to_str().unwrap(), "echo inside"]);
    assert_eq!(inside.code, 0, "{inside:?}");
    for (flags, says) in [
        (&["--role", "boss"][..], "viewer"),
        (&[], "--role"),
        (&["--root", "/no/such/folder"], "/no/such/folder"),
    ] {
        let wrong = rig.bd(&[&["devices", "set", id], flags].concat());
        assert_eq!(wrong.code, 2, "{wrong:?}");
        assert!(wrong.stderr.contains(says), "{wrong:?}");
    }
}

#[test]
fn tr_5_revocation_in_mid_turn_ends_the_turn_and_the_one_behind_it() {
    let mut rig = Rig::new();
    rig.up(&[]);
    pair(&rig, &[]);
    let mark = format!("sleep 98{}", rig.pid());
    let began = rig.work().join("began");
    let mut first = rig.bl_command(&["run", &format!("touch began; {mark}")]);
    let mut first = first
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the turn runs", || began.exists());
    let agents = rig.bl(&["agents", "--json"]);
    let agent: Value = serde_json::from_str(agents.stdout.lines().next().unwrap()).unwrap();
    let agent = agent["agent"]["id"].as_str().unwrap().to_owned();
    let mut second = rig.bl_command(&["send", &agent, "touch second"]);
    let mut second = second
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("two turns", || {
        let items = rig.rpc("agents.history", json!({"agentId": agent}));
        items.to_string().matches("\"user\"").count() == 2
    });
    let id = devices(&rig)[0]["deviceId"].as_str().unwrap().to_owned();
    let revoked = rig.bd(&["devices", "revoke", &id, "--json"]);
    let said: Value = serde_json::from_str(&revoked.stdout).unwrap();
    assert_eq!(said["turnsEnded"], 2, "{revoked:?}");
    let items = rig.turns(&agent, 2);
    let ends = items.iter().filter(|item| item["kind"] == "turn_end");
    assert!(
        ends.clone().all(|item| item["status"] == "cancelled"),
        "{items:?}"
    );
    until("no process is left", || processes_with(&mark).is_empty());
    assert!(!rig.work().join("second").exists());
    for client in [&mut first, &mut second] {
        client.kill().ok();
        client.wait().unwrap();
    }
    let refused = rig.bl(&["agents"]);
    assert!(refused.stderr.contains("revoked"), "{refused:?}");
}

#[test]
fn tr_15_the_owner_locks_the_daemon_over_a_restart_and_reads_what_was_done() {
    let mut rig = Rig::new();
    rig.up(&[]);
    pair(&rig, &[]);
    assert_eq!(rig.bl(&["run", "echo s3cret-free"]).code, 0);
    let mut follow = rig.program("bowline-daemon");
    follow.arg("--state-dir").arg(rig.state());
    follow.args(["audit", "--follow", "--json", "-n", "1"]);
    let mut follow = follow.stdout(Stdio::piped()).spawn().unwrap();
    let mut followed = BufReader::new(follow.stdout.take().unwrap());

    let mut next = || -> Value {
        let mut line = String::new();
        followed.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    };
    assert_eq!(next()["event"], "ran", "the newest one there is");
    assert_eq!(rig.bd(&["lock"]).code, 0);
    assert_eq!(next()["event"], "locked");
    follow.kill().unwrap();
    follow.wait().unwrap();
    let refused = rig.bl(&["agents"]);
    assert!(refused.stderr.contains("locked"), "{refused:?}");
    assert!(refused.stderr.contains("unlock"), "{refused:?}");
    assert_eq!(rig.stop(), 0);
    rig.up(&[]);
    assert!(rig.bl(&["agents"]).stderr.contains("locked"));
    let status = rig.bd(&["status"]);
    assert!(status.stdout.contains("locked"), "{status:?}");
    // The owner's own machine is not locked out; its turn waits.
    let agent = rig.agent("shell", "echo later");
    let unlocked = rig.bd(&["unlock", "--json"]);
    assert!(unlocked.stdout.contains("\"changed\":true"), "{unlocked:?}");
    rig.turns(&agent, 1);
    assert_eq!(rig.bl(&["agents"]).code, 0);

    let rows = audit(&rig);
    let events: Vec<_> = rows
        .iter()
        .map(|row| row["event"].as_str().unwrap())
        .collect();
    for event in ["offer_made", "device_paired", "ran", "locked", "unlocked"] {
        assert!(events.contains(&event), "{event}: {events:?}");
    }
    let ran = rows.iter().find(|row| row["event"] == "ran").unwrap();
    assert!(
        ran["detail"]["params"]
            .as_str()
            .unwrap()
            .contains("s3cret-free")
    );
    let text = rig.bd(&["audit"]);
    assert!(text.stdout.contains("device_paired"), "{text:?}");
}
