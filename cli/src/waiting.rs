//! Waiting for hosts: how a snapshot affects a waiting command, and the progress note on the
//! terminal.

use std::{future::pending, time::Duration};

use bowline_runtime::{
    ErrorView, Failure, HostRecord, HostSnapshot, HostState, Snapshot,
    protocol::{Reason, ServerId},
};
use tokio::time::{Instant, Interval, interval_at, sleep_until};

use crate::{failure::CliError, output::Output, text};

/// Interval of the spinner.
const TICK: Duration = Duration::from_millis(120);
/// Shorter waits show no spinner.
const PATIENCE: Duration = Duration::from_millis(400);
const FRAMES: [&str; 8] = ["⠋", "⠙", "⠸", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// Reachability of a host for a waiting command.
pub(crate) enum Reachability {
    /// Online.
    Online,
    /// The runtime is trying to connect.
    Away(Option<ErrorView>),
    /// Further waiting is useless.
    Over(CliError),
}

impl Reachability {
    /// Classifies the host's snapshot; `None` before its driver has published one.
    pub(crate) fn of(host: &HostRecord, live: Option<&HostSnapshot>) -> Self {
        let Some(live) = live else {
            return Self::Away(None);
        };
        match live.state {
            HostState::Online => Self::Online,
            HostState::Error => {
                let problem = live.last_error.clone();
                let unknown = || Failure::from(Reason::DeviceUnknown).into();
                Self::Over(CliError::refused(
                    &host.name,
                    &problem.unwrap_or_else(unknown),
                ))
            }
            HostState::NoConnections => Self::Over(CliError::no_path(host)),
            HostState::Stopped => Self::Over(CliError::forgotten()),
            HostState::Booting
            | HostState::SelectingActiveConnection
            | HostState::ConnectingActive
            | HostState::Degraded => Self::Away(live.last_error.clone()),
        }
    }
}

/// A host's part of a snapshot.
pub(crate) fn view<'s>(snapshot: &'s Snapshot, id: &ServerId) -> Option<&'s HostSnapshot> {
    let mut hosts = snapshot.hosts.iter();
    hosts.find(|host| host.server_id == *id).map(AsRef::as_ref)
}

/// The error for a host that listed nothing.
pub(crate) fn missing(host: &HostRecord, live: Option<&HostSnapshot>) -> CliError {
    match Reachability::of(host, live) {
        Reachability::Over(error) => error,
        Reachability::Away(problem) => CliError::unreachable(host, problem.as_ref()),
        Reachability::Online => {
            let name = text::one_line(&host.name);
            CliError::failed("timeout", format!("{name} did not list its agents in time"))
        }
    }
}

/// The terminal note while waiting for a host.
pub(crate) fn note(doing: &str, host: &HostRecord, problem: Option<&ErrorView>) -> String {
    let name = text::one_line(&host.name);
    match problem {
        None => format!("{doing} to {name} …"),
        Some(problem) => format!("{doing} to {name} … {}", text::one_line(&problem.message)),
    }
}

/// A transient terminal note with a spinner. Dropping it clears the note.
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

    /// Advances the spinner at its interval; never ready without a terminal. Cancel-safe.
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

/// Ready at the deadline; never without one.
pub(crate) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
