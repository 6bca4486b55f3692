//! The directory's transition table.

use std::sync::Arc;

use bowline_protocol::{AgentId, Reason, SessionState, methods::AgentsPage};

use super::{Change, Directory, Effect, Incoming, Input, MAX_AGENTS, MAX_PAGES, State};
use crate::{
    Moment, Transition,
    load::{LOAD_DEADLINE, LoadError, retry_delay},
};

impl Directory {
    /// The one entrance check: a result of a load that is over is stale (INV-10).
    pub(super) const fn is_stale(&self, input: &Input) -> bool {
        let generation = match input {
            Input::Loaded { generation, .. } | Input::LoadFailed { generation, .. } => *generation,
            Input::Attached { .. }
            | Input::Disconnected { .. }
            | Input::Refresh
            | Input::AgentUpdated { .. }
            | Input::AgentRemoved { .. } => return false,
        };
        match self.state {
            State::InitialLoading { load, .. } | State::Revalidating { load, .. } => {
                load.get() != generation.get()
            }
            State::Idle
            | State::Ready
            | State::ErrorBeforeFirstSuccess { .. }
            | State::ErrorAfterReady { .. } => true,
        }
    }

    pub(super) fn transition(&mut self, now: Moment, input: Input) {
        if let Input::Attached {
            session: SessionState::New | SessionState::Reset,
        } = input
        {
            // A new numbering, or a cursor ahead of events that nobody will replay.
            self.applied = 0;
            self.rows.renumber();
        }
        match (self.state, input) {
            (
                State::Idle | State::ErrorBeforeFirstSuccess { .. } | State::ErrorAfterReady { .. },
                Input::Attached { .. },
            )
            | (
                State::InitialLoading { .. } | State::Ready | State::Revalidating { .. },
                Input::Attached {
                    session: SessionState::New | SessionState::Reset,
                },
            ) => self.load(now, "attached"),
            // Missed events are replayed: nothing is fetched again.
            (
                State::Ready,
                Input::Attached {
                    session: SessionState::Resumed,
                },
            ) => {}
            // On a path switch the old client still answers what it was asked, and the numbering is the same.
            (
                State::InitialLoading { .. } | State::Revalidating { .. },
                Input::Attached {
                    session: SessionState::Resumed,
                },
            ) => {}
            (
                State::InitialLoading { .. } | State::Revalidating { .. },
                Input::Disconnected { reason },
            ) => self.fail(now, LoadError::Lost(reason), "disconnected"),
            (State::ErrorBeforeFirstSuccess { error, .. }, Input::Disconnected { .. }) => {
                // Without a connection only an attach can help.
                self.amend(State::ErrorBeforeFirstSuccess {
                    error,
                    retry_at: None,
                });
            }
            (State::ErrorAfterReady { error, .. }, Input::Disconnected { .. }) => {
                self.amend(State::ErrorAfterReady {
                    error,
                    retry_at: None,
                });
            }
            // The host cannot be reached, so nothing is on its way: no skeleton for what may never come.
            (State::Idle, Input::Disconnected { reason }) => {
                self.set(
                    State::ErrorBeforeFirstSuccess {
                        error: LoadError::Lost(reason),
                        retry_at: None,
                    },
                    "disconnected",
                    Some(reason),
                );
            }
            // Rows survive a disconnect, and what is missed is replayed or fetched on the next attach.
            (State::Ready, Input::Disconnected { .. }) => {}
            (
                State::Idle
                | State::Ready
                | State::ErrorBeforeFirstSuccess { .. }
                | State::ErrorAfterReady { .. },
                Input::Refresh,
            ) => self.load(now, "refresh"),
            // What it asks for is under way: one refresh path serves every surface.
            (State::InitialLoading { .. } | State::Revalidating { .. }, Input::Refresh) => {}
            (
                State::InitialLoading { .. } | State::Revalidating { .. },
                Input::Loaded { page, .. },
            ) => self.take_page(now, page),
            (
                State::InitialLoading { .. } | State::Revalidating { .. },
                Input::LoadFailed { error, .. },
            ) => self.fail(now, error, "load_failed"),
            // Dropped at the entrance: no load is running.
            (
                State::Idle
                | State::Ready
                | State::ErrorBeforeFirstSuccess { .. }
                | State::ErrorAfterReady { .. },
                Input::Loaded { .. } | Input::LoadFailed { .. },
            ) => {}
            (
                State::InitialLoading { .. }
                | State::Ready
                | State::Revalidating { .. }
                | State::ErrorAfterReady { .. },
                Input::AgentUpdated { seq, agent },
            ) => {
                let id = agent.id.clone();
                let agent = Some(Arc::new(agent));
                self.change(now, id, Change { seq, agent });
            }
            (
                State::InitialLoading { .. }
                | State::Ready
                | State::Revalidating { .. }
                | State::ErrorAfterReady { .. },
                Input::AgentRemoved { seq, agent_id },
            ) => self.change(now, agent_id, Change { seq, agent: None }),
            // No list to apply it to, and the list to come will contain it: it is asked for later.
            (
                State::Idle | State::ErrorBeforeFirstSuccess { .. },
                Input::AgentUpdated { .. } | Input::AgentRemoved { .. },
            ) => {}
        }
    }

