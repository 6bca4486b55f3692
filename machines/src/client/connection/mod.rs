//! `DaemonClient`: one client for one path to one daemon. Owns one transport at a time (INV-4).
//!
//! ```text
//!          connect_request            transport_open
//!   Idle ──────────────────► Connecting ───────────► Connected
//!                             ▲      │                   │
//!     reconnect_timer,        │      │ transport_close,  │ transport_close,
//!     connect_request,        │      │ connect_timeout   │ heartbeat_timeout
//!     foreground              │      ▼                   │
//!                            Disconnected ◄──────────────┘      any ── dispose ──► Disposed
//! ```
//!
//! "Open" means that the whole handshake is complete. Each attempt is one generation; results of
//! older ones are dropped and counted on entry (INV-10). Waiting states hold their own deadline
//! (INV-12).

mod state;
#[cfg(test)]
mod tests;
mod transitions;

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

use bowline_protocol::{Reason, reason::Retry};

pub use self::state::{ClientConfig, Effect, Input, State};
use crate::{
    Generation, MonotonicTime,
    backoff::{Backoff, Pace},
    liveness::{DetectorAction, FailureDetector, Liveness, LivenessAction},
    machine_core::{MachineCore, outputs},
};

/// Short pauses after a relay's `daemon_offline`, and while a server that announced its restart is
/// not back, until a connection has lasted; later ones use growing pauses. A restart takes seconds,
/// and after a relay's the daemon usually registers within seconds.
const ABSENT_ATTEMPTS: u32 = 10;
/// Longest of the short pauses. They do not count as failures, so the growing pauses start from the
/// beginning.
const ABSENT_PAUSE: Duration = Duration::from_secs(1);

/// The machine. See the module for its diagram and the crate for the order of calls.
#[derive(Clone, Debug)]
pub struct DaemonClient {
    config: ClientConfig,
    core: MachineCore<State, Effect>,
    /// The latest transport.
    generation: Generation,
    /// Heartbeat of the current connection; meaningful in `Connected` only.
    liveness: Liveness,
    /// Failure detector of the current connection, active while requests wait (SP-1).
    detector: FailureDetector,
    backoff: Backoff,
    /// Short pauses of [`ABSENT_PAUSE`] since a connection lasted.
    absent_pauses: u32,
    /// Whether the server announced its return, and was not reached since.
    is_returning: bool,
    /// Whether the app is in the background, which only slows retries down.
    background: bool,
    /// Set by the configuration, or by a promotion.
    auto_retry: bool,
}

impl DaemonClient {
    /// An idle client.
    pub fn new(config: ClientConfig) -> Self {
        Self {
            config,
            core: MachineCore::new(State::Idle),
            generation: Generation::ZERO,
            liveness: Liveness::new(MonotonicTime::default(), Duration::ZERO, &config.liveness),
            detector: FailureDetector::default(),
            backoff: Backoff::new(config.backoff, config.jitter_seed),
            absent_pauses: 0,
            is_returning: false,
            background: false,
            auto_retry: config.auto_retry,
        }
    }

    /// Feeds one input.
    pub fn handle(&mut self, now: MonotonicTime, input: Input) {
        if self.admit(&input) {
            self.apply(now, input);
        }
    }

