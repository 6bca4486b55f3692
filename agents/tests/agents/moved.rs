//! Agents of a store from before they were kept in tables and logs.
use std::path::Path;

use bowline_protocol::{AgentId, ItemId, ItemKind};
use rusqlite::{Connection, params};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    bench::{Bench, ends, options, printed},
    rig::{Rig, intent_id},
};

const SCRIPTS: [&str; 11] = [
    include_str!("../../../daemon/src/store/migrations/001.sql"),
    include_str!("../../../daemon/src/store/migrations/002.sql"),
    include_str!("../../../daemon/src/store/migrations/003.sql"),
    include_str!("../../../daemon/src/store/migrations/004.sql"),
    include_str!("../../../daemon/src/store/migrations/005.sql"),
    include_str!("../../../daemon/src/store/migrations/006.sql"),
    include_str!("../../../daemon/src/store/migrations/007.sql"),
    include_str!("../../../daemon/src/store/migrations/008.sql"),
    include_str!("../../../daemon/src/store/migrations/009.sql"),
    include_str!("../../../daemon/src/store/migrations/010.sql"),
    include_str!("../../../daemon/src/store/migrations/011.sql"),
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
    add_of(store, (LOCAL, cwd), turns, dropped, |_| 0)
}

/// The same, of an account, with texts that are so many bytes longer.
fn add_of(
    store: &Connection,
    (owner, cwd): (i64, &str),
    turns: i64,
    dropped: i64,
    longer: impl Fn(i64) -> usize,
) -> (i64, AgentId, Value) {
    let (id, intent) = (AgentId::from_uuid(Uuid::now_v7()), intent_id());
    let at = 1_700_000_000_000_i64;
    let sql =
        "INSERT INTO agents (id, title, provider, cwd, status, attention, created_at, updated_at,
             next_index, intent, owner, outputs_from)
         VALUES (?1, 'old', 'shell', ?2, 'idle', 'finished', ?3, ?3, ?4, ?5, ?6, ?7)";
    let intent = intent.to_string();
    let row = params![id.as_str(), cwd, at, 3 * turns, intent, owner, dropped];
    store.prepare_cached(sql).unwrap().execute(row).unwrap();
    let n = store.last_insert_rowid();
    for turn in 0..turns {
        for (k, kind) in ["user", "output", "turn_end"].into_iter().enumerate() {
            let index = 3 * turn + k as i64;
            let is_dropped = kind == "output" && index < dropped;
            let text = match kind {
                "turn_end" => String::new(),
                _ if is_dropped => String::new(),
                _ => format!("{kind} {index} \0\u{1b}é{}", "x".repeat(longer(index))),
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
            store.prepare_cached(sql).unwrap().execute(row).unwrap();
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
    let mut kept = crate::bench::options();
    kept.retention.timeline_bytes_per_device = 50_000;
    let bench = Bench::on(bench.rig.kill(), bench.app.clone(), kept).await;
    let left = async || {
        let items = bench.timeline(made[0].1.as_str()).await;
        items.iter().filter(|item| !item.text.is_empty()).count()
    };
    bowline_testkit::eventually("old texts are dropped", async || left().await < 600).await;
    assert!(left().await > 0);
}

/// Bytes of the store's files.
fn on_disk(store: &Path) -> u64 {
    let of = |end: &str| std::fs::metadata(format!("{}{end}", store.display()));
    ["", "-wal"]
        .iter()
        .filter_map(|end| Some(of(end).ok()?.len()))
        .sum()
}

/// The most memory that this process has had, in KiB.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[tokio::test]
#[ignore = "takes a minute; `-- --ignored --nocapture --exact` tells time, memory and disk"]
async fn measured_a_store_of_20_000_agents_is_moved_and_usable() {
    const AGENTS: i64 = 20_000;
    const TURNS: i64 = 7;
    // One account of the local socket, and two of devices.
    let owner = |n: i64| [LOCAL, -3, i64::MAX][usize::try_from(n % 3).unwrap()];
    let mut made = None;
    let rig = Rig::with(|options| {
        let store = old_store(&options.path);
        let cwd = options.path.parent().unwrap().display().to_string();
        store.execute_batch("BEGIN").unwrap();
        let last = (0..AGENTS)
            .map(|n| {
                let longer = |index: i64| usize::try_from((7 * n + 613 * index) % 2_400).unwrap();
                add_of(&store, (owner(n), &cwd), TURNS, 0, longer)
            })
            .last();
        queue(&store, AGENTS, false, "echo moved");
        store.execute_batch("COMMIT").unwrap();
        drop(store);
        let (before, began) = (on_disk(&options.path), std::time::Instant::now());
        made = Some((last.unwrap(), before, peak(), began));
    });
    let ((_, last, _), before, peak_before, began) = made.unwrap();
    println!(
        "{AGENTS} agents, {} items: opened after {:?}; {} MiB on disk before, {} after with the log; \
         peak memory {peak_before:?} KiB before, {:?} after",
        3 * TURNS * AGENTS,
        began.elapsed(),
        before >> 20,
        on_disk(&rig.options.path) >> 20,
        peak(),
    );

    let app = rig.paired().await;
    let began = std::time::Instant::now();
    let bench = Bench::on(rig, app, options()).await;
    println!("agents started after {:?}", began.elapsed());
    let (mut listed, mut params) = (0, json!({"limit": 1_000}));
    let began = std::time::Instant::now();
    loop {
        let page = bench.call("agents.list", params).await.unwrap();
        assert_eq!(page["total"], AGENTS);
        listed += page["agents"].as_array().unwrap().len();
        match &page["nextCursor"] {
            Value::Null => break,
            cursor => params = json!({"limit": 1_000, "cursor": cursor}),
        }
    }
    assert_eq!(listed, 20_000);
    println!("all agents listed after {:?}", began.elapsed());
    // The waiting turn of the last one runs, and is one of many.
    let items = bench.turns(last.as_str(), 8).await;
    assert!(printed(&items, "stdout").ends_with("moved\n"));
    assert_eq!(items.len(), 21 + 2);
    let page = json!({"agentId": last, "limit": 5, "before": 10});
    let page = bench.call("agents.history", page).await.unwrap();
    let indexes: Vec<u64> = (5..10).collect();
    let found = page["items"].as_array().unwrap().iter();
    assert!(
        found
            .map(|item| item["index"].as_u64().unwrap())
            .eq(indexes)
    );
    println!("peak memory {:?} KiB at the end", peak());
}
