//! `docs/protocol.md` and the code name the same methods, events, reasons, codes and limits.
//!
//! A checked table follows a comment `<!-- check: name -->`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what failed by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};

use bowline_protocol::{
    Reason, RpcReason, SessionEvent,
    extension::{OWN_LIVE, RESERVED_GROUPS},
    limits,
    methods::name::{self, ALL as METHODS},
    relay::limits as relay,
};

const PAGE: &str = "docs/protocol.md";

/// A difference between the page and the code, and the line of the page, from 1; 0 when it concerns
/// the whole page.
#[derive(Debug, PartialEq, Eq)]
struct Difference {
    line: usize,
    what: String,
}

impl Difference {
    fn new(line: usize, what: impl Into<String>) -> Self {
        let what = what.into();
        Self { line, what }
    }
}

/// Methods in the table of the local socket.
const LOCAL: &[&str] = &[
    name::DAEMON_STATUS,
    name::CONNECTIONS_LIST,
    name::SESSIONS_LIST,
    name::DEVICES_LIST,
    name::DEVICES_REVOKE,
    name::DEVICES_SET,
    name::AUDIT_LIST,
    name::DAEMON_LOCK,
    name::DAEMON_UNLOCK,
    name::PAIRING_CREATE,
    name::PAIRING_LIST,
    name::PAIRING_CANCEL,
    name::PAIRING_WAIT,
    name::PAIRING_APPROVE,
    name::PAIRING_REFUSE,
];

/// The code's side: for each table its rows, each with the compared cells.
type Tables = BTreeMap<&'static str, BTreeSet<Vec<String>>>;

fn expected() -> Tables {
    let row = |cells: &[&str]| {
        cells
            .iter()
            .map(|cell| (*cell).to_owned())
            .collect::<Vec<_>>()
    };
    let names = |list: &mut dyn Iterator<Item = &'static str>| list.map(|n| row(&[n])).collect();
    let reason = |reason: &Reason| {
        let code = reason
            .close_code()
            .map_or("–".to_owned(), |c| c.to_string());
        let (retry, advice) = (word(reason.retry()), word(reason.advice()));
        row(&[&code, reason.as_str(), &retry, &advice])
    };
    let methods = METHODS.iter().copied();
    Tables::from([
        (
            "methods",
            names(&mut methods.clone().filter(|m| !LOCAL.contains(m))),
        ),
        (
            "local-methods",
            names(&mut methods.filter(|m| LOCAL.contains(m))),
        ),
        ("events", names(&mut SessionEvent::TYPES.iter().copied())),
        (
            "reserved-groups",
            names(&mut RESERVED_GROUPS.iter().copied()),
        ),
        ("reasons", Reason::ALL.iter().map(reason).collect()),
        (
            "rpc-reasons",
            RpcReason::ALL
                .iter()
                .map(|r| {
                    let code = r.code().to_string();
                    row(&[r.as_str(), &code, &word(r.retry()), &word(r.advice())])
                })
                .collect(),
        ),
        (
            "limits",
            LIMITS
                .iter()
                .map(|(name, value)| row(&[name, &value.to_string()]))
                .collect(),
        ),
        (
            "relay-limits",
            RELAY_LIMITS
                .iter()
                .map(|(name, value)| row(&[name, &value.to_string()]))
                .collect(),
        ),
    ])
}

/// The serde name of an enum value.
fn word(value: impl serde::Serialize) -> String {
    let json = serde_json::to_string(&value).unwrap_or_default();
    json.trim_matches('"').to_owned()
}