    /// When to call [`Self::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<MonotonicTime> {
        match *self.state() {
            State::Connecting { deadline, .. } => Some(deadline),
            State::Connected { .. } => {
                let early = self.detector.deadline(self.liveness.last_heard());
                early.into_iter().chain([self.liveness.deadline()]).min()
            }
            State::Disconnected { retry_at, .. } => retry_at,
            State::Idle | State::Disposed => None,
        }
    }

    outputs!(State, Effect);

    /// Generation of the latest transport; zero before the first. Never decreases.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// The settings.
    pub const fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Whether the machine may act on this input: the only check for stale results (INV-10). A
    /// transport that opens too late is closed, so that none leaks.
    fn admit(&mut self, input: &Input) -> bool {
        let Some(generation) = input.generation() else {
            return true;
        };
        if self.live() == Some(generation) {
            return true;
        }
        self.core.count_stale();
        if matches!(input, Input::TransportOpen { .. }) {
            self.core.push(Effect::CloseTransport {
                generation,
                reason: Reason::ClosedLocally,
            });
        }
        false
    }

    /// Generation of the transport whose results are current.
    const fn live(&self) -> Option<Generation> {
        match *self.state() {
            State::Connecting { .. } | State::Connected { .. } => Some(self.generation),
            State::Idle | State::Disconnected { .. } | State::Disposed => None,
        }
    }

    fn set_state(&mut self, to: State, event: &'static str, reason: Option<Reason>) {
        let (path, generation) = (self.config.path, self.generation);
        self.core
            .set(to, event, Some(path), Some(generation), reason);
    }

    fn connect(&mut self, now: MonotonicTime, attempts: u32, event: &'static str) {
        self.generation = self.generation.next();
        let connecting = State::Connecting {
            attempt: attempts.saturating_add(1),
            deadline: now + self.config.connect_deadline,
        };
        self.set_state(connecting, event, None);
        self.core.push(Effect::OpenTransport {
            generation: self.generation,
        });
    }

    /// Replaces the dial under way by a new one with the full deadline. This is not a failure: the
    /// attempt keeps its number and there is no pause.
    fn redial(&mut self, now: MonotonicTime, event: &'static str) {
        let State::Connecting { attempt, .. } = *self.state() else {
            return;
        };
        self.close_transport(Reason::ClosedLocally);
        self.connect(now, attempt.saturating_sub(1), event);
    }

    fn opened(
        &mut self,
        now: MonotonicTime,
        heartbeat: Duration,
        round_trip: Duration,
        event: &'static str,
    ) {
        self.is_returning = false;
        self.detector.opened(now, round_trip);
        self.liveness = Liveness::new(now, heartbeat, &self.config.liveness);
        self.set_state(State::Connected { since: now }, event, None);
    }

    /// Changes from `Connecting` or `Connected` to `Disconnected`, with a retry if that can help.
    fn lose(
        &mut self,
        now: MonotonicTime,
        reason: Reason,
        retry_after: Option<Duration>,
        event: &'static str,
    ) {
        let (attempt, was_connected) = match *self.state() {
            State::Connecting { attempt, .. } => (attempt, false),
            State::Connected { since } => {
                let lasted = now.since(since);
                self.backoff.succeeded_for(lasted);
                if lasted >= self.config.backoff.reset_after {
                    self.absent_pauses = 0;
                }
                (0, true)
            }
            State::Idle | State::Disconnected { .. } | State::Disposed => return,
        };
        self.is_returning |= reason.retry() == Retry::Soon;
        let not_before = retry_after.map(|pause| now + pause.min(self.config.most_retry_after));
        let disconnected = State::Disconnected {
            reason,
            attempt,
            retry_at: self.retry_at(now, reason, not_before),
            not_before,
        };
        self.set_state(disconnected, event, Some(reason));
        if was_connected {
            self.core.push(Effect::EndWaiters { reason });
        }
    }

    fn retry_at(
        &mut self,
        now: MonotonicTime,
        reason: Reason,
        not_before: Option<MonotonicTime>,
    ) -> Option<MonotonicTime> {
        if !self.auto_retry {
            return None;
        }
        let pace = match reason.retry() {
            Retry::Never | Retry::AfterUserAction => return None,
            Retry::Backoff | Retry::Soon if self.background => Pace::Slowest,
            Retry::Backoff => Pace::Usual,
            Retry::Soon => Pace::Soon,
        };
        let is_absent = reason == Reason::DaemonOffline || self.is_returning;
        let is_brief = is_absent && self.absent_pauses < ABSENT_ATTEMPTS;
        let pause = if is_brief && pace == Pace::Usual {
            self.absent_pauses += 1;
            self.backoff.jitter(ABSENT_PAUSE)
        } else {
            self.backoff.fail(pace)
        };
        let drawn = now + pause;
        // Slightly later than requested, because other clients received the same delay.
        Some(not_before.map_or(drawn, |moment| drawn.max(moment + pause / 8)))
    }

    /// Runs a scheduled retry now, unless the server's retry-after has not passed.
    fn hurry(&mut self, now: MonotonicTime, event: &'static str) {
        if let State::Disconnected {
            attempt,
            retry_at: Some(_),
            not_before,
            ..
        } = *self.state()
            && not_before.is_none_or(|moment| moment <= now)
        {
            self.connect(now, attempt, event);
        }
    }

    /// Handles a promotion after the candidate's connection has ended: it starts to retry.
    fn promoted_late(&mut self, now: MonotonicTime, event: &'static str) {
        self.auto_retry = true;
        if let State::Disconnected {
            reason,
            attempt,
            retry_at: None,
            not_before,
        } = *self.state()
            && let Some(at) = self.retry_at(now, reason, not_before)
        {
            let retry_at = Some(at);
            let disconnected = State::Disconnected {
                reason,
                attempt,
                retry_at,
                not_before,
            };
            self.set_state(disconnected, event, Some(reason));
        }
    }

    /// Handles received bytes. Hot path.
    fn heard(&mut self, now: MonotonicTime) {
        self.liveness.heard(now);
        if self.detector.heard() {
            let is_suspected = false;
            self.core.push(Effect::Suspect { is_suspected });
        }
    }

    /// Handles the detector's timer and the heartbeat's; both may be due.
    fn look(&mut self, now: MonotonicTime) {
        let heartbeat = self.liveness.on_timer(now, false, &self.config.liveness);
        if heartbeat == LivenessAction::Dead {
            let reason = Reason::HeartbeatTimeout;
            self.lose(now, reason, None, "heartbeat_timeout");
            self.close_transport(reason);
            return;
        }
        let early = self.detector.on_timer(now, self.liveness.last_heard());
        if early == DetectorAction::Suspect {
            let is_suspected = true;
            self.core.push(Effect::Suspect { is_suspected });
        }
        // One ping serves both.
        if heartbeat == LivenessAction::Ping || early == DetectorAction::Ping {
            self.ping();
        }
    }

    fn check(&mut self, now: MonotonicTime) {
        match self.liveness.probe_now(now, &self.config.liveness) {
            LivenessAction::Ping => self.ping(),
            // A check cannot end a connection; only the heartbeat's timer can.
            LivenessAction::Wait | LivenessAction::Dead => {}
        }
    }

    fn ping(&mut self) {
        self.core.push(Effect::SendPing {
            generation: self.generation,
        });
    }

    fn close_transport(&mut self, reason: Reason) {
        self.core.push(Effect::CloseTransport {
            generation: self.generation,
            reason,
        });
    }

    /// Hashes the state that determines future behaviour, relative to `now` and without jitter, for
    /// the explorer.
    #[doc(hidden)]
    pub fn fingerprint<H: Hasher>(&self, now: MonotonicTime, hasher: &mut H) {
        (
            self.state().name(),
            self.state().reason(),
            self.background,
            self.auto_retry,
        )
            .hash(hasher);
        match *self.state() {
            State::Connecting { deadline, .. } => deadline.since(now).hash(hasher),
            State::Connected { .. } => {
                self.liveness.fingerprint(now, hasher);
                let heard = self.liveness.last_heard();
                self.detector.fingerprint(now, heard, hasher);
            }
            State::Disconnected {
                retry_at,
                not_before,
                ..
            } => (
                retry_at.is_some(),
                not_before.map(|moment| moment.since(now)),
            )
                .hash(hasher),
            State::Idle | State::Disposed => {}
        }
    }
}
