//! The timeline's transition table.

use bowline_protocol::{Reason, SessionState};

use super::{Asked, Effect, End, Input, Progress, Request, State, Timeline};
use crate::{
    MonotonicTime,
    data::load::{LOAD_DEADLINE, LoadError, retry_at},
};

impl Timeline {
    pub(super) fn transition(&mut self, now: MonotonicTime, input: Input) {
        if let Input::Attached {
            session: SessionState::New | SessionState::Reset,
        } = input
        {
            // A new numbering, or a cursor ahead of events that will not be replayed.
            self.seen = 0;
            self.window.renumber();
            // Fetched items may have grown unseen.
            if let State::Failed { progress, .. } = self.core.state_mut() {
                *progress = None;
            }
        }
        match (*self.state(), input) {
            (State::Idle | State::Failed { .. }, Input::Open) => self.catch_up(now, "open"),
            // Current, or catching up.
            (
                State::CatchingUp { .. } | State::Live { .. } | State::LoadingMore { .. },
                Input::Open,
            ) => {}
            (
                State::CatchingUp { .. }
                | State::Live { .. }
                | State::LoadingMore { .. }
                | State::Failed { .. },
                Input::Close,
            ) => {
                self.forget_kept();
                self.wish = None;
                self.core.push(Effect::Unsubscribe);
                self.set(State::Idle, "close", None);
            }
            // Not open.
            (State::Idle, Input::Close) => {}
            (
                State::CatchingUp { .. } | State::Live { .. } | State::LoadingMore { .. },
                Input::Attached {
                    session: SessionState::New | SessionState::Reset,
                },
            )
            | (State::Failed { .. }, Input::Attached { .. }) => self.catch_up(now, "attached"),
            // Missed events are replayed, so only the lost connection's load is repeated.
            (
                State::Live { .. },
                Input::Attached {
                    session: SessionState::Resumed,
                },
            ) => self.grant_wish(now),
            // On a path switch the old client still answers its requests, and the numbering is the
            // same. If it ends first, the load continues through the new client.
            (
                State::CatchingUp { .. } | State::LoadingMore { .. },
                Input::Attached {
                    session: SessionState::Resumed,
                },
            ) => {
                if let Some(asked) = self.core.state_mut().asked_mut() {
                    asked.is_overtaken = true;
                }
            }
            (
                State::CatchingUp { asked, .. } | State::LoadingMore { asked, .. },
                Input::Page {
                    result: Err(LoadError::Lost(_)),
                    ..
                },
            ) if asked.is_overtaken => self.ask_again(),
            // Not open; opening fetches what is missing.
            (State::Idle, Input::Attached { .. }) => {}
            (
                State::CatchingUp { .. } | State::LoadingMore { .. },
                Input::Disconnected { reason },
            ) => self.fail(now, LoadError::Lost(reason), "disconnected"),
            (State::Failed { .. }, Input::Disconnected { .. }) => {
                // Without a connection only an attach helps.
                if let State::Failed { retry_at, .. } = self.core.state_mut() {
                    *retry_at = None;
                }
            }
            // The next attach replays or fetches missed events.
            (State::Idle | State::Live { .. }, Input::Disconnected { .. }) => {}
            (State::Live { .. }, Input::LoadMore(end)) => self.load_more(now, end),
            // One load at a time: the consumer asks again if it is still at that end.
            (State::LoadingMore { end: running, .. }, Input::LoadMore(end)) if running == end => {}
            // A consumer that asks stays there and does not ask again: the latest request runs
            // next.
            (
                State::CatchingUp { .. } | State::LoadingMore { .. } | State::Failed { .. },
                Input::LoadMore(end),
            ) => self.wish = Some(end),
            // Not open.
            (State::Idle, Input::LoadMore(_)) => {}
            (
                State::Idle
                | State::CatchingUp { .. }
                | State::Live { .. }
                | State::LoadingMore { .. }
                | State::Failed { .. },
                Input::JumpToNewest,
            ) => self.jump_to_newest(),
            (
                State::CatchingUp { asked, progress },
                Input::Page {
                    result: Ok(page), ..
                },
            ) => self.take_missed(now, asked.request, progress, page),
            (
                State::LoadingMore { asked, .. },
                Input::Page {
                    result: Ok(page), ..
                },
            ) => self.take_more(now, asked.request, page),
            (
                State::CatchingUp { .. } | State::LoadingMore { .. },
                Input::Page {
                    result: Err(error), ..
                },
            ) => self.fail(now, error, "load_failed"),
            // Dropped as stale: no load is running.
            (State::Idle | State::Live { .. } | State::Failed { .. }, Input::Page { .. }) => {}
            (
                State::CatchingUp { .. }
                | State::Live { .. }
                | State::LoadingMore { .. }
                | State::Failed { .. },
                Input::Event { seq, happened },
            ) => self.event(now, seq, happened),
            // The next load is requested later and contains it.
            (State::Idle, Input::Event { .. }) => {}
        }
    }

