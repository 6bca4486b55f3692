//! Which sessions the relay counts, and what becomes of their data sockets.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{Hash, Hasher},
};

use bowline_protocol::{Reason, RouteKey};

use super::{Effect, PeerEnd, PeerId, RelayConfig};
use crate::{
    Moment,
    backoff::{Backoff, Pace},
    outbox::Outbox,
};

/// Where the data socket of a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Being dialled.
    Opening { peer: PeerId, deadline: Moment },
    /// There.
    Open { peer: PeerId, since: Moment },
    /// Lost; dialled again then.
    Pausing { until: Moment },
}

impl Phase {
    const fn peer(self) -> Option<PeerId> {
        match self {
            Self::Opening { peer, .. } | Self::Open { peer, .. } => Some(peer),
            Self::Pausing { .. } => None,
        }
    }

    const fn deadline(self) -> Option<Moment> {
        match self {
            Self::Opening { deadline, .. } => Some(deadline),
            Self::Pausing { until } => Some(until),
            Self::Open { .. } => None,
        }
    }
}

/// A session that has clients, says the relay.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Session {
    phase: Phase,
    /// It was announced again while it had its peer.
    again: bool,
    backoff: Backoff,
}

/// All sessions of one relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sessions {
    config: RelayConfig,
    sessions: BTreeMap<RouteKey, Session>,
    /// Peers whose session is over, and how long they may take to finish.
    leaving: BTreeMap<PeerId, Moment>,
    /// Numbers peers, and seeds their jitter.
    last: u64,
    over_limit: u64,
}

