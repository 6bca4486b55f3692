//! SV-5: `daemon.status`, `connections.list`, `sessions.list` and `devices.list` show what
//! docs/protocol.md §8 says, by exactly those names.

use std::collections::{BTreeMap, BTreeSet};

use bowline_testkit::eventually;
use serde_json::{Value, json};

use crate::support::{
    TestDaemon,
    client::{Attempt, paired},
    local::Local,
};

/// Members of a table of the page, by name; whether each may be absent.
fn documented(table: &str) -> BTreeMap<String, bool> {
    let page = include_str!("../../../docs/protocol.md");
    let mark = format!("<!-- fields: {table} -->");
    let (_, rest) = page.split_once(&mark).expect("the table is documented");
    let rows = rest.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    let cells = rows.map(|row| row.split('|').nth(1).expect("a first cell"));
    cells
        .flat_map(|cell| cell.split(", "))
        .map(|name| {
            let optional = name.trim().ends_with('?');
            let bare = name.trim().trim_end_matches('?').trim_matches('`');
            (bare.to_owned(), optional)
        })
        .collect()
}

/// Every row has what is documented, and all of them together nothing else.
fn compare(table: &str, rows: &[Value]) {
    let documented = documented(table);
    let mut seen = BTreeSet::new();
    for row in rows {
        let members: BTreeSet<_> = row.as_object().unwrap().keys().cloned().collect();
        for (name, optional) in &documented {
            assert!(
                *optional || members.contains(name),
                "{table}: no `{name}` in {row}"
            );
        }
        seen.extend(members);
    }
    let mut known: BTreeSet<_> = documented.into_keys().collect();
    // Said of a store that fails only; the tests of C8 see it.
    known.remove("storageFailingSince");
    // Said of a locked daemon only; the tests of TR-15 see it.
    known.remove("lockedAt");
    assert_eq!(seen, known, "{table}: said (left) and documented (right)");
}

async fn list(local: &mut Local, method: &str, member: &str) -> Vec<Value> {
    let answer = local.call(method, json!({})).await;
    answer["result"][member].as_array().unwrap().clone()
}

#[tokio::test]
async fn sv_5_listings_show_what_is_documented_by_those_names() {
    let daemon = TestDaemon::with(|settings| {
        settings.metrics = Some("127.0.0.1:0".parse().unwrap());
        // Nobody is there.
        settings.relay = vec!["ws://127.0.0.1:1".parse().unwrap()];
    })
    .await;
    let (install, mut client) = paired(&daemon).await;
    let probe = Attempt::new(&daemon, &install).probe().connect().await;
    let (_, gone) = paired(&daemon).await;
    drop(gone);
    daemon.quiet_but(2).await;
    let pending = client.ask("test.gate", json!({})).await;
    eventually("it has begun", async || {
        daemon.connections().iter().any(|row| row.pending == 1)
    })
    .await;
    let mut local = Local::connect(&daemon).await;

    let connections = list(&mut local, "connections.list", "connections").await;
    compare("connections.list", &connections);
    let by_kind = |kind: &str| {
        let row = connections.iter().find(|row| row["kind"] == kind);
        row.unwrap_or_else(|| panic!("no {kind} in {connections:?}"))
    };
    let (session, own) = (by_kind("session"), by_kind("local"));
    assert_eq!(session["state"], "processing");
    assert_eq!(
        (&session["served"], &session["pending"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(
        (&session["path"], &own["path"]),
        (&json!("direct"), &json!("local"))
    );
    assert_eq!(session["deviceId"], install.device_id().as_str());
    assert_eq!(session["session"], install.session.external().log_hash());
    assert_eq!(session["client"], "test 1 (linux)");
    assert!(session["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(session["bytesIn"].as_u64() > Some(100) && session["bytesOut"].as_u64() > Some(100));
    assert!(session["ageMs"].as_u64() >= session["silentMs"].as_u64());
    assert_eq!(by_kind("probe").get("session"), None, "INV-8");
    assert_eq!(
        (&own["served"], &own["pending"]),
        (&json!(0), &json!(0)),
        "as of before this request"
    );

    let sessions = list(&mut local, "sessions.list", "sessions").await;
    compare("sessions.list", &sessions);
    assert_eq!(sessions.len(), 2);
    assert_eq!(
        (&sessions[0]["state"], &sessions[1]["state"]),
        (&json!("attached"), &json!("detached"))
    );
    assert_eq!(
        sessions[0]["session"], session["session"],
        "rows of both lists match"
    );
    assert_eq!(sessions[0]["connections"], json!([session["id"]]));

    let devices = list(&mut local, "devices.list", "devices").await;
    compare("devices.list", &devices);
    let audit = list(&mut local, "audit.list", "entries").await;
    compare("audit.list", &audit);

    let relays = || daemon.daemon.relays().list();
    eventually("the relay does not answer", async || {
        relays()[0].last_error.is_some()
    })
    .await;
    let status = local.call("daemon.status", json!({})).await["result"].clone();
    compare("daemon.status relays", &[status["relays"][0].clone()]);
    assert_eq!(status["relays"][0]["lastError"]["reason"], "unreachable");
    compare("daemon.status", std::slice::from_ref(&status));
    compare("daemon.status ledger", &[status["ledger"].clone()]);
    assert_eq!(
        (&status["sessions"], &status["sessionsAttached"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(
        (&status["connections"], &status["connectionsTotal"]),
        (&json!(3), &json!(6)),
        "two of them paired"
    );
    assert_eq!(status["closed"], json!({"connection_lost": 3}));
    assert_eq!(status["requests"]["pending"], 1, "the gate's");
    assert!(status["requests"]["ok"].as_u64() >= Some(4), "{status}");
    assert_eq!(status["metrics"], json!(daemon.daemon.metrics()));
    local.call("test.open", json!({})).await;
    client.answer(pending).await;
    drop(probe);
}
