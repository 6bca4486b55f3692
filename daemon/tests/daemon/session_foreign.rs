//! A client of another language on the session socket: `session.mjs` is written from
//! `docs/protocol.md` alone, with the cryptography and the WebSocket of Node.

use std::{collections::BTreeMap, ffi::OsStr, time::Duration};

use bowline_daemon::{ledger::Reader, setup::Services};
use serde_json::{Value, json};

use crate::support::{
    TestDaemon,
    foreign::{NODE, folder, modules, printed, run, skip},
    live::{Board, ROWS, put_rows},
};

/// Times that the client cuts its own connection.
const CUTS: u64 = 8;

#[tokio::test]
async fn ld_2_bx_1_bx_3_a_client_in_node_follows_a_table_from_the_page_of_the_protocol_alone() {
    let Some(modules) = modules().await else {
        return skip("node, or the registry of npm,", NODE);
    };
    let daemon = TestDaemon::of(Services::none().with(Board), |_| {}).await;
    let offer = daemon.offer().await.to_string();
    let cuts = CUTS.to_string();
    let script = folder().join("node/session.mjs");
    let args = [
        script.as_os_str(),
        OsStr::new(&offer),
        modules.as_os_str(),
        OsStr::new(&cuts),
    ];
    let ledger = daemon.daemon.ledger();
    let writing = async {
        // Until the client has cut itself off and come back often enough, however slow it is.
        for n in 0_u64.. {
            let key = |under: &str| format!("{under}/{}", n * 7 % 23);
            let value = match n % 5 {
                0 => Value::Null,
                // Over the size of an event: the client fetches the row.
                1 if n % 50 == 1 => json!({"n": n, "text": "x".repeat(70_000)}),
                _ => json!({"n": n}),
            };
            let rows = [(key("a"), value), (key("b"), json!(n))];
            let write = ledger.write(move |tx| {
                put_rows(tx, rows)?;
                ROWS.get(tx, "a/attached")
            });
            let attached = write.await.unwrap().and_then(|attached| attached.as_u64());
            if attached > Some(CUTS) && n > 100 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let end = [("a/end".to_owned(), json!(true))];
        ledger.write(move |tx| put_rows(tx, end)).await.unwrap();
    };
    let (output, ()) = tokio::join!(run("node", &args, &modules), writing);
    let said: Value = serde_json::from_str(&printed(&output.unwrap())).unwrap();

    let shown: BTreeMap<String, Value> = serde_json::from_value(said["rows"].clone()).unwrap();
    let stored = ledger.read(|reader: &Reader<'_>| ROWS.page(reader, "", 1_000));
    let stored = stored.await.unwrap().into_iter();
    let stored: BTreeMap<_, _> = stored.filter(|(key, _)| key.starts_with("a/")).collect();
    assert_eq!(shown, stored);
    assert_eq!(shown["a/mine"], json!({"by": "foreign"}));
    let states = said["states"].as_array().unwrap();
    assert!(states.len() > 4 && states[0] != "resumed", "{states:?}");
    assert!(
        states[1..].iter().all(|state| state == "resumed"),
        "{states:?}"
    );
    assert!(said["resumed"].as_u64() > Some(0), "{said}");
    assert!(said["stale"].as_u64() > Some(0), "{said}");
    // The intent was sent on each connection, and done once.
    let (answered, told) = (said["answered"].as_array().unwrap(), &said["told"]);
    assert!(
        answered.len() > 1 && told.as_array().unwrap().len() == 1,
        "{said}"
    );
    assert!(told[0].as_u64() <= answered[0].as_u64(), "{said}");
}
