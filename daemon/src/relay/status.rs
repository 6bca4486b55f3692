//! The status of each relay registration, for `daemon.status` and metrics (SV-5).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bowline_machines::daemon::registration::State;
use bowline_protocol::{Reason, model::UnixMillis};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::Notify;

use crate::config::RelayUrl;

/// Status of all relays of a daemon, in the order of its configuration. Clones share it.
#[derive(Clone, Debug)]
pub struct RelayStatus(Arc<[Arc<RelayEntry>]>);

impl RelayStatus {
    /// Status of relays before the first attempt.
    pub fn new(relays: &[RelayUrl]) -> Self {
        let entries = relays.iter().map(|relay| Arc::new(RelayEntry::new(relay)));
        Self(entries.collect())
    }

    /// The status of every relay.
    pub fn list(&self) -> Vec<RelayInfo> {
        self.0.iter().map(|entry| entry.info()).collect()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Arc<RelayEntry>> {
        self.0.iter()
    }

    /// Ends the pauses before the next attempt at all relays, because the network may be back.
    pub(crate) fn hurry(&self) {
        for entry in self.entries() {
            entry.hurry.notify_one();
        }
    }

    /// The counters of each relay, for metrics.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&str, BTreeMap<Reason, u64>)> {
        self.0
            .iter()
            .map(|entry| (&*entry.url, entry.shown().ended.clone()))
    }
}

/// State of the registration with a relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RelayState {
    /// Not started.
    #[default]
    Idle,
    /// A control socket is dialled, challenged and registered.
    Connecting,
    /// Registered: clients can connect.
    Registered,
    /// The pause before the next attempt.
    Waiting,
    /// The daemon stops.
    Stopped,
}

impl From<&State> for RelayState {
    fn from(state: &State) -> Self {
        match state {
            State::Idle => Self::Idle,
            State::Connecting { .. } => Self::Connecting,
            State::Registered { .. } => Self::Registered,
            State::Waiting { .. } => Self::Waiting,
            State::Stopped => Self::Stopped,
        }
    }
}

/// One relay in `daemon.status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RelayInfo {
    /// Its base URL, as configured.
    pub url: String,
    /// State of the registration.
    pub state: RelayState,
    /// Time of the last change of state, in milliseconds since the Unix epoch.
    pub since: UnixMillis,
    /// Sessions with clients at the relay.
    pub sessions: usize,
    /// Client sockets at the relay.
    pub lanes: u64,
    /// Registrations so far.
    pub registrations: u64,
    /// Failure of the last registration or attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<RelayError>,
}

/// Failure of a registration or of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RelayError {
    /// Reason, for programs.
    pub reason: Reason,
    /// Text for people.
    pub message: String,
    /// Time in milliseconds since the Unix epoch.
    pub at: UnixMillis,
}

/// State of one registration, written by its task.
#[derive(Debug)]
pub(super) struct RelayEntry {
    url: Box<str>,
    hurry: Notify,
    shown: Mutex<Shown>,
}

#[derive(Debug)]
struct Shown {
    info: RelayInfo,
    /// Control sockets that failed or closed, by reason.
    ended: BTreeMap<Reason, u64>,
}

impl RelayEntry {
    fn new(relay: &RelayUrl) -> Self {
        let info = RelayInfo {
            url: relay.as_str().to_owned(),
            ..RelayInfo::default()
        };
        Self {
            url: relay.as_str().into(),
            hurry: Notify::new(),
            shown: Mutex::new(Shown {
                info,
                ended: BTreeMap::new(),
            }),
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn set_state(&self, state: RelayState, now: UnixMillis) {
        let info = &mut self.shown().info;
        if info.state != state {
            info.state = state;
            info.since = now;
            info.registrations += u64::from(state == RelayState::Registered);
        }
    }

    pub(super) fn sessions(&self, count: usize) {
        self.shown().info.sessions = count;
    }

    pub(super) fn failed(&self, reason: Reason, message: String, now: UnixMillis) {
        let mut shown = self.shown();
        *shown.ended.entry(reason).or_default() += 1;
        shown.info.last_error = Some(RelayError {
            reason,
            message,
            at: now,
        });
    }

    /// Waits until this registration's pause is ended ([`RelayStatus`]).
    pub(super) async fn hurried(&self) {
        self.hurry.notified().await;
    }

    pub(super) fn lane_opened(&self) {
        self.shown().info.lanes += 1;
    }

    pub(super) fn lane_closed(&self) {
        self.shown().info.lanes -= 1;
    }

    fn info(&self) -> RelayInfo {
        self.shown().info.clone()
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
