//! The commands that ask a running daemon and print what it says.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use bowline_program::{print, say};
use bowline_protocol::{
    DeviceId,
    methods::{Empty, name},
    text::one_line,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Exit, Failure,
    socket::call,
    table::{span, table},
};

/// Parameters of `devices.revoke`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Revoke {
    device_id: DeviceId,
}

/// Parameters of a listing.
#[derive(Default, Serialize)]
struct Wanted {
    /// `nextCursor` of the page before. Left out at first, as daemons without pages want it.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// A page of a listing, as JSON: this program may be older or newer than the daemon it asks.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rows {
    #[serde(alias = "sessions", alias = "connections", alias = "devices")]
    rows: Vec<Value>,
    next_cursor: Option<String>,
}

/// Every row of a listing, page by page.
fn rows(socket: &Path, method: &str) -> Result<Vec<Value>, Failure> {
    let mut all = Vec::new();
    let mut wanted = Wanted::default();
    loop {
        let page: Rows = call(socket, method, &wanted)?;
        // Pages bring rows, so the list has an end.
        let is_last = page.next_cursor.is_none() || page.rows.is_empty();
        all.extend(page.rows);
        if is_last {
            return Ok(all);
        }
        wanted.cursor = page.next_cursor;
    }
}

pub(super) fn status(socket: &Path, as_json: bool) -> Result<(), Failure> {
    let status: Value = call(socket, name::DAEMON_STATUS, &Empty {})?;
    if as_json {
        return json(&status);
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
        "process      {}, up {}",
        text(&status, "pid"),
        span(number(&status, "uptimeMs"))
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

/// One relay, for people.
fn relay_line(relay: &Value) -> String {
    let registered = relay.get("state").and_then(Value::as_str) == Some("registered");
    let mut line = format!("{}  {}", text(relay, "url"), text(relay, "state"));
    if registered {
        let (sessions, lanes) = (text(relay, "sessions"), text(relay, "lanes"));
        let since = ago(relay, "since");
        line += &format!(" since {since}; {sessions} sessions, {lanes} clients");
    } else if let Some(error) = relay.get("lastError") {
        line += &format!(": {}", text(error, "message"));
    }
    line
}

pub(super) fn sessions(socket: &Path, json: bool) -> Result<(), Failure> {
    let head = [
        "SESSION",
        "DEVICE",
        "STATE",
        "NEXT",
        "CONNECTIONS",
        "REPLAY",
        "LAST SEEN",
    ];
    list(socket, name::SESSIONS_LIST, json, &head, |row| {
        let key = text(row, "externalSessionKey");
        vec![
            bowline_protocol::identity::short_hash(&key),
            text(row, "deviceId"),
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

pub(super) fn connections(socket: &Path, json: bool) -> Result<(), Failure> {
    let head = [
        "ID", "KIND", "STATE", "PATH", "PEER", "SESSION", "AGE", "SILENT", "SERVED", "PENDING",
        "IN", "OUT",
    ];
    list(socket, name::CONNECTIONS_LIST, json, &head, |row| {
        vec![
            text(row, "id"),
            text(row, "kind"),
            text(row, "state"),
            text(row, "path"),
            text(row, "peer"),
            text(row, "session"),
            span(number(row, "ageMs")),
            span(number(row, "silentMs")),
            text(row, "served"),
            text(row, "pending"),
            text(row, "bytesIn"),
            text(row, "bytesOut"),
        ]
    })
}

pub(super) fn devices(socket: &Path, json: bool) -> Result<(), Failure> {
    let head = ["DEVICE", "NAME", "PLATFORM", "PAIRED", "LAST SEEN", ""];
    list(socket, name::DEVICES_LIST, json, &head, |row| {
        let revoked = row.get("revoked").and_then(Value::as_bool) == Some(true);
        vec![
            text(row, "deviceId"),
            text(row, "name"),
            text(row, "platform"),
            ago(row, "pairedAt"),
            ago(row, "lastSeenAt"),
            if revoked {
                "revoked".to_owned()
            } else {
                String::new()
            },
        ]
    })
}

pub(super) fn revoke(socket: &Path, device_id: DeviceId) -> Result<(), Failure> {
    let params = Revoke {
        device_id: device_id.clone(),
    };
    let Empty {} = call(socket, name::DEVICES_REVOKE, &params)?;
    say!("{device_id} is revoked; its connections are cut.");
    Ok(())
}

fn list(
    socket: &Path,
    method: &str,
    as_json: bool,
    head: &[&str],
    cells: impl Fn(&Value) -> Vec<String>,
) -> Result<(), Failure> {
    let rows = rows(socket, method)?;
    if as_json {
        // `sessions.list` is answered with `sessions`.
        let what = method.split('.').next().unwrap_or(method);
        return json(&serde_json::json!({ what: rows }));
    }
    let rows: Vec<_> = rows.iter().map(cells).collect();
    print::out(format_args!("{}", table(head, &rows)));
    Ok(())
}

fn json(whole: &Value) -> Result<(), Failure> {
    print::json(whole).map_err(|error| Failure::new(Exit::Failed, error))
}

/// A value for people. What others are called cannot move the cursor or begin another row.
fn text(row: &Value, key: &str) -> String {
    match row.get(key) {
        Some(Value::String(text)) => one_line(text).into_owned(),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    }
}

fn number(row: &Value, key: &str) -> u64 {
    row.get(key).and_then(Value::as_u64).unwrap_or_default()
}

fn ago(row: &Value, key: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    });
    format!("{} ago", span(now.saturating_sub(number(row, key))))
}
