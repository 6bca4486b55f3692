//! How each relay link is, for `daemon.status` and metrics (SV-5).

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bowline_protocol::{Reason, model::UnixMillis};
use serde::Serialize;
use tokio::sync::Notify;

use crate::config::RelayUrl;

/// All relays of a daemon, in the order of its configuration. Clones show the same.
#[derive(Clone, Debug)]
pub struct RelayBoard(Arc<[Arc<RelayEntry>]>);

impl RelayBoard {
    /// A board on which nothing has happened yet.
    pub fn new(relays: &[RelayUrl]) -> Self {
        let entries = relays.iter().map(|relay| Arc::new(RelayEntry::new(relay)));
        Self(entries.collect())
    }

    /// Every relay.
    pub fn list(&self) -> Vec<RelayInfo> {
        self.0.iter().map(|entry| entry.info()).collect()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Arc<RelayEntry>> {
        self.0.iter()
    }

    /// An attempt may be worth it now, with every relay that is waited for.
    pub(crate) fn hurry(&self) {
        for entry in self.entries() {
            entry.hurry.notify_one();
        }
    }

    /// What each relay has counted, for metrics.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&str, BTreeMap<Reason, u64>)> {
        self.0
            .iter()
            .map(|entry| (&*entry.url, entry.shown().ended.clone()))
    }
}

/// One relay in `daemon.status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayInfo {
    /// Its base URL, as configured.
    pub url: String,
    /// `idle`, `connecting`, `registered`, `waiting` or `stopped`.
    pub state: &'static str,
    /// Since when, in milliseconds since the Unix epoch.
    pub since: UnixMillis,
    /// Sessions with clients there.
    pub sessions: usize,
    /// Client sockets there.
    pub lanes: u64,
    /// Registrations so far.
    pub registrations: u64,
    /// Why the last registration or attempt ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<RelayError>,
}

/// Why a registration, or an attempt at one, ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RelayError {
    /// For programs.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// When, in milliseconds since the Unix epoch.
    pub at: UnixMillis,
}

/// What a link writes and everybody may read.
#[derive(Debug)]
pub(super) struct RelayEntry {
    url: Box<str>,
    lanes: AtomicU64,
    hurry: Notify,
    shown: Mutex<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    state: &'static str,
    since: UnixMillis,
    sessions: usize,
    registrations: u64,
    last_error: Option<RelayError>,
    /// Control sockets that could not be made or have ended, by reason.
    ended: BTreeMap<Reason, u64>,
}

impl RelayEntry {
    fn new(relay: &RelayUrl) -> Self {
        Self {
            url: relay.as_str().into(),
            lanes: AtomicU64::new(0),
            hurry: Notify::new(),
            shown: Mutex::new(Shown {
                state: "idle",
                ..Shown::default()
            }),
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn stands(&self, state: &'static str, now: UnixMillis) {
        let mut shown = self.shown();
        if shown.state != state {
            shown.state = state;
            shown.since = now;
            shown.registrations += u64::from(state == "registered");
        }
    }

    pub(super) fn sessions(&self, count: usize) {
        self.shown().sessions = count;
    }

    pub(super) fn failed(&self, reason: Reason, message: String, now: UnixMillis) {
        let mut shown = self.shown();
        *shown.ended.entry(reason).or_default() += 1;
        shown.last_error = Some(RelayError {
            reason,
            message,
            at: now,
        });
    }

    /// Waits until somebody hurries this link.
    pub(super) async fn hurried(&self) {
        self.hurry.notified().await;
    }

    pub(super) fn lane_opened(&self) {
        self.lanes.fetch_add(1, Relaxed);
    }

    pub(super) fn lane_closed(&self) {
        self.lanes.fetch_sub(1, Relaxed);
    }

    fn info(&self) -> RelayInfo {
        let shown = self.shown();
        RelayInfo {
            url: self.url.to_string(),
            state: shown.state,
            since: shown.since,
            sessions: shown.sessions,
            lanes: self.lanes.load(Relaxed),
            registrations: shown.registrations,
            last_error: shown.last_error.clone(),
        }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
