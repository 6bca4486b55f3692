//! `run`: the daemon until it is told to stop.

use std::{path::Path, time::Duration};

use bowline_program::{Hangup, Signals, announce, log, raise_file_limit};
use bowline_protocol::Reason;
use tracing_subscriber::EnvFilter;

use super::{Exit, Failure};
use crate::{
    agents::Launcher,
    config::{DEFAULT_PORT, Settings},
    daemon::{Daemon, StartError},
    obstacle::obstacle,
    service::Services,
};

/// Threads for the rare blocking calls of the runtime itself; the ledger has its own.
const BLOCKING_THREADS: usize = 4;
/// How long the end of a daemon may take in all; its own deadlines are shorter.
const END: Duration = Duration::from_secs(15);

pub(super) fn run(mut settings: Settings, services: Services) -> Result<(), Failure> {
    log::start(log_filter(&settings.log)?, settings.log_format)
        .map_err(|error| Failure::new(Exit::Failed, error))?;
    settings.launcher = Launcher::this_program(raise_file_limit());
    // One thread serves everything but the ledger: the least memory and the shortest way for an answer.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("no runtime: {error}")))?;
    let is_offered = !settings.relay.is_empty() || !settings.advertise.is_empty();
    let outcome = runtime.block_on(async {
        // Armed before anything starts, so that no signal is missed.
        let signals =
            Signals::arm(Hangup::Stop, END).map_err(|error| Failure::new(Exit::Failed, error))?;
        let state_dir = settings.state_dir.clone();
        let mut daemon =
            Daemon::start(settings, services)
                .await
                .map_err(|error| match error.is_of_files() {
                    true => Failure::new(Exit::Failed, explained(&error, &state_dir)),
                    false => Failure::new(Exit::Failed, error),
                })?;
        tell(&daemon, is_offered);
        let outcome = tokio::select! {
            biased;
            signal = signals.stop() => {
                tracing::info!(signal = signal.name, "stopping");
                Ok(())
            }
            // Half a daemon would look alive and serve nobody.
            defect = daemon.failed() => {
                tracing::error!(%defect, "stopping");
                Err(Failure::new(Exit::Failed, defect))
            }
        };
        // Whoever stops a daemon mostly starts it again: clients come back at once.
        daemon.shutdown(Reason::ServerRestarting).await;
        outcome
    });
    // Nothing that still blocks may hold the process.
    runtime.shutdown_background();
    outcome
}

/// An error about files of the state directory, with what stands in the way of them.
fn explained(error: &StartError, state_dir: &Path) -> String {
    match obstacle(state_dir) {
        Some(obstacle) => format!("{error}; {obstacle}"),
        None => error.to_string(),
    }
}

fn tell(daemon: &Daemon, is_offered: bool) {
    for address in daemon.sessions() {
        announce("session", &address.to_string());
    }
    let reach = daemon
        .sessions()
        .iter()
        .any(|address| !address.ip().is_loopback());
    if !reach && !is_offered {
        tracing::info!(
            "only this machine reaches the daemon; --listen 0.0.0.0:{DEFAULT_PORT} lets in devices of the same network, --relay URL \
             those anywhere"
        );
    }
    announce("local", &daemon.socket().to_string_lossy());
    if let Some(address) = daemon.metrics() {
        announce("metrics", &address.to_string());
    }
}

/// The filter that a setting says.
pub(super) fn log_filter(text: &str) -> Result<EnvFilter, Failure> {
    log::filter(text, "bowline_daemon").map_err(|error| Failure::new(Exit::Usage, error))
}
