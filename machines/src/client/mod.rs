//! `DaemonClient`: one client of one path to one daemon. Owns one transport at a time (INV-4).
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
//! "Open" means the whole handshake. Each attempt is one generation; results of older ones are dropped and
//! counted at the entrance (INV-10). Waiting states hold their own deadline (INV-12).

mod liveness;
mod state;
#[cfg(test)]
mod tests;
mod transitions;

use std::{
    collections::VecDeque,
    hash::{Hash, Hasher},
    time::Duration,
};

use bowline_protocol::{Reason, reason::Retry};

use self::liveness::{Liveness, Verdict};
pub use self::state::{ClientConfig, Effect, Input, State};
use crate::{
    Generation, Moment, Transition,
    backoff::{Backoff, Pace},
};

/// The machine. See the module for its diagram and the crate for the order of calls.
#[derive(Clone, Debug)]
pub struct DaemonClient {
    config: ClientConfig,
    state: State,
    /// The transport opened last.
    generation: Generation,
    /// Of the current connection; what it holds matters in `Connected` only.
    liveness: Liveness,
    backoff: Backoff,
    /// What the platform said last; it only slows retries down.
    background: bool,
    /// From the configuration, until a promotion turns it on.
    auto_retry: bool,
    effects: VecDeque<Effect>,
    transitions: VecDeque<Transition>,
    stale_dropped: u64,
    refused: u64,
}

impl DaemonClient {
    /// An idle client.
    pub fn new(config: ClientConfig) -> Self {
        Self {
            config,
            state: State::Idle,
            generation: Generation::ZERO,
            liveness: Liveness::opened(Moment::default(), Duration::ZERO, &config),
            backoff: Backoff::new(config.backoff, config.jitter_seed),
            background: false,
            auto_retry: config.auto_retry,
            effects: VecDeque::new(),
            transitions: VecDeque::new(),
            stale_dropped: 0,
            refused: 0,
        }
    }

    /// Feeds one input.
    pub fn handle(&mut self, now: Moment, input: Input) {
        if self.admit(&input) {
            self.apply(now, input);
        }
    }

