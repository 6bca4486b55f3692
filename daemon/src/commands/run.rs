//! `run`: the daemon until a signal ends it.

use std::{path::Path, time::Duration};

use bowline_program::{
    Failure, Hangup, Signals, announce, create_private_files, log, raise_file_limit,
};
use bowline_protocol::Reason;
use tracing_subscriber::EnvFilter;

use crate::{
    config::{DEFAULT_PORT, Inherited, Settings},
    daemon::{Daemon, StartError},
    executable::Executable,
    obstacle::obstacle,
    setup::Services,
};

/// Threads for the rare blocking calls of tokio itself; the ledger has its own.
const BLOCKING_THREADS: usize = 4;
/// Limit of the whole shutdown of a daemon; its own deadlines are shorter.
const END: Duration = Duration::from_secs(15);

pub(super) fn run(mut settings: Settings, services: Services) -> Result<(), Failure> {
    let umask = create_private_files();
    log::start(log_filter(&settings.log)?, settings.log_format).map_err(Failure::failed)?;
    let program = Executable::this().inspect_err(
        |error| tracing::warn!(%error, "cannot find this program's own file: services cannot run its hidden commands"),
    );
    settings.inherited = Some(Inherited {
        program: program.ok(),
        files: raise_file_limit(),
        umask,
    });
    // One thread runs everything except the ledger, for the least memory and latency.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(|error| Failure::failed(format!("no runtime: {error}")))?;
    let is_offered = !settings.relay.is_empty() || !settings.advertise.is_empty();
    let outcome = runtime.block_on(async {
        // Armed before anything starts, so that no signal is missed.
        let signals = Signals::arm(Hangup::Stop, END).map_err(Failure::failed)?;
        let state_dir = settings.state_dir.clone();
        let mut daemon = Daemon::start(settings, services)
            .await
            .map_err(|error| match error {
                StartError::RelaySettings(error) => Failure::usage(error),
                error if error.is_of_files() => Failure::failed(explained(&error, &state_dir)),
                error => Failure::failed(error),
            })?;
        tell(&daemon, is_offered);
        let outcome = tokio::select! {
            biased;
            signal = signals.stop() => {
                tracing::info!(signal = signal.name, "stopping");
                Ok(())
            }
            // A daemon without an essential task would keep running and serve no client.
            defect = daemon.failed() => {
                tracing::error!(%defect, "stopping");
                Err(Failure::failed(defect))
            }
        };
        // A stopped daemon usually restarts soon, so clients reconnect at once.
        daemon.shutdown(Reason::ServerRestarting).await;
        outcome
    });
    // Blocking calls that still run must not delay the exit.
    runtime.shutdown_background();
    outcome
}

/// An error about files of the state directory, with the remedy.
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

/// The log filter of a setting.
pub(super) fn log_filter(text: &str) -> Result<EnvFilter, Failure> {
    log::filter(text, "bowline_daemon").map_err(Failure::usage)
}
