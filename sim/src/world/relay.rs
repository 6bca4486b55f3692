//! A real `bowline-relay` process that can be killed and started again on the same port.

use std::{net::SocketAddr, path::PathBuf, process::Stdio, time::Duration};

use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use super::{WorldError, ending::end, program};

/// How long a relay may take to listen, however slow the machine.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// How to start a relay.
#[derive(Clone, Debug)]
pub struct RelayOptions {
    /// Where to listen; port 0 picks a free one, which later starts keep.
    pub listen: SocketAddr,
    /// Silence after which it asks daemons whether they are there.
    pub heartbeat: Duration,
    /// Log filter.
    pub log: String,
    /// A file that its log is appended to, as JSON; without one it goes to our standard error.
    pub log_file: Option<PathBuf>,
    /// More arguments.
    pub args: Vec<String>,
}

impl RelayOptions {
    /// A relay on a free port of loopback, without limits of rate: all of a test comes from one address.
    pub fn new() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            heartbeat: Duration::from_secs(4),
            log: "warn".to_owned(),
            log_file: None,
            args: ["--registrations-per-minute", "0", "--opens-per-minute", "0"]
                .map(str::to_owned)
                .to_vec(),
        }
    }
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// A running relay. It is killed when this is dropped.
#[derive(Debug)]
pub struct RelayProcess {
    options: RelayOptions,
    child: Child,
    /// Kept open: a relay whose standard output is gone could not tell anything more.
    _stdout: BufReader<ChildStdout>,
}

#[derive(Deserialize)]
struct Listening {
    event: String,
    kind: String,
    address: String,
}

impl RelayProcess {
    /// Starts a relay and waits until it listens.
    ///
    /// # Errors
    /// [`WorldError`] when it does not.
    pub async fn start(mut options: RelayOptions) -> Result<Self, WorldError> {
        let mut child = command(&options)?
            .spawn()
            .map_err(WorldError::io("starting bowline-relay"))?;
        let stdout = child.stdout.take();
        let mut stdout = BufReader::new(
            stdout.ok_or_else(|| WorldError::Unexpected("a relay without stdout".into()))?,
        );
        options.listen = timeout(START_DEADLINE, listening(&mut stdout))
            .await
            .map_err(|_| WorldError::Unexpected("the relay did not listen in time".into()))??;
        Ok(Self {
            options,
            child,
            _stdout: stdout,
        })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.options.listen
    }

    /// What daemons and offers call it.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address())
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Stops it in its tracks (SIGSTOP), or lets it go on (SIGCONT): its sockets stay open, and nobody answers on them.
    ///
    /// # Errors
    /// When the system refuses, and elsewhere than on Unix.
    pub async fn freeze(&self, freeze: bool) -> Result<(), WorldError> {
        let pid = self.child.id().filter(|_| cfg!(unix));
        let pid = pid.ok_or_else(|| WorldError::Unexpected("no process to freeze".into()))?;
        let signal = if freeze { "-STOP" } else { "-CONT" };
        let mut kill = Command::new("kill");
        let asked = kill.arg(signal).arg(pid.to_string()).status().await;
        asked
            .map(drop)
            .map_err(WorldError::io("freezing the relay"))
    }

    /// Kills it without warning. Starting it again with what this returns takes the same port.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn kill(mut self) -> Result<RelayOptions, WorldError> {
        self.child
            .kill()
            .await
            .map_err(WorldError::io("killing the relay"))?;
        Ok(self.options.clone())
    }

    /// Asks it to end (SIGTERM) and waits for it; elsewhere than on Unix it is killed.
    ///
    /// # Errors
    /// When it does not end by itself.
    pub async fn stop(mut self) -> Result<RelayOptions, WorldError> {
        end(&mut self.child, "relay").await?;
        Ok(self.options.clone())
    }
}

fn command(options: &RelayOptions) -> Result<Command, WorldError> {
    let mut command = Command::new(program("bowline-relay")?);
    command
        .arg("run")
        .args(["--listen", &options.listen.to_string()])
        .args([
            "--heartbeat",
            &format!("{}ms", options.heartbeat.as_millis()),
        ])
        .args(["--log", &options.log])
        .args(&options.args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    if let Some(path) = &options.log_file {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(WorldError::io("the relay's log file"))?;
        command.args(["--log-format", "json"]).stderr(file);
    }
    Ok(command)
}

/// Reads the `listening` line.
async fn listening(stdout: &mut BufReader<ChildStdout>) -> Result<SocketAddr, WorldError> {
    let mut line = String::new();
    loop {
        line.clear();
        let read = stdout
            .read_line(&mut line)
            .await
            .map_err(WorldError::io("the relay's stdout"))?;
        if read == 0 {
            return Err(WorldError::Unexpected(
                "the relay ended before it listened".into(),
            ));
        }
        match serde_json::from_str::<Listening>(&line) {
            Ok(said) if said.event == "listening" && said.kind == "relay" => {
                return said.address.parse().map_err(|_| {
                    WorldError::Unexpected(format!("`{}` is no address", said.address))
                });
            }
            Ok(_) | Err(_) => {}
        }
    }
}
