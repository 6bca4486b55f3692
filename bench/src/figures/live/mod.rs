//! Live data of a service (`daemon/examples/sheet.rs`): opening a table, changes, followers, blobs.

pub(super) mod blobs;
pub(super) mod cached;
pub(super) mod changes;
pub(super) mod follows;
pub(super) mod opening;
pub(super) mod rows;

use bowline_local::Client as Local;
use bowline_testkit::world::{Client, DaemonProcess, quick_settings};
use serde_json::{Value, json};

use crate::{Bench, Outcome, process};

/// Rows of the table that is opened.
const ROWS: u32 = 10_000;

/// A daemon of a sheet.
async fn sheet(bench: &Bench, folder: &str) -> Outcome<DaemonProcess> {
    process::daemon_with(bench, folder, |options| options.program = "examples/sheet").await
}

/// Sets that many cells in one transaction.
async fn fill(local: &Local, rows: u32) -> Outcome<()> {
    let fill = json!({"table": "cells", "from": 0, "rows": rows});
    local.call::<Value>("sheet.fill", &fill).await?;
    Ok(())
}

/// An app, paired and online, that has nothing from an earlier run.
async fn app(daemon: &DaemonProcess, bench: &Bench, folder: &str) -> Outcome<Client> {
    let mut settings = quick_settings(1);
    settings.cache_bytes = 0;
    let mut client = Client::open(bench.dir.join(folder), settings)?;
    client.pair(daemon, &[daemon.address()]).await?;
    client.online().await?;
    Ok(client)
}
