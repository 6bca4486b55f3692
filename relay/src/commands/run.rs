//! `run`: the relay until it is told to stop.

use bowline_program::{Signal, Signals, announce, log, raise_file_limit};
use tokio::runtime::{Builder, Runtime};
use tracing::{error, info};

use crate::{Relay, config::Settings};

pub(super) fn run(settings: Settings) -> Result<(), String> {
    let filter = log::filter(&settings.log, "bowline_relay").map_err(|error| error.to_string())?;
    log::start(filter, settings.log_format).map_err(|error| error.to_string())?;
    raise_file_limit();
    let runtime = runtime(settings.threads).map_err(|error| format!("no runtime: {error}"))?;
    let outcome = runtime.block_on(async {
        // Armed before anything starts, so that no signal is missed.
        let mut signals = Signals::arm(true).map_err(|error| error.to_string())?;
        let relay = Relay::start(settings).await.map_err(|e| e.to_string())?;
        for address in relay.addresses() {
            announce("relay", &address.to_string());
        }
        loop {
            match signals.next().await {
                Signal::Reload => match relay.reload() {
                    Ok(()) => info!("certificate and key read again"),
                    Err(error) => error!(%error, "the certificate in force stays"),
                },
                Signal::Stop(signal) => {
                    info!(signal, "stopping");
                    relay.shutdown().await;
                    return Ok(());
                }
            }
        }
    });
    // Nothing that still runs may hold the process.
    runtime.shutdown_background();
    outcome
}

fn runtime(threads: usize) -> std::io::Result<Runtime> {
    // One thread needs no work stealing, and waking a task wakes no other core.
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder
        .enable_all()
        .worker_threads(threads)
        .max_blocking_threads(1)
        .build()
}
