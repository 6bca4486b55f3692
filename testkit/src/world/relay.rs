//! A real `bowline-relay` process that can be killed and restarted on the same port.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use tokio::process::Command;

use super::{Wine, WorldError, command_of, listening::Listening};

/// Options of a relay.
#[derive(Clone, Debug)]
pub struct RelayOptions {
    /// Listening address; port 0 picks a free port, which restarts keep.
    pub listen: SocketAddr,
    /// Silence after which it pings daemons.
    pub heartbeat: Duration,
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

impl RelayOptions {
    /// A relay on a free loopback port, without rate limits: all connections of a test have one
    /// address.
    pub fn new() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            heartbeat: Duration::from_secs(4),
            log: "warn".to_owned(),
            log_file: None,
            args: ["--registrations-per-minute", "0", "--opens-per-minute", "0"]
                .map(str::to_owned)
                .to_vec(),
            wine: None,
        }
    }

    /// The same relay, which daemons dial at this address too.
    #[must_use]
    pub fn dialled_at(mut self, address: SocketAddr) -> Self {
        self.args.push(format!("--origin=ws://{address}"));
        self
    }
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// A running relay; killed when dropped.
#[derive(Debug)]
pub struct RelayProcess {
    options: RelayOptions,
    running: Listening,
}

impl RelayProcess {
    /// Starts a relay and waits until it listens.
    ///
    /// # Errors
    /// [`WorldError`] if it does not listen.
    pub async fn start(mut options: RelayOptions) -> Result<Self, WorldError> {
        let log = options.log_file.as_deref();
        let (running, addresses) =
            Listening::start(command(&options)?, log, "relay", "relay", 1, None).await?;
        options.listen = addresses.first().copied().unwrap_or(options.listen);
        Ok(Self { options, running })
    }

    /// The listening address.
    pub const fn address(&self) -> SocketAddr {
        self.options.listen
    }

    /// Its URL for daemons and offers.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address())
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.running.child.id()
    }

    /// Suspends the process (SIGSTOP) or resumes it (SIGCONT): its sockets stay open without
    /// answers.
    ///
    /// # Errors
    /// The system refuses.
    #[cfg(unix)]
    pub fn freeze(&self, freeze: bool) -> Result<(), WorldError> {
        use rustix::process::Signal;

        let kind = if freeze { Signal::STOP } else { Signal::CONT };
        super::ending::signal(self.pid(), kind).map_err(WorldError::io("freezing the relay"))
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
}

fn command(options: &RelayOptions) -> Result<Command, WorldError> {
    let mut command = command_of("bowline-relay", options.wine.as_ref())?;
    command
        .arg("run")
        .args(["--listen", &options.listen.to_string()])
        .args([
            "--heartbeat",
            &format!("{}ms", options.heartbeat.as_millis()),
        ])
        .args(["--log", &options.log])
        .args(&options.args);
    Ok(command)
}
