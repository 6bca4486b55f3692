//! The session's transition table.

use bowline_protocol::Reason;

use super::{ConnectionId, Effect, Input, Link, Session, State};
use crate::{Moment, Path, Transition};

/// What a change of state is recorded with.
struct Cause {
    event: &'static str,
    path: Option<Path>,
    reason: Option<Reason>,
}

impl Cause {
    const fn of(event: &'static str) -> Self {
        Self {
            event,
            path: None,
            reason: None,
        }
    }
}

impl Session {
    /// The one entrance check: an input about a connection that no longer holds the session is stale (INV-10).
    pub(super) fn is_stale(&self, input: &Input) -> bool {
        match input {
            Input::Activity { connection } | Input::Detach { connection, .. } => {
                !self.holds(*connection)
            }
            Input::Attach { .. } | Input::Revoke => false,
        }
    }

    fn holds(&self, connection: ConnectionId) -> bool {
        self.connections().iter().any(|link| link.id == connection)
    }

    pub(super) fn transition(&mut self, now: Moment, input: Input) {
        match (&mut self.state, input) {
            (State::Detached { .. }, Input::Attach { connection, path }) => {
                let connections = vec![Link {
                    id: connection,
                    path,
                    active_at: now,
                }];
                self.ever_attached = true;
                self.set(State::Attached { connections }, attach(path));
            }
            (State::Attached { connections }, Input::Attach { connection, path }) => {
                let mut connections = std::mem::take(connections);
                self.join(&mut connections, connection, path, now);
                self.set(State::Attached { connections }, attach(path));
            }
            (State::Attached { connections }, Input::Activity { connection }) => {
                if let Some(link) = connections.iter_mut().find(|link| link.id == connection) {
                    link.active_at = link.active_at.max(now);
                }
            }
            (State::Attached { connections }, Input::Detach { connection, reason }) => {
                let mut connections = std::mem::take(connections);
                let path = connections
                    .iter()
                    .find(|link| link.id == connection)
                    .map(|link| link.path);
                connections.retain(|link| link.id != connection);
                let cause = Cause {
                    event: "detach",
                    path,
                    reason: Some(reason),
                };
                if connections.is_empty() {
                    let next = State::Detached {
                        since: now,
                        grace_left: self.config.grace,
                        checked_at: now,
                    };
                    self.set(next, cause);
                } else {
                    self.set(State::Attached { connections }, cause);
                }
            }
            (State::Detached { .. }, Input::Revoke) => {
                self.effects.push(Effect::Expire);
                self.set(State::Expired, revoke());
            }
            (State::Attached { connections }, Input::Revoke) => {
                for link in std::mem::take(connections) {
                    self.effects.push(Effect::Close {
                        connection: link.id,
                        reason: Reason::DeviceRevoked,
                    });
                }
                self.effects.push(Effect::Expire);
                self.set(State::Expired, revoke());
            }
            (State::Expired, Input::Attach { connection, .. }) => {
                // The driver confirmed against a session that has ended since: the client begins another one.
                self.effects.push(Effect::Close {
                    connection,
                    reason: Reason::SessionChanged,
                });
            }
            // Dropped at the entrance: without connections none can hold the session.
            (
                State::Detached { .. } | State::Expired,
                Input::Activity { .. } | Input::Detach { .. },
            ) => {}
            // Over is over.
            (State::Expired, Input::Revoke) => {}
        }
    }

    /// Adds a connection; over the cap the one idle for longest gives way, never the new one (lesson 2).
    fn join(&mut self, links: &mut Vec<Link>, id: ConnectionId, path: Path, now: Moment) {
        links.retain(|link| link.id != id);
        while links.len() >= usize::from(self.config.max_connections.max(1)) {
            let idlest = links
                .iter()
                .enumerate()
                .min_by_key(|(_, link)| link.active_at)
                .map(|(position, _)| position);
            let Some(position) = idlest else { break };
            let link = links.remove(position);
            self.effects.push(Effect::Close {
                connection: link.id,
                reason: Reason::SessionCapacity,
            });
        }
        links.push(Link {
            id,
            path,
            active_at: now,
        });
    }

    /// Takes the time since the last check off the grace, as far as the daemon was awake (lesson 5).
    pub(super) fn check_grace(&mut self, now: Moment) {
        let step = self.config.step();
        match &mut self.state {
            State::Detached {
                grace_left,
                checked_at,
                ..
            } if !step.is_zero() => {
                let elapsed = now.since(*checked_at);
                let awake = if elapsed > step * 2 { step } else { elapsed };
                *grace_left = grace_left.saturating_sub(awake);
                *checked_at = now.max(*checked_at);
                if grace_left.is_zero() {
                    self.effects.push(Effect::Expire);
                    self.set(State::Expired, Cause::of("grace_over"));
                }
            }
            // Zero grace is for ever; a held session uses none; an expired one has none.
            State::Detached { .. } | State::Attached { .. } | State::Expired => {}
        }
    }

    /// Which changes of state exist.
    const fn is_in_table(from: &State, to: &State) -> bool {
        matches!(
            (from, to),
            (
                State::Detached { .. },
                State::Attached { .. } | State::Expired
            ) | (
                State::Attached { .. },
                State::Attached { .. } | State::Detached { .. } | State::Expired
            )
        )
    }

    /// The only writer of `state`.
    fn set(&mut self, to: State, cause: Cause) {
        if !Self::is_in_table(&self.state, &to) {
            self.refused = self.refused.saturating_add(1);
            return;
        }
        self.transitions.push(Transition {
            machine: "session",
            from: self.state.name(),
            to: to.name(),
            event: cause.event,
            path: cause.path,
            generation: None,
            reason: cause.reason,
        });
        self.state = to;
    }
}

const fn attach(path: Path) -> Cause {
    Cause {
        event: "attach",
        path: Some(path),
        reason: None,
    }
}

const fn revoke() -> Cause {
    Cause {
        event: "revoke",
        path: None,
        reason: Some(Reason::DeviceRevoked),
    }
}
