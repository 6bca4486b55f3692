//! One daemon of a relay: its presence, its sessions and the pools of its client sockets.

use std::collections::HashMap;

use bowline_protocol::{
    Reason, RouteKey, ServerId,
    relay::{CloseText, KnownDevices, limits::STRANGERS_PER_DAEMON},
};

use super::{Effect, Pool, PoolCounts, SessionNews};
use crate::{Generation, MonotonicTime, effects::EffectQueue};

/// Whether a daemon has a control socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Registered {
        generation: Generation,
        /// Its control socket was told to end, once.
        is_ending: bool,
    },
    /// No control socket since then.
    Orphaned { since: MonotonicTime },
}

impl Presence {
    pub(super) const fn registered(generation: Generation) -> Self {
        Self::Registered {
            generation,
            is_ending: false,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Daemon<S> {
    pub(super) presence: Presence,
    pub(super) sessions: HashMap<RouteKey, S>,
    /// The devices that it knows, once it has said so. In memory only.
    pub(super) devices: Option<KnownDevices>,
}

impl<S: Clone> Daemon<S> {
    pub(super) fn new(generation: Generation) -> Self {
        Self {
            presence: Presence::registered(generation),
            sessions: HashMap::new(),
            devices: None,
        }
    }

    pub(super) const fn is_registered(&self) -> bool {
        matches!(self.presence, Presence::Registered { .. })
    }

    pub(super) fn is_gone(&self) -> bool {
        !self.is_registered() && self.sessions.is_empty()
    }

    fn is_stranger(&self, session: &RouteKey) -> bool {
        self.devices
            .as_ref()
            .is_some_and(|devices| !devices.contains(session))
    }

    /// The pool in which a client socket gets a place.
    pub(super) fn admit(
        &self,
        session: &RouteKey,
        counts: PoolCounts,
        most: u32,
        random: u32,
        effects: &mut EffectQueue<Effect<S>>,
    ) -> Result<Pool, Reason> {
        let (pool, has_place) = if self.is_stranger(session) {
            if counts.strangers >= STRANGERS_PER_DAEMON {
                self.evict(random, effects);
            }
            // Those that were told to end still count for a moment.
            let has_place = counts.strangers < 2 * STRANGERS_PER_DAEMON;
            (Pool::Strangers, has_place)
        } else {
            (Pool::Friends, most == 0 || counts.friends < most)
        };
        has_place.then_some(pool).ok_or(Reason::SessionCapacity)
    }

    /// Ends the session of any stranger.
    fn evict(&self, random: u32, effects: &mut EffectQueue<Effect<S>>) {
        let sessions = || self.sessions.iter();
        let strangers = || sessions().filter(|(session, _)| self.is_stranger(session));
        let index = random as usize % strangers().count().max(1);
        if let Some((_, session)) = strangers().nth(index) {
            effects.push(Effect::EndSession {
                session: session.clone(),
                text: Reason::SessionCapacity.into(),
            });
        }
    }

    /// Sends news to the daemon, unless its control socket ends.
    pub(super) fn tell(
        &self,
        server: &ServerId,
        session: &RouteKey,
        news: SessionNews,
        effects: &mut EffectQueue<Effect<S>>,
    ) {
        if let Presence::Registered {
            is_ending: false, ..
        } = self.presence
        {
            effects.push(Effect::Tell {
                server: server.clone(),
                session: session.clone(),
                news,
            });
        }
    }

    /// Ends the control socket, with the first text.
    pub(super) fn end_control(
        &mut self,
        server: &ServerId,
        text: CloseText,
        effects: &mut EffectQueue<Effect<S>>,
    ) {
        if let Presence::Registered { is_ending, .. } = &mut self.presence
            && !std::mem::replace(is_ending, true)
        {
            let server = server.clone();
            effects.push(Effect::EndControl { server, text });
        }
    }

    pub(super) fn end_sessions(
        &self,
        mut text: impl FnMut() -> CloseText,
        effects: &mut EffectQueue<Effect<S>>,
    ) {
        for session in self.sessions.values() {
            effects.push(Effect::EndSession {
                session: session.clone(),
                text: text(),
            });
        }
    }
}