impl Sessions {
    pub(super) const fn new(config: RelayConfig) -> Self {
        Self {
            config,
            sessions: BTreeMap::new(),
            leaving: BTreeMap::new(),
            last: 0,
            over_limit: 0,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn peers(&self) -> usize {
        let current = self.sessions.values();
        let current = current.filter(|session| session.phase.peer().is_some());
        current.count() + self.leaving.len()
    }

    pub(super) const fn over_limit(&self) -> u64 {
        self.over_limit
    }

    pub(super) fn knows(&self, peer: PeerId) -> bool {
        self.leaving.contains_key(&peer) || self.of(peer).is_some()
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        let phases = self.sessions.values();
        let phases = phases.filter_map(|session| session.phase.deadline());
        phases.chain(self.leaving.values().copied()).min()
    }

    fn of(&self, peer: PeerId) -> Option<RouteKey> {
        let mut sessions = self.sessions.iter();
        let found = sessions.find(|(_, session)| session.phase.peer() == Some(peer));
        found.map(|(route, _)| route.clone())
    }

    /// The whole truth.
    pub(super) fn sync(&mut self, now: Moment, all: Vec<RouteKey>, effects: &mut Outbox<Effect>) {
        let all: BTreeSet<_> = all.into_iter().collect();
        let over: Vec<_> = self.sessions.keys().cloned().collect();
        for route in over.iter().filter(|route| !all.contains(*route)) {
            self.close(now, route, effects);
        }
        for route in all {
            match self.sessions.get_mut(&route).map(|s| (s.phase, s)) {
                // What survived the relay's absence may be half of a socket only.
                Some((Phase::Open { peer, .. }, session)) => {
                    session.again = false;
                    effects.push(Effect::CheckPeer { peer });
                }
                Some((Phase::Opening { .. }, _)) => {}
                Some((Phase::Pausing { .. }, _)) | None => self.dial(now, &route, effects),
            }
        }
    }

    pub(super) fn opened(&mut self, now: Moment, route: &RouteKey, effects: &mut Outbox<Effect>) {
        match self.sessions.get_mut(route) {
            Some(session) if session.phase.peer().is_some() => session.again = true,
            Some(_) | None => self.dial(now, route, effects),
        }
    }

    /// A session is over. What its peer has under way may finish. One that is only being dialled has nothing, and might
    /// take the place of its successor if it were let.
    pub(super) fn close(&mut self, now: Moment, route: &RouteKey, effects: &mut Outbox<Effect>) {
        match self.sessions.remove(route).map(|session| session.phase) {
            Some(Phase::Open { peer, .. }) => {
                self.leaving.insert(peer, now + self.config.drain);
            }
            Some(Phase::Opening { peer, .. }) => effects.push(Effect::ClosePeer { peer }),
            Some(Phase::Pausing { .. }) | None => {}
        }
    }

    pub(super) fn peer_opened(&mut self, now: Moment, peer: PeerId) {
        let route = self.of(peer);
        if let Some(session) = route.and_then(|route| self.sessions.get_mut(&route)) {
            session.phase = Phase::Open { peer, since: now };
        }
    }

    /// A peer ended. `registered`: whether it may be replaced now; otherwise the next `sync` tells.
    pub(super) fn peer_ended(
        &mut self,
        now: Moment,
        peer: PeerId,
        end: PeerEnd,
        registered: bool,
        effects: &mut Outbox<Effect>,
    ) {
        self.leaving.remove(&peer);
        let Some(route) = self.of(peer) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(&route) else {
            return;
        };
        let again = std::mem::take(&mut session.again);
        match end {
            PeerEnd::Lost {
                reason,
                retry_after,
            } if registered => {
                if let Phase::Open { since, .. } = session.phase {
                    session.backoff.succeeded_for(now.since(since));
                }
                // Replaced by a peer of ours that was let go too late: nobody but us can mend it.
                let pace = match reason {
                    Reason::Replaced => Pace::Usual,
                    reason => super::pacing::pace(reason),
                };
                let pause = session.backoff.fail(pace);
                let pause = pause.max(retry_after.unwrap_or_default());
                session.phase = Phase::Pausing { until: now + pause };
            }
            PeerEnd::Gone if registered && again => self.dial(now, &route, effects),
            PeerEnd::Lost { .. } | PeerEnd::Gone => {
                self.sessions.remove(&route);
            }
        }
    }

    /// The control socket ended: what has no peer is forgotten, for `sync` names it again.
    pub(super) fn orphaned(&mut self) {
        self.sessions
            .retain(|_, session| session.phase.peer().is_some());
    }

    pub(super) fn expire(&mut self, now: Moment, registered: bool, effects: &mut Outbox<Effect>) {
        let late: Vec<_> = self
            .leaving
            .iter()
            .filter(|(_, deadline)| **deadline <= now)
            .map(|(peer, _)| *peer)
            .collect();
        for peer in late {
            self.leaving.remove(&peer);
            effects.push(Effect::ClosePeer { peer });
        }
        let due: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.phase.deadline().is_some_and(|at| at <= now))
            .map(|(route, session)| (route.clone(), session.phase))
            .collect();
        for (route, phase) in due {
            match phase {
                Phase::Opening { peer, .. } => {
                    effects.push(Effect::ClosePeer { peer });
                    let end = PeerEnd::Lost {
                        reason: Reason::HandshakeTimeout,
                        retry_after: None,
                    };
                    self.peer_ended(now, peer, end, registered, effects);
                }
                Phase::Pausing { .. } if registered => self.dial(now, &route, effects),
                Phase::Pausing { .. } => {
                    self.sessions.remove(&route);
                }
                // Has no deadline.
                Phase::Open { .. } => {}
            }
        }
    }

    /// Peers by their order, for their numbers only grow.
    pub(super) fn fingerprint<H: Hasher>(&self, now: Moment, hasher: &mut H) {
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

    fn dial(&mut self, now: Moment, route: &RouteKey, effects: &mut Outbox<Effect>) {
        // Those that only finish count as well, or a relay could make them pile up.
        let full = self.peers() >= self.config.most_sessions
            || (self.sessions.len() >= self.config.most_sessions
                && !self.sessions.contains_key(route));
        if full {
            self.over_limit = self.over_limit.saturating_add(1);
            self.sessions.remove(route);
            return;
        }
        self.last += 1;
        let peer = PeerId(self.last);
        let phase = Phase::Opening {
            peer,
            deadline: now + self.config.open_deadline,
        };
        let seed = self.config.jitter_seed ^ self.last;
        let config = self.config.backoff;
        let session = self
            .sessions
            .entry(route.clone())
            .or_insert_with(|| Session {
                phase,
                again: false,
                backoff: Backoff::new(config, seed),
            });
        session.phase = phase;
        effects.push(Effect::OpenPeer {
            peer,
            session: route.clone(),
        });
    }
}
