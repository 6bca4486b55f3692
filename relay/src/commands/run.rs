//! `run`: the relay until it is told to stop.

use std::time::Duration;

use bowline_program::{Hangup, Signal, Signals, announce, log, raise_file_limit};
use tokio::runtime::{Builder, Runtime};
use tracing::{error, info};

use super::Exit;
use crate::{Relay, config::Settings};

/// How long the end of a relay may take in all; its own deadlines are shorter.
const END: Duration = Duration::from_secs(15);

pub(super) fn run(settings: Settings) -> Result<(), (Exit, String)> {
    let filter = log::filter(&settings.log, "bowline_relay");
    let filter = filter.map_err(|error| (Exit::Usage, error.to_string()))?;
    log::start(filter, settings.log_format).map_err(|error| (Exit::Failed, error.to_string()))?;
    raise_file_limit();
    serve(settings).map_err(|problem| (Exit::Failed, problem))
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
        loop {
            let signal = tokio::select! {
                biased;
                signal = signals.next() => signal,
                // Half a relay would look alive and serve nobody.
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