    /// Starts to fetch what is missing, without removing items. Continues where the last load
    /// stopped if its items are still exact.
    pub(super) fn catch_up(&mut self, now: MonotonicTime, event: &'static str) {
        self.forget_kept();
        let went_on = match *self.state() {
            State::Failed { progress, .. } => progress,
            // The load replaced by this one is still needed.
            State::LoadingMore { end, .. } => {
                self.wish = Some(end);
                None
            }
            State::Idle | State::CatchingUp { .. } | State::Live { .. } => None,
        };
        let progress = went_on.unwrap_or_else(|| Progress {
            pages: 0,
            exact_to: self.first_unsure(),
        });
        let asked = self.ask_missed(now, progress, true);
        self.set(State::CatchingUp { asked, progress }, event, None);
    }

    /// Begins a load.
    fn ask(&mut self, now: MonotonicTime, request: Request, subscribe: bool) -> Asked {
        self.generation = self.generation.next();
        let load = self.generation;
        self.core.push(Effect::Load {
            load,
            request,
            subscribe,
        });
        Asked {
            request,
            subscribe,
            is_overtaken: false,
            deadline: now + LOAD_DEADLINE,
        }
    }

    /// Repeats the running load's request, under its generation and deadline.
    fn ask_again(&mut self) {
        let load = self.generation;
        if let Some(asked) = self.core.state_mut().asked_mut() {
            asked.is_overtaken = false;
            let Asked {
                request, subscribe, ..
            } = *asked;
            self.core.push(Effect::Load {
                load,
                request,
                subscribe,
            });
        }
    }

    /// The first item to fetch again: at least the newest one, which shows whether it is still the
    /// same timeline.
    pub(super) fn first_unsure(&self) -> u64 {
        let last = self.window.end().saturating_sub(1);
        self.window.first_incomplete().min(last)
    }

    /// Requests the next page of missed items.
    pub(super) fn ask_missed(
        &mut self,
        now: MonotonicTime,
        progress: Progress,
        subscribe: bool,
    ) -> Asked {
        let is_far = progress.pages >= self.config.catch_up_pages;
        let request = if self.window.is_empty() || is_far {
            Request::Newest
        } else {
            Request::From(progress.exact_to)
        };
        self.ask(now, request, subscribe)
    }

    /// Starts the load that was requested while none could run.
    pub(super) fn grant_wish(&mut self, now: MonotonicTime) {
        if matches!(self.state(), State::Live { .. })
            && let Some(end) = self.wish
        {
            self.load_more(now, end);
        }
    }

    fn load_more(&mut self, now: MonotonicTime, end: End) {
        self.wish = None;
        let (request, event) = match end {
            End::Older if self.window.has_older() => {
                (Request::Before(self.window.oldest()), "load_older")
            }
            End::Newer if self.window.can_join() => {
                let held = self.window.join();
                return self.show(held);
            }
            End::Newer if self.window.is_detached() => {
                (Request::From(self.window.consumer_end()), "load_newer")
            }
            End::Older | End::Newer => return,
        };
        let asked = self.ask(now, request, false);
        self.set(State::LoadingMore { end, asked }, event, None);
    }

    /// Ends the running load without a result.
    pub(super) fn fail(&mut self, now: MonotonicTime, error: LoadError, event: &'static str) {
        self.forget_kept();
        let progress = match *self.state() {
            State::LoadingMore { end, .. } => {
                // The connection failed: the next attach requests it again.
                if matches!(error, LoadError::Lost(_)) {
                    self.wish = Some(end);
                }
                let failed = Some((end, error));
                return self.set(State::Live { failed }, event, error.reason());
            }
            // Pages of which one is malformed cannot be trusted.
            State::CatchingUp { progress, .. } => {
                Some(progress).filter(|it| it.pages > 0 && error != LoadError::Malformed)
            }
            State::Idle | State::Live { .. } | State::Failed { .. } => None,
        };
        self.failures = self.failures.saturating_add(1);
        let to = State::Failed {
            error,
            retry_at: retry_at(now, error, self.failures),
            progress,
        };
        self.set(to, event, error.reason());
    }

    pub(super) fn expire(&mut self, now: MonotonicTime) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        match self.state() {
            State::CatchingUp { .. } | State::LoadingMore { .. } => {
                self.fail(now, LoadError::TimedOut, "load_deadline");
            }
            State::Failed { .. } => self.catch_up(now, "retry"),
            // No deadline.
            State::Idle | State::Live { .. } => {}
        }
    }

    pub(super) fn set(&mut self, to: State, event: &'static str, reason: Option<Reason>) {
        let generation = Some(self.generation);
        self.core.set(to, event, None, generation, reason);
    }
}
