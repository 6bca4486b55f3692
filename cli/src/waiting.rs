//! Waiting for hosts: what a snapshot means for a command that waits, and what the terminal says meanwhile.

use std::{future::pending, time::Duration};

use bowline_runtime::{
    ErrorView, Failure, HostRecord, HostSnapshot, Snapshot,
    protocol::{Reason, ServerId},
};
use tokio::time::{Instant, Interval, interval_at, sleep_until};

use crate::{failure::CliError, output::Output, text};

/// How often the spinner moves.
const TICK: Duration = Duration::from_millis(120);
/// A wait shorter than this shows no spinner.
const PATIENCE: Duration = Duration::from_millis(400);
const FRAMES: [&str; 8] = ["⠋", "⠙", "⠸", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// Where a host stands, as far as a waiting command is concerned.
pub(crate) enum Standing {
    /// It can be talked to.
    Online,
    /// The runtime is trying.
    Away(Option<ErrorView>),
    /// Waiting cannot help.
    Over(CliError),
}

impl Standing {
    /// What the host's snapshot says; `None` before its driver has said anything.
    pub(crate) fn of(host: &HostRecord, live: Option<&HostSnapshot>) -> Self {
        let Some(live) = live else {
            return Self::Away(None);
        };
        match live.state {
            "online" => Self::Online,
            "error" => {
                let problem = live.last_error.clone();
                let problem =
                    problem.unwrap_or_else(|| Failure::from(Reason::DeviceUnknown).into());
                Self::Over(CliError::refused(&host.name, &problem))
            }
            "no_connections" => Self::Over(CliError::no_path(host)),
            "stopped" => Self::Over(CliError::failed("cancelled", "the host was forgotten")),
            _ => Self::Away(live.last_error.clone()),
        }
    }
}

/// A host's part of a snapshot.
pub(crate) fn view<'s>(snapshot: &'s Snapshot, id: &ServerId) -> Option<&'s HostSnapshot> {
    let mut hosts = snapshot.hosts.iter();
    hosts.find(|host| host.server_id == *id).map(AsRef::as_ref)
}

/// Whether the host has told its agents.
pub(crate) fn has_told(live: &HostSnapshot) -> bool {
    matches!(
        live.directory.state,
        "ready" | "revalidating" | "error_after_ready"
    )
}

/// Why a host has told nothing.
pub(crate) fn missing(host: &HostRecord, live: Option<&HostSnapshot>) -> CliError {
    match Standing::of(host, live) {
        Standing::Over(error) => error,
        Standing::Away(problem) => CliError::unreachable(host, problem.as_ref()),
        Standing::Online => CliError::failed(
            "timeout",
            format!(
                "{} did not list its agents in time",
                text::one_line(&host.name)
            ),
        ),
    }
}

/// What the terminal says while a host is waited for.
pub(crate) fn note(doing: &str, host: &HostRecord, problem: Option<&ErrorView>) -> String {
    let name = text::one_line(&host.name);
    match problem {
        None => format!("{doing} to {name} …"),
        Some(problem) => format!("{doing} to {name} … {}", text::one_line(&problem.message)),
    }
}

/// A note on the terminal that shows that something is being waited for. Gone when dropped.
pub(crate) struct Spinner<'a> {
    output: &'a Output,
    ticks: Interval,
    frame: usize,
}

impl<'a> Spinner<'a> {
    pub(crate) fn new(output: &'a Output) -> Self {
        Self {
            output,
            ticks: interval_at(Instant::now() + PATIENCE, TICK),
            frame: 0,
        }
    }

    /// Moves on when it is time to; never ready without a terminal. Cancel-safe.
    pub(crate) async fn turn(&mut self, text: impl FnOnce() -> String) {
        if !self.output.mode.rich_err {
            return pending().await;
        }
        self.ticks.tick().await;
        let frame = FRAMES.get(self.frame % FRAMES.len()).unwrap_or(&"");
        self.frame = self.frame.wrapping_add(1);
        self.output.note(Some(format!("{frame} {}", text())));
    }
}

impl Drop for Spinner<'_> {
    fn drop(&mut self) {
        if self.frame > 0 {
            self.output.note(None);
        }
    }
}

/// Ready at that moment; never without one.
pub(crate) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
