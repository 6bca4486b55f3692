//! `HostRuntimeManager`: one host, its active client, its candidate and its probes (HR).
//!
//! ```text
//! Booting ─► Selecting ──first proof──► ConnectingActive ──connected──► Online ◄─────────┐
//!    │          ▲  │  ▲                       │    (candidate connected:  │ │             │ the old client or a
//!    ▼          │  │  └───────failed──────────┘     promote, in one step) │ │ lost        │ candidate connected
//! NoConnections─┘  │                                                      │ ▼             │
//!                  └── a terminal reason ──► Error ◄──────────────────────┴ Degraded ─────┘
//!                        any ── stop ──► Stopped
//! ```
//!
//! With one path (or a path chosen by the user) selection needs no probe and connects at once. A switch is
//! make before break: a candidate beside the active client, promoted in one step or dropped without a trace
//! but a counter (INV-11). Every waiting state holds its own deadline or has a probe cycle ahead (INV-12).

mod probes;
mod selecting;
mod selection;
mod state;
mod switching;
#[cfg(test)]
mod tests;
mod transitions;

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{Hash, Hasher},
    time::Duration,
};

use bowline_protocol::Reason;

pub use self::{
    probes::ProbeResult,
    state::{Candidate, ClientStatus, ConnectionId, Effect, HostConfig, Input, State},
};
use self::{
    probes::Probes,
    selection::{Hysteresis, Pick, Race},
};
use crate::{Generation, Moment, Path, Transition, backoff::Backoff};

/// Timers fired by one call at most; the driver calls again for more, so a defect cannot spin here.
const TIMERS_PER_CALL: usize = 16;

/// Whose client a result is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Active,
    Candidate,
}

/// What can be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    /// The pause between two rounds of selection, or before an error is looked at again.
    Retry,
    /// The chosen path's client has had its time.
    Connect,
    /// The candidate has had its time.
    Candidate,
    /// A relay that proved itself has waited long enough for something better.
    Hold,
    /// The running cycle has had its time.
    Cycle,
    /// The pause between two cycles.
    NextCycle,
}

/// The machine. See the module for its diagram and the crate for the order of calls.
#[derive(Clone, Debug)]
pub struct HostRuntimeManager {
    config: HostConfig,
    state: State,
    connections: Vec<(ConnectionId, Path)>,
    /// The path that the user wants, among `connections`.
    choice: Option<ConnectionId>,
    /// A path whose probe worked but whose client did not.
    avoid: Option<ConnectionId>,
    /// A candidate made without a proof of this cycle: its path had worked shortly before.
    presumed: Option<Generation>,
    /// The client that is active, or was last.
    generation: Generation,
    /// The client created last.
    created: Generation,
    probes: Probes,
    hysteresis: Hysteresis,
    backoff: Backoff,
    /// Paths that are left alone until then, because a peer on them asked for it.
    held: BTreeMap<ConnectionId, Moment>,
    /// What the platform said last.
    background: bool,
    /// When the user, the network or the active client last did something.
    active_at: Moment,
    last_error: Option<Reason>,
    switches_failed: u64,
    stale_dropped: u64,
    refused: u64,
    /// Something that snapshots show has changed since the last `Publish`.
    changed: bool,
    effects: VecDeque<Effect>,
    transitions: VecDeque<Transition>,
}

impl HostRuntimeManager {
    /// A host that waits for its start.
    pub fn new(config: HostConfig) -> Self {
        Self {
            config,
            state: State::Booting,
            connections: Vec::new(),
            choice: None,
            avoid: None,
            presumed: None,
            generation: Generation::ZERO,
            created: Generation::ZERO,
            probes: Probes::default(),
            hysteresis: Hysteresis::default(),
            backoff: Backoff::new(config.backoff, config.jitter_seed),
            held: BTreeMap::new(),
            background: false,
            active_at: Moment::default(),
            last_error: None,
            switches_failed: 0,
            stale_dropped: 0,
            refused: 0,
            changed: false,
            effects: VecDeque::new(),
            transitions: VecDeque::new(),
        }
    }

    /// Feeds one input.
    pub fn handle(&mut self, now: Moment, input: Input) {
        if self.admit(&input) {
            // Only the user knows better than a peer that asked to be left alone.
            if matches!(input, Input::ReconnectNow | Input::UserSelect(_)) {
                self.held.clear();
            }
            self.apply(now, input);
            self.publish();
        }
    }