    /// To be called at [`Self::poll_timeout`]; earlier does nothing.
    pub fn handle_timeout(&mut self, now: Moment) {
        self.apply_timeout(now);
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Moment> {
        match self.state {
            State::Connecting { deadline, .. } => Some(deadline),
            State::Connected { .. } => Some(self.liveness.deadline()),
            State::Disconnected { retry_at, .. } => retry_at,
            State::Idle | State::Disposed => None,
        }
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

    /// The transport opened last; zero if there was none. It never decreases.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// The settings.
    pub const fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Results of older transports that were dropped.
    pub const fn stale_dropped(&self) -> u64 {
        self.stale_dropped
    }

    /// Changes of state that the table forbids and that were not made. Anything but zero is a defect.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Whether the machine may act on this result: the one place that knows what is stale (INV-10).
    /// A transport that opens after its time is closed, so that none leaks.
    fn admit(&mut self, input: &Input) -> bool {
        let Some(generation) = input.generation() else {
            return true;
        };
        if self.live() == Some(generation) {
            return true;
        }
        self.stale_dropped = self.stale_dropped.saturating_add(1);
        if matches!(input, Input::TransportOpen { .. }) {
            self.effects.push_back(Effect::CloseTransport {
                generation,
                reason: Reason::ClosedLocally,
            });
        }
        false
    }

    /// The transport whose results are current.
    const fn live(&self) -> Option<Generation> {
        match self.state {
            State::Connecting { .. } | State::Connected { .. } => Some(self.generation),
            State::Idle | State::Disconnected { .. } | State::Disposed => None,
        }
    }

    /// The only writer of `state`.
    fn set_state(&mut self, to: State, event: &'static str, reason: Option<Reason>) {
        if !self.state.may_become(&to) {
            self.refused = self.refused.saturating_add(1);
            return;
        }
        self.transitions.push_back(Transition {
            machine: "daemon_client",
            from: self.state.name(),
            to: to.name(),
            event,
            path: Some(self.config.path),
            generation: Some(self.generation),
            reason,
        });
        self.state = to;
    }

    fn connect(&mut self, now: Moment, attempts: u32, event: &'static str) {
        self.generation = self.generation.next();
        let connecting = State::Connecting {
            attempt: attempts.saturating_add(1),
            deadline: now + self.config.connect_deadline,
        };
        self.set_state(connecting, event, None);
        self.effects.push_back(Effect::OpenTransport {
            generation: self.generation,
        });
    }

    /// Gives up the dial under way for a new one, which has the whole deadline. It failed at nothing: the attempt has the
    /// same number, and no pause comes before it.
    fn redial(&mut self, now: Moment, event: &'static str) {
        let State::Connecting { attempt, .. } = self.state else {
            return;
        };
        self.close_transport(Reason::ClosedLocally);
        self.connect(now, attempt.saturating_sub(1), event);
    }

    fn opened(&mut self, now: Moment, heartbeat: Duration, event: &'static str) {
        self.liveness = Liveness::opened(now, heartbeat, &self.config);
        self.set_state(State::Connected { since: now }, event, None);
    }

    /// From `Connecting` or `Connected` to `Disconnected`, with a retry where that can help.
    fn lose(
        &mut self,
        now: Moment,
        reason: Reason,
        retry_after: Option<Duration>,
        event: &'static str,
    ) {
        let (attempt, was_connected) = match self.state {
            State::Connecting { attempt, .. } => (attempt, false),
            State::Connected { since } => {
                self.backoff.succeeded_for(now.since(since));
                (0, true)
            }
            State::Idle | State::Disconnected { .. } | State::Disposed => return,
        };
        let not_before = retry_after.map(|pause| now + pause.min(self.config.most_retry_after));
        let disconnected = State::Disconnected {
            reason,
            attempt,
            retry_at: self.retry_at(now, reason, not_before),
            not_before,
        };
        self.set_state(disconnected, event, Some(reason));
        if was_connected {
            self.effects.push_back(Effect::EndWaiters { reason });
        }
    }

    fn retry_at(
        &mut self,
        now: Moment,
        reason: Reason,
        not_before: Option<Moment>,
    ) -> Option<Moment> {
        if !self.auto_retry {
            return None;
        }
        let pace = match reason.retry() {
            Retry::Never | Retry::AfterUserAction => return None,
            Retry::Backoff | Retry::Soon if self.background => Pace::Slowest,
            Retry::Backoff => Pace::Usual,
            Retry::Soon => Pace::Soon,
        };
        let pause = self.backoff.fail(pace);
        let drawn = now + pause;
        // A little later than asked, since others were asked the same.
        Some(not_before.map_or(drawn, |moment| drawn.max(moment + pause / 8)))
    }

    /// Retries now what would be retried anyway, unless the server asked for patience.
    fn hurry(&mut self, now: Moment, event: &'static str) {
        if let State::Disconnected {
            attempt,
            retry_at: Some(_),
            not_before,
            ..
        } = self.state
            && not_before.is_none_or(|moment| moment <= now)
        {
            self.connect(now, attempt, event);
        }
    }

    /// A candidate was promoted after its connection had ended again: it retries after all.
    fn promoted_late(&mut self, now: Moment, event: &'static str) {
        self.auto_retry = true;
        if let State::Disconnected {
            reason,
            attempt,
            retry_at: None,
            not_before,
        } = self.state
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

    fn check(&mut self, now: Moment) {
        match self.liveness.check(now, &self.config) {
            Verdict::Ping => self.ping(),
            // A check cannot end a connection; only its timer can.
            Verdict::Wait | Verdict::Dead => {}
        }
    }

    fn ping(&mut self) {
        self.effects.push_back(Effect::SendPing {
            generation: self.generation,
        });
    }

    fn close_transport(&mut self, reason: Reason) {
        self.effects.push_back(Effect::CloseTransport {
            generation: self.generation,
            reason,
        });
    }

    /// Hashes what decides the future, relative to `now` and without jitter, for exploration.
    #[doc(hidden)]
    pub fn fingerprint<H: Hasher>(&self, now: Moment, hasher: &mut H) {
        (
            self.state.name(),
            self.state.reason(),
            self.background,
            self.auto_retry,
        )
            .hash(hasher);
        match self.state {
            State::Connecting { deadline, .. } => deadline.since(now).hash(hasher),
            State::Connected { .. } => self.liveness.fingerprint(now, hasher),
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
