//! The follow of one topic: when it is opened, which events it passes on, and where some may be
//! missing.
//!
//! ```text
//!  Idle ──attached──► Opening ──opened──► Following
//!   │                  │ ▲ ▲                │  │
//!   │disconnected failed│ │ └────attached────┘  │disconnected
//!   └──────────► Failed ◄┘ │                    │
//!                  │  ▲    │                    │
//!                  │  └────│────────────────────┘
//!                  └───────┘ attached, retry
//! ```

use std::{collections::VecDeque, sync::Arc};

use bowline_protocol::{
    Reason, SessionState,
    live::{Scope, TablePage, TopicEvent},
};

use super::{Backlog, BacklogConfig, TopicStatus, backlog::bytes_of, state::State};
use crate::data::target::LiveTarget;
use crate::{
    Generation, MonotonicTime, Transition,
    data::{
        follows::Follow,
        load::{Held, LOAD_DEADLINE, LoadError, retry_at},
        open::{Open, Signal},
    },
    machine_core::MachineCore,
};

/// Inputs of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input<'a> {
    Attached {
        session: SessionState,
    },
    Disconnected {
        reason: Reason,
    },
    Unreachable {
        reason: Reason,
    },
    /// A new reader came while the client is attached.
    Retry,
    /// The result of [`Ask`].
    Opened {
        load: Generation,
        result: Result<TablePage, LoadError>,
    },
    Event {
        seq: u64,
        event: &'a Arc<TopicEvent>,
    },
}

/// The effect: open the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) load: Generation,
    pub(super) held: Option<Held>,
}

/// Events that wait for the answer that says which of them count.
#[derive(Clone, Debug, Default)]
struct Kept {
    events: VecDeque<(u64, Arc<TopicEvent>)>,
    bytes: usize,
    /// The last event that was dropped at the bound.
    dropped: Option<u64>,
}

impl Kept {
    fn push(&mut self, seq: u64, event: Arc<TopicEvent>, config: &BacklogConfig) {
        self.bytes = self.bytes.saturating_add(bytes_of(&event));
        self.events.push_back((seq, event));
        while self.events.len() > 1
            && (self.events.len() > config.events || self.bytes > config.bytes)
        {
            if let Some((seq, event)) = self.events.pop_front() {
                self.bytes = self.bytes.saturating_sub(bytes_of(&event));
                self.dropped = Some(seq);
            }
        }
    }
}

/// The follow of one topic.
#[derive(Clone, Debug)]
pub(super) struct OpenTopic {
    core: MachineCore<State, Ask>,
    config: BacklogConfig,
    pub(super) target: Arc<LiveTarget>,
    /// The keys that it covers, once the daemon has said so: it was followed since.
    scope: Option<Scope>,
    is_read: bool,
    /// Number of the newest request.
    generation: Generation,
    failures: u32,
    /// The follow that the last answer was of, and the event of that answer, or the last one passed
    /// on.
    held: Option<Held>,
    /// Events up to this one are passed on, or left out.
    passed: u64,
    kept: Kept,
    /// What the driver has not taken.
    pub(super) backlog: Backlog,
}

impl Follow for OpenTopic {
    fn name(&self) -> &str {
        &self.target.name
    }

    fn scope(&self) -> Option<&Scope> {
        self.scope.as_ref()
    }

    fn is_read(&self) -> bool {
        self.is_read
    }

    fn is_asking(&self) -> bool {
        self.running().is_some()
    }
}

impl Open for OpenTopic {
    fn target(&self) -> &LiveTarget {
        &self.target
    }

    fn set_read(&mut self, is_read: bool) {
        self.is_read = is_read;
    }

    fn signal(&mut self, now: MonotonicTime, signal: Signal) {
        // None of them gives it another scope.
        self.handle(
            now,
            match signal {
                Signal::Attached(session) => Input::Attached { session },
                Signal::Disconnected(reason) => Input::Disconnected { reason },
                Signal::Unreachable(reason) => Input::Unreachable { reason },
                Signal::Again => Input::Retry,
            },
        );
    }

