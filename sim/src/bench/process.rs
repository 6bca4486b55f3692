//! The processes under measurement: started, weighed, ended.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use bowline_protocol::{Offer, methods::name};
use serde_json::{Value, json};

use super::{
    Bench, Outcome,
    control::Control,
    echo::{Buffers, Echo},
};
use crate::world::{DaemonOptions, DaemonProcess};

/// Longest wait for anything a healthy process does at once.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);
/// Two looks at a resident size this far apart that agree mean that it stands still.
const SETTLING: Duration = Duration::from_millis(250);
/// What may stay behind of what the connections took: pages of which something else has a part, not connections.
pub(super) const LEFT_BEHIND: f64 = 0.15;
/// A little longer than the daemon's pause between two looks at its connections.
pub(super) const SWEEP: Duration = Duration::from_secs(6);

/// Starts a real daemon with its state in that folder of the bench's own; one used before makes it a restart.
///
/// # Errors
/// When it does not come up.
pub(super) async fn daemon(bench: &Bench, folder: &str) -> Outcome<DaemonProcess> {
    Ok(DaemonProcess::start(options(bench, folder)).await?)
}

/// The same, with that configuration file.
///
/// # Errors
/// When it does not come up.
#[cfg(unix)]
pub(super) async fn configured(
    bench: &Bench,
    folder: &str,
    config: &str,
) -> Outcome<DaemonProcess> {
    let file = bench.dir.join(format!("{folder}.toml"));
    std::fs::write(&file, config)?;
    let mut options = options(bench, folder);
    options.config = Some(file);
    Ok(DaemonProcess::start(options).await?)
}

fn options(bench: &Bench, folder: &str) -> DaemonOptions {
    let mut options = DaemonOptions::new(bench.dir.join(folder));
    "error".clone_into(&mut options.log);
    options
}

/// Where its local socket is.
pub(super) fn socket(daemon: &DaemonProcess) -> PathBuf {
    daemon.state_dir().join("daemon.sock")
}

/// The same, registered with a relay.
///
/// # Errors
/// When it does not come up or does not register.
pub(super) async fn daemon_at(bench: &Bench, folder: &str, relay: &str) -> Outcome<DaemonProcess> {
    let mut options = DaemonOptions::new(bench.dir.join(folder));
    "error".clone_into(&mut options.log);
    options.args = vec!["--relay".to_owned(), relay.to_owned()];
    let daemon = DaemonProcess::start(options).await?;
    daemon.registered().await?;
    Ok(daemon)
}

/// The local socket of a daemon.
///
/// # Errors
/// When it is not there.
pub(super) fn control(daemon: &DaemonProcess) -> Outcome<Control> {
    Control::connect(&socket(daemon))
}

/// A pairing offer.
///
/// # Errors
/// When the daemon makes none.
pub(super) fn offer(control: &mut Control) -> Outcome<Offer> {
    let result = control.call(name::PAIRING_CREATE, &json!({}))?;
    let link = result.get("offer").and_then(Value::as_str);
    Ok(link.ok_or("an answer without an offer")?.parse()?)
}

/// Resident memory of a process in bytes, once it stands still.
///
/// # Errors
/// Where the system does not tell.
pub(super) async fn settled_memory(pid: Option<u32>) -> Outcome<f64> {
    let pid = pid.ok_or("the process has ended")?;
    let deadline = Instant::now() + DEADLINE;
    let mut last = memory(pid)?;
    loop {
        tokio::time::sleep(SETTLING).await;
        let now = memory(pid)?;
        if now == last || Instant::now() > deadline {
            return Ok(f64::from(now) * 1024.0);
        }
        last = now;
    }
}

/// Resident memory of a process in bytes, at this moment.
///
/// # Errors
/// Where the system does not tell.
pub(super) fn memory_now(pid: Option<u32>) -> Outcome<f64> {
    let pid = pid.ok_or("the process has ended")?;
    Ok(f64::from(memory(pid)?) * 1024.0)
}

/// `VmRSS`, in KiB.
fn memory(pid: u32) -> Outcome<u32> {
    if !cfg!(target_os = "linux") {
        return Err("not supported here: resident memory is read from Linux's /proc".into());
    }
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
    Ok(kib.ok_or("no VmRSS in /proc")?)
}

/// Waits until the daemon counts no connection but this one of the local socket.
pub(super) async fn all_gone(control: &mut Control) -> Outcome<()> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let status = control.call(name::DAEMON_STATUS, &json!({}))?;
        match status.get("connections").and_then(Value::as_u64) {
            Some(..=1) => return Ok(()),
            left if Instant::now() > deadline => {
                return Err(format!("connections that do not go: {left:?}").into());
            }
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// The bare echo as a process of its own.
pub(super) struct EchoProcess {
    child: Child,
    /// Held open: a process that writes to a closed pipe would die.
    _stdout: BufReader<ChildStdout>,
    address: SocketAddr,
    /// From its start to that line.
    pub(super) ready_after: Duration,
    buffers: Buffers,
}

impl EchoProcess {
    /// Starts one and waits until it listens.
    ///
    /// # Errors
    /// When it does not.
    pub(super) fn start(buffers: Buffers) -> Outcome<Self> {
        let start = Instant::now();
        let mut child = Command::new(std::env::current_exe()?)
            .arg(match buffers {
                Buffers::Default => "--echo-server=default",
                Buffers::Small => "--echo-server=small",
            })
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().ok_or("an echo without output")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        Ok(Self {
            child,
            _stdout: stdout,
            address: line.trim().parse()?,
            ready_after: start.elapsed(),
            buffers,
        })
    }

    /// A client of it.
    ///
    /// # Errors
    /// When it has gone.
    pub(super) async fn connect(&self) -> Outcome<Echo> {
        Echo::connect(self.address, self.buffers).await
    }

    /// Its process id.
    pub(super) fn pid(&self) -> Option<u32> {
        Some(self.child.id())
    }
}

impl Drop for EchoProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
