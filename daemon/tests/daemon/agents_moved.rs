//! Agents of a store from before they were kept in tables and logs.
#![cfg(unix)]

use std::path::Path;

use bowline_protocol::{AgentId, ItemId, ItemKind};
use rusqlite::{Connection, params};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    agents_rig::{Bench, ends, options, printed},
    rig::{Rig, intent_id},
};

const SCRIPTS: [&str; 11] = [
    include_str!("../../src/store/migrations/001.sql"),
    include_str!("../../src/store/migrations/002.sql"),
    include_str!("../../src/store/migrations/003.sql"),
    include_str!("../../src/store/migrations/004.sql"),
    include_str!("../../src/store/migrations/005.sql"),
    include_str!("../../src/store/migrations/006.sql"),
    include_str!("../../src/store/migrations/007.sql"),
    include_str!("../../src/store/migrations/008.sql"),
    include_str!("../../src/store/migrations/009.sql"),
    include_str!("../../src/store/migrations/010.sql"),
    include_str!("../../src/store/migrations/011.sql"),
];

/// The account of the local socket.
const LOCAL: i64 = 1;

/// A store of the last version before.
fn old_store(path: &Path) -> Connection {
    let store = Connection::open(path).unwrap();
    for script in SCRIPTS {
        store.execute_batch(script).unwrap();
    }
    let version = "PRAGMA application_id = 1115114606; PRAGMA user_version = 11;";
    store.execute_batch(version).unwrap();
    store
}

/// Adds an agent with finished turns of a prompt and an output each.
fn add(store: &Connection, cwd: &str, turns: i64, dropped: i64) -> (i64, AgentId, Value) {
    let (id, intent) = (AgentId::from_uuid(Uuid::now_v7()), intent_id());
    let at = 1_700_000_000_000_i64;
    let sql =
        "INSERT INTO agents (id, title, provider, cwd, status, attention, created_at, updated_at,
             next_index, intent, owner, outputs_from)
         VALUES (?1, 'old', 'shell', ?2, 'idle', 'finished', ?3, ?3, ?4, ?5, ?6, ?7)";
    let intent = intent.to_string();
    let row = params![id.as_str(), cwd, at, 3 * turns, intent, LOCAL, dropped];
    store.execute(sql, row).unwrap();
    let n = store.last_insert_rowid();
    for turn in 0..turns {
        for (k, kind) in ["user", "output", "turn_end"].into_iter().enumerate() {
            let index = 3 * turn + k as i64;
            let is_dropped = kind == "output" && index < dropped;
            let text = match kind {
                "turn_end" => String::new(),
                _ if is_dropped => String::new(),
                _ => format!("{kind} {index} \0\u{1b}é"),
            };
            let sql = "INSERT INTO items (position, id, kind, at, text, stream, status, exit_code,
                     intent, dropped, lived)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
            let item = ItemId::from_uuid(Uuid::now_v7());
            let row = params![
                n * (1 << 32) + index,
                item.as_str(),
                kind,
                at + index,
                text,
                (kind == "output").then_some("stdout"),
                (kind == "turn_end").then_some("completed"),
                (kind == "turn_end").then_some(0),
                (kind == "user").then(|| intent_id().as_bytes().to_vec()),
                if is_dropped { 77 } else { 0 },
                index,
            ];
            store.execute(sql, row).unwrap();
        }
    }
    (n, id, json!(intent))
}

fn queue(store: &Connection, n: i64, started: bool, prompt: &str) {
    let sql =
        "INSERT INTO turns (name, agent, started, prompt, intent) VALUES (?1, ?2, ?3, ?4, ?5)";
    let name = Uuid::now_v7().simple().to_string();
    let intent = intent_id().as_bytes().to_vec();
    store
        .execute(sql, params![name, n, started, prompt, intent])
        .unwrap();
}

#[tokio::test]
async fn agents_of_an_old_store_are_all_there_with_their_timelines_and_turns() {
    let mut made = None;
    let rig = Rig::with(|options| {
        let store = old_store(&options.path);
        let cwd = options.path.parent().unwrap().display().to_string();
        // More items than are moved at once.
        let all = [
            add(&store, &cwd, 900, 600),
            add(&store, &cwd, 0, 0),
            add(&store, &cwd, 2, 0),
        ];
        // Numbers that were in use before are not used again.
        store
            .execute_batch("UPDATE sqlite_sequence SET seq = 40 WHERE name = 'agents'")
            .unwrap();
        queue(&store, all[2].0, true, "sleep 1000");
        queue(&store, all[2].0, false, "echo waited");
        made = Some(all);
    });
    let app = rig.paired().await;
    let mut options = options();
    options.max_agents = 4;
    let bench = Bench::on(rig, app, options).await;
    let made = made.unwrap();

    let first = bench
        .call("agents.list", json!({"limit": 2}))
        .await
        .unwrap();
    assert_eq!(
        (&first["total"], &first["nextCursor"]),
        (&json!(3), &json!("2"))
    );
    for (row, (_, id, intent)) in first["agents"].as_array().unwrap().iter().zip(&made) {
        assert_eq!((&row["id"], &row["intentId"]), (&json!(id), intent));
        assert_eq!(
            (&row["title"], &row["attention"]),
            (&json!("old"), &json!("finished"))
        );
    }
    let rest = bench
        .call("agents.list", json!({"limit": 2, "cursor": "2"}))
        .await;
    assert_eq!(rest.unwrap()["agents"][0]["id"], json!(made[2].1));

    let items = bench.timeline(made[0].1.as_str()).await;
    assert_eq!(items.len(), 2_700);
    for item in &items {
        let index = item.index;
        match item.kind {
            ItemKind::User => {
                assert_eq!(item.text, format!("user {index} \0\u{1b}é"));
                assert!(item.intent_id.is_some());
            }
            ItemKind::Output if index < 600 => assert_eq!(item.dropped_bytes, 77),
            ItemKind::Output => assert_eq!(item.text, format!("output {index} \0\u{1b}é")),
            _ => assert_eq!(item.exit_code, Some(0)),
        }
        assert_eq!(item.at, 1_700_000_000_000 + index.cast_signed());
    }

    // The turn that ran was interrupted, the one that waited runs, and others come after them.
    let worked = made[2].1.as_str();
    bench.turns(worked, 4).await;
    bench.send(worked, "echo more").await.unwrap();
    let items = bench.turns(worked, 5).await;
    assert_eq!(ends(&items)[2].0, "interrupted");
    assert!(printed(&items, "stdout").ends_with("waited\nmore\n"));

    bench.create("shell", None).await;
    let newest = json!({"newestFirst": true, "limit": 1});
    let newest = bench.call("agents.list", newest).await.unwrap();
    assert_eq!(
        (&newest["total"], &newest["nextCursor"]),
        (&json!(4), &json!("41"))
    );
    let params = json!({"intentId": intent_id(), "provider": "cat", "cwd": bench.rig.dir.path()});
    let over = bench.call("agents.create", params).await.unwrap_err();
    assert!(over.message.contains("at most 4 agents"), "{over}");

    // What is kept of old agents is bounded as that of others.
    let mut kept = crate::agents_rig::options();
    kept.retention.timeline_bytes_per_device = 50_000;
    let bench = Bench::on(bench.rig.kill(), bench.app.clone(), kept).await;
    let left = async || {
        let items = bench.timeline(made[0].1.as_str()).await;
        items.iter().filter(|item| !item.text.is_empty()).count()
    };
    bowline_testkit::eventually("old texts are dropped", async || left().await < 600).await;
    assert!(left().await > 0);
}
