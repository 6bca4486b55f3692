//! The tables, logs or topics of a host that are open: who reads them, and what all of them are
//! told about the connection.

use std::collections::BTreeMap;

use bowline_protocol::{Reason, SessionState, live::Scope};

use super::{
    follows::{Close, Follow, Follows},
    target::LiveTarget,
};
use crate::{MonotonicTime, Transition, effects::EffectQueue};

/// An open table, log or topic of a host. Never used twice for the same kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpenId(u64);

/// The maximum of tables, logs or topics is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TooMany {
    /// The maximum.
    pub most: usize,
}

/// What all are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// The host's active client attached to the session.
    Attached(SessionState),
    /// The connection ended.
    Disconnected(Reason),
    /// The host cannot be reached. May be repeated.
    Unreachable(Reason),
    /// A reader came, while the client is attached: what failed is tried again.
    Again,
}

/// A table, log or topic.
pub(super) trait Open: Follow {
    /// What it is of.
    fn target(&self) -> &LiveTarget;

    /// Whether somebody reads it, from now on.
    fn set_read(&mut self, is_read: bool);

    /// Takes what all are told.
    fn signal(&mut self, now: MonotonicTime, signal: Signal);

    /// Call when [`Open::poll_timeout`] has passed; an earlier call does nothing.
    fn handle_timeout(&mut self, now: MonotonicTime);

    /// When to call [`Open::handle_timeout`] next.
    fn poll_timeout(&self) -> Option<MonotonicTime>;

    /// The next transition record for the log of the program.
    fn poll_transition(&mut self) -> Option<Transition>;

    /// Answers that came too late; they changed nothing (INV-10).
    fn stale(&self) -> u32;
}

/// The open ones of one kind.
#[derive(Clone, Debug)]
pub(super) struct OpenSet<O> {
    /// Most open ones; further ones are refused.
    pub(super) most: usize,
    open: BTreeMap<OpenId, O>,
    last: u64,
    /// The last that was said about the connection: how a new one learns it.
    link: Option<Signal>,
    follows: Follows,
    closes: EffectQueue<Close>,
}

impl<O: Open> OpenSet<O> {
    /// None, and at most that many.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            open: BTreeMap::new(),
            last: 0,
            link: None,
            follows: Follows::default(),
            closes: EffectQueue::default(),
        }
    }

    /// Opens one for a reader, or returns the open one with the same target. One that failed is
    /// tried again.
    ///
    /// # Errors
    /// [`TooMany`] at the bound; nothing has changed then.
    pub(super) fn open(
        &mut self,
        now: MonotonicTime,
        target: LiveTarget,
        make: impl FnOnce(LiveTarget) -> O,
    ) -> Result<OpenId, TooMany> {
        if let Some(id) = self.find(&target) {
            let is_attached = matches!(self.link, Some(Signal::Attached(_)));
            if let Some(one) = self.open.get_mut(&id) {
                one.set_read(true);
                if is_attached {
                    one.signal(now, Signal::Again);
                }
            }
            return Ok(id);
        }
        if self.open.len() >= self.most {
            // Those that nobody reads any more make room.
            self.sweep();
        }
        if self.open.len() >= self.most {
            return Err(TooMany { most: self.most });
        }
        self.last += 1;
        let (id, mut one) = (OpenId(self.last), make(target));
        if let Some(link) = self.link {
            one.signal(now, link);
        }
        self.open.insert(id, one);
        Ok(id)
    }

    /// The open one with this target.
    pub(super) fn find(&self, target: &LiveTarget) -> Option<OpenId> {
        let mut open = self.open.iter();
        open.find_map(|(id, one)| (one.target() == target).then_some(*id))
    }

    /// The last reader left.
    pub(super) fn left(&mut self, id: OpenId) {
        if let Some(one) = self.open.get_mut(&id) {
            one.set_read(false);
        }
    }

    /// Closes those without readers. Call every few seconds.
    pub(super) fn sweep(&mut self) {
        for close in self.follows.sweep(&mut self.open) {
            self.closes.push(close);
        }
    }

    /// The daemon answered that it follows a scope. `former`: the one that this had before.
    pub(super) fn answered(
        &mut self,
        id: OpenId,
        scope: &Scope,
        follow: Option<u64>,
        former: Option<Scope>,
    ) {
        if let Some(one) = self.open.get(&id) {
            self.follows.answered(one.name(), scope, follow, former);
        }
    }

    /// Tells all something of the connection.
    pub(super) fn signal(&mut self, now: MonotonicTime, signal: Signal) {
        if matches!(signal, Signal::Attached(_)) {
            self.follows.attached();
        }
        match signal {
            // A new one holds nothing that a resumed session would continue.
            Signal::Attached(_) => self.link = Some(Signal::Attached(SessionState::Resumed)),
            Signal::Disconnected(_) => self.link = Some(signal),
            Signal::Unreachable(_) | Signal::Again => {}
        }
        for one in self.open.values_mut() {
            one.signal(now, signal);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: MonotonicTime) {
        for one in self.open.values_mut() {
            one.handle_timeout(now);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<MonotonicTime> {
        self.open.values().filter_map(Open::poll_timeout).min()
    }

    /// The next follow to end. A later open of the same scope would be undone by it, so these come
    /// before other effects.
    pub(super) fn poll_close(&mut self) -> Option<Close> {
        self.closes.pop()
    }

    pub(super) fn poll_transition(&mut self) -> Option<Transition> {
        self.open.values_mut().find_map(Open::poll_transition)
    }

    pub(super) fn stale(&self) -> u64 {
        self.open.values().map(|one| u64::from(one.stale())).sum()
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn get(&self, id: OpenId) -> Option<&O> {
        self.open.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: OpenId) -> Option<&mut O> {
        self.open.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &O> {
        self.open.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (OpenId, &mut O)> {
        self.open.iter_mut().map(|(id, one)| (*id, one))
    }

    /// Those of a name.
    pub(super) fn named<'a>(&'a mut self, name: &'a str) -> impl Iterator<Item = &'a mut O> {
        let open = self.open.values_mut();
        open.filter(move |one| one.name() == name)
    }
}
