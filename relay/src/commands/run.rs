//! `run`: the relay until it is told to stop.

use std::io::Write;

use serde::Serialize;
use tokio::runtime::{Builder, Runtime};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

use crate::{
    Relay,
    config::{LogFormat, Settings},
};

/// One line on standard output for each address that accepts.
#[derive(Serialize)]
struct Listening<'a> {
    event: &'static str,
    kind: &'static str,
    address: &'a str,
}

/// What the system asks for.
enum Wish {
    Stop(&'static str),
    #[cfg_attr(not(unix), allow(dead_code, reason = "only Unix has a signal for it"))]
    Reload,
}

pub(super) fn run(settings: Settings) -> Result<(), String> {
    log(&settings)?;
    raise_file_limit();
    let runtime = runtime(settings.threads).map_err(|error| format!("no runtime: {error}"))?;
    let outcome = runtime.block_on(async {
        // Armed before anything starts, so that no signal is missed.
        let mut wishes = Wishes::arm().map_err(|error| error.to_string())?;
        let relay = Relay::start(settings).await.map_err(|e| e.to_string())?;
        for address in relay.addresses() {
            announce(&address.to_string());
        }
        loop {
            match wishes.next().await {
                Wish::Reload => match relay.reload() {
                    Ok(()) => info!("certificate and key read again"),
                    Err(error) => error!(%error, "the certificate in force stays"),
                },
                Wish::Stop(signal) => {
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

fn announce(address: &str) {
    let line = Listening {
        event: "listening",
        kind: "relay",
        address,
    };
    let mut out = std::io::stdout().lock();
    // Nobody may be reading; the relay runs all the same.
    let _ = serde_json::to_writer(&mut out, &line);
    let _ = out.write_all(b"\n").and_then(|()| out.flush());
}

fn log(settings: &Settings) -> Result<(), String> {
    let filter = &settings.log;
    let filter = EnvFilter::builder().parse(filter).map_err(|error| {
        format!("`log`: `{filter}` is no log filter: {error}; write for example info, or bowline_relay=debug")
    })?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Text => {
            use std::io::IsTerminal;
            let ansi = std::io::stderr().is_terminal();
            subscriber.with_ansi(ansi).try_init()
        }
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    }
    .map_err(|error| error.to_string())
}

/// A socket is a file: the soft limit of many systems (1024) is below `sockets`.
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

/// Signals of the system.
#[cfg(unix)]
struct Wishes {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Wishes {
    fn arm() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Wish::Stop("SIGINT"),
            _ = self.hangup.recv() => Wish::Reload,
        }
    }
}

/// Signals of the system.
#[cfg(not(unix))]
struct Wishes;

#[cfg(not(unix))]
impl Wishes {
    fn arm() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Wish {
        let _ = tokio::signal::ctrl_c().await;
        Wish::Stop("ctrl-c")
    }
}
