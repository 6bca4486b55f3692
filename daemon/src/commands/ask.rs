//! Commands that query a running daemon and print the result.

use bowline_program::{
    ages, print, say, short_ids,
    table::{Cell, table},
};
use bowline_protocol::{
    methods::{Empty, name},
    text::one_line,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Failure, grant,
    socket::{Asked, call},
};

/// Parameters of a listing.
#[derive(Default, Serialize)]
struct Wanted {
    /// `nextCursor` of the previous page. Omitted for the first page, as daemons without pages
    /// require.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// A page of a listing, as JSON: the daemon may be older or newer than this program.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rows {
    #[serde(alias = "sessions", alias = "connections", alias = "devices")]
    rows: Vec<Value>,
    next_cursor: Option<String>,
}

/// All rows of a listing, over all pages.
fn rows(asked: &Asked, method: &str) -> Result<Vec<Value>, Failure> {
    let mut all = Vec::new();
    let mut wanted = Wanted::default();
    loop {
        let page: Rows = call(asked, method, &wanted)?;
        // Every page has rows, so the loop ends.
        let is_last = page.next_cursor.is_none() || page.rows.is_empty();
        all.extend(page.rows);
        if is_last {
            return Ok(all);
        }
        wanted.cursor = page.next_cursor;
    }
}

pub(super) fn status(asked: &Asked, json: bool) -> Result<(), Failure> {
    let status: Value = call(asked, name::DAEMON_STATUS, &Empty {})?;
    if json {
        return print::json(&status).map_err(Failure::failed);
    }
    let listen = status.get("listen").and_then(Value::as_array);
    let listen: Vec<_> = listen
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(one_line)
        .collect();
    say!(
        "{} ({}), version {}",
        text(&status, "name"),
        text(&status, "serverId"),
        text(&status, "version")
    );
    say!(
        "process      {}, up for {}",
        text(&status, "pid"),
        ages::lasting(number(&status, "uptimeMs"))
    );
    say!("listening    {}", listen.join(", "));
    say!("state        {}", text(&status, "stateDir"));
    say!("devices      {}", text(&status, "devices"));
    say!("sessions     {}", text(&status, "sessions"));
    say!(
        "connections  {} ({} so far)",
        text(&status, "connections"),
        text(&status, "connectionsTotal")
    );
    if status.get("lockedAt").is_some() {
        let since = ago(&status, "lockedAt");
        say!(
            "locked       {since}; devices are refused and agents are stopped until `{} unlock`",
            asked.program
        );
    }
    if status.get("storageFailingSince").is_some() {
        let since = ago(&status, "storageFailingSince");
        say!(
            "disk         cannot be written since {since}; free some space on this machine, and see the log"
        );
    }
    let relays = status.get("relays").and_then(Value::as_array);
    for relay in relays.into_iter().flatten() {
        say!("relay        {}", relay_line(relay));
    }
    if let Some(requests) = status.get("requests") {
        say!(
            "requests     {} answered, {} failed, {} pending",
            text(requests, "ok"),
            text(requests, "failed"),
            text(requests, "pending")
        );
    }
    Ok(())
}

/// One relay, as text for people.
fn relay_line(relay: &Value) -> String {
    let registered = relay.get("state").and_then(Value::as_str) == Some("registered");
    let mut line = format!("{}  {}", text(relay, "url"), text(relay, "state"));
    if registered {
        let (sessions, lanes) = (text(relay, "sessions"), text(relay, "lanes"));
        let lasting = ages::unix_millis().saturating_sub(number(relay, "since"));
        let lasting = ages::lasting(lasting);
        line += &format!(" for {lasting}; sessions: {sessions}, clients: {lanes}");
    } else if let Some(error) = relay.get("lastError") {
        line += &format!(": {}", text(error, "message"));
    }
    line
}

