//! Lists at their limits, and limits that users meet.

use std::path::Path;

use rusqlite::{Connection, params};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::rig::{Rig, output};

/// Fills the store of a stopped daemon with agents, created one millisecond apart.
fn fill(state: &Path, agents: i64, cwd: &str) {
    let mut store = Connection::open(state.join("bowline.db")).unwrap();
    let all = store.transaction().unwrap();
    let put = |table: &str, key: &str, value: Value| {
        all.execute(
            "INSERT INTO service_data (space, key, value, owner, apart) VALUES (?1, ?2, ?3, 0, 1)",
            params![table, key, value.to_string().into_bytes()],
        )
        .unwrap();
    };
    for n in 1..=agents {
        let (id, number, at) = (id(n), format!("{n:016x}"), 1_700_000_000_000_i64 + n);
        let summary = json!({
            "id": id, "title": format!("agent {n}"), "provider": "shell", "cwd": cwd,
            "status": "idle", "createdAt": at, "updatedAt": at,
        });
        put("agents", &id, summary);
        put("agents.books", &id, json!({"n": n}));
        put("agents.numbers", &number, json!(id));
    }
    let counters = json!({"agents": agents, "lastAgent": agents});
    put("agents.counters", "all", counters);
    all.commit().unwrap();
}

fn id(n: i64) -> String {
    format!("agt_{n:032x}")
}

/// A settings file with this message limit.
fn small_messages(rig: &Rig, bytes: u32) -> String {
    let file = rig.work().join("daemon.toml");
    std::fs::write(&file, format!("[limits]\nmax_message_bytes = {bytes}\n")).unwrap();
    file.display().to_string()
}

/// C49: with 10,001 agents the newest could not be listed, prompted or read, without any message.
#[test]
fn case_c49_of_ten_thousand_and_one_agents_the_newest_are_listed_and_every_one_is_reached() {
    let mut rig = Rig::paired();
    assert_eq!(rig.stop(), 0);
    let work = rig.work().display().to_string();
    fill(&rig.state(), 10_001, &work);
    rig.up(&[]);
    let listed = rig.bl(&["agents", "--json"]);
    assert_eq!(listed.code, 0, "{}", listed.stderr);
    assert_eq!(listed.stdout.lines().count(), 10_000);
    assert!(listed.stdout.contains(&id(10_001)), "the newest is listed");
    assert!(!listed.stdout.contains(&id(1)), "the oldest is left out");
    let told = rig.bl(&["agents"]);
    assert!(told.stderr.contains("and 1 more"), "{}", told.stderr);
    for agent in [id(10_001), id(1)] {
        let sent = rig.bl(&["send", &agent, "echo reached"]);
        assert_eq!(
            (sent.code, sent.stdout.as_str()),
            (0, "reached\n"),
            "{sent:?}"
        );
        let history = rig.bl(&["history", &agent]);
        assert!(history.stdout.contains("reached"), "{history:?}");
    }
    let unknown = rig.bl(&["history", &id(77_777)]);
    assert_eq!(unknown.code, 2, "{unknown:?}");
}

/// C49: with messages of 64 KiB, twenty agents in long folders, or much output, became unreadable.
#[test]
fn case_c49_pages_are_cut_by_the_message_limit() {
    let mut rig = Rig::new();
    let file = small_messages(&rig, 65_536);
    rig.up(&["--config", &file]);
    rig.pair();
    let mut deep = rig.work();
    while deep.as_os_str().len() < 3_800 {
        deep.push("d".repeat(200));
    }
    std::fs::create_dir_all(&deep).unwrap();
    for _ in 0..20 {
        let params = json!({"intentId": "new", "provider": "shell", "cwd": deep});
        let created = rig.rpc("agents.create", params);
        assert!(created["result"]["agent"]["id"].is_string(), "{created}");
    }
    let listed = rig.bl(&["agents", "--json"]);
    assert_eq!(listed.stdout.lines().count(), 20, "{}", listed.stderr);

    // Every byte of this output takes six in JSON.
    let agent = rig.agent(
        "shell",
        "head -c 100000 /dev/zero | tr '\\0' '\\1'; echo END",
    );
    rig.turns(&agent, 1);
    let (mut items, mut before) = (Vec::new(), json!(null));
    loop {
        let asked = json!({"agentId": agent, "limit": 500, "before": before});
        let page = rig.rpc("agents.history", asked);
        let mut older = page["result"]["items"].as_array().unwrap().clone();
        before = older[0]["index"].clone();
        older.append(&mut items);
        items = older;
        if page["result"]["hasMore"] == false {
            break;
        }
    }
    assert_eq!(output(&items).len(), 100_004);
    let history = rig.bl(&["history", &agent]);
    assert_eq!(history.code, 0, "{}", history.stderr);
    assert!(history.stdout.contains("END"));
}

/// C49: items stored under a larger message limit are shown shortened, with a note.
#[test]
fn case_c49_what_fits_no_message_is_shown_shortened() {
    let mut rig = Rig::paired();
    let prompt = format!("true {}", "x".repeat(60_000));
    let agent = rig.agent("shell", &prompt);
    rig.turns(&agent, 1);
    assert_eq!(rig.stop(), 0);
    let file = small_messages(&rig, 16_384);
    rig.up(&["--config", &file]);
    let history = rig.bl(&["history", &agent]);
    assert_eq!(history.code, 0, "{}", history.stderr);
    let said = history.stdout + &history.stderr;
    assert!(said.contains("bytes more"), "{}", said.len());
}

/// C49: `sessions` answered "ask for a smaller page" without supporting pages; devices and
/// connections are alike.
#[test]
fn case_c49_listings_of_the_local_socket_have_pages() {
    let mut rig = Rig::new();
    let file = small_messages(&rig, 4_096);
    rig.up(&["--config", &file]);
    let folders: Vec<_> = (0..12).map(|_| TempDir::new().unwrap()).collect();
    for folder in &folders {
        let offer: Value = serde_json::from_str(&rig.bd(&["pair", "--json"]).stdout).unwrap();
        let offer = offer["offer"].as_str().unwrap();
        let folder = folder.path().display();
        let paired = rig.sh(&format!(
            "bowline --state-dir {folder} pair --yes '{offer}'"
        ));
        assert_eq!(paired.code, 0, "{paired:?}");
    }
    for what in ["sessions", "devices"] {
        let all = rig.bd(&[what, "--json"]);
        assert_eq!(all.code, 0, "{what}: {}", all.stderr);
        let all: Value = serde_json::from_str(&all.stdout).unwrap();
        assert_eq!(all[what].as_array().unwrap().len(), 12, "{all}");
        let people = rig.bd(&[what]);
        assert!(people.stdout.lines().count() >= 12, "{people:?}");

        if what == "sessions" {
            let first = rig.rpc("sessions.list", json!({}));
            assert!(first["result"]["nextCursor"].is_string(), "{first}");
        }
        let two = rig.rpc(&format!("{what}.list"), json!({"limit": 2}));
        assert_eq!(two["result"][what].as_array().unwrap().len(), 2);
        let cursor = &two["result"]["nextCursor"];
        let next = rig.rpc(
            &format!("{what}.list"),
            json!({"limit": 2, "cursor": cursor}),
        );
        assert_ne!(next["result"][what], two["result"][what]);
    }
    assert_eq!(rig.bd(&["connections", "--json"]).code, 0);
}
