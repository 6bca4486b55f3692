//! Signals of Unix.

use std::io;

use rustix::process::Signal as Named;
use tokio::signal::unix::{Signal as Noted, SignalKind, signal};

use super::{Hangup, Signal, Stop};

const TERMINATED: Stop = Stop {
    name: "SIGTERM",
    code: 143,
    insists: true,
};
const INTERRUPTED: Stop = Stop {
    name: "SIGINT",
    code: 130,
    insists: true,
};
const HUNG_UP: Stop = Stop {
    name: "SIGHUP",
    code: 129,
    insists: false,
};

/// Unblocks the signals handled here for the calling thread and the threads it starts. The signal
/// mask is inherited: a process started with SIGTERM blocked would never receive it.
pub fn unblock_signals() {
    // Cannot fail: the types guarantee valid arguments.
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
}

/// The streams of signals.
pub(super) struct Source {
    terminate: Noted,
    interrupt: Noted,
    /// Each stream with its request.
    hangup: Option<(Noted, Hangup)>,
}

impl Source {
    pub(super) fn arm(hangup: Hangup) -> io::Result<Self> {
        // One thread receives them for the whole process.
        unblock_signals();
        // Read before a handler is installed, which would change the answer.
        let ignored = hangup == Hangup::Stop && is_hangup_ignored();
        // Writing over the limit of `ulimit -f` is a write error, as a full disk is, and must not
        // end the program. The handler stays for the life of the process; child processes start
        // with the default action.
        drop(signal(SignalKind::from_raw(Named::XFSZ.as_raw()))?);
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: match ignored {
                true => None,
                false => Some((signal(SignalKind::hangup())?, hangup)),
            },
        })
    }

    pub(super) async fn next(&mut self) -> Signal {
        let hangup = async {
            match &mut self.hangup {
                Some((noted, meaning)) => {
                    noted.recv().await;
                    *meaning
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop(TERMINATED),
            _ = self.interrupt.recv() => Signal::Stop(INTERRUPTED),
            meaning = hangup => match meaning {
                Hangup::Stop => Signal::Stop(HUNG_UP),
                Hangup::Reload => Signal::Reload,
            },
        }
    }
}

/// Whether SIGHUP was ignored at the start of the program, as `nohup` does.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let ignored = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The first signal is SIGHUP.
    ignored.is_some_and(|mask| mask & 1 == 1)
}

/// The same without `/proc`: an ignored signal is inherited, so a shell that survives its own
/// SIGHUP shows it.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn is_hangup_ignored() -> bool {
    use std::process::{Command, Stdio};
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "kill -HUP $$; exit 0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    shell.status().is_ok_and(|status| status.success())
}
