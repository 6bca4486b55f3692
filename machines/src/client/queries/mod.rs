//! Read-only queries of the app: each waits, within bounds, for its host to be online (INV-13).
//!
//! ```text
//!                 host online under an attach
//!              ┌──it was not asked under yet──► asked ──answered, or its connection ended under it──► over
//!  added ──► waiting ◄──────never sent──────────┘
//!              └──waited long enough, nothing is tried, too many wait──► refused
//! ```
//!
//! A query in flight when its connection ends is over: whether it was answered is unknown, and the
//! app asks again. A query that was never sent, because the end of its connection had not been
//! reported yet, waits for the next attach.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use bowline_protocol::limits::CONNECT_DEADLINE;

use crate::{Attach, MonotonicTime, client::paths::State, effects::EffectQueue};

/// Bounds of a host's queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueriesConfig {
    /// Most queries waiting for the host to be online; further ones are refused.
    pub most_waiting: usize,
    /// Longest wait while a connection is being attempted: the bound of a whole connect.
    pub longest_wait: Duration,
}

impl Default for QueriesConfig {
    fn default() -> Self {
        Self {
            most_waiting: 256,
            longest_wait: CONNECT_DEADLINE,
        }
    }
}

/// Id of one query, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(u64);

/// A query returned as never sent ([`Queries::never_sent`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The query.
    pub id: QueryId,
    until: MonotonicTime,
    /// The attach it was asked under, whose connection is over.
    after: Attach,
}

/// Status of the host for queries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HostStatus {
    /// The active client is connected, under this attach.
    Online(Attach),
    /// A connection may come without user action.
    #[default]
    Connecting,
    /// No connection is being attempted.
    Offline,
}

impl HostStatus {
    /// The status for a host state and its latest attach.
    pub const fn of(state: &State, attach: Attach) -> Self {
        if matches!(state, State::Online { .. }) {
            Self::Online(attach)
        } else if state.is_hopeful() {
            Self::Connecting
        } else {
            Self::Offline
        }
    }
}

/// Effects for the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Send it through the active client.
    Ask(Ticket),
    /// Answer that there is no connection.
    Refuse(QueryId),
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    until: MonotonicTime,
    after: Attach,
}

/// The queries of one host.
#[derive(Clone, Debug, Default)]
pub struct Queries {
    config: QueriesConfig,
    host: HostStatus,
    /// In order of arrival.
    waiting: BTreeMap<QueryId, Waiting>,
    last: QueryId,
    effects: EffectQueue<Effect>,
}

impl Queries {
    /// No queries; `config` sets the bounds.
    pub fn new(config: QueriesConfig) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// Adds a query. It is asked or refused at the next [`Queries::set_host`].
    pub fn add(&mut self, now: MonotonicTime) -> QueryId {
        self.last = QueryId(self.last.0.saturating_add(1));
        let waiting = Waiting {
            until: now + self.config.longest_wait,
            after: Attach::NONE,
        };
        self.put(self.last, waiting);
        self.last
    }

    /// Returns a query that was not sent because its connection had ended. It is asked or refused
    /// at the next [`Queries::set_host`].
    pub fn never_sent(&mut self, ticket: Ticket) {
        let Ticket { id, until, after } = ticket;
        self.put(id, Waiting { until, after });
    }

    fn put(&mut self, id: QueryId, waiting: Waiting) {
        if self.waiting.len() >= self.config.most_waiting {
            self.effects.push(Effect::Refuse(id));
        } else {
            self.waiting.insert(id, waiting);
        }
    }

    /// Removes a query whose caller stopped waiting.
    pub fn withdraw(&mut self, id: QueryId) {
        self.waiting.remove(&id);
    }

    /// Updates the host's status, changed or not.
    pub fn set_host(&mut self, now: MonotonicTime, host: HostStatus) {
        self.host = host;
        self.settle(now);
    }

    /// Call when [`Queries::poll_timeout`] has passed; an earlier call does nothing.
    pub fn handle_timeout(&mut self, now: MonotonicTime) {
        self.settle(now);
    }

    /// When to call [`Queries::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<MonotonicTime> {
        self.waiting.values().map(|waiting| waiting.until).min()
    }

    /// The next effect to execute.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop()
    }

    /// Asks the queries that can be asked, and refuses those that cannot succeed.
    fn settle(&mut self, now: MonotonicTime) {
        let (host, effects) = (self.host, &mut self.effects);
        self.waiting.retain(|id, waiting| {
            let Waiting { until, after } = *waiting;
            match host {
                HostStatus::Online(attach) if after < attach => {
                    effects.push(Effect::Ask(Ticket {
                        id: *id,
                        until,
                        after: attach,
                    }));
                    false
                }
                HostStatus::Online(_) | HostStatus::Connecting if now < until => true,
                HostStatus::Online(_) | HostStatus::Connecting | HostStatus::Offline => {
                    effects.push(Effect::Refuse(*id));
                    false
                }
            }
        });
    }
}