    /// Starts a load from the first page. What was kept for an earlier one is contained in this one.
    fn load(&mut self, now: Moment, event: &'static str) {
        let load = self.generation.next();
        self.generation = load;
        self.incoming = Incoming::default();
        self.effects.push(Effect::Load {
            generation: load,
            cursor: None,
        });
        let deadline = now + LOAD_DEADLINE;
        let to = if self.has_succeeded() {
            State::Revalidating { load, deadline }
        } else {
            State::InitialLoading { load, deadline }
        };
        self.set(to, event, None);
    }

    fn take_page(&mut self, now: Moment, page: AgentsPage) {
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
            // Each page of a daemon brings an agent at least.
            Some(_) if incoming.pages >= MAX_PAGES && brought < incoming.pages => {
                self.fail(now, LoadError::Malformed, "too_many_pages");
            }
            Some(cursor) if !incoming.truncated => {
                self.effects.push(Effect::Load {
                    generation: self.generation,
                    cursor: Some(cursor),
                });
                // Each page has its own deadline; the load stays what it is.
                let (load, deadline) = (self.generation, now + LOAD_DEADLINE);
                self.amend(if self.has_succeeded() {
                    State::Revalidating { load, deadline }
                } else {
                    State::InitialLoading { load, deadline }
                });
            }
            Some(_) | None => self.finish(),
        }
    }

    /// The last page is there: the list, with what happened since on top, takes the place of the rows.
    fn finish(&mut self) {
        let Incoming {
            base,
            mut agents,
            mut total,
            truncated,
            changes,
            pages: _,
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
        // A daemon that does not say how many there are has one more at least.
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

    /// One event, in the order of their numbers; one that came before is not applied again.
    fn change(&mut self, now: Moment, id: AgentId, change: Change) {
        if change.seq <= self.applied {
            return;
        }
        self.applied = change.seq;
        if self.has_succeeded() {
            self.rows.apply(&id, &change);
        }
        match self.state {
            State::InitialLoading { .. } | State::Revalidating { .. } => {
                self.incoming.changes.insert(id, change);
                if self.incoming.changes.len() > MAX_AGENTS {
                    self.fail(now, LoadError::Overrun, "overrun");
                }
            }
            State::Idle
            | State::Ready
            | State::ErrorBeforeFirstSuccess { .. }
            | State::ErrorAfterReady { .. } => {}
        }
    }

    fn fail(&mut self, now: Moment, error: LoadError, event: &'static str) {
        self.incoming = Incoming::default();
        self.failures = self.failures.saturating_add(1);
        let retry_at = error
            .is_retried_by_timer()
            .then(|| now + retry_delay(self.failures));
        let to = if self.has_succeeded() {
            State::ErrorAfterReady { error, retry_at }
        } else {
            State::ErrorBeforeFirstSuccess { error, retry_at }
        };
        self.set(to, event, error.reason());
    }

    pub(super) fn expire(&mut self, now: Moment) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        match self.state {
            State::InitialLoading { .. } | State::Revalidating { .. } => {
                self.fail(now, LoadError::TimedOut, "load_deadline");
            }
            State::ErrorBeforeFirstSuccess { .. } | State::ErrorAfterReady { .. } => {
                self.load(now, "retry");
            }
            // Have no deadline.
            State::Idle | State::Ready => {}
        }
    }

    /// Which changes of state exist.
    const fn is_in_table(from: State, to: State) -> bool {
        matches!(
            (from, to),
            (
                State::Idle | State::InitialLoading { .. } | State::ErrorBeforeFirstSuccess { .. },
                State::InitialLoading { .. }
            ) | (State::Idle, State::ErrorBeforeFirstSuccess { .. })
                | (
                    State::InitialLoading { .. },
                    State::Ready | State::ErrorBeforeFirstSuccess { .. }
                )
                | (
                    State::Ready | State::Revalidating { .. } | State::ErrorAfterReady { .. },
                    State::Revalidating { .. }
                )
                | (
                    State::Revalidating { .. },
                    State::Ready | State::ErrorAfterReady { .. }
                )
        )
    }

    /// Writes the data of the state it is in, such as a deadline. Which state it is does not change.
    fn amend(&mut self, to: State) {
        if std::mem::discriminant(&self.state) == std::mem::discriminant(&to) {
            self.state = to;
        } else {
            self.refused = self.refused.saturating_add(1);
        }
    }

    /// The only writer of which state it is.
    fn set(&mut self, to: State, event: &'static str, reason: Option<Reason>) {
        if !Self::is_in_table(self.state, to) {
            self.refused = self.refused.saturating_add(1);
            return;
        }
        self.transitions.push(Transition {
            machine: "directory_sync",
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
