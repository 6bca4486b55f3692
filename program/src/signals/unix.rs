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

/// Takes signals that whoever started the process had blocked. A mask is inherited, by threads and by programs that are started: with
/// it a process would be deaf to SIGTERM. Concerns the calling thread and those that it starts.
pub fn unblock_signals() {
    // Cannot fail: the arguments are right by their types.
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
}

/// Where signals come from.
pub(super) struct Source {
    terminate: Noted,
    interrupt: Noted,
    /// With what it means.
    hangup: Option<(Noted, Hangup)>,
}

impl Source {
    pub(super) fn arm(hangup: Hangup) -> io::Result<Self> {
        // One thread that takes them is enough for the whole process.
        unblock_signals();
        // Asked before anything is noted, which would change the answer.
        let ignored = hangup == Hangup::Stop && is_hangup_ignored();
        // A file at the limit of `ulimit -f` is an error of the write, as a full disk is, and no end of the program. Taken once, the
        // signal is taken for good; programs that are started get it with what it does by default.
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

/// Whether whoever started the program had SIGHUP ignored, as `nohup` does.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let ignored = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The first signal is SIGHUP.
    ignored.is_some_and(|mask| mask & 1 == 1)
}

/// The same where no file tells it: what is ignored is inherited, so a shell that survives its own SIGHUP says it.
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
