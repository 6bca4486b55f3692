//! The timeline's transition table.

use bowline_protocol::{Reason, SessionState};

use super::{Effect, Input, Request, State, Timeline};
use crate::{
    Generation, Moment, Transition,
    load::{LOAD_DEADLINE, LoadError, retry_delay},
};

impl Timeline {
    /// The one entrance check: a result of a load that is over is stale (INV-10).
    pub(super) fn is_stale(&self, input: &Input) -> bool {
        let generation = match input {
            Input::Loaded { generation, .. } | Input::LoadFailed { generation, .. } => *generation,
            Input::Open
            | Input::Close
            | Input::Attached { .. }
            | Input::Disconnected { .. }
            | Input::LoadOlder
            | Input::Event { .. } => return false,
        };
        self.running() != Some(generation)
    }

    /// The load that is running.
    pub const fn running(&self) -> Option<Generation> {
        match self.state {
            State::CatchingUp { load, .. } | State::LoadingOlder { load, .. } => Some(load),
            State::Idle | State::Live { .. } | State::Failed { .. } => None,
        }
    }

    pub(super) fn transition(&mut self, now: Moment, input: Input) {
        if let Input::Attached {
            session: SessionState::New | SessionState::Reset,
        } = input
        {
            // A new numbering, or a cursor ahead of events that nobody will replay.
            self.seen = 0;
            self.window.renumber();
        }
        match (self.state, input) {
            (State::Idle | State::Failed { .. }, Input::Open) => self.catch_up(now, "open"),
            // It is up to date, or about to be.
            (
                State::CatchingUp { .. } | State::Live { .. } | State::LoadingOlder { .. },
                Input::Open,
            ) => {}
            (
                State::CatchingUp { .. }
                | State::Live { .. }
                | State::LoadingOlder { .. }
                | State::Failed { .. },
                Input::Close,
            ) => {
                self.forget_kept();
                self.effects.push(Effect::Unsubscribe);
                self.set(State::Idle, "close", None);
            }
            // Nobody was looking.
            (State::Idle, Input::Close) => {}
            (
                State::CatchingUp { .. } | State::Live { .. } | State::LoadingOlder { .. },
                Input::Attached {
                    session: SessionState::New | SessionState::Reset,
                },
            )
            | (State::Failed { .. }, Input::Attached { .. }) => self.catch_up(now, "attached"),
            // Missed events are replayed: nothing is fetched again.
            (
                State::Live { .. },
                Input::Attached {
                    session: SessionState::Resumed,
                },
            ) => {}
            // On a path switch the old client still answers what it was asked, and the numbering is the same.
            (
                State::CatchingUp { .. } | State::LoadingOlder { .. },
                Input::Attached {
                    session: SessionState::Resumed,
                },
            ) => {}
            // Nobody looks at it; opening it fetches what it lacks.
            (State::Idle, Input::Attached { .. }) => {}
            (
                State::CatchingUp { .. } | State::LoadingOlder { .. },
                Input::Disconnected { reason },
            ) => self.fail(now, LoadError::Lost(reason), "disconnected"),
            (State::Failed { error, .. }, Input::Disconnected { .. }) => {
                // Without a connection only an attach can help.
                self.amend(State::Failed {
                    error,
                    retry_at: None,
                });
            }
            // What is missed is replayed or fetched on the next attach.
            (State::Idle | State::Live { .. }, Input::Disconnected { .. }) => {}
            (State::Live { .. }, Input::LoadOlder) if self.window.has_older() => {
                self.load_older(now);
            }
            // There is nothing older.
            (State::Live { .. }, Input::LoadOlder) => {}
            // One load at a time: the consumer asks again when it is still at the top.
            (
                State::Idle
                | State::CatchingUp { .. }
                | State::LoadingOlder { .. }
                | State::Failed { .. },
                Input::LoadOlder,
            ) => {}
            (State::CatchingUp { request, pages, .. }, Input::Loaded { page, .. }) => {
                self.take_newer(now, request, pages, page);
            }
            (State::LoadingOlder { before, .. }, Input::Loaded { page, .. }) => {
                self.take_older(now, before, page);
            }
            (
                State::CatchingUp { .. } | State::LoadingOlder { .. },
                Input::LoadFailed { error, .. },
            ) => self.fail(now, error, "load_failed"),
            // Dropped at the entrance: no load is running.
            (
                State::Idle | State::Live { .. } | State::Failed { .. },
                Input::Loaded { .. } | Input::LoadFailed { .. },
            ) => {}
            (
                State::CatchingUp { .. } | State::Live { .. } | State::LoadingOlder { .. },
                Input::Event { seq, happened },
            ) => self.event(now, seq, happened),
            // The load to come is asked for later and contains it.
            (State::Idle | State::Failed { .. }, Input::Event { .. }) => {}
        }
    }

