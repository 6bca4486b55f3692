//! `run`: the daemon until it is told to stop.

use std::io::Write;

use bowline_protocol::Reason;
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use super::{Exit, Failure};
use crate::{
    config::{LogFormat, Settings},
    daemon::Daemon,
    service::Services,
};

/// Threads for the rare blocking calls of the runtime itself; the ledger has its own.
const BLOCKING_THREADS: usize = 4;

/// One line on standard output for each address that accepts.
#[derive(Serialize)]
struct Listening<'a> {
    event: &'static str,
    kind: &'static str,
    address: &'a str,
}

pub(super) fn run(settings: Settings, services: Services) -> Result<(), Failure> {
    log(&settings)?;
    raise_file_limit();
    // One thread serves everything but the ledger: the least memory and the shortest way for an answer.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("no runtime: {error}")))?;
    let outcome = runtime.block_on(async {
        // Armed before anything starts, so that no signal is missed.
        let stop = Stop::arm().map_err(|error| Failure::new(Exit::Failed, error))?;
        let daemon = Daemon::start(settings, services)
            .await
            .map_err(|error| Failure::new(Exit::Failed, error))?;
        announce(&daemon);
        let signal = stop.wait().await;
        tracing::info!(signal, "stopping");
        // Whoever stops a daemon mostly starts it again: clients come back at once.
        daemon.shutdown(Reason::ServerRestarting).await;
        Ok(())
    });
    // Nothing that still blocks may hold the process.
    runtime.shutdown_background();
    outcome
}

fn announce(daemon: &Daemon) {
    let say = |kind, address: &str| {
        let line = Listening {
            event: "listening",
            kind,
            address,
        };
        let mut out = std::io::stdout().lock();
        // Nobody may be reading; the daemon runs all the same.
        let _ = serde_json::to_writer(&mut out, &line);
        let _ = out.write_all(b"\n").and_then(|()| out.flush());
    };
    for address in daemon.sessions() {
        say("session", &address.to_string());
    }
    say("local", &daemon.socket().to_string_lossy());
    if let Some(address) = daemon.metrics() {
        say("metrics", &address.to_string());
    }
}

pub(super) fn log_filter(filter: &str) -> Result<EnvFilter, Failure> {
    EnvFilter::builder().parse(filter).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("`log`: `{filter}` is no log filter: {error}; write for example info, or bowline_daemon=debug"),
        )
    })
}

fn log(settings: &Settings) -> Result<(), Failure> {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(log_filter(&settings.log)?)
        .with_writer(std::io::stderr);
    let set = match settings.log_format {
        LogFormat::Text => {
            use std::io::IsTerminal;
            let ansi = std::io::stderr().is_terminal();
            subscriber.with_ansi(ansi).try_init()
        }
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    set.map_err(|error| Failure::new(Exit::Failed, error))
}

/// A socket is a file: the soft limit of many systems (1024) is below `max_connections`.
fn raise_file_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if setrlimit(Resource::Nofile, raised).is_err() {
            tracing::debug!("the limit of open files stays as it was");
        }
    }
}

/// The system's wish that we stop.
#[cfg(unix)]
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Stop {
    fn arm() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn wait(mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// The system's wish that we stop.
#[cfg(not(unix))]
struct Stop;

#[cfg(not(unix))]
impl Stop {
    fn arm() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn wait(self) -> &'static str {
        let _ = tokio::signal::ctrl_c().await;
        "ctrl-c"
    }
}