/// The limits, in bytes, counts or milliseconds, by the first cell of their row.
const LIMITS: &[(&str, u128)] = &[
    ("Noise message", limits::MAX_NOISE_MESSAGE as u128),
    ("chunk of a message", limits::MAX_CHUNK as u128),
    ("hello or welcome", limits::MAX_HELLO_BYTES as u128),
    ("limits.maxMessageBytes", limits::MAX_MESSAGE_BYTES as u128),
    ("limits.maxInFlight", limits::MAX_IN_FLIGHT as u128),
    ("batch", limits::MAX_BATCH as u128),
    ("heartbeatMs", limits::HEARTBEAT.as_millis()),
    (
        "accepted socket to session.ready",
        limits::HANDSHAKE_DEADLINE.as_millis(),
    ),
    (
        "whole connect, seen by the client",
        limits::CONNECT_DEADLINE.as_millis(),
    ),
    ("events without acknowledgement", limits::ACK_EVENTS as u128),
    (
        "time without acknowledgement",
        limits::ACK_INTERVAL.as_millis(),
    ),
    ("session grace", limits::SESSION_GRACE.as_millis()),
    (
        "replay log, bytes of one session",
        limits::REPLAY_BYTES as u128,
    ),
    (
        "replay log, events of one session",
        limits::REPLAY_EVENTS as u128,
    ),
    (
        "connections of one session",
        limits::CONNECTIONS_PER_SESSION as u128,
    ),
    (
        "memory of an intent's outcome",
        limits::INTENT_MEMORY.as_millis(),
    ),
    ("life of a pairing token", limits::PAIRING_TTL.as_millis()),
    ("key of a row", limits::MAX_KEY as u128),
    (
        "follows of one session",
        limits::FOLLOWS_PER_SESSION as u128,
    ),
    (
        "params of live.open and live.page",
        limits::LIVE_PARAMS_BYTES as u128,
    ),
    ("value of a row", limits::LIVE_ROW_BYTES as u128),
    ("item of a log", limits::LOG_ITEM_BYTES as u128),
    ("items of a log that grow", limits::LOG_GROWING as u128),
    (
        "event of a table's or log's change",
        limits::LIVE_EVENT_BYTES as u128,
    ),
    (
        "piece of a blob in one request or response",
        limits::BLOB_PIECE_BYTES as u128,
    ),
    ("size of a blob", limits::MAX_BLOB_BYTES as u128),
    (
        "blobs that one device puts at once",
        limits::BLOBS_BEGUN as u128,
    ),
    (
        "a blob that is not complete, without progress",
        limits::BLOB_BEGUN_AGE.as_millis(),
    ),
    (
        "a blob that nothing refers to",
        limits::BLOB_GRACE.as_millis(),
    ),
    (
        "follows opened again after an attach",
        limits::FOLLOW_AGAIN.as_millis(),
    ),
];

/// The limits of the relay, likewise.
const RELAY_LIMITS: &[(&str, u128)] = &[
    (
        "message of a client socket",
        relay::MAX_CLIENT_MESSAGE as u128,
    ),
    ("message on a data socket", relay::MAX_DATA_MESSAGE as u128),
    (
        "message of a daemon on its control socket",
        relay::MAX_CONTROL_MESSAGE as u128,
    ),
    (
        "accepted socket to its request, and from there to a registration",
        relay::HANDSHAKE.as_millis(),
    ),
    ("first client to data socket", relay::PEER_WAIT.as_millis()),
    (
        "held before the data socket is there",
        relay::HELD_BYTES as u128,
    ),
    ("heartbeatMs", relay::HEARTBEAT.as_millis()),
    (
        "client sockets of one daemon",
        relay::SOCKETS_PER_DAEMON as u128,
    ),
    (
        "client sockets of strangers at one daemon",
        relay::STRANGERS_PER_DAEMON as u128,
    ),
    (
        "sockets before their request or registration",
        relay::STRANGERS_FULL as u128,
    ),
    (
        "the same of one address",
        relay::STRANGERS_PER_ADDRESS as u128,
    ),
    (
        "the same of one region",
        relay::STRANGERS_PER_REGION as u128,
    ),
    (
        "client sockets of one session",
        relay::SOCKETS_PER_SESSION as u128,
    ),
    ("sockets of one address", relay::SOCKETS_PER_ADDRESS as u128),
    ("sockets of everybody", relay::SOCKETS as u128),
    (
        "registrations of one address a minute",
        relay::REGISTRATIONS_PER_MINUTE as u128,
    ),
    (
        "client and data sockets opened by one address a minute",
        relay::OPENS_PER_MINUTE as u128,
    ),
    ("queue of one socket", relay::QUEUE_BYTES as u128),
    ("a full lane beside others", relay::LANE_STALL.as_millis()),
    (
        "a socket that takes nothing at all",
        relay::SOCKET_STALL.as_millis(),
    ),
    (
        "sessions without a control socket",
        relay::CONTROL_GRACE.as_millis(),
    ),
    (
        "peers of a relay that restarts come back within",
        relay::RESTART_SPREAD.as_millis(),
    ),
    (
        "the daemons among them within",
        relay::DAEMON_RESTART_SPREAD.as_millis(),
    ),
    (
        "longest time to stay away that is believed",
        relay::MAX_RETRY_AFTER.as_millis(),
    ),
];

