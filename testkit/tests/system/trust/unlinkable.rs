//! TR-13: two daemons that compare notes do not learn that the same app has paired with both.

use std::collections::BTreeSet;

use rusqlite::{Connection, OpenFlags, types::ValueRef};
use serde_json::{Value, json};

use crate::cases::rig::Rig;

/// Length of the shortest note, in bytes. Whatever tells an app from others is longer.
const SHORTEST: usize = 12;

/// Everything that a daemon stores: its values, and the words in them.
type Notes = BTreeSet<Vec<u8>>;

/// Pairs the app of a rig with a daemon, and returns all that the daemon then has.
fn paired_with(app: &Rig, daemon: &mut Rig) -> Notes {
    daemon.up(&[]);
    let made = daemon.bd(&["pair", "--json"]);
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let paired = app.bl(&["pair", "--yes", made["offer"].as_str().unwrap()]);
    assert_eq!(paired.code, 0, "{paired:?}");
    // A session, and requests that are stored.
    let info = daemon.rpc("system.info", json!({}));
    let server = info["result"]["serverId"].as_str().unwrap();
    let ran = app.bl(&["run", "--host", server, "--cwd", "/", "true"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let listed = daemon.bd(&["devices", "--json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let device = listed["devices"][0]["deviceId"].as_str().unwrap();
    daemon.stop();
    let notes = notes(daemon);
    assert!(notes.contains(device.as_bytes()), "{device} is not there");
    notes
}

fn notes(daemon: &Rig) -> Notes {
    let file = daemon.state().join("bowline.db");
    let database = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table'";
    let mut tables = database.prepare(tables).unwrap();
    let tables = tables.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let mut notes = Notes::new();
    for table in tables.map(Result::unwrap) {
        let mut rows = database
            .prepare(&format!("SELECT * FROM \"{table}\""))
            .unwrap();
        let columns = rows.column_count();
        let mut rows = rows.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for column in 0..columns {
                if let ValueRef::Text(value) | ValueRef::Blob(value) = row.get_ref(column).unwrap()
                {
                    notes.insert(value.to_vec());
                    let is_end = |byte: &u8| !byte.is_ascii_alphanumeric() && !b"-_".contains(byte);
                    notes.extend(value.split(is_end).map(<[u8]>::to_vec));
                }
            }
        }
    }
    notes.retain(|note| note.len() >= SHORTEST);
    notes
}

#[test]
fn tr_13_daemons_that_compare_all_they_have_do_not_recognise_an_app() {
    let (app, another) = (Rig::new(), Rig::new());
    let one = paired_with(&app, &mut Rig::new());
    let two = paired_with(&app, &mut Rig::new());
    // What daemons have in common whoever has paired with them: names of the machine, of programs.
    let other = paired_with(&another, &mut Rig::new());
    let shared = one.intersection(&two).filter(|note| !other.contains(*note));
    let shared: Vec<_> = shared.map(|note| String::from_utf8_lossy(note)).collect();
    assert!(shared.is_empty(), "both have {shared:?}");
}
