//! Moves what version 12 of the store still has in the tables `agents`, `items` and `turns` into
//! the tables and logs of a service. Frozen, as the migrations are: what it reads and writes are
//! stored formats of that time.
//!
//! A large store takes a while, so this runs in transactions of a bounded number of rows and bytes,
//! each of which removes what it has moved: the file grows little, the log tells of the progress,
//! and a daemon that is killed goes on there at its next start. Nothing is interpreted: a damaged
//! item stays what it is.

use std::time::{Duration, Instant};

use rusqlite::{Connection, Params, Result, Row, types::ValueRef};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::sql;

/// Items of one transaction …
const ITEMS: usize = 2_000;
/// … and bytes of them, besides the last one.
const BYTES: usize = 4 << 20;
/// Agents of one transaction.
const AGENTS: usize = 500;
/// Time between two lines in the log.
const TELL: Duration = Duration::from_secs(5);

/// Moves everything; what an earlier start has moved is not there any more.
pub(super) fn agents(conn: &mut Connection) -> Result<()> {
    let agents = sql::count(conn, "SELECT count(*) FROM agents", ())?;
    if agents > 0 {
        tracing::info!(
            agents,
            "the agents of an earlier version are moved within the store"
        );
    }
    let mut told = Instant::now();
    loop {
        let tx = conn.transaction()?;
        let is_done = step(&tx)?;
        tx.commit()?;
        if is_done {
            break;
        }
        if told.elapsed() >= TELL {
            told = Instant::now();
            let left = sql::count(conn, "SELECT count(*) FROM agents", ())?;
            tracing::info!(left, of = agents, "agents are moved within the store");
        }
    }
    if agents > 0 {
        tracing::info!(agents, "the agents of an earlier version have been moved");
    }
    Ok(())
}

/// One transaction; returns whether nothing is left to move.
fn step(conn: &Connection) -> Result<bool> {
    let mut room = Room {
        items: ITEMS,
        bytes: BYTES,
    };
    for _ in 0..AGENTS {
        let Some(agent) = first_agent(conn)? else {
            return finish(conn).map(|()| true);
        };
        if !agent.has_begun {
            agent.insert(conn)?;
        }
        if !move_items(conn, &agent, &mut room)? {
            return Ok(false);
        }
        move_turns(conn, &agent)?;
        sql::run(conn, "DELETE FROM agents WHERE n = ?1", (agent.n,))?;
    }
    Ok(false)
}

struct Room {
    items: usize,
    bytes: usize,
}

/// An agent that is not moved yet, or not whole.
struct Agent {
    n: i64,
    id: String,
    summary: Map<String, Value>,
    owner: i64,
    outputs_from: i64,
    texts_from: i64,
    /// Whether its log has been begun.
    has_begun: bool,
}

fn number(n: i64) -> String {
    format!("{n:016x}")
}

/// The members without those that are null.
fn object<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    let members = members.into_iter().filter(|(_, value)| !value.is_null());
    members
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn value(row: &Row<'_>, column: usize) -> Result<Value> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
        ValueRef::Blob(bytes) => match <[u8; 16]>::try_from(bytes) {
            // The only ones are ids of intents.
            Ok(bytes) => Uuid::from_bytes(bytes).to_string().into(),
            Err(_) => Value::Null,
        },
    })
}

fn first_agent(conn: &Connection) -> Result<Option<Agent>> {
    let sql =
        "SELECT n, id, title, provider, cwd, status, attention, created_at, updated_at, intent,
             owner, outputs_from, texts_from,
             EXISTS (SELECT 1 FROM logs WHERE space = 'agents.timeline' AND key = agents.id)
         FROM agents ORDER BY n LIMIT 1";
    sql::first(conn, sql, (), |row| {
        Ok(Agent {
            n: row.get(0)?,
            id: row.get(1)?,
            summary: object([
                ("id", value(row, 1)?),
                ("title", value(row, 2)?),
                ("provider", value(row, 3)?),
                ("cwd", value(row, 4)?),
                ("status", value(row, 5)?),
                ("createdAt", value(row, 7)?),
                ("updatedAt", value(row, 8)?),
                ("attention", value(row, 6)?),
                ("intentId", value(row, 9)?),
            ]),
            owner: row.get(10)?,
            outputs_from: row.get(11)?,
            texts_from: row.get(12)?,
            has_begun: row.get(13)?,
        })
    })
}

