//! `HostRuntimeManager`: one host, its active client, its candidate and its probes (HR-1).
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
//! With one path (or a path chosen by the user) selection needs no probe and connects at once. A
//! switch is make before break: a candidate beside the active client is promoted in one step, or
//! dropped with no effect but a counter (INV-11). Every waiting state has its own deadline or a
//! scheduled probe cycle (INV-12).

mod labels;
mod network;
mod probes;
mod rescue;
mod selecting;
mod selection;
mod state;
mod switching;
#[cfg(test)]
mod tests;
mod transitions;

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
    time::Duration,
};

use bowline_protocol::Reason;

pub use self::{
    labels::PathLabels,
    probes::ProbeResult,
    state::{Candidate, ClientStatus, Effect, HostConfig, HostState, Input, PathId, State},
};
use self::{
    network::NetworkReports,
    probes::Probes,
    selection::{Hysteresis, Pick, Race},
};
use crate::{
    Generation, MonotonicTime, Path,
    backoff::Backoff,
    machine_core::{MachineCore, outputs},
};

/// Most timers fired by one call; the driver calls again for more, so a defect cannot loop here.
const TIMERS_PER_CALL: usize = 16;

/// The role of the client that a result concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Active,
    Candidate,
}

/// Timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    /// End of the pause between two rounds of selection, or before a retry after an error.
    Retry,
    /// Deadline of the chosen path's client.
    Connect,
    /// Deadline of the candidate.
    Candidate,
    /// End of the wait for a better path after a relay proved itself.
    Hold,
    /// Deadline of the running cycle.
    Cycle,
    /// End of the pause between two cycles.
    NextCycle,
    /// A delayed report of a network change takes effect.
    NetworkChange,
}

/// The machine. See the module for its diagram and the crate for the order of calls.
#[derive(Clone, Debug)]
pub struct HostRuntimeManager {
    config: HostConfig,
    core: MachineCore<State, Effect>,
    connections: Vec<(PathId, Path)>,
    /// The path chosen by the user, one of `connections`.
    choice: Option<PathId>,
    /// A path whose probe succeeded but whose client failed.
    avoid: Option<PathId>,
    /// A candidate created without a proof of this cycle, because its path worked shortly before.
    presumed: Option<Generation>,
    /// The client that was informed of a working alternative, while there is one.
    told_alternative: Option<Generation>,
    /// The client whose peer is silent while a request waits.
    suspected: Option<Generation>,
    /// The candidate created because of that suspicion.
    rescue: Option<Generation>,
    /// Rescues that were promoted in a row.
    rescues: u32,
    /// Time of the last one.
    rescued_at: MonotonicTime,
    /// The active client, or the last one.
    generation: Generation,
    /// The newest client.
    created: Generation,
    probes: Probes,
    hysteresis: Hysteresis,
    backoff: Backoff,
    /// Paths not to be tried before a time, by a peer's retry-after.
    held: BTreeMap<PathId, MonotonicTime>,
    /// Whether the app is in the background.
    background: bool,
    network: NetworkReports,
    /// Time of the latest activity of the user, the network or the active client.
    active_at: MonotonicTime,
    last_error: Option<Reason>,
    switches: u64,
    switches_failed: u64,
}

impl HostRuntimeManager {
    /// A host that waits for [`Input::Start`].
    pub fn new(config: HostConfig) -> Self {
        Self {
            config,
            core: MachineCore::new(State::Booting),
            connections: Vec::new(),
            choice: None,
            avoid: None,
            presumed: None,
            told_alternative: None,
            suspected: None,
            rescue: None,
            rescues: 0,
            rescued_at: MonotonicTime::default(),
            generation: Generation::ZERO,
            created: Generation::ZERO,
            probes: Probes::default(),
            hysteresis: Hysteresis::default(),
            backoff: Backoff::new(config.backoff, config.jitter_seed),
            held: BTreeMap::new(),
            background: false,
            network: NetworkReports::default(),
            active_at: MonotonicTime::default(),
            last_error: None,
            switches: 0,
            switches_failed: 0,
        }
    }

    /// Feeds one input.
    pub fn handle(&mut self, now: MonotonicTime, input: Input) {
        self.note_retry_after(now, &input);
        if self.admit(&input) {
            if input == Input::NetworkChanged
                && !self.network.report(now, self.config.network_pause)
            {
                return;
            }
            // Only an explicit request of the user overrides a peer's retry-after.
            if matches!(input, Input::ReconnectNow | Input::UserSelect(_)) {
                self.held.clear();
            }
            self.apply(now, input);
            self.tell_alternative(now);
        }
    }

    /// Call at [`Self::poll_timeout`]; an earlier call does nothing.
    pub fn handle_timeout(&mut self, now: MonotonicTime) {
        for _ in 0..TIMERS_PER_CALL {
            let Some(timer) = self.due(now) else { break };
            self.apply_timer(now, timer);
        }
        self.tell_alternative(now);
    }

