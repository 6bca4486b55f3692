//! The sessions with clients at the relay, and their data sockets.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{Hash, Hasher},
    sync::Arc,
};

use bowline_protocol::{Reason, RouteKey};

use super::{DataSocketEnd, DataSocketId, Effect, RelayConfig};
use crate::{
    MonotonicTime,
    backoff::{Backoff, Pace},
    effects::EffectQueue,
};

/// State of a session's data socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Being dialled.
    Opening {
        socket: DataSocketId,
        deadline: MonotonicTime,
    },
    /// Open.
    Open {
        socket: DataSocketId,
        since: MonotonicTime,
    },
    /// Lost; dialled again at `until`.
    Pausing { until: MonotonicTime },
}

impl Phase {
    const fn socket(self) -> Option<DataSocketId> {
        match self {
            Self::Opening { socket, .. } | Self::Open { socket, .. } => Some(socket),
            Self::Pausing { .. } => None,
        }
    }

    const fn deadline(self) -> Option<MonotonicTime> {
        match self {
            Self::Opening { deadline, .. } => Some(deadline),
            Self::Pausing { until } => Some(until),
            Self::Open { .. } => None,
        }
    }
}

/// A session with clients, according to the relay.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RelayedSession {
    phase: Phase,
    /// Whether it was announced again while it had its data socket.
    again: bool,
    backoff: Backoff,
}

/// All sessions of one relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sessions {
    config: RelayConfig,
    sessions: BTreeMap<RouteKey, RelayedSession>,
    /// Data sockets whose session is over, with the deadline of each.
    leaving: BTreeMap<DataSocketId, MonotonicTime>,
    /// Number of the newest data socket, which also seeds its jitter.
    last: u64,
    over_limit: u64,
    /// The routes of known devices, once told.
    known: Option<Arc<BTreeSet<RouteKey>>>,
}

