//! The timeline's transition table.

use bowline_protocol::{Reason, SessionState};

use super::{Effect, Input, Progress, Request, State, Timeline, Wish};
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
            | Input::LoadNewer
            | Input::Event { .. } => return false,
        };
        self.running() != Some(generation)
    }

    /// The load that is running.
    pub const fn running(&self) -> Option<Generation> {
        match self.state {
            State::CatchingUp { load, .. }
            | State::LoadingOlder { load, .. }
            | State::LoadingNewer { load, .. } => Some(load),
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
            self.forget_progress();
        }
        match (self.state, input) {
            (State::Idle | State::Failed { .. }, Input::Open) => self.catch_up(now, "open"),
            // It is up to date, or about to be.
            (
                State::CatchingUp { .. }
                | State::Live { .. }
                | State::LoadingOlder { .. }
                | State::LoadingNewer { .. },
                Input::Open,
            ) => {}
            (
                State::CatchingUp { .. }
                | State::Live { .. }
                | State::LoadingOlder { .. }
                | State::LoadingNewer { .. }
                | State::Failed { .. },
                Input::Close,
            ) => {
                self.forget_kept();
                self.wish = None;
                self.effects.push(Effect::Unsubscribe);
                self.set(State::Idle, "close", None);
            }
            // Nobody was looking.
            (State::Idle, Input::Close) => {}
            (
                State::CatchingUp { .. }
                | State::Live { .. }
                | State::LoadingOlder { .. }
                | State::LoadingNewer { .. },
                Input::Attached {
                    session: SessionState::New | SessionState::Reset,
                },
            )
            | (State::Failed { .. }, Input::Attached { .. }) => self.catch_up(now, "attached"),
            // Missed events are replayed: nothing is fetched again but what the lost connection took with it.
            (
                State::Live { .. },
                Input::Attached {
                    session: SessionState::Resumed,
                },
            ) => self.grant_wish(now),
            // On a path switch the old client still answers what it was asked, and the numbering is the same.
            (
                State::CatchingUp { .. } | State::LoadingOlder { .. } | State::LoadingNewer { .. },
                Input::Attached {
                    session: SessionState::Resumed,
                },
            ) => {}
            // Nobody looks at it; opening it fetches what it lacks.
            (State::Idle, Input::Attached { .. }) => {}
            (
                State::CatchingUp { .. } | State::LoadingOlder { .. } | State::LoadingNewer { .. },
                Input::Disconnected { reason },
            ) => self.fail(now, LoadError::Lost(reason), "disconnected"),
            (
                State::Failed {
                    error, progress, ..
                },
                Input::Disconnected { .. },
            ) => {
                // Without a connection only an attach can help.
                self.amend(State::Failed {
                    error,
                    retry_at: None,
                    progress,
                });
            }
            // What is missed is replayed or fetched on the next attach.
            (State::Idle | State::Live { .. }, Input::Disconnected { .. }) => {}
            (State::Live { .. }, Input::LoadOlder) => self.load_older(now),
            (State::Live { .. }, Input::LoadNewer) => self.load_newer(now),
            // One load at a time: the consumer asks again when it is still at that end.
            (State::LoadingOlder { .. }, Input::LoadOlder)
            | (State::LoadingNewer { .. }, Input::LoadNewer) => {}
            // Whoever asks for more stays where it is and does not ask again: what was wanted last comes next.
            (
                State::CatchingUp { .. } | State::LoadingNewer { .. } | State::Failed { .. },
                Input::LoadOlder,
            ) => self.wish = Some(Wish::Older),
            (
                State::CatchingUp { .. } | State::LoadingOlder { .. } | State::Failed { .. },
                Input::LoadNewer,
            ) => self.wish = Some(Wish::Newer),
            // Nobody looks.
            (State::Idle, Input::LoadOlder | Input::LoadNewer) => {}
            (
                State::CatchingUp {
                    request, progress, ..
                },
                Input::Loaded { page, .. },
            ) => self.take_missed(now, request, progress, page),
            (State::LoadingOlder { before, .. }, Input::Loaded { page, .. }) => {
                self.take_older(now, before, page);
            }
            (State::LoadingNewer { from, .. }, Input::Loaded { page, .. }) => {
                self.take_newer(now, from, page);
            }
            (
                State::CatchingUp { .. } | State::LoadingOlder { .. } | State::LoadingNewer { .. },
                Input::LoadFailed { error, .. },
            ) => self.fail(now, error, "load_failed"),
            // Dropped at the entrance: no load is running.
            (
                State::Idle | State::Live { .. } | State::Failed { .. },
                Input::Loaded { .. } | Input::LoadFailed { .. },
            ) => {}
            (
                State::CatchingUp { .. }
                | State::Live { .. }
                | State::LoadingOlder { .. }
                | State::LoadingNewer { .. }
                | State::Failed { .. },
                Input::Event { seq, happened },
            ) => self.event(now, seq, happened),
            // The load to come is asked for later and contains it.
            (State::Idle, Input::Event { .. }) => {}
        }
    }

    /// Starts to fetch what is lacking, taking nothing away. Goes on where the last load stopped if that one's items are
    /// exact still.
    pub(super) fn catch_up(&mut self, now: Moment, event: &'static str) {
        self.forget_kept();
        // A load that this one replaces is wanted still.
        match self.state {
            State::LoadingOlder { .. } => self.wish = Some(Wish::Older),
            State::LoadingNewer { .. } => self.wish = Some(Wish::Newer),
            State::Idle | State::CatchingUp { .. } | State::Live { .. } | State::Failed { .. } => {}
        }
        let went_on = match self.state {
            State::Failed { progress, .. } => progress,
            _ => None,
        };
        let progress = went_on.unwrap_or_else(|| Progress {
            pages: 0,
            exact_to: self.first_unsure(),
        });
        let state = self.ask_missed(now, progress, true);
        self.set(state, event, None);
    }

    /// The first item that is asked for again: the newest one at least, which tells whether it is the same timeline still.
    fn first_unsure(&self) -> u64 {
        let last = self.window.end().saturating_sub(1);
        self.window.first_incomplete().min(last)
    }

    /// Asks for the next page of what was missed.
    pub(super) fn ask_missed(&mut self, now: Moment, progress: Progress, subscribe: bool) -> State {
        self.generation = self.generation.next();
        let is_far = progress.pages >= self.config.catch_up_pages;
        let request = if self.window.is_empty() || is_far {
            Request::Newest
        } else {
            Request::From(progress.exact_to)
        };
        self.effects.push(Effect::Load {
            generation: self.generation,
            request,
            subscribe,
        });
        State::CatchingUp {
            load: self.generation,
            request,
            progress,
            deadline: now + LOAD_DEADLINE,
        }
    }

    /// What was fetched may have grown unseen.
    fn forget_progress(&mut self) {
        if let State::Failed {
            error, retry_at, ..
        } = self.state
        {
            self.amend(State::Failed {
                error,
                retry_at,
                progress: None,
            });
        }
    }

    /// Loads what was asked for while that could not be.
    pub(super) fn grant_wish(&mut self, now: Moment) {
        if matches!(self.state, State::Live { .. }) {
            match self.wish.take() {
                Some(Wish::Older) => self.load_older(now),
                Some(Wish::Newer) => self.load_newer(now),
                None => {}
            }
        }
    }

    fn load_older(&mut self, now: Moment) {
        self.wish = None;
        if !self.window.has_older() {
            return;
        }
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

    fn load_newer(&mut self, now: Moment) {
        self.wish = None;
        if !self.window.is_detached() {
            return;
        }
        if self.window.can_join() {
            return self.join();
        }
        self.generation = self.generation.next();
        let from = self.window.consumer_end();
        self.effects.push(Effect::Load {
            generation: self.generation,
            request: Request::From(from),
            subscribe: false,
        });
        let to = State::LoadingNewer {
            load: self.generation,
            from,
            deadline: now + LOAD_DEADLINE,
        };
        self.set(to, "load_newer", None);
    }

    /// The running load is over without a result.
    pub(super) fn fail(&mut self, now: Moment, error: LoadError, event: &'static str) {
        self.forget_kept();
        let wish = match self.state {
            State::LoadingOlder { .. } => Some(Wish::Older),
            State::LoadingNewer { .. } => Some(Wish::Newer),
            State::Idle | State::CatchingUp { .. } | State::Live { .. } | State::Failed { .. } => {
                None
            }
        };
        let to = match wish {
            Some(wish) => State::Live {
                older_error: (wish == Wish::Older).then_some(error),
                newer_error: (wish == Wish::Newer).then_some(error),
            },
            None => {
                self.failures = self.failures.saturating_add(1);
                let retry_at = error
                    .is_retried_by_timer()
                    .then(|| now + retry_delay(self.failures));
                State::Failed {
                    error,
                    retry_at,
                    progress: self.progress(error),
                }
            }
        };
        // The connection was at fault: the next attach asks again.
        if wish.is_some() && matches!(error, LoadError::Lost(_)) {
            self.wish = wish;
        }
        self.set(to, event, error.reason());
    }

    /// What the load that fails now has fetched; nothing, if what it brought cannot be trusted.
    fn progress(&self, error: LoadError) -> Option<Progress> {
        match self.state {
            State::CatchingUp { progress, .. } => {
                Some(progress).filter(|it| it.pages > 0 && error != LoadError::Malformed)
            }
            State::Idle
            | State::Live { .. }
            | State::LoadingOlder { .. }
            | State::LoadingNewer { .. }
            | State::Failed { .. } => None,
        }
    }

    pub(super) fn expire(&mut self, now: Moment) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        match self.state {
            State::CatchingUp { .. } | State::LoadingOlder { .. } | State::LoadingNewer { .. } => {
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
                    State::LoadingOlder { .. }
                        | State::LoadingNewer { .. }
                        | State::CatchingUp { .. }
                        | State::Idle
                )
                | (
                    State::LoadingOlder { .. } | State::LoadingNewer { .. },
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