    fn handle_timeout(&mut self, now: MonotonicTime) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        match self.state() {
            State::Opening { .. } => self.fail(now, LoadError::TimedOut, "open_deadline"),
            State::Failed { .. } => self.open(now, false, "retry"),
            // No deadline.
            State::Idle | State::Following => {}
        }
        self.backlog.set_status(self.status());
    }

    fn poll_timeout(&self) -> Option<MonotonicTime> {
        match self.state() {
            State::Opening { deadline, .. } => Some(*deadline),
            State::Failed { retry_at, .. } => *retry_at,
            // No timer: the next attach is an input.
            State::Idle | State::Following => None,
        }
    }

    fn poll_transition(&mut self) -> Option<Transition> {
        self.core.poll_transition()
    }

    fn stale(&self) -> u32 {
        self.core.stale()
    }
}

impl OpenTopic {
    pub(super) fn new(target: LiveTarget, config: BacklogConfig) -> Self {
        Self {
            core: MachineCore::default(),
            config,
            target: Arc::new(target),
            scope: None,
            is_read: true,
            generation: Generation::ZERO,
            failures: 0,
            held: None,
            passed: 0,
            kept: Kept::default(),
            backlog: Backlog::new(config),
        }
    }

    pub(super) const fn state(&self) -> &State {
        self.core.state()
    }

    pub(super) fn poll_effect(&mut self) -> Option<Ask> {
        self.core.effects.pop()
    }

    pub(super) const fn refused(&self) -> u32 {
        self.core.refused()
    }

    pub(super) fn status(&self) -> TopicStatus {
        TopicStatus::new(self.state(), self.scope.is_some())
    }

    /// Number of the request on its way.
    pub(super) fn running(&self) -> Option<Generation> {
        matches!(self.state(), State::Opening { .. }).then_some(self.generation)
    }

    /// Returns the scope that it had, if the service has given the parameters another one.
    pub(super) fn handle(&mut self, now: MonotonicTime, input: Input<'_>) -> Option<Scope> {
        // The only check for answers of an earlier attach (INV-10).
        if let Input::Opened { load, .. } = input
            && self.running() != Some(load)
        {
            self.core.count_stale();
            return None;
        }
        let former = self.transition(now, input);
        self.backlog.set_status(self.status());
        former
    }

    fn transition(&mut self, now: MonotonicTime, input: Input<'_>) -> Option<Scope> {
        match (*self.state(), input) {
            (
                State::Idle | State::Opening { .. } | State::Following | State::Failed { .. },
                Input::Attached {
                    session: SessionState::New | SessionState::Reset,
                },
            ) => {
                self.give_up();
                self.passed = 0;
                self.open(now, false, "attached");
            }
            (
                State::Following
                | State::Opening {
                    is_switch: true, ..
                },
                Input::Attached {
                    session: SessionState::Resumed,
                },
            ) => self.open(now, true, "attached"),
            (
                State::Idle
                | State::Opening {
                    is_switch: false, ..
                }
                | State::Failed { .. },
                Input::Attached {
                    session: SessionState::Resumed,
                },
            ) => self.open(now, false, "attached"),
            (
                State::Idle | State::Opening { .. } | State::Following,
                Input::Disconnected { reason },
            ) => self.lose(reason, "disconnected"),
            (State::Failed { .. }, Input::Disconnected { .. }) => {
                // Without a connection only an attach helps.
                if let State::Failed { retry_at, .. } = self.core.state_mut() {
                    *retry_at = None;
                }
            }
            (State::Idle, Input::Unreachable { reason }) => self.lose(reason, "unreachable"),
            // The reason was already handled.
            (
                State::Opening { .. } | State::Following | State::Failed { .. },
                Input::Unreachable { .. },
            ) => {}
            (State::Idle | State::Failed { .. }, Input::Retry) => self.open(now, false, "retry"),
            // It is served by the request on its way, or by the follow.
            (State::Opening { .. } | State::Following, Input::Retry) => {}
            (State::Opening { .. }, Input::Opened { result, .. }) => match result {
                Ok(page) => return self.opened(page),
                Err(error) => self.not_opened(now, error),
            },
            // Dropped as stale: no request is on its way.
            (State::Idle | State::Following | State::Failed { .. }, Input::Opened { .. }) => {}
            (State::Following, Input::Event { seq, event }) => self.pass(seq, event),
            (State::Opening { .. }, Input::Event { seq, event }) => self.keep(seq, event),
            // The session may follow all the same, and then they count.
            (State::Failed { .. }, Input::Event { seq, event }) => {
                if self.held.is_some() {
                    self.keep(seq, event);
                }
            }
            (State::Idle, Input::Event { .. }) => {}
        }
        None
    }

