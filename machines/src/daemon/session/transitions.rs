//! The session's transition table.

use bowline_protocol::Reason;

use super::{AttachedConnection, ConnectionId, Effect, Input, Session, State};
use crate::{MonotonicTime, Path, machine_core::Table};

/// Cause of a transition, for its record.
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
    /// Whether an input is about a connection that is no longer attached: the only such check
    /// (INV-10).
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

    pub(super) fn transition(&mut self, now: MonotonicTime, input: Input) {
        match (self.core.state_mut(), input) {
            (State::Detached { .. }, Input::Attach { connection, path }) => {
                let connections = vec![AttachedConnection {
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
                self.core.push(Effect::Expire);
                self.set(State::Expired, revoke());
            }
            (State::Attached { connections }, Input::Revoke) => {
                for link in std::mem::take(connections) {
                    self.core.push(Effect::Close {
                        connection: link.id,
                        reason: Reason::DeviceRevoked,
                    });
                }
                self.core.push(Effect::Expire);
                self.set(State::Expired, revoke());
            }
            (State::Expired, Input::Attach { connection, .. }) => {
                // The session ended after the driver confirmed: the client starts a new one.
                self.core.push(Effect::Close {
                    connection,
                    reason: Reason::SessionChanged,
                });
            }
            // Dropped as stale: without connections none is attached.
            (
                State::Detached { .. } | State::Expired,
                Input::Activity { .. } | Input::Detach { .. },
            ) => {}
            // Final.
            (State::Expired, Input::Revoke) => {}
        }
    }

    /// Adds a connection; beyond the bound the one idle longest is closed, never the new one
    /// (LS-2).
    fn join(
        &mut self,
        links: &mut Vec<AttachedConnection>,
        id: ConnectionId,
        path: Path,
        now: MonotonicTime,
    ) {
        links.retain(|link| link.id != id);
        while links.len() >= usize::from(self.config.max_connections.max(1)) {
            let idlest = links
                .iter()
                .enumerate()
                .min_by_key(|(_, link)| link.active_at)
                .map(|(position, _)| position);
            let Some(position) = idlest else { break };
            let link = links.remove(position);
            self.core.push(Effect::Close {
                connection: link.id,
                reason: Reason::SessionCapacity,
            });
        }
        links.push(AttachedConnection {
            id,
            path,
            active_at: now,
        });
    }

    /// Call when [`Session::poll_timeout`] has passed.
    ///
    /// Takes the time since the last check off the grace, as far as the daemon was awake (LS-5).
    pub fn handle_timeout(&mut self, now: MonotonicTime) {
        let step = self.config.step();
        match self.core.state_mut() {
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
                    self.core.push(Effect::Expire);
                    self.set(State::Expired, Cause::of("grace_over"));
                }
            }
            // Zero grace is for ever; an attached session uses none; an expired one has none.
            State::Detached { .. } | State::Attached { .. } | State::Expired => {}
        }
    }

    fn set(&mut self, to: State, cause: Cause) {
        self.core
            .set(to, cause.event, cause.path, None, cause.reason);
    }
}

impl Table for State {
    const MACHINE: &'static str = "session";

    fn name(&self) -> &'static str {
        self.name()
    }

    fn may_become(&self, to: &Self) -> bool {
        matches!(
            (self, to),
            (
                State::Detached { .. },
                State::Attached { .. } | State::Expired
            ) | (
                State::Attached { .. },
                State::Attached { .. } | State::Detached { .. } | State::Expired
            )
        )
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