    /// Starts to fetch what is lacking, taking nothing away.
    pub(super) fn catch_up(&mut self, now: Moment, event: &'static str) {
        self.forget_kept();
        self.generation = self.generation.next();
        let request = if self.window.is_empty() {
            Request::Newest
        } else {
            Request::From(self.window.first_incomplete())
        };
        self.effects.push(Effect::Load {
            generation: self.generation,
            request,
            subscribe: true,
        });
        let to = State::CatchingUp {
            load: self.generation,
            request,
            pages: 0,
            deadline: now + LOAD_DEADLINE,
        };
        self.set(to, event, None);
    }

    fn load_older(&mut self, now: Moment) {
        self.generation = self.generation.next();
        let before = self.window.oldest();
        self.effects.push(Effect::Load {
            generation: self.generation,
            request: Request::Before(before),
            subscribe: false,
        });
        let to = State::LoadingOlder {
            load: self.generation,
            before,
            deadline: now + LOAD_DEADLINE,
        };
        self.set(to, "load_older", None);
    }

    /// The running load is over without a result.
    pub(super) fn fail(&mut self, now: Moment, error: LoadError, event: &'static str) {
        self.forget_kept();
        let to = match self.state {
            State::LoadingOlder { .. } => State::Live {
                older_error: Some(error),
            },
            State::Idle | State::CatchingUp { .. } | State::Live { .. } | State::Failed { .. } => {
                self.failures = self.failures.saturating_add(1);
                let retry_at = error
                    .is_retried_by_timer()
                    .then(|| now + retry_delay(self.failures));
                State::Failed { error, retry_at }
            }
        };
        self.set(to, event, error.reason());
    }

    pub(super) fn expire(&mut self, now: Moment) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        match self.state {
            State::CatchingUp { .. } | State::LoadingOlder { .. } => {
                self.fail(now, LoadError::TimedOut, "load_deadline");
            }
            State::Failed { .. } => self.catch_up(now, "retry"),
            // Have no deadline.
            State::Idle | State::Live { .. } => {}
        }
    }

    /// Which changes of state exist.
    const fn is_in_table(from: State, to: State) -> bool {
        matches!(
            (from, to),
            (State::Idle | State::Failed { .. }, State::CatchingUp { .. })
                | (
                    State::CatchingUp { .. },
                    State::CatchingUp { .. }
                        | State::Live { .. }
                        | State::Failed { .. }
                        | State::Idle
                )
                | (
                    State::Live { .. },
                    State::LoadingOlder { .. } | State::CatchingUp { .. } | State::Idle
                )
                | (
                    State::LoadingOlder { .. },
                    State::Live { .. } | State::CatchingUp { .. } | State::Idle
                )
                | (State::Failed { .. }, State::Idle)
        )
    }

    /// Writes the data of the state it is in, such as a deadline. Which state it is does not change.
    pub(super) fn amend(&mut self, to: State) {
        if std::mem::discriminant(&self.state) == std::mem::discriminant(&to) {
            self.state = to;
        } else {
            self.refused = self.refused.saturating_add(1);
        }
    }

    /// The only writer of which state it is.
    pub(super) fn set(&mut self, to: State, event: &'static str, reason: Option<Reason>) {
        if !Self::is_in_table(self.state, to) {
            self.refused = self.refused.saturating_add(1);
            return;
        }
        self.transitions.push(Transition {
            machine: "timeline",
            from: self.state.name(),
            to: to.name(),
            event,
            path: None,
            generation: Some(self.generation),
            reason,
        });
        self.state = to;
    }
}
