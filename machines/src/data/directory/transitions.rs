//! The directory's transition table.

use std::sync::Arc;

use bowline_protocol::{AgentId, Reason, SessionState, methods::AgentsPage};

use super::{Change, Directory, Effect, Incoming, Input, MAX_AGENTS, MAX_PAGES, State};
use crate::{
    MonotonicTime,
    data::load::{LOAD_DEADLINE, LoadError, retry_at},
};

impl Directory {
    pub(super) fn transition(&mut self, now: MonotonicTime, input: Input) {
        if let Input::Attached {
            session: SessionState::New | SessionState::Reset,
        } = input
        {
            // A new numbering, or a cursor ahead of events that will not be replayed.
            self.applied = 0;
            self.rows.renumber();
        }
        match (*self.state(), input) {
            (State::Idle | State::Failed { .. }, Input::Attached { .. })
            | (
                State::Loading { .. } | State::Ready,
                Input::Attached {
                    session: SessionState::New | SessionState::Reset,
                },
            ) => self.load(now, "attached"),
            // Missed events are replayed, so nothing is fetched.
            (
                State::Ready,
                Input::Attached {
                    session: SessionState::Resumed,
                },
            ) => {}
            // On a path switch the old client still answers its requests, and the numbering is the
            // same. If it ends first, the load continues through the new client.
            (
                State::Loading { .. },
                Input::Attached {
                    session: SessionState::Resumed,
                },
            ) => self.incoming.is_overtaken = true,
            (
                State::Loading { .. },
                Input::Page {
                    result: Err(LoadError::Lost(_)),
                    ..
                },
            ) if self.incoming.is_overtaken => self.ask(self.incoming.cursor.clone()),
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
            (State::Idle, Input::Disconnected { reason }) => self.no_list(reason, "disconnected"),
            (State::Idle, Input::Unreachable { reason }) => self.no_list(reason, "unreachable"),
            // The reason was already handled.
            (
                State::Loading { .. } | State::Ready | State::Failed { .. },
                Input::Unreachable { .. },
            ) => {}
            // Rows survive a disconnect; the next attach replays or fetches missed events.
            (State::Ready, Input::Disconnected { .. }) => {}
            (State::Idle | State::Ready | State::Failed { .. }, Input::Refresh) => {
                self.load(now, "refresh");
            }
            // The running load serves the refresh.
            (State::Loading { .. }, Input::Refresh) => {}
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
            ) => self.fail(now, error, "load_failed"),
            // Dropped as stale: no load is running.
            (State::Idle | State::Ready | State::Failed { .. }, Input::Page { .. }) => {}
            (
                State::Loading { .. } | State::Ready | State::Failed { again: true, .. },
                Input::AgentUpdated { seq, agent },
            ) => {
                let id = agent.id.clone();
                let agent = Some(Arc::new(agent));
                self.change(now, id, Change { seq, agent });
            }
            (
                State::Loading { .. } | State::Ready | State::Failed { again: true, .. },
                Input::AgentRemoved { seq, agent_id },
            ) => self.change(now, agent_id, Change { seq, agent: None }),
            // There is no list to apply it to, and the next list is requested later, so it contains
            // the event.
            (
                State::Idle | State::Failed { again: false, .. },
                Input::AgentUpdated { .. } | Input::AgentRemoved { .. },
            ) => {}
        }
    }

    fn no_list(&mut self, reason: Reason, event: &'static str) {
        let to = State::Failed {
            again: false,
            error: LoadError::Lost(reason),
            retry_at: None,
        };
        self.set(to, event, Some(reason));
    }

    /// Starts a load from the first page, which contains the changes kept for an earlier load.
    fn load(&mut self, now: MonotonicTime, event: &'static str) {
        self.generation = self.generation.next();
        self.incoming = Incoming::default();
        self.ask(None);
        let to = State::Loading {
            again: self.has_succeeded(),
            deadline: now + LOAD_DEADLINE,
        };
        self.set(to, event, None);
    }

    /// Requests a page of the running load.
    fn ask(&mut self, cursor: Option<String>) {
        self.incoming.is_overtaken = false;
        self.incoming.cursor.clone_from(&cursor);
        let load = self.generation;
        self.core.push(Effect::Load { load, cursor });
    }

    fn take_page(&mut self, now: MonotonicTime, page: AgentsPage) {
        let incoming = &mut self.incoming;
        incoming.base.get_or_insert(page.seq);
        incoming.pages = incoming.pages.saturating_add(1);
        incoming.total = page.total;
        for agent in page.agents {
            if incoming.agents.len() >= MAX_AGENTS {
                incoming.truncated = true;
                break;
            }
            let row = (page.seq, Arc::new(agent));
            incoming.agents.insert(row.1.id.clone(), row);
        }
        let next = page.next_cursor;
        let brought = u32::try_from(incoming.agents.len()).unwrap_or(u32::MAX);
        incoming.truncated |=
            next.is_some() && (incoming.agents.len() >= MAX_AGENTS || incoming.pages >= MAX_PAGES);
        match next {
            // Every page of a correct daemon has at least one agent.
            Some(_) if incoming.pages >= MAX_PAGES && brought < incoming.pages => {
                self.fail(now, LoadError::Malformed, "too_many_pages");
            }
            Some(cursor) if !incoming.truncated => {
                self.ask(Some(cursor));
                // Each page has its own deadline; the load is the same.
                if let State::Loading { deadline, .. } = self.core.state_mut() {
                    *deadline = now + LOAD_DEADLINE;
                }
            }
            Some(_) | None => self.finish(),
        }
    }

    /// Applies the last page: the list, with later events on top, replaces the rows.
    fn finish(&mut self) {
        let Incoming {
            base,
            mut agents,
            mut total,
            truncated,
            changes,
            pages: _,
            cursor: _,
            is_overtaken: _,
        } = std::mem::take(&mut self.incoming);
        let base = base.unwrap_or_default();
        let listed = agents.values().map(|(_, agent)| agent.created_at).max();
        for (id, change) in changes {
            let as_of = agents.get(&id).map_or(base, |(seq, _)| *seq);
            match change.agent {
                _ if change.seq <= as_of => {}
                Some(agent) => {
                    let is_new = listed.is_none_or(|newest| newest < agent.created_at);
                    total = total.saturating_add(u64::from(is_new));
                    agents.insert(id, (change.seq, agent));
                }
                None => {
                    total = total.saturating_sub(1);
                    agents.remove(&id);
                }
            }
        }
        let held = u64::try_from(agents.len()).unwrap_or(u64::MAX);
        // A daemon that does not report the total has at least one more.
        let total = if truncated {
            total.max(held.saturating_add(1))
        } else {
            held
        };
        self.failures = 0;
        self.applied = self.applied.max(base);
        self.rows.replace(agents, total);
        self.set(State::Ready, "loaded", None);
    }

    /// Applies one event in order of number; an earlier one is not applied again.
    fn change(&mut self, now: MonotonicTime, id: AgentId, change: Change) {
        if change.seq <= self.applied {
            return;
        }
        self.applied = change.seq;
        if self.has_succeeded() {
            self.rows.apply(&id, &change);
        }
        if self.running().is_some() {
            self.incoming.changes.insert(id, change);
            if self.incoming.changes.len() > MAX_AGENTS {
                self.fail(now, LoadError::Overrun, "overrun");
            }
        }
    }

    fn fail(&mut self, now: MonotonicTime, error: LoadError, event: &'static str) {
        self.incoming = Incoming::default();
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
            // No deadline.
            State::Idle | State::Ready => {}
        }
    }

    fn set(&mut self, to: State, event: &'static str, reason: Option<Reason>) {
        let generation = Some(self.generation);
        self.core.set(to, event, None, generation, reason);
    }
}
