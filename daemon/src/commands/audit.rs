//! `audit`: prints the audit log, and follows it (TR-15).

use std::{thread, time::Duration};

use bowline_program::{ages, print, say};
use bowline_protocol::{methods::name, text::one_line};
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Failure,
    ask::text,
    socket::{Asked, call},
};

/// Time between two looks with `--follow`.
const LOOK: Duration = Duration::from_secs(1);
/// Longest part of a row in text; JSON has all of it.
const MAX_DETAIL: usize = 200;

/// Flags of the command.
#[derive(Debug, Args)]
pub(super) struct How {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Print what is added from now on, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// The newest entries to print
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=1000))]
    lines: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    entries: Vec<Value>,
    has_more: bool,
}

pub(super) fn audit(asked: &Asked, how: &How) -> Result<(), Failure> {
    let mut last = 0;
    let first: Page = call(asked, name::AUDIT_LIST, &json!({"limit": how.lines.max(1)}))?;
    for entry in &first.entries {
        last = last.max(number(entry));
        if how.lines > 0 {
            show(entry, how.json)?;
        }
    }
    if !how.follow {
        if first.entries.is_empty() && !how.json {
            say!(
                "nothing yet: pairings, refusals, revocations and what devices ask for are recorded"
            );
        }
        return Ok(());
    }
    loop {
        let next: Page = call(asked, name::AUDIT_LIST, &json!({"after": last}))?;
        for entry in &next.entries {
            last = last.max(number(entry));
            show(entry, how.json)?;
        }
        if !next.has_more {
            thread::sleep(LOOK);
        }
    }
}

fn number(entry: &Value) -> u64 {
    entry.get("n").and_then(Value::as_u64).unwrap_or_default()
}

fn show(entry: &Value, json: bool) -> Result<(), Failure> {
    if json {
        return print::json(entry).map_err(Failure::failed);
    }
    let at = entry.get("at").and_then(Value::as_u64).unwrap_or_default();
    let detail = entry.get("detail").and_then(Value::as_object);
    let detail: Vec<String> = detail
        .into_iter()
        .flatten()
        .map(|(key, value)| match value {
            Value::String(text) => format!("{key}={}", one_line(text)),
            value => format!("{key}={}", one_line(&value.to_string())),
        })
        .collect();
    let detail = detail.join(" ");
    let end = detail.floor_char_boundary(MAX_DETAIL);
    let more = if end < detail.len() { "…" } else { "" };
    say!(
        "{}  {:<16} {:<12} {}{more}",
        ages::utc(at),
        text(entry, "event"),
        short(entry),
        detail.get(..end).unwrap_or_default()
    );
    Ok(())
}

/// The end of the device's id, as other listings show it; `owner` without a device.
fn short(entry: &Value) -> String {
    match entry.get("deviceId").and_then(Value::as_str) {
        Some(id) => bowline_program::short_ids::end(id, 8).to_owned(),
        None => "owner".to_owned(),
    }
}
