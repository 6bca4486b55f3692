//! A real `bowline-daemon` process that can be killed and started again on the same port and state.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use serde::{Deserialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    time::{Instant, timeout},
};

use super::{
    WorldError,
    ending::{end, end_with_agents},
    program,
};

/// How long a daemon may take to listen, however slow the machine.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// Pause between two looks at its state.
const LOOK: Duration = Duration::from_millis(20);

/// How to start a daemon.
#[derive(Clone, Debug)]
pub struct DaemonOptions {
    /// Which program: `bowline-daemon`, or one with services of its own, such as `examples/voxel`.
    pub program: &'static str,
    /// Its state folder, which outlives it.
    pub state_dir: PathBuf,
    /// Addresses to listen on; port 0 picks a free one, which later starts keep.
    pub listen: Vec<SocketAddr>,
    /// What its offers list instead of those.
    pub advertise: Vec<String>,
    /// A configuration file.
    pub config: Option<PathBuf>,
    /// Log filter.
    pub log: String,
    /// A file that its log is appended to, as JSON; without one it goes to our standard error.
    pub log_file: Option<PathBuf>,
    /// More arguments.
    pub args: Vec<String>,
}

impl DaemonOptions {
    /// A daemon on one free port of loopback.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            program: "bowline-daemon",
            state_dir: state_dir.into(),
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            advertise: Vec::new(),
            config: None,
            log: "warn".to_owned(),
            log_file: None,
            args: Vec::new(),
        }
    }
}

/// A running daemon. It is killed when this is dropped.
#[derive(Debug)]
pub struct DaemonProcess {
    options: DaemonOptions,
    child: Child,
    /// Kept open: a daemon whose standard output is gone could not tell anything more.
    _stdout: BufReader<ChildStdout>,
    ready_after: Duration,
}

impl Drop for DaemonProcess {
    fn drop(&mut self) {
        end_with_agents(&mut self.child);
    }
}

#[derive(Deserialize)]
struct Listening {
    event: String,
    kind: String,
    address: String,
}

impl DaemonProcess {
    /// Starts a daemon and waits until it listens.
    ///
    /// # Errors
    /// [`WorldError`] when it does not.
    pub async fn start(mut options: DaemonOptions) -> Result<Self, WorldError> {
        let began = Instant::now();
        let mut child = command(&options)?
            .spawn()
            .map_err(WorldError::io("starting bowline-daemon"))?;
        let stdout = child.stdout.take();
        let mut stdout = BufReader::new(
            stdout.ok_or_else(|| WorldError::Unexpected("a daemon without stdout".into()))?,
        );
        let listening = listening(&mut stdout, options.listen.len());
        let addresses = timeout(START_DEADLINE, listening)
            .await
            .map_err(|_| WorldError::Unexpected("the daemon did not listen in time".into()))??;
        options.listen = addresses;
        Ok(Self {
            options,
            child,
            _stdout: stdout,
            ready_after: began.elapsed(),
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.options.listen
    }

    /// The first address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.options
            .listen
            .first()
            .copied()
            .unwrap_or_else(|| SocketAddr::from(([0; 4], 0)))
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// From the start of its process to its accepting connections.
    pub const fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Its state folder.
    pub fn state_dir(&self) -> &Path {
        &self.options.state_dir
    }

    /// Kills it without warning, as a power cut would.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn kill(mut self) -> Result<DaemonOptions, WorldError> {
        self.child
            .kill()
            .await
            .map_err(WorldError::io("killing the daemon"))?;
        Ok(self.options.clone())
    }

    /// Asks it to end (SIGTERM) and waits for it; elsewhere than on Unix it is killed.
    ///
    /// # Errors
    /// When it does not end by itself.
    pub async fn stop(mut self) -> Result<DaemonOptions, WorldError> {
        end(&mut self.child, "daemon").await?;
        Ok(self.options.clone())
    }

    /// A new pairing offer, as its link.
    ///
    /// # Errors
    /// When the daemon does not make one.
    pub async fn offer(&self) -> Result<String, WorldError> {
        #[derive(Deserialize)]
        struct Made {
            offer: String,
        }
        let made: Made = self.ask("pair").await?;
        Ok(made.offer)
    }

    /// Waits until it is registered with every relay of its settings.
    ///
    /// # Errors
    /// When it does not register in time; says what `bowline-daemon status` says of the relays.
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
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let status: Status = self.ask("status").await?;
            if status
                .relays
                .iter()
                .all(|relay| relay.state == "registered")
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(WorldError::Unexpected(format!(
                    "the daemon did not register: {status:?}"
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Runs a command of `bowline-daemon` for it, to its end.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub async fn command(&self, arguments: &[&str]) -> Result<Output, WorldError> {
        Command::new(program(self.options.program)?)
            .args(arguments)
            .arg("--state-dir")
            .arg(&self.options.state_dir)
            .output()
            .await
            .map_err(WorldError::io(format!("bowline-daemon {arguments:?}")))
    }

    /// What a command of `bowline-daemon` says about it: `status`, `sessions`, `connections`, `devices`.
    ///
    /// # Errors
    /// When the daemon does not answer, or otherwise than as `T`.
    pub async fn ask<T: DeserializeOwned>(&self, what: &str) -> Result<T, WorldError> {
        let output = self.command(&[what, "--json"]).await?;
        serde_json::from_slice(&output.stdout).map_err(|error| {
            let stderr = String::from_utf8_lossy(&output.stderr);
            WorldError::Unexpected(format!("bowline-daemon {what}: {error}: {stderr}"))
        })
    }
}

fn command(options: &DaemonOptions) -> Result<Command, WorldError> {
    let mut command = Command::new(program(options.program)?);
    command
        .arg("run")
        .arg("--state-dir")
        .arg(&options.state_dir)
        .args(["--log", &options.log]);
    for address in &options.listen {
        command.arg("--listen").arg(address.to_string());
    }
    for address in &options.advertise {
        command.arg("--advertise").arg(address);
    }
    if let Some(config) = &options.config {
        command.arg("--config").arg(config);
    }
    command
        .args(&options.args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    if let Some(path) = &options.log_file {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(WorldError::io("the daemon's log file"))?;
        command.args(["--log-format", "json"]).stderr(file);
    }
    Ok(command)
}

/// Reads the `listening` lines until every session listener and the local socket are there.
async fn listening(
    stdout: &mut BufReader<ChildStdout>,
    sessions: usize,
) -> Result<Vec<SocketAddr>, WorldError> {
    let mut addresses = Vec::new();
    let mut local = false;
    let mut line = String::new();
    while addresses.len() < sessions || !local {
        line.clear();
        let read = stdout
            .read_line(&mut line)
            .await
            .map_err(WorldError::io("the daemon's stdout"))?;
        if read == 0 {
            return Err(WorldError::Unexpected(
                "the daemon ended before it listened".into(),
            ));
        }
        let Ok(event) = serde_json::from_str::<Listening>(&line) else {
            continue;
        };
        match (event.event.as_str(), event.kind.as_str()) {
            ("listening", "session") => addresses.push(event.address.parse().map_err(|_| {
                WorldError::Unexpected(format!("`{}` is no address", event.address))
            })?),
            ("listening", "local") => local = true,
            _ => {}
        }
    }
    Ok(addresses)
}
