//! Requests of the system to a program: to end, or to reload files.
//!
//! A separate thread receives signals, so that the program can be busy: a second request to end, or
//! an orderly end that takes too long, ends the process at once.

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

/// Time in which a second request to end counts as the first one, sent by both the terminal and a
/// shell for example.
const TWICE: Duration = Duration::from_millis(500);

/// A request of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// To end.
    Stop(Stop),
    /// To reload files (SIGHUP). Only Unix has this signal.
    Reload,
}

/// A request to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Its name, `SIGTERM` for example.
    pub name: &'static str,
    /// The exit code that shells report for it: 128 and the signal's number.
    pub code: u8,
    /// Whether a repetition ends the process at once. A closing terminal may send several.
    insists: bool,
}

/// Meaning of SIGHUP for a program. Only Unix has it; elsewhere a closed window is always a request
/// to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    /// The terminal closed: end, unless the signal was ignored at the start of the program
    /// (`nohup`).
    Stop,
    /// Reload files.
    Reload,
}

/// The signals of this process, received since [`Signals::arm`].
#[derive(Debug)]
pub struct Signals {
    stop: watch::Receiver<Option<Stop>>,
    reload: mpsc::Receiver<()>,
}

impl Signals {
    /// Receives signals from now on. `hangup` is the meaning of SIGHUP. After a request to end, the
    /// process has `limit` to end by itself; then it ends with exit code 1.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn arm(hangup: Hangup, limit: Duration) -> io::Result<Self> {
        let (stopping, stop) = watch::channel(None);
        let (reloading, reload) = mpsc::channel(1);
        let (ready, armed) = std::sync::mpsc::channel();
        let thread = thread::Builder::new().name("signals".to_owned());
        thread.spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let source = runtime.enable_all().build().and_then(|runtime| {
                let source = runtime.block_on(async { platform::Source::arm(hangup) })?;
                Ok((runtime, source))
            });
            match source {
                Ok((runtime, source)) => {
                    let _ = ready.send(Ok(()));
                    runtime.block_on(hear(source, &stopping, &reloading, limit));
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        })?;
        let ended = |_| Err(io::Error::other("the thread that hears signals has ended"));
        armed.recv().unwrap_or_else(ended)?;
        Ok(Self { stop, reload })
    }

    /// Waits for a request to end and returns it. Cancel-safe.
    pub async fn stop(&self) -> Stop {
        asked(self.stop.clone()).await
    }

    /// The request to end, if there was one.
    pub fn stopped(&self) -> Option<Stop> {
        *self.stop.borrow()
    }

    /// Waits for the next request to reload. Cancel-safe.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            stop = asked(self.stop.clone()) => Signal::Stop(stop),
            Some(()) = self.reload.recv() => Signal::Reload,
        }
    }
}

async fn asked(mut stop: watch::Receiver<Option<Stop>>) -> Stop {
    match stop.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(stop)) => *stop,
        // The thread lives as long as the process.
        _ => std::future::pending().await,
    }
}

/// Passes requests on for the life of the process.
async fn hear(
    mut source: platform::Source,
    stopping: &watch::Sender<Option<Stop>>,
    reloading: &mpsc::Sender<()>,
    limit: Duration,
) {
    let first = loop {
        match source.next().await {
            Signal::Stop(stop) => break stop,
            // One pending request is enough.
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

/// Ends the process at once.
fn end(code: u8) -> ! {
    log::flush_within(Duration::from_millis(100));
    std::process::exit(code.into())
}
