//! What the system asks of a program: to end, or to read files again.
//!
//! Signals are heard by a thread of their own, so that they are heard whatever the rest of the program waits for: a second
//! request to end, or an orderly end that takes too long, ends the process at once.

#[cfg(unix)]
#[path = "unix.rs"]
mod platform;
#[cfg(windows)]
#[path = "windows.rs"]
mod platform;
#[cfg(not(any(unix, windows)))]
#[path = "unsupported.rs"]
mod platform;

#[cfg(unix)]
pub use platform::unblock_signals;

use std::{
    io, thread,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};

use crate::{log, print};

/// A second request to end that comes sooner is the first one, told twice: by the terminal and by a shell, say.
const TWICE: Duration = Duration::from_millis(500);

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// To end.
    Stop(Stop),
    /// To read files again (SIGHUP). Only Unix has a signal for it.
    Reload,
}

/// A request to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// What it is called, `SIGTERM` for example.
    pub name: &'static str,
    /// What shells report of a process that was ended so: 128 and the signal's number.
    pub code: u8,
    /// Whether, coming again, it ends the process at once. A terminal that closes may say so several times.
    insists: bool,
}

/// What SIGHUP means to a program. Only Unix has it; elsewhere a closed window always is a request to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    /// The terminal has closed: to end, unless it was ignored when the program started (`nohup`).
    Stop,
    /// To read files again.
    Reload,
}

/// The signals of this process, noted from when they are armed.
#[derive(Debug)]
pub struct Signals {
    stop: watch::Receiver<Option<Stop>>,
    reload: mpsc::Receiver<()>,
}

impl Signals {
    /// Notes signals from now on. `hangup` is what SIGHUP means. Once asked to end, the process has `limit` for it; then it is
    /// ended with exit code 1.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn arm(hangup: Hangup, limit: Duration) -> io::Result<Self> {
        let (stopping, stop) = watch::channel(None);
        let (reloading, reload) = mpsc::channel(1);
        let (ready, armed) = std::sync::mpsc::channel();
        let thread = thread::Builder::new().name("signals".to_owned());
        thread.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return;
                }
            };
            runtime.block_on(async {
                let source = platform::Source::arm(hangup);
                let (outcome, source) = match source {
                    Ok(source) => (Ok(()), Some(source)),
                    Err(error) => (Err(error), None),
                };
                let _ = ready.send(outcome);
                if let Some(source) = source {
                    hear(source, &stopping, &reloading, limit).await;
                }
            });
        })?;
        match armed.recv() {
            Ok(outcome) => outcome?,
            Err(_) => return Err(io::Error::other("the thread that hears signals has ended")),
        }
        Ok(Self { stop, reload })
    }

    /// Waits until the program is asked to end, and says how. Cancel-safe.
    pub async fn stop(&self) -> Stop {
        let mut stop = self.stop.clone();
        let asked = stop
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|stop| *stop);
        match asked {
            Some(stop) => stop,
            // The thread lives as long as the process.
            None => std::future::pending().await,
        }
    }

    /// How the program was asked to end, if it was.
    pub fn stopped(&self) -> Option<Stop> {
        *self.stop.borrow()
    }

    /// Waits for the next one. Cancel-safe.
    pub async fn next(&mut self) -> Signal {
        let stop = self.stop.clone();
        let stopped = async {
            let mut stop = stop;
            stop.wait_for(Option::is_some)
                .await
                .ok()
                .and_then(|stop| *stop)
        };
        tokio::select! {
            biased;
            Some(stop) = stopped => Signal::Stop(stop),
            Some(()) = self.reload.recv() => Signal::Reload,
            else => std::future::pending().await,
        }
    }
}

/// Hands on what is asked, for as long as the process lives.
async fn hear(
    mut source: platform::Source,
    stopping: &watch::Sender<Option<Stop>>,
    reloading: &mpsc::Sender<()>,
    limit: Duration,
) {
    let first = loop {
        match source.next().await {
            Signal::Stop(stop) => break stop,
            // One that waits already is enough.
            Signal::Reload => drop(reloading.try_send(())),
        }
    };
    let asked_at = Instant::now();
    stopping.send_replace(Some(first));
    let again = async {
        loop {
            if let Signal::Stop(stop) = source.next().await
                && stop.insists
                && asked_at.elapsed() >= TWICE
            {
                return stop;
            }
        }
    };
    match tokio::time::timeout(limit, again).await {
        Ok(stop) => {
            print::complain(&format!("{} again: ending at once", stop.name));
            end(stop.code);
        }
        Err(_) => {
            print::complain(&format!(
                "not everything ended within {limit:?}: ending at once"
            ));
            end(1);
        }
    }
}

/// The end, whatever else is under way.
fn end(code: u8) -> ! {
    log::flush_within(Duration::from_millis(100));
    std::process::exit(code.into())
}