    fn open(&mut self, now: MonotonicTime, is_switch: bool, event: &'static str) {
        self.generation = self.generation.next();
        let (load, held) = (self.generation, self.held);
        self.core.push(Ask { load, held });
        let deadline = now + LOAD_DEADLINE;
        let to = State::Opening {
            deadline,
            is_switch,
        };
        self.set(to, event, None);
    }

    /// The daemon follows: every later event arrives. Earlier ones count only if it continues what
    /// was followed; otherwise some of them may be missing, and all are left out.
    fn opened(&mut self, page: TablePage) -> Option<Scope> {
        let kept = std::mem::take(&mut self.kept);
        let former = self.scope.replace(page.scope);
        let is_first = former.is_none();
        let former = former.filter(|former| Some(former) != self.scope.as_ref());
        let is_continued = page.resumed && self.held.is_some() && former.is_none() && !is_first;
        if !is_continued {
            self.passed = page.seq;
        }
        let is_cut = kept.dropped.is_some_and(|seq| self.passed < seq);
        if is_cut || !is_continued && !is_first {
            self.backlog.miss();
        }
        self.held = Some(Held {
            seq: page.seq,
            follow: page.follow,
        });
        self.failures = 0;
        self.set(State::Following, "opened", None);
        for (seq, event) in kept.events {
            self.pass(seq, &event);
        }
        former
    }

    /// A final error may concern only the follow that is to be continued, which a daemon restored
    /// from a backup does not know: it is opened anew.
    fn not_opened(&mut self, now: MonotonicTime, error: LoadError) {
        let is_final = error.is_refusal();
        let was_continued = self.held.is_some();
        if is_final {
            self.give_up();
        }
        if is_final && was_continued {
            self.open(now, false, "not_resumed");
        } else {
            self.fail(now, error, "open_failed");
        }
    }

    /// What was followed cannot be continued, which the next answer marks.
    fn give_up(&mut self) {
        self.held = None;
        self.kept = Kept::default();
    }

    fn keep(&mut self, seq: u64, event: &Arc<TopicEvent>) {
        self.kept.push(seq, Arc::clone(event), &self.config);
    }

    fn pass(&mut self, seq: u64, event: &Arc<TopicEvent>) {
        let is_covered = self
            .scope
            .as_ref()
            .is_some_and(|scope| scope.covers(&event.key));
        if seq <= self.passed || !is_covered {
            return;
        }
        self.passed = seq;
        if let Some(held) = &mut self.held {
            held.seq = held.seq.max(seq);
        }
        self.backlog.push(Arc::clone(event));
    }

    fn lose(&mut self, reason: Reason, event: &'static str) {
        let to = State::Failed {
            error: LoadError::Lost(reason),
            retry_at: None,
        };
        self.set(to, event, Some(reason));
    }

    fn fail(&mut self, now: MonotonicTime, error: LoadError, event: &'static str) {
        self.failures = self.failures.saturating_add(1);
        let to = State::Failed {
            error,
            retry_at: retry_at(now, error, self.failures),
        };
        self.set(to, event, error.reason());
    }

    fn set(&mut self, to: State, event: &'static str, reason: Option<Reason>) {
        let generation = Some(self.generation);
        self.core.set(to, event, None, generation, reason);
    }
}