pub(super) fn sessions(asked: &Asked, json: bool) -> Result<(), Failure> {
    let head = [
        "SESSION",
        "DEVICE",
        "STATE",
        "NEXT",
        "CONNECTIONS",
        "REPLAY",
        "LAST SEEN",
    ];
    list(asked, name::SESSIONS_LIST, json, &head, |row, length| {
        let key = text(row, "externalSessionKey");
        vec![
            bowline_protocol::identity::short_hash(&key),
            short(row, length),
            text(row, "state"),
            text(row, "nextSeq"),
            row.get("connections")
                .and_then(Value::as_array)
                .map_or(0, Vec::len)
                .to_string(),
            text(row, "replayEvents"),
            ago(row, "lastSeenAt"),
        ]
    })
}

pub(super) fn connections(asked: &Asked, json: bool) -> Result<(), Failure> {
    let head = [
        "ID", "KIND", "STATE", "PATH", "PEER", "SESSION", "AGE", "SILENT", "SERVED", "PENDING",
        "IN", "OUT",
    ];
    list(asked, name::CONNECTIONS_LIST, json, &head, |row, _| {
        vec![
            text(row, "id"),
            text(row, "kind"),
            text(row, "state"),
            text(row, "path"),
            text(row, "peer"),
            text(row, "session"),
            ages::lasting(number(row, "ageMs")),
            ages::lasting(number(row, "silentMs")),
            text(row, "served"),
            text(row, "pending"),
            text(row, "bytesIn"),
            text(row, "bytesOut"),
        ]
    })
}

pub(super) fn devices(asked: &Asked, json: bool) -> Result<(), Failure> {
    let head = ["DEVICE", "NAME", "PLATFORM", "PAIRED", "LAST SEEN", "MAY"];
    list(asked, name::DEVICES_LIST, json, &head, |row, length| {
        let revoked = row.get("revoked").and_then(Value::as_bool) == Some(true);
        vec![
            short(row, length),
            text(row, "name"),
            text(row, "platform"),
            ago(row, "pairedAt"),
            ago(row, "lastSeenAt"),
            if revoked {
                "revoked".to_owned()
            } else {
                granted(row)
            },
        ]
    })
}

/// What a device may do, in words.
fn granted(row: &Value) -> String {
    let grant = row.get("grant").cloned().unwrap_or_default();
    serde_json::from_value(grant).map_or_else(|_| "-".to_owned(), |grant| grant::words(&grant))
}

/// A device, as `devices` lists it.
pub(super) fn all_devices(asked: &Asked) -> Result<Vec<Value>, Failure> {
    rows(asked, name::DEVICES_LIST)
}

/// Prints a listing; `cells` gets the length of the short ids of its devices.
fn list(
    asked: &Asked,
    method: &str,
    json: bool,
    head: &[&str],
    cells: impl Fn(&Value, usize) -> Vec<String>,
) -> Result<(), Failure> {
    let rows = rows(asked, method)?;
    if json {
        // The response of `sessions.list` has the member `sessions`.
        let what = method.split('.').next().unwrap_or(method);
        return print::json(&serde_json::json!({ what: rows })).map_err(Failure::failed);
    }
    let ids = rows.iter();
    let ids = ids.filter_map(|row| row.get("deviceId").and_then(Value::as_str));
    let length = short_ids::short_length(ids);
    let cells: Vec<Vec<Cell>> = rows
        .iter()
        .map(|row| cells(row, length).into_iter().map(Cell::new).collect())
        .collect();
    print::out(format_args!("{}", table(head, &cells, false)));
    Ok(())
}

/// The end of a device's id, which commands accept in place of the whole.
fn short(row: &Value, length: usize) -> String {
    short_ids::end(&text(row, "deviceId"), length).to_owned()
}

/// A JSON member as text, without control characters.
pub(super) fn text(row: &Value, key: &str) -> String {
    match row.get(key) {
        Some(Value::String(text)) => one_line(text).into_owned(),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    }
}

fn number(row: &Value, key: &str) -> u64 {
    row.get(key).and_then(Value::as_u64).unwrap_or_default()
}

/// Age of a time in a row.
pub(super) fn ago(row: &Value, key: &str) -> String {
    ages::ago(ages::unix_millis(), number(row, key))
}
