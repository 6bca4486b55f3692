//! The measured daemons: start, local socket, memory.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use bowline_local::{Client, Endpoint};
use bowline_protocol::{
    Offer,
    methods::{Empty, name},
};
use bowline_testkit::{
    try_eventually,
    world::{DaemonOptions, DaemonProcess, resident},
};
use serde_json::Value;

use super::{Bench, Outcome};

/// Longest wait for an action that a healthy process completes at once.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);
/// Interval between two readings of resident memory; equal readings mean that it has settled.
const SETTLING: Duration = Duration::from_millis(250);
/// Share of the connections' memory that may remain: pages shared with other allocations.
pub(super) const LEFT_BEHIND: f64 = 0.15;
/// Slightly longer than the daemon's interval between checks of its connections.
pub(super) const SWEEP: Duration = Duration::from_secs(6);

/// Starts a real daemon with its state in a subfolder of the bench; a used folder makes it a
/// restart.
///
/// # Errors
/// The daemon does not start.
pub(super) async fn daemon(bench: &Bench, folder: &str) -> Outcome<DaemonProcess> {
    daemon_with(bench, folder, |_| {}).await
}

/// The same with other options.
///
/// # Errors
/// The daemon does not start.
pub(super) async fn daemon_with(
    bench: &Bench,
    folder: &str,
    change: impl FnOnce(&mut DaemonOptions),
) -> Outcome<DaemonProcess> {
    let mut options = DaemonOptions::new(bench.dir.join(folder));
    "error".clone_into(&mut options.log);
    change(&mut options);
    Ok(DaemonProcess::start(options).await?)
}

/// The same, registered with a relay.
///
/// # Errors
/// The daemon does not start or register.
pub(super) async fn daemon_at(bench: &Bench, folder: &str, relay: &str) -> Outcome<DaemonProcess> {
    let args = vec!["--relay".to_owned(), relay.to_owned()];
    let daemon = daemon_with(bench, folder, |options| options.args = args).await?;
    daemon.registered().await?;
    Ok(daemon)
}

/// Path of the daemon's local socket.
pub(super) fn socket(daemon: &DaemonProcess) -> PathBuf {
    daemon.state_dir().join("daemon.sock")
}

/// Connects to the daemon's local socket.
///
/// # Errors
/// Nothing listens there.
pub(super) async fn control(daemon: &DaemonProcess) -> Outcome<Client> {
    Ok(Client::connect(&Endpoint::new(socket(daemon))?).await?)
}

/// Requests a pairing offer.
///
/// # Errors
/// The daemon refuses.
pub(super) async fn offer(control: &Client) -> Outcome<Offer> {
    let result: Value = control.call(name::PAIRING_CREATE, &Empty {}).await?;
    let link = result.get("offer").and_then(Value::as_str);
    Ok(link.ok_or("an answer without an offer")?.parse()?)
}

/// The daemon's `daemon.status`.
///
/// # Errors
/// The daemon does not answer.
pub(super) async fn status(control: &Client) -> Outcome<Value> {
    Ok(control.call(name::DAEMON_STATUS, &Empty {}).await?)
}

/// Resident memory of a process in bytes, after it has settled.
///
/// # Errors
/// The system does not report it.
pub(super) async fn settled_memory(pid: Option<u32>) -> Outcome<f64> {
    let deadline = Instant::now() + DEADLINE;
    let mut last = memory_now(pid)?;
    loop {
        tokio::time::sleep(SETTLING).await;
        let now = memory_now(pid)?;
        if now == last || Instant::now() > deadline {
            return Ok(now);
        }
        last = now;
    }
}

/// Current resident memory of a process in bytes.
///
/// # Errors
/// The system does not report it: only Linux does.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
pub(super) fn memory_now(pid: Option<u32>) -> Outcome<f64> {
    let bytes = pid.and_then(resident);
    Ok(bytes.ok_or("no resident memory: the process has ended, or this is not Linux")? as f64)
}

/// Waits until only this connection to the local socket remains.
pub(super) async fn all_gone(control: &Client) -> Outcome<()> {
    let gone = async || match status(control).await {
        Ok(status) => match status.get("connections").and_then(Value::as_u64) {
            Some(..=1) => Ok(Ok(())),
            left => Err(left),
        },
        Err(error) => Ok(Err(error)),
    };
    try_eventually("the other connections are gone", gone).await?
}
