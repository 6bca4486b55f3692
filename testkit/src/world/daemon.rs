//! A real `bowline-daemon` process that can be killed and restarted with the same port and state.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use serde::{Deserialize, de::DeserializeOwned};
use tokio::{process::Command, time::Instant};

use super::{
    Wine, WorldError, command_of, ending::end_with_agents, listening::Listening, path_for,
};
use crate::try_eventually;

/// Bowline's own daemon, the only program here that has agents.
pub(super) const PROGRAM: &str = "bowline-daemon";

/// Options of a daemon.
#[derive(Clone, Debug)]
pub struct DaemonOptions {
    /// The program: `bowline-daemon`, or one with its own services, such as `examples/voxel` (built
    /// from `daemon/examples/voxel.rs`).
    pub program: &'static str,
    /// Its state folder, which outlives the process.
    pub state_dir: PathBuf,
    /// Listening addresses; port 0 picks a free port, which restarts keep.
    pub listen: Vec<SocketAddr>,
    /// Addresses in its offers instead of the listening ones.
    pub advertise: Vec<String>,
    /// A configuration file.
    pub config: Option<PathBuf>,
    /// Log filter.
    pub log: String,
    /// A file to which its JSON log is appended; by default the log goes to this process's standard
    /// error.
    pub log_file: Option<PathBuf>,
    /// Further arguments.
    pub args: Vec<String>,
    /// Runs the program built for Windows.
    pub wine: Option<Wine>,
}

impl DaemonOptions {
    /// A daemon on one free loopback port.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            program: PROGRAM,
            state_dir: state_dir.into(),
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            advertise: Vec::new(),
            config: None,
            log: "warn".to_owned(),
            log_file: None,
            args: Vec::new(),
            wine: None,
        }
    }
}

/// A running daemon; killed when dropped.
#[derive(Debug)]
pub struct DaemonProcess {
    options: DaemonOptions,
    running: Listening,
    ready_after: Duration,
}

impl Drop for DaemonProcess {
    fn drop(&mut self) {
        end_with_agents(&mut self.running.child);
    }
}

impl DaemonProcess {
    /// Starts a daemon and waits until it listens.
    ///
    /// # Errors
    /// [`WorldError`] if it does not listen.
    pub async fn start(mut options: DaemonOptions) -> Result<Self, WorldError> {
        let began = Instant::now();
        let (running, addresses) = Listening::start(
            command(&options)?,
            options.log_file.as_deref(),
            "daemon",
            "session",
            options.listen.len(),
            Some("local"),
        )
        .await?;
        options.listen = addresses;
        Ok(Self {
            options,
            running,
            ready_after: began.elapsed(),
        })
    }

    /// The listening addresses.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.options.listen
    }

    /// The first listening address.
    pub fn address(&self) -> SocketAddr {
        self.options
            .listen
            .first()
            .copied()
            .unwrap_or_else(|| SocketAddr::from(([0; 4], 0)))
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.running.child.id()
    }

    /// Time from the start of the process to its accepting connections.
    pub const fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Its state folder.
    pub fn state_dir(&self) -> &Path {
        &self.options.state_dir
    }

    /// Kills it without warning.
    ///
    /// # Errors
    /// The system refuses, or it has ended.
    pub async fn kill(&mut self) -> Result<(), WorldError> {
        self.running.kill().await
    }

    /// Requests an orderly end (SIGTERM, or Ctrl-C under Wine) and waits for it; on other systems
    /// kills it.
    ///
    /// # Errors
    /// It does not end.
    pub async fn stop(&mut self) -> Result<(), WorldError> {
        self.running.stop(self.options.wine.as_ref()).await
    }

    /// Starts it again after its end, with the same options and ports.
    ///
    /// # Errors
    /// As for the first start.
    pub async fn start_again(&mut self) -> Result<(), WorldError> {
        *self = Self::start(self.options.clone()).await?;
        Ok(())
    }

    /// A new pairing offer, as a link.
    ///
    /// # Errors
    /// The daemon refuses.
    pub async fn offer(&self) -> Result<String, WorldError> {
        self.offer_with(&[]).await
    }

    /// A new pairing offer, as a link, with these flags of `bowline-daemon pair`.
    ///
    /// # Errors
    /// The daemon refuses.
    pub async fn offer_with(&self, flags: &[&str]) -> Result<String, WorldError> {
        #[derive(Deserialize)]
        struct Made {
            offer: String,
        }
        let made: Made = self.answer(&[&["pair"], flags].concat()).await?;
        Ok(made.offer)
    }

    /// Waits until it is registered with every configured relay.
    ///
    /// # Errors
    /// It does not register in time; the text includes the relays of `bowline-daemon status`.
    pub async fn registered(&self) -> Result<(), WorldError> {
        #[derive(Debug, Deserialize)]
        struct Status {
            #[serde(default)]
            relays: Vec<Relay>,
        }
        #[derive(Debug, Deserialize)]
        struct Relay {
            state: String,
        }
        let registered = async || match self.ask::<Status>("status").await {
            Ok(Status { relays }) if relays.iter().any(|relay| relay.state != "registered") => {
                Err(relays)
            }
            answer => Ok(answer.map(drop)),
        };
        try_eventually("the daemon registers", registered).await?
    }

    /// Runs a `bowline-daemon` command for it to its end.
    ///
    /// # Errors
    /// The program cannot be started.
    pub async fn command(&self, arguments: &[&str]) -> Result<Output, WorldError> {
        let wine = self.options.wine.as_ref();
        command_of(self.options.program, wine)?
            .args(arguments)
            .arg("--state-dir")
            .arg(path_for(&self.options.state_dir, wine))
            .output()
            .await
            .map_err(WorldError::io(format!("bowline-daemon {arguments:?}")))
    }

    /// Output of a `bowline-daemon` command: `status`, `sessions`, `connections`, `devices`.
    ///
    /// # Errors
    /// The daemon does not answer, or the answer is not a `T`.
    pub async fn ask<T: DeserializeOwned>(&self, what: &str) -> Result<T, WorldError> {
        self.answer(&[what]).await
    }

    /// Output of a `bowline-daemon` command with arguments.
    ///
    /// # Errors
    /// The daemon refuses or does not answer, or the answer is not a `T`.
    pub async fn answer<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T, WorldError> {
        let output = self.command(&[arguments, &["--json"]].concat()).await?;
        serde_json::from_slice(&output.stdout).map_err(|error| {
            let stderr = String::from_utf8_lossy(&output.stderr);
            WorldError::Unexpected(format!("bowline-daemon {arguments:?}: {error}: {stderr}"))
        })
    }
}

fn command(options: &DaemonOptions) -> Result<Command, WorldError> {
    let wine = options.wine.as_ref();
    let mut command = command_of(options.program, wine)?;
    command
        .arg("run")
        .arg("--state-dir")
        .arg(path_for(&options.state_dir, wine))
        .args(["--log", &options.log]);
    for address in &options.listen {
        command.arg("--listen").arg(address.to_string());
    }
    for address in &options.advertise {
        command.arg("--advertise").arg(address);
    }
    if let Some(config) = &options.config {
        command.arg("--config").arg(path_for(config, wine));
    }
    command.args(&options.args);
    Ok(command)
}