    /// When to call [`Self::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<MonotonicTime> {
        self.timers().map(|(at, _)| at).min()
    }

    outputs!(State, Effect);

    /// The generation of the active client, or of the last one. It never decreases.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// The active client and its path.
    pub fn active(&self) -> Option<(PathId, Path, Generation)> {
        let (connection, generation) = self.state().active()?;
        Some((connection, self.path(connection)?, generation))
    }

    /// The active client and its path, if it is connected: no other path carries data (INV-6).
    pub fn online(&self) -> Option<(PathId, Path, Generation)> {
        self.active()
            .filter(|_| matches!(self.state(), State::Online { .. }))
    }

    /// The candidate, while a switch is under way.
    pub const fn candidate(&self) -> Option<Candidate> {
        self.state().candidate()
    }

    /// The configured paths.
    pub fn connections(&self) -> &[(PathId, Path)] {
        &self.connections
    }

    /// The path chosen by the user; `None` if the host chooses.
    pub const fn choice(&self) -> Option<PathId> {
        self.choice
    }

    /// The last failure, until the host is online again.
    pub const fn last_error(&self) -> Option<Reason> {
        self.last_error
    }

    /// Why the host cannot be reached now, if the only attempts ahead are retries.
    pub fn unreachable(&self) -> Option<Reason> {
        match *self.state() {
            State::Error { reason, .. } => Some(reason),
            State::NoConnections => Some(Reason::Unreachable),
            State::SelectingActiveConnection {
                retry_at: Some(_), ..
            } => Some(self.last_error.unwrap_or(Reason::Unreachable)),
            State::Booting
            | State::SelectingActiveConnection { retry_at: None, .. }
            | State::ConnectingActive { .. }
            | State::Online { .. }
            | State::Degraded { .. }
            | State::Stopped => None,
        }
    }

    /// The last probe result of each path that was probed.
    pub const fn probes(&self) -> &BTreeMap<PathId, ProbeResult> {
        self.probes.results()
    }

    /// Candidates that were promoted.
    pub const fn switches(&self) -> u64 {
        self.switches
    }

    /// Candidates that failed.
    pub const fn switches_failed(&self) -> u64 {
        self.switches_failed
    }

    /// Whether the machine may act on this input: the only check for stale results (INV-10).
    fn admit(&mut self, input: &Input) -> bool {
        let current = match input {
            Input::ProbeFinished {
                cycle, connection, ..
            } => self.probes.expects(*cycle, *connection),
            Input::ClientState { generation, .. } | Input::Suspected { generation, .. } => {
                self.role(*generation).is_some()
            }
            Input::Start { .. }
            | Input::ConnectionsChanged(_)
            | Input::UserSelect(_)
            | Input::ReconnectNow
            | Input::IntentQueued
            | Input::Foreground
            | Input::Background
            | Input::NetworkChanged
            | Input::Stop => true,
        };
        if !current {
            self.core.count_stale();
        }
        current
    }

    /// The role of a client; `None` if it has none.
    fn role(&self, generation: Generation) -> Option<Role> {
        let is = |other: Option<Generation>| other == Some(generation);
        if is(self.state().active().map(|(_, generation)| generation)) {
            Some(Role::Active)
        } else if is(self.candidate().map(|candidate| candidate.generation)) {
            Some(Role::Candidate)
        } else {
            None
        }
    }

    /// The path of the active client or of the candidate.
    fn path_of(&self, generation: Generation) -> Option<PathId> {
        let candidate = self.candidate();
        let candidate = candidate.map(|candidate| (candidate.connection, candidate.generation));
        let clients = [self.state().active(), candidate];
        let mut clients = clients.into_iter().flatten();
        let found = clients.find(|(_, known)| *known == generation);
        found.map(|(connection, _)| connection)
    }

    /// Makes a transition. Writing an equal state is none.
    fn set_state(&mut self, to: State, event: &'static str, reason: Option<Reason>) {
        if *self.state() != to {
            let concerned = self.concerned(&to);
            let path = concerned.and_then(|(connection, _)| self.path(connection));
            let generation = concerned.map(|(_, generation)| generation);
            self.core.set(to, event, path, generation, reason);
        }
    }

    /// The client that a transition concerns: the candidate if only it appears or disappears, else
    /// the active one.
    fn concerned(&self, to: &State) -> Option<(PathId, Generation)> {
        let is_about_candidate =
            self.state().name() == to.name() && self.state().active() == to.active();
        let candidate = to.candidate().or(self.candidate());
        candidate
            .filter(|_| is_about_candidate)
            .map(|candidate| (candidate.connection, candidate.generation))
            .or(to.active())
            .or(self.state().active())
    }

    /// Every timer that is set.
    fn timers(&self) -> impl Iterator<Item = (MonotonicTime, Timer)> {
        let own = match *self.state() {
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
        let hold = match self.pick(MonotonicTime::default()) {
            Pick::Hold(until) => Some((until, Timer::Hold)),
            Pick::Wait | Pick::Take(_) => None,
        };
        let cycle = self
            .probes
            .running()
            .map(|cycle| (cycle.deadline, Timer::Cycle));
        let next = self.probes.next_at.map(|at| (at, Timer::NextCycle));
        let network = self.network.deadline();
        let network = network.filter(|_| *self.state() != State::Stopped);
        let network = network.map(|at| (at, Timer::NetworkChange));
        [own, hold, cycle, next, network].into_iter().flatten()
    }

    /// The timer that was due first.
    fn due(&self, now: MonotonicTime) -> Option<Timer> {
        self.timers()
            .filter(|(at, _)| *at <= now)
            .min_by_key(|(at, _)| *at)
            .map(|(_, timer)| timer)
    }

    /// Result of the running cycle so far, in the states that look for a path.
    fn pick(&self, now: MonotonicTime) -> Pick {
        let Some(cycle) = self.probes.running() else {
            return Pick::Wait;
        };
        let lost = match *self.state() {
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

    /// The paths that may become active: all, or the one chosen by the user.
    fn allowed(&self) -> impl Iterator<Item = (PathId, Path)> {
        self.connections
            .iter()
            .copied()
            .filter(|(connection, _)| self.choice.is_none_or(|choice| choice == *connection))
    }

    fn path(&self, connection: PathId) -> Option<Path> {
        self.connections
            .iter()
            .find(|(configured, _)| *configured == connection)
            .map(|(_, path)| *path)
    }

    fn activity(&mut self, now: MonotonicTime) {
        self.active_at = now;
    }

    /// Returns true if the app was in the background: a dial begun there may be as dead as after a
    /// change of network.
    fn foreground(&mut self, now: MonotonicTime) -> bool {
        let was_background = self.background;
        self.activity(now);
        self.set_background(false);
        was_background
    }

    /// Handles a change of network, on which failed paths may work.
    fn network_changed(&mut self, now: MonotonicTime) {
        self.activity(now);
        self.backoff.reset();
        self.hysteresis.trust_all();
        self.avoid = None;
    }

    fn set_background(&mut self, background: bool) {
        if self.background == background {
            return;
        }
        self.background = background;
        let active = self.state().active().map(|(_, generation)| generation);
        let candidate = self.candidate().map(|candidate| candidate.generation);
        for generation in [active, candidate].into_iter().flatten() {
            self.core.push(Effect::SetBackground {
                generation,
                background,
            });
        }
    }

    fn check_liveness(&mut self, generation: Generation) {
        self.core.push(Effect::CheckLiveness { generation });
    }

    fn tell_network_changed(&mut self, generation: Generation) {
        self.core.push(Effect::NetworkChanged { generation });
    }

    fn reconnect(&mut self, generation: Generation) {
        self.core.push(Effect::Reconnect { generation });
    }

    fn create_client(&mut self, connection: PathId, candidate: bool) -> Generation {
        self.created = self.created.next();
        let generation = self.created;
        self.core.push(Effect::CreateClient {
            generation,
            connection,
            candidate,
        });
        if self.background {
            self.core.push(Effect::SetBackground {
                generation,
                background: true,
            });
        }
        generation
    }

    fn dispose(&mut self, generation: Generation, drain: Duration, reason: Reason) {
        self.core.push(Effect::DisposeClient {
            generation,
            drain,
            reason,
        });
    }

    /// Disposes at once of a client that carries no requests: a candidate, or one that could not
    /// connect.
    fn discard(&mut self, generation: Generation) {
        self.dispose(generation, Duration::ZERO, Reason::ClosedLocally);
    }

    /// Hashes the state that determines future behaviour, relative to `now` and without jitter, for
    /// the explorer.
    #[doc(hidden)]
    pub fn fingerprint<H: Hasher>(&self, now: MonotonicTime, hasher: &mut H) {
        (
            self.state().name(),
            self.background,
            self.choice,
            self.avoid,
        )
            .hash(hasher);
        let candidate = self.candidate();
        candidate
            .is_some_and(|candidate| self.presumed == Some(candidate.generation))
            .hash(hasher);
        self.state()
            .active()
            .map(|(connection, _)| connection)
            .hash(hasher);
        if let Some(candidate) = self.candidate() {
            (candidate.connection, candidate.deadline.since(now)).hash(hasher);
        }
        match *self.state() {
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
        let active = self.state().active().map(|(_, generation)| generation);
        (
            active.is_some() && self.told_alternative == active,
            self.is_suspected(),
            candidate.is_some_and(|candidate| self.rescue == Some(candidate.generation)),
            self.rescues,
            now.since(self.rescued_at) < rescue::RESCUE_LASTS,
        )
            .hash(hasher);
        (now.since(self.active_at) >= self.config.quiet_after).hash(hasher);
        self.network.fingerprint(now).hash(hasher);
    }
}