    /// To be called at [`Self::poll_timeout`]; earlier does nothing.
    pub fn handle_timeout(&mut self, now: Moment) {
        for _ in 0..TIMERS_PER_CALL {
            let Some(timer) = self.due(now) else { break };
            self.apply_timer(now, timer);
        }
        self.publish();
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Moment> {
        self.timers().map(|(at, _)| at).min()
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The next change of state to log.
    pub fn poll_transition(&mut self) -> Option<Transition> {
        self.transitions.pop_front()
    }

    /// The state.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The generation of the active client, or of the last one. It never decreases.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// The active client and its path.
    pub fn active(&self) -> Option<(ConnectionId, Path, Generation)> {
        let (connection, generation) = self.state.active()?;
        Some((connection, self.path(connection)?, generation))
    }

    /// The next client, while a switch is under way.
    pub const fn candidate(&self) -> Option<Candidate> {
        self.state.candidate()
    }

    /// The configured paths.
    pub fn connections(&self) -> &[(ConnectionId, Path)] {
        &self.connections
    }

    /// The path that the user chose; `None` if the choice is the host's.
    pub const fn choice(&self) -> Option<ConnectionId> {
        self.choice
    }

    /// What last went wrong, until the host is online again.
    pub const fn last_error(&self) -> Option<Reason> {
        self.last_error
    }

    /// The last probe result of each path that was probed.
    pub const fn probes(&self) -> &BTreeMap<ConnectionId, ProbeResult> {
        self.probes.results()
    }

    /// Candidates that came to nothing.
    pub const fn switches_failed(&self) -> u64 {
        self.switches_failed
    }

    /// Results of older cycles and clients that were dropped.
    pub const fn stale_dropped(&self) -> u64 {
        self.stale_dropped
    }

    /// Changes of state that the table forbids and that were not made. Anything but zero is a defect.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Whether the machine may act on this result: the one place that knows what is stale (INV-10).
    fn admit(&mut self, input: &Input) -> bool {
        let current = match input {
            Input::ProbeFinished {
                cycle, connection, ..
            } => self.probes.expects(*cycle, *connection),
            Input::ClientState { generation, .. } => self.role(*generation).is_some(),
            Input::Start { .. }
            | Input::ConnectionsChanged(_)
            | Input::StayAway { .. }
            | Input::UserSelect(_)
            | Input::ReconnectNow
            | Input::IntentQueued
            | Input::Foreground
            | Input::Background
            | Input::NetworkChanged
            | Input::Stop => true,
        };
        if !current {
            self.stale_dropped = self.stale_dropped.saturating_add(1);
        }
        current
    }

    /// Whose client that is; `None` if it is neither.
    fn role(&self, generation: Generation) -> Option<Role> {
        let is = |other: Option<Generation>| other == Some(generation);
        if is(self.state.active().map(|(_, generation)| generation)) {
            Some(Role::Active)
        } else if is(self.state.candidate().map(|candidate| candidate.generation)) {
            Some(Role::Candidate)
        } else {
            None
        }
    }

    /// The only writer of `state`. Writing what is there already is no change.
    fn set_state(&mut self, to: State, event: &'static str, reason: Option<Reason>) {
        if self.state == to {
            return;
        }
        if !self.state.may_become(&to) {
            self.refused = self.refused.saturating_add(1);
            return;
        }
        let concerned = self.concerned(&to);
        self.transitions.push_back(Transition {
            machine: "host_runtime",
            from: self.state.name(),
            to: to.name(),
            event,
            path: concerned.and_then(|(connection, _)| self.path(connection)),
            generation: concerned.map(|(_, generation)| generation),
            reason,
        });
        self.state = to;
        self.changed = true;
    }

    /// The client that a change of state is about: the candidate if only that comes or goes, else the
    /// active one.
    fn concerned(&self, to: &State) -> Option<(ConnectionId, Generation)> {
        let is_about_candidate =
            self.state.name() == to.name() && self.state.active() == to.active();
        let candidate = to.candidate().or(self.state.candidate());
        candidate
            .filter(|_| is_about_candidate)
            .map(|candidate| (candidate.connection, candidate.generation))
            .or(to.active())
            .or(self.state.active())
    }

    fn publish(&mut self) {
        if std::mem::take(&mut self.changed) {
            self.effects.push_back(Effect::Publish);
        }
    }

    /// Every timer that is set.
    fn timers(&self) -> impl Iterator<Item = (Moment, Timer)> {
        let own = match self.state {
            State::SelectingActiveConnection { retry_at, .. } => {
                retry_at.map(|at| (at, Timer::Retry))
            }
            State::ConnectingActive { deadline, .. } => Some((deadline, Timer::Connect)),
            State::Online { candidate, .. } | State::Degraded { candidate, .. } => {
                candidate.map(|candidate| (candidate.deadline, Timer::Candidate))
            }
            State::Error { retry_at, .. } => Some((retry_at, Timer::Retry)),
            State::Booting | State::NoConnections | State::Stopped => None,
        };
        let hold = match self.pick(Moment::default()) {
            Pick::Hold(until) => Some((until, Timer::Hold)),
            Pick::Wait | Pick::Take(_) => None,
        };
        let cycle = self
            .probes
            .running()
            .map(|cycle| (cycle.deadline, Timer::Cycle));
        let next = self.probes.next_at.map(|at| (at, Timer::NextCycle));
        [own, hold, cycle, next].into_iter().flatten()
    }

    /// The timer that has been due longest.
    fn due(&self, now: Moment) -> Option<Timer> {
        self.timers()
            .filter(|(at, _)| *at <= now)
            .min_by_key(|(at, _)| *at)
            .map(|(_, timer)| timer)
    }

    /// What the running cycle says, in the states that look for a path.
    fn pick(&self, now: Moment) -> Pick {
        let Some(cycle) = self.probes.running() else {
            return Pick::Wait;
        };
        let lost = match self.state {
            State::SelectingActiveConnection { .. } => None,
            State::Degraded {
                connection,
                candidate,
                ..
            } if candidate.is_none_or(|c| self.presumed == Some(c.generation)) => Some(connection),
            State::Degraded { .. }
            | State::Booting
            | State::NoConnections
            | State::ConnectingActive { .. }
            | State::Online { .. }
            | State::Error { .. }
            | State::Stopped => return Pick::Wait,
        };
        let eligible: Vec<_> = self
            .allowed()
            .filter(|(connection, _)| Some(*connection) != lost)
            .collect();
        let race = Race {
            eligible: &eligible,
            avoid: self.avoid,
            handicap: self.config.relay_handicap,
        };
        race.pick(cycle, now)
    }

    /// The paths that may become active: all, or the one that the user chose.
    fn allowed(&self) -> impl Iterator<Item = (ConnectionId, Path)> {
        self.connections
            .iter()
            .copied()
            .filter(|(connection, _)| self.choice.is_none_or(|choice| choice == *connection))
    }

    fn path(&self, connection: ConnectionId) -> Option<Path> {
        self.connections
            .iter()
            .find(|(configured, _)| *configured == connection)
            .map(|(_, path)| *path)
    }

    fn activity(&mut self, now: Moment) {
        self.active_at = now;
    }

    /// True if the app was in the background: what was being dialled then may be as dead as after a change of network.
    fn foreground(&mut self, now: Moment) -> bool {
        let was_background = self.background;
        self.activity(now);
        self.set_background(false);
        was_background
    }

    /// What failed before may work on the new network.
    fn network_changed(&mut self, now: Moment) {
        self.activity(now);
        self.backoff.reset();
        self.avoid = None;
    }

    fn set_background(&mut self, background: bool) {
        if self.background == background {
            return;
        }
        self.background = background;
        let active = self.state.active().map(|(_, generation)| generation);
        let candidate = self.state.candidate().map(|candidate| candidate.generation);
        for generation in [active, candidate].into_iter().flatten() {
            self.effects.push_back(Effect::SetBackground {
                generation,
                background,
            });
        }
    }

    fn check_liveness(&mut self, generation: Generation) {
        self.effects.push_back(Effect::CheckLiveness { generation });
    }

    fn tell_network_changed(&mut self, generation: Generation) {
        self.effects
            .push_back(Effect::NetworkChanged { generation });
    }

    fn reconnect(&mut self, generation: Generation) {
        self.effects.push_back(Effect::Reconnect { generation });
    }

    fn create_client(&mut self, connection: ConnectionId, candidate: bool) -> Generation {
        self.created = self.created.next();
        let generation = self.created;
        self.effects.push_back(Effect::CreateClient {
            generation,
            connection,
            candidate,
        });
        if self.background {
            self.effects.push_back(Effect::SetBackground {
                generation,
                background: true,
            });
        }
        generation
    }

    fn dispose(&mut self, generation: Generation, drain: Duration) {
        self.effects
            .push_back(Effect::DisposeClient { generation, drain });
    }

    /// Hashes what decides the future, relative to `now` and without jitter, for exploration.
    #[doc(hidden)]
    pub fn fingerprint<H: Hasher>(&self, now: Moment, hasher: &mut H) {
        (self.state.name(), self.background, self.choice, self.avoid).hash(hasher);
        let candidate = self.state.candidate();
        candidate
            .is_some_and(|candidate| self.presumed == Some(candidate.generation))
            .hash(hasher);
        self.state
            .active()
            .map(|(connection, _)| connection)
            .hash(hasher);
        if let Some(candidate) = self.state.candidate() {
            (candidate.connection, candidate.deadline.since(now)).hash(hasher);
        }
        match self.state {
            State::SelectingActiveConnection { retry_at, .. } => retry_at.is_some().hash(hasher),
            State::ConnectingActive {
                since, deadline, ..
            } => (now.since(since), deadline.since(now)).hash(hasher),
            State::Degraded { reason, .. } | State::Error { reason, .. } => reason.hash(hasher),
            State::Online { .. } | State::Booting | State::NoConnections | State::Stopped => {}
        }
        self.connections.hash(hasher);
        for (connection, until) in &self.held {
            (connection, *until > now).hash(hasher);
        }
        self.probes.fingerprint(now, hasher);
        self.hysteresis.hash(hasher);
        (now.since(self.active_at) >= self.config.quiet_after).hash(hasher);
    }
}