impl Sessions {
    pub(super) const fn new(config: RelayConfig) -> Self {
        Self {
            config,
            sessions: BTreeMap::new(),
            leaving: BTreeMap::new(),
            last: 0,
            over_limit: 0,
            known: None,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn data_sockets(&self) -> usize {
        let current = self.sessions.values();
        let current = current.filter(|session| session.phase.socket().is_some());
        current.count() + self.leaving.len()
    }

    pub(super) const fn over_limit(&self) -> u64 {
        self.over_limit
    }

    pub(super) fn know(&mut self, routes: Arc<BTreeSet<RouteKey>>) {
        self.known = Some(routes);
    }

    pub(super) const fn known(&self) -> Option<&Arc<BTreeSet<RouteKey>>> {
        self.known.as_ref()
    }

    fn is_stranger(&self, route: &RouteKey) -> bool {
        let known = self.known.as_ref();
        known.is_some_and(|known| !known.contains(route))
    }

    pub(super) fn knows(&self, socket: DataSocketId) -> bool {
        self.leaving.contains_key(&socket) || self.of(socket).is_some()
    }

    pub(super) fn deadline(&self) -> Option<MonotonicTime> {
        let phases = self.sessions.values();
        let phases = phases.filter_map(|session| session.phase.deadline());
        phases.chain(self.leaving.values().copied()).min()
    }

    fn of(&self, socket: DataSocketId) -> Option<RouteKey> {
        let mut sessions = self.sessions.iter();
        let found = sessions.find(|(_, session)| session.phase.socket() == Some(socket));
        found.map(|(route, _)| route.clone())
    }

    /// Handles the relay's complete list of sessions.
    pub(super) fn sync(
        &mut self,
        now: MonotonicTime,
        all: Vec<RouteKey>,
        effects: &mut EffectQueue<Effect>,
    ) {
        let all: BTreeSet<_> = all.into_iter().collect();
        let over: Vec<_> = self.sessions.keys().cloned().collect();
        for route in over.iter().filter(|route| !all.contains(*route)) {
            self.close(now, route, effects);
        }
        for route in all {
            match self.sessions.get_mut(&route).map(|s| (s.phase, s)) {
                // A data socket older than this registration may be half-open.
                Some((Phase::Open { socket, .. }, session)) => {
                    session.again = false;
                    effects.push(Effect::CheckData { socket });
                }
                Some((Phase::Opening { .. }, _)) => {}
                Some((Phase::Pausing { .. }, _)) | None => self.dial(now, &route, effects),
            }
        }
    }

    pub(super) fn opened(
        &mut self,
        now: MonotonicTime,
        route: &RouteKey,
        effects: &mut EffectQueue<Effect>,
    ) {
        match self.sessions.get_mut(route) {
            Some(session) if session.phase.socket().is_some() => session.again = true,
            Some(_) | None => self.dial(now, route, effects),
        }
    }

    /// Ends a session. An open data socket may finish its traffic; a dial is cancelled, since it
    /// could replace its successor.
    pub(super) fn close(
        &mut self,
        now: MonotonicTime,
        route: &RouteKey,
        effects: &mut EffectQueue<Effect>,
    ) {
        match self.sessions.remove(route).map(|session| session.phase) {
            Some(Phase::Open { socket, .. }) => {
                self.leaving.insert(socket, now + self.config.drain);
            }
            Some(Phase::Opening { socket, .. }) => effects.push(Effect::CloseData { socket }),
            Some(Phase::Pausing { .. }) | None => {}
        }
    }

    pub(super) fn data_opened(&mut self, now: MonotonicTime, socket: DataSocketId) {
        let route = self.of(socket);
        if let Some(session) = route.and_then(|route| self.sessions.get_mut(&route)) {
            session.phase = Phase::Open { socket, since: now };
        }
    }

    /// Handles the end of a data socket. `registered`: whether it may be replaced now; otherwise
    /// the next `sync` decides.
    pub(super) fn data_ended(
        &mut self,
        now: MonotonicTime,
        socket: DataSocketId,
        end: DataSocketEnd,
        registered: bool,
        effects: &mut EffectQueue<Effect>,
    ) {
        self.leaving.remove(&socket);
        let Some(route) = self.of(socket) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(&route) else {
            return;
        };
        let again = std::mem::take(&mut session.again);
        match end {
            DataSocketEnd::Lost {
                reason,
                retry_after,
            } if registered => {
                if let Phase::Open { since, .. } = session.phase {
                    session.backoff.succeeded_for(now.since(since));
                }
                // A newer data socket of this daemon replaced it, so the usual pauses suffice.
                let pace = match reason {
                    Reason::Replaced => Pace::Usual,
                    reason => super::pacing::pace(reason),
                };
                let pause = session.backoff.fail(pace);
                let pause = pause.max(retry_after.unwrap_or_default());
                session.phase = Phase::Pausing { until: now + pause };
            }
            DataSocketEnd::Gone if registered && again => self.dial(now, &route, effects),
            DataSocketEnd::Lost { .. } | DataSocketEnd::Gone => {
                self.sessions.remove(&route);
            }
        }
    }

    /// Handles the end of the control socket: sessions without a data socket are forgotten, and the
    /// next `sync` names them again.
    pub(super) fn orphaned(&mut self) {
        self.sessions
            .retain(|_, session| session.phase.socket().is_some());
    }

    pub(super) fn expire(
        &mut self,
        now: MonotonicTime,
        registered: bool,
        effects: &mut EffectQueue<Effect>,
    ) {
        let late: Vec<_> = self
            .leaving
            .iter()
            .filter(|(_, deadline)| **deadline <= now)
            .map(|(socket, _)| *socket)
            .collect();
        for socket in late {
            self.leaving.remove(&socket);
            effects.push(Effect::CloseData { socket });
        }
        let due: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.phase.deadline().is_some_and(|at| at <= now))
            .map(|(route, session)| (route.clone(), session.phase))
            .collect();
        for (route, phase) in due {
            match phase {
                Phase::Opening { socket, .. } => {
                    effects.push(Effect::CloseData { socket });
                    let end = DataSocketEnd::Lost {
                        reason: Reason::HandshakeTimeout,
                        retry_after: None,
                    };
                    self.data_ended(now, socket, end, registered, effects);
                }
                Phase::Pausing { .. } if registered => self.dial(now, &route, effects),
                Phase::Pausing { .. } => {
                    self.sessions.remove(&route);
                }
                // No deadline.
                Phase::Open { .. } => {}
            }
        }
    }

    /// Hashes data sockets by their order, since their numbers only grow.
    pub(super) fn fingerprint<H: Hasher>(&self, now: MonotonicTime, hasher: &mut H) {
        for (route, session) in &self.sessions {
            let due = session.phase.deadline().map(|due| due.since(now));
            let is_open = matches!(session.phase, Phase::Open { .. });
            (route, due, is_open, session.again).hash(hasher);
        }
        for deadline in self.leaving.values() {
            deadline.since(now).hash(hasher);
        }
    }

    pub(super) fn stop(&mut self) {
        self.sessions.clear();
        self.leaving.clear();
    }

    fn dial(&mut self, now: MonotonicTime, route: &RouteKey, effects: &mut EffectQueue<Effect>) {
        // Data sockets that are finishing count as well, so that a relay cannot accumulate them.
        let strangers = || {
            let others = self.sessions.keys().filter(|other| *other != route);
            others.filter(|other| self.is_stranger(other)).count() + self.leaving.len()
        };
        let crowded = self.is_stranger(route) && strangers() >= self.config.most_strangers;
        let full = crowded
            || self.data_sockets() >= self.config.most_sessions
            || (self.sessions.len() >= self.config.most_sessions
                && !self.sessions.contains_key(route));
        if full {
            self.over_limit = self.over_limit.saturating_add(1);
            self.sessions.remove(route);
            return;
        }
        self.last += 1;
        let socket = DataSocketId(self.last);
        let phase = Phase::Opening {
            socket,
            deadline: now + self.config.open_deadline,
        };
        let seed = self.config.jitter_seed ^ self.last;
        let config = self.config.backoff;
        let session = self
            .sessions
            .entry(route.clone())
            .or_insert_with(|| RelayedSession {
                phase,
                again: false,
                backoff: Backoff::new(config, seed),
            });
        session.phase = phase;
        effects.push(Effect::OpenData {
            socket,
            session: route.clone(),
            is_stranger: self.is_stranger(route),
        });
    }
}