fn compare(page: &str, expected: &Tables) -> Vec<Difference> {
    let mut found = Vec::new();
    for (table, in_code) in expected {
        let width = in_code.first().map_or(0, Vec::len);
        let Some(rows) = rows(page, table) else {
            found.push(Difference::new(0, format!("has no table `{table}`")));
            continue;
        };
        let mut on_page = BTreeSet::new();
        for (line, cells) in rows {
            let mut cells: Vec<_> = cells.into_iter().take(width).collect();
            if table.ends_with("limits") {
                cells = cells
                    .iter()
                    .map(|cell| cell.trim_end_matches(" ⚙").to_owned())
                    .collect();
                if let Some(value) = cells.get_mut(1) {
                    value.retain(|c| c.is_ascii_digit());
                }
            }
            if !in_code.contains(&cells) {
                let what = format!("{table}: the code knows no `{}`", cells.join(" | "));
                found.push(Difference::new(line, what));
            } else if !on_page.insert(cells.clone()) {
                let what = format!("{table}: `{}` occurs twice", cells.join(" | "));
                found.push(Difference::new(line, what));
            }
        }
        for missing in in_code.difference(&on_page) {
            let what = format!("{table}: `{}` of the code is missing", missing.join(" | "));
            found.push(Difference::new(0, what));
        }
    }
    found.extend(unknown_names(page));
    found
}

/// The rows of a checked table: line number and cells, without backticks, minus signs as hyphens.
fn rows(page: &str, table: &str) -> Option<Vec<(usize, Vec<String>)>> {
    let mark = format!("<!-- check: {table} -->");
    let mut lines = page
        .lines()
        .enumerate()
        .skip_while(|(_, line)| line.trim() != mark);
    lines.next()?;
    let rows = lines.take_while(|(_, line)| line.starts_with('|')).skip(2);
    Some(rows.map(|(n, line)| (n + 1, cells(line))).collect())
}

fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_matches('|');
    let clean = |cell: &str| cell.trim().replace('`', "").replace('−', "-");
    inner.split('|').map(clean).collect()
}

/// Names in the prose that look like methods, events or live data but are none.
fn unknown_names(page: &str) -> Vec<Difference> {
    let names = METHODS.iter().chain(SessionEvent::TYPES).chain(OWN_LIVE);
    let known: BTreeSet<_> = names.copied().collect();
    let domains: BTreeSet<_> = known
        .iter()
        .filter_map(|name| name.split('.').next())
        .collect();
    let mut found = Vec::new();
    for (n, line) in page.lines().enumerate() {
        for code in line.split('`').skip(1).step_by(2) {
            let name: &str = code.split([' ', '{', ':']).next().unwrap_or_default();
            let Some((domain, rest)) = name.split_once('.') else {
                continue;
            };
            let like_ours = domains.contains(domain)
                && !rest.is_empty()
                && rest.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            // `session.state` is a member of the welcome.
            if like_ours && !known.contains(name) && name != "session.state" {
                let what = format!("`{name}` is no method, event or live data of the code");
                found.push(Difference::new(n + 1, what));
            }
        }
    }
    found
}

const REASONS: &str = "<!-- check: r -->\n| code | reason |\n|---|---|\n| 4400 | `bad` |\n\
                       | – | `lost` |\n\ntext\n";

fn code(rows: &[&[&str]]) -> Tables {
    let row = |cells: &&[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect();
    Tables::from([("r", rows.iter().map(row).collect())])
}

#[test]
fn the_page_as_it_is_agrees_with_the_code() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(PAGE);
    let page = std::fs::read_to_string(page).unwrap();
    let found = compare(&page, &expected());
    let found = found
        .iter()
        .map(|Difference { line, what }| format!("{PAGE}:{line}: {what}\n"));
    let found: String = found.collect();
    assert!(found.is_empty(), "\n{found}");
}

#[test]
fn agreement_is_silent() {
    assert_eq!(
        compare(REASONS, &code(&[&["4400", "bad"], &["–", "lost"]])),
        []
    );
}

#[test]
fn a_name_only_in_the_code_is_found() {
    let found = compare(
        REASONS,
        &code(&[&["4400", "bad"], &["–", "lost"], &["4401", "new"]]),
    );
    assert_eq!(found.len(), 1);
    assert!(
        found[0]
            .what
            .contains("`4401 | new` of the code is missing")
    );
}

#[test]
fn a_name_only_on_the_page_is_found_with_its_line() {
    let found = compare(REASONS, &code(&[&["4400", "bad"]]));
    assert_eq!((found.len(), found[0].line), (1, 5));
}

#[test]
fn a_wrong_code_is_found_from_both_sides() {
    let found = compare(REASONS, &code(&[&["4499", "bad"], &["–", "lost"]]));
    assert_eq!(found.len(), 2);
}

#[test]
fn a_missing_table_is_found() {
    assert!(
        compare("text", &code(&[&["4400", "bad"]]))[0]
            .what
            .contains("no table")
    );
}

#[test]
fn a_method_in_the_prose_that_does_not_exist_is_found() {
    let found = unknown_names("see `agents.list` and `agents.listen {}` and `limits.x`\n");
    assert_eq!(found.len(), 1);
    assert!(found[0].what.contains("agents.listen"));
}