/// Stores a row of a table, charged to an owner and apart.
fn put(conn: &Connection, space: &str, key: &str, value: &[u8], owner: i64) -> Result<()> {
    let sql =
        "INSERT INTO service_data (space, key, value, owner, apart) VALUES (?1, ?2, ?3, ?4, 1)
         ON CONFLICT (space, key) DO UPDATE SET value = excluded.value";
    sql::run(conn, sql, (space, key, value, owner))
}

fn text(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn read<R: serde::de::DeserializeOwned + Default>(
    conn: &Connection,
    space: &str,
    key: &str,
) -> Result<R> {
    let sql = "SELECT value FROM service_data WHERE space = ?1 AND key = ?2";
    let value = sql::first(conn, sql, (space, key), |row| row.get::<_, Vec<u8>>(0))?;
    let value = value.map(|value| serde_json::from_slice(&value));
    value
        .transpose()
        .map(Option::unwrap_or_default)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn last(conn: &Connection, sql: &str, params: impl Params) -> Result<i64> {
    let last = sql::first(conn, sql, params, |row| row.get::<_, Option<i64>>(0))?;
    Ok(last.flatten().unwrap_or(0))
}

impl Agent {
    fn insert(&self, conn: &Connection) -> Result<()> {
        put(conn, "agents", &self.id, &text(&self.summary)?, self.owner)?;
        let n = number(self.n);
        put(conn, "agents.numbers", &n, &text(&self.id)?, self.owner)?;
        self.put_book(conn, 0)?;
        let sql = "INSERT INTO logs (space, key, first, next, bytes, owner, apart, counted)
             VALUES ('agents.timeline', ?1, 0, 0, 0, ?2, 1, 0)";
        sql::run(conn, sql, (&self.id, self.owner))?;
        let mut counters: Map<String, Value> = read(conn, "agents.counters", "all")?;
        let agents = counters.get("agents").and_then(Value::as_i64).unwrap_or(0);
        counters.insert("agents".to_owned(), (agents + 1).into());
        counters.insert("lastAgent".to_owned(), self.n.into());
        put(conn, "agents.counters", "all", &text(&counters)?, 0)
    }

    fn put_book(&self, conn: &Connection, end: i64) -> Result<()> {
        let book = json!({
            "n": self.n,
            "end": end,
            "outputsFrom": self.outputs_from,
            "textsFrom": self.texts_from,
        });
        put(conn, "agents.books", &self.id, &text(&book)?, self.owner)
    }
}

/// One item, and what retention has to know of it.
struct Item {
    position: i64,
    index: i64,
    kind: String,
    lived: i64,
    /// What it counts as: its text and 128 bytes, but for an end of a turn and while it has none.
    counted: i64,
    value: Vec<u8>,
}

fn item(row: &Row<'_>) -> Result<Item> {
    let position: i64 = row.get(0)?;
    let index = position & i64::from(u32::MAX);
    let text_of = value(row, 4)?;
    let dropped: i64 = row.get(9)?;
    let kind: String = row.get(2)?;
    let counted = match text_of.as_str().map_or(0, str::len) {
        0 => 0,
        _ if kind == "turn_end" => 0,
        bytes => i64::try_from(bytes.saturating_add(128)).unwrap_or(i64::MAX),
    };
    let members = object([
        ("id", value(row, 1)?),
        ("index", index.into()),
        ("kind", value(row, 2)?),
        ("at", value(row, 3)?),
        ("text", if text_of == "" { Value::Null } else { text_of }),
        (
            "droppedBytes",
            if dropped == 0 {
                Value::Null
            } else {
                dropped.into()
            },
        ),
        ("stream", value(row, 5)?),
        ("status", value(row, 6)?),
        ("exitCode", value(row, 7)?),
        ("intentId", value(row, 8)?),
    ]);
    Ok(Item {
        position,
        index,
        kind,
        lived: row.get(10)?,
        counted,
        value: text(&members)?,
    })
}

/// Moves items of an agent; returns whether none is left.
fn move_items(conn: &Connection, agent: &Agent, room: &mut Room) -> Result<bool> {
    let range = (agent.n << 32, agent.n.saturating_add(1) << 32);
    let book: Map<String, Value> = read(conn, "agents.books", &agent.id)?;
    let member = |name: &str| book.get(name).and_then(Value::as_i64).unwrap_or(0);
    let mut end = member("end");
    let log = last(
        conn,
        "SELECT n FROM logs WHERE space = 'agents.timeline' AND key = ?1",
        (&agent.id,),
    )?;
    let (mut moved, mut bytes, mut counted, mut to) = (0_i64, 0_i64, 0_i64, None);
    {
        let mut statement = conn.prepare_cached(
            "SELECT position, id, kind, at, text, stream, status, exit_code, intent, dropped, lived
             FROM items WHERE position >= ?1 AND position < ?2 ORDER BY position",
        )?;
        let mut rows = statement.query(range)?;
        while room.items > 0 && room.bytes > 0 {
            let Some(row) = rows.next()? else {
                break;
            };
            let item = item(row)?;
            let size = i64::try_from(item.value.len()).unwrap_or(i64::MAX);
            room.items -= 1;
            room.bytes = room.bytes.saturating_sub(item.value.len());
            let sql = "INSERT INTO log_items (log, position, value) VALUES (?1, ?2, ?3)";
            sql::run(conn, sql, (log, item.index, &item.value))?;
            if item.kind == "turn_end" {
                end = item.index;
                note_end(conn, agent, &item)?;
            }
            (moved, bytes, to) = (item.index + 1, bytes + size, Some(item.position));
            counted += item.counted;
        }
    }
    if let Some(to) = to {
        let sql = "DELETE FROM items WHERE position >= ?1 AND position <= ?2";
        sql::run(conn, sql, (range.0, to))?;
        let sql = "UPDATE logs SET next = ?2, bytes = bytes + ?3, counted = counted + ?4
             WHERE n = ?1";
        sql::run(conn, sql, (log, moved, bytes, counted))?;
        agent.put_book(conn, end)?;
    }
    Ok(room.items > 0 && room.bytes > 0)
}

/// Notes the end of a turn of which something may be left.
fn note_end(conn: &Connection, agent: &Agent, item: &Item) -> Result<()> {
    let stage = if item.index > agent.outputs_from {
        0
    } else if item.index > agent.texts_from {
        1
    } else {
        return Ok(());
    };
    let [owner, lived, n, index] = [agent.owner, item.lived, agent.n, item.index].map(number);
    let key = format!("{owner}/{stage}/{lived}/{n}/{index}");
    put(conn, "agents.ended", &key, &text(&agent.id)?, 0)
}

fn move_turns(conn: &Connection, agent: &Agent) -> Result<()> {
    let sql = "SELECT id, name, started, prompt, intent, device FROM turns WHERE agent = ?1";
    let turns = sql::all(conn, sql, (agent.n,), |row| {
        let id: i64 = row.get(0)?;
        let device: Option<[u8; 32]> = row.get(5)?;
        let device = device.map(bowline_protocol::PublicKey::from_bytes);
        let turn = object([
            ("id", id.into()),
            ("name", value(row, 1)?),
            ("agent", agent.n.into()),
            ("owner", number(agent.owner).into()),
            ("started", row.get::<_, bool>(2)?.into()),
            ("intent", value(row, 4)?),
            (
                "device",
                device.map_or(Value::Null, |device| device.to_string().into()),
            ),
        ]);
        Ok((id, turn, row.get::<_, String>(3)?))
    })?;
    for (id, turn, prompt) in turns {
        let key = format!("{}/{}", number(agent.n), number(id));
        put(conn, "agents.turns", &key, &text(&turn)?, 0)?;
        put(conn, "agents.prompts", &key, prompt.as_bytes(), 0)?;
    }
    sql::run(conn, "DELETE FROM turns WHERE agent = ?1", (agent.n,))
}

/// Later agents and turns get other numbers than all before.
fn finish(conn: &Connection) -> Result<()> {
    let mut counters: Map<String, Value> = read(conn, "agents.counters", "all")?;
    for (member, table) in [("lastAgent", "agents"), ("lastTurn", "turns")] {
        let sql = "SELECT seq FROM sqlite_sequence WHERE name = ?1";
        let seq = last(conn, sql, (table,))?;
        if seq > 0 {
            counters.insert(member.to_owned(), seq.into());
        }
    }
    if counters.is_empty() {
        return Ok(());
    }
    put(conn, "agents.counters", "all", &text(&counters)?, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old() -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        for script in super::super::open::MIGRATIONS.iter().take(12) {
            conn.execute_batch(script).unwrap();
        }
        conn.execute_batch(
            "INSERT INTO agents (id, title, provider, cwd, status, created_at, updated_at, next_index, owner)
                 VALUES ('agt_1', 't', 'p', '/', 'idle', 1, 1, 5000, -3),
                        ('agt_2', 't', 'p', '/', 'idle', 1, 1, 0, 0);
             WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 4999)
                 INSERT INTO items (position, id, kind, at, text)
                 SELECT 4294967296 + i, 'itm', iif(i % 10 = 9, 'turn_end', 'unheard of'), 1, 'x' FROM n;
             INSERT INTO turns (name, agent, started, prompt, intent)
                 VALUES ('a', 1, 0, 'p', zeroblob(16)), ('b', 2, 1, 'q', zeroblob(16));
             DELETE FROM turns WHERE name = 'b';",
        )
        .unwrap();
        conn
    }

    fn count(conn: &Connection, sql: &str) -> u64 {
        sql::count(conn, sql, ()).unwrap()
    }

    #[test]
    fn what_was_moved_before_a_kill_stays_and_the_rest_follows() {
        let mut conn = old();
        let left = "SELECT count(*) FROM items";
        let moved = "SELECT count(*) FROM log_items";
        assert!(!step(&conn).unwrap());
        let (some, rest) = (count(&conn, moved), count(&conn, left));
        assert_eq!((some, rest), (ITEMS as u64, 5_000 - ITEMS as u64));
        agents(&mut conn).unwrap();
        assert_eq!((count(&conn, moved), count(&conn, left)), (5_000, 0));
        assert_eq!(count(&conn, "SELECT max(next) FROM logs"), 5_000);
        assert_eq!(
            count(&conn, "SELECT max(bytes) FROM logs"),
            count(&conn, "SELECT sum(length(value)) FROM log_items")
        );
        let row = |space: &str| {
            let sql = "SELECT count(*) FROM service_data WHERE apart AND space = ?1";
            sql::count(&conn, sql, (space,)).unwrap()
        };
        assert_eq!((row("agents"), row("agents.books")), (2, 2));
        assert_eq!((row("agents.turns"), row("agents.ended")), (1, 500));
        let counters: Map<String, Value> = read(&conn, "agents.counters", "all").unwrap();
        let expected = json!({"agents": 2, "lastAgent": 2, "lastTurn": 2});
        assert_eq!(Value::Object(counters), expected);
        agents(&mut conn).unwrap();
        assert_eq!(count(&conn, moved), 5_000);
    }

    #[test]
    fn a_start_goes_on_where_a_killed_one_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bowline.db");
        let begun = old();
        step(&begun).unwrap();
        let version = "PRAGMA application_id = 1115114606; PRAGMA user_version = 12";
        begun.execute_batch(version).unwrap();
        let into = path.display().to_string();
        begun.execute("VACUUM INTO ?1", (into,)).unwrap();
        drop(begun);

        let whose = bowline_protocol::ServerId::of_public_key(b"test");
        for _ in 0..2 {
            let conn = super::super::open::open(&path, &whose, None).unwrap();
            assert_eq!(count(&conn, "SELECT count(*) FROM log_items"), 5_000);
            assert_eq!(count(&conn, "SELECT min(next) FROM logs"), 0);
            assert_eq!(count(&conn, "SELECT max(next) FROM logs"), 5_000);
            let old =
                "SELECT count(*) FROM sqlite_schema WHERE name IN ('agents', 'items', 'turns')";
            assert_eq!(count(&conn, old), 0);
        }
    }

    #[test]
    fn what_was_moved_takes_hardly_more_space_than_before() {
        for bytes in [300, 900, 1_100, 3_000, 6_000] {
            let mut conn = old();
            conn.execute_batch(&format!(
                "UPDATE items SET text = hex(zeroblob({})), kind = 'output', id = 'itm_' || hex(randomblob(16))",
                bytes / 2
            ))
            .unwrap();
            conn.execute_batch("VACUUM").unwrap();
            let used = |conn: &Connection| {
                let pages = |name: &str| count(conn, &format!("SELECT * FROM pragma_{name}"));
                pages("page_count") - pages("freelist_count")
            };
            let before = used(&conn);
            agents(&mut conn).unwrap();
            let after = used(&conn);
            assert!(
                after * 100 < before * 150,
                "{bytes}: {before} pages, then {after}"
            );
        }
    }
}
