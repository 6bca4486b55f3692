//! `run`: the relay until a signal ends it.

use std::time::Duration;

use bowline_program::{
    Failure, Hangup, Signal, Signals, announce, create_private_files, log, raise_file_limit,
};
use tokio::runtime::{Builder, Runtime};
use tracing::{error, info};

use crate::{Relay, config::Settings};

/// Limit of the whole shutdown of a relay; its own deadlines are shorter.
const END: Duration = Duration::from_secs(15);

pub(super) fn run(settings: Settings) -> Result<(), Failure> {
    create_private_files();
    let filter = log::filter(&settings.log, "bowline_relay").map_err(Failure::usage)?;
    log::start(filter, settings.log_format).map_err(Failure::failed)?;
    raise_file_limit();
    serve(settings).map_err(Failure::failed)
}

fn serve(settings: Settings) -> Result<(), String> {
    let runtime = runtime(settings.threads).map_err(|error| format!("no runtime: {error}"))?;
    let outcome = runtime.block_on(async {
        // Armed before anything starts, so that no signal is missed.
        let mut signals = Signals::arm(Hangup::Reload, END).map_err(|error| error.to_string())?;
        let relay = Relay::start(settings).await.map_err(|e| e.to_string())?;
        for address in relay.addresses() {
            announce("relay", &address.to_string());
        }
        if let Some(address) = relay.metrics() {
            announce("metrics", &address.to_string());
        }
        loop {
            let signal = tokio::select! {
                biased;
                signal = signals.next() => signal,
                // A relay without an essential task would keep running and serve no peer.
                defect = relay.failed() => {
                    relay.shutdown().await;
                    return Err(defect);
                }
            };
            match signal {
                Signal::Reload => match relay.reload() {
                    Ok(true) => info!("certificate and key read again"),
                    Ok(false) => info!("SIGHUP: there is no certificate to read again"),
                    Err(error) => error!(%error, "the certificate in force stays"),
                },
                Signal::Stop(signal) => {
                    info!(signal = signal.name, "stopping");
                    relay.shutdown().await;
                    return Ok(());
                }
            }
        }
    });
    // Tasks that still run must not delay the exit.
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
