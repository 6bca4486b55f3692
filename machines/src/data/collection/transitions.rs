//! The transition table of a collection.

use bowline_protocol::{Reason, SessionState};

use super::{Collection, Entry, Input, More, State};
use crate::{
    MonotonicTime,
    data::load::{LoadError, retry_at},
};

impl<R: Entry> Collection<R> {
    pub(super) fn transition(&mut self, now: MonotonicTime, input: Input<R>) {
        if let Input::Attached {
            session: SessionState::New | SessionState::Reset,
        } = input
        {
            self.renumber();
        }
        match (*self.state(), input) {
            (State::Idle | State::Restored | State::Failed { .. }, Input::Attached { .. })
            | (
                State::Loading { .. } | State::Ready { .. },
                Input::Attached {
                    session: SessionState::New | SessionState::Reset,
                },
            ) => self.load(now, "attached"),
            // Missed events are replayed, so nothing is fetched.
            (
                State::Ready { .. } | State::Loading { .. },
                Input::Attached {
                    session: SessionState::Resumed,
                },
            ) if R::FOLLOWS => self.load(now, "attached"),
            (
                State::Ready { more },
                Input::Attached {
                    session: SessionState::Resumed,
                },
            ) => match more {
                More::Failed(LoadError::Lost(_)) => self.extend(now),
                More::Loading { .. } => self.incoming.is_overtaken = true,
                More::Idle | More::Failed(_) => {}
            },
            // On a path switch the old client still answers its requests, and the numbering is the
            // same. If it ends first, the load continues through the new client.
            (
                State::Loading { .. },
                Input::Attached {
                    session: SessionState::Resumed,
                },
            ) => self.incoming.is_overtaken = true,
            (
                State::Loading { .. }
                | State::Ready {
                    more: More::Loading { .. },
                },
                Input::Page {
                    result: Err(LoadError::Lost(_)),
                    ..
                },
            ) if self.incoming.is_overtaken => self.ask_again(),
            (State::Loading { .. }, Input::Disconnected { reason }) => {
                self.fail(now, LoadError::Lost(reason), "disconnected");
            }
            (State::Failed { .. }, Input::Disconnected { .. }) => {
                // Without a connection only an attach helps.
                if let State::Failed { retry_at, .. } = self.core.state_mut() {
                    *retry_at = None;
                }
            }
            // No load can succeed, so no skeleton is displayed.
            (State::Idle, Input::Disconnected { reason }) => self.no_rows(reason, "disconnected"),
            (State::Idle, Input::Unreachable { reason }) => self.no_rows(reason, "unreachable"),
            // The rows stay, and no longer count as about to be confirmed.
            (State::Restored, Input::Disconnected { reason }) => {
                self.fail(now, LoadError::Lost(reason), "disconnected");
            }
            (State::Restored, Input::Unreachable { reason }) => {
                self.fail(now, LoadError::Lost(reason), "unreachable");
            }
            // The reason was already handled.
            (
                State::Loading { .. } | State::Ready { .. } | State::Failed { .. },
                Input::Unreachable { .. },
            ) => {}
            // Rows survive a disconnect; the next attach replays or fetches missed events.
            (State::Ready { more }, Input::Disconnected { reason }) => {
                if let More::Loading { .. } = more {
                    self.end_extension(More::Failed(LoadError::Lost(reason)));
                }
            }
            // The load that the attach begins serves it.
            (State::Restored, Input::Refresh | Input::Reload) => self.is_unbroken = false,
            (State::Idle | State::Ready { .. } | State::Failed { .. }, Input::Refresh) => {
                self.is_unbroken = false;
                self.load(now, "refresh");
            }
            (
                State::Idle | State::Loading { .. } | State::Ready { .. } | State::Failed { .. },
                Input::Reload,
            ) => {
                self.is_unbroken = false;
                self.load(now, "reload");
            }
            // The running load serves the refresh.
            (State::Loading { .. }, Input::Refresh) => {}
            (State::Ready { more }, Input::LoadMore) => {
                if !matches!(more, More::Loading { .. }) {
                    self.want_more();
                    self.extend(now);
                }
            }
            // The running load fetches them, or is followed by a load that does; so is that of the
            // attach.
            (State::Restored | State::Loading { again: true, .. }, Input::LoadMore) => {
                self.want_more();
            }
            (State::Failed { again: true, .. }, Input::LoadMore) => {
                self.want_more();
                self.load(now, "load_more");
            }
            // There are no rows yet to want more of.
            (
                State::Idle
                | State::Loading { again: false, .. }
                | State::Failed { again: false, .. },
                Input::LoadMore,
            ) => {}
            (
                State::Loading { .. },
                Input::Page {
                    result: Ok(page), ..
                },
            ) => self.take_page(now, page),
            (
                State::Loading { .. },
                Input::Page {
                    result: Err(error), ..
                },
            ) => self.fail_page(now, error),
            (State::Ready { .. }, Input::Page { result, .. }) => match result {
                Ok(page) => self.take_more(now, page),
                Err(error) => self.end_extension(More::Failed(error)),
            },
            // Dropped as stale: no load is running.
            (State::Idle | State::Restored | State::Failed { .. }, Input::Page { .. }) => {}
            (
                State::Restored
                | State::Loading { .. }
                | State::Ready { .. }
                | State::Failed { again: true, .. },
                Input::Changed { seq, changes },
            ) => self.change(now, seq, changes),
            (
                State::Restored
                | State::Loading { .. }
                | State::Ready { .. }
                | State::Failed { again: true, .. },
                Input::Stale { seq, keys },
            ) => self.outdate(now, seq, keys),
            // There are no rows to apply it to, and the next ones are requested later, so they
            // contain the event.
            (
                State::Idle | State::Failed { again: false, .. },
                Input::Changed { .. } | Input::Stale { .. },
            ) => {}
        }
    }

    fn no_rows(&mut self, reason: Reason, event: &'static str) {
        let to = State::Failed {
            again: false,
            error: LoadError::Lost(reason),
            retry_at: None,
        };
        self.set(to, event, Some(reason));
    }

    pub(super) fn fail(&mut self, now: MonotonicTime, error: LoadError, event: &'static str) {
        self.incoming = super::Incoming::default();
        self.failures = self.failures.saturating_add(1);
        let to = State::Failed {
            again: self.has_succeeded(),
            error,
            retry_at: retry_at(now, error, self.failures),
        };
        self.set(to, event, error.reason());
    }

    pub(super) fn expire(&mut self, now: MonotonicTime) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        match self.state() {
            State::Loading { .. } => self.fail(now, LoadError::TimedOut, "load_deadline"),
            State::Failed { .. } => self.load(now, "retry"),
            State::Ready { .. } => self.end_extension(More::Failed(LoadError::TimedOut)),
            // No deadline.
            State::Idle | State::Restored => {}
        }
    }

    pub(super) fn set(&mut self, to: State, event: &'static str, reason: Option<Reason>) {
        let generation = Some(self.generation);
        self.core.set(to, event, None, generation, reason);
    }
}
