//! Rows of a daemon on the client, kept current by its events (DS-1, UX-4, LD-2). The directory of
//! agents and every table or log that is followed are collections.
//!
//! ```text
//!  Idle ──attached/refresh──► InitialLoading ──loaded──► Ready ◄──loaded── Revalidating
//!                                 │  ▲                     └─attached(new|reset)/refresh─┘ ▲ │
//!                           failed▼  │retry, attached, refresh                       retry │ ▼failed
//!                       ErrorBeforeFirstSuccess                                   ErrorAfterReady
//!  Idle ──disconnected──────────►┘
//! ```
//!
//! One load is as many pages as the collection wants rows: the machine requests each page with
//! [`Effect::Load`] and applies them as a whole after the last one. The rows are as of the `seq` of
//! the first page, and those of a later page as of its own; events are applied on top, in order,
//! each at most once per row (INV-10). A change that arrives during a load is displayed at once if
//! there are rows, and the newest per row is kept for the rows being loaded.
//!
//! A row whose change was too large for an event is [`Input::Stale`]: its old value stays until it
//! is fetched by key, as a load of its own.
//!
//! A row may grow ([`RowChange::Grow`]), by an event with the addition alone. Growth applies to
//! exact rows only: while rows are fetched again because events may be missing, it is kept for
//! those on their way, and the old ones are displayed without it.
//!
//! **Following.** A session forgets at each attach what is not followed again ([`Entry::FOLLOWS`]).
//! A collection that has missed nothing asks for no rows then, only to be continued
//! ([`Request::First`]).
//!
//! **More.** A collection that wants fewer rows than the daemon has is a window: it ends at the
//! last loaded row, and rows after that are left out until [`Input::LoadMore`] moves the end by a
//! page. A page of more rows is applied when it arrives; the state stays `Ready` ([`More`]).
//!
//! **Restored rows.** A collection may begin with rows that an earlier run of the app had
//! ([`Collection::restored`], LD-5). It displays them at once, and the next attach continues or
//! replaces them. [`Collection::is_as_of`] says when its own rows may be kept for a later run.
//!
//! Rows survive every error and every disconnect. A disconnect fails the running load at once
//! (INV-13), and because the machine then is not `Ready`, the next attach loads, whatever its kind.
//! In the diagram, [`State::Loading`] and [`State::Failed`] have a name for the first load and one
//! for later ones, as in the log and in [`CollectionState`].
//!
//! The machine has no flag for the connection (INV-5): a load without one fails with
//! [`LoadError::Lost`] and waits for the attach.

mod incoming;
mod loads;
mod restore;
mod rows;
mod state;
mod transitions;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use bowline_protocol::{Reason, SessionState};

pub use state::{CollectionState, More, State};

use super::{
    load::{Held, LoadError},
    view::{Beyond, Placed, RowList},
};
use crate::{
    Generation, MonotonicTime,
    machine_core::{MachineCore, outputs},
};
use incoming::{Floors, Incoming};
use rows::Rows;

/// Most pages of one load. A longer list is truncated there; one with pages without rows counts as
/// malformed.
pub const MAX_PAGES: u32 = 1_000;
/// Most rows that are fetched by key at once.
pub const MAX_KEYS: usize = 64;
/// Most rows that wait to be fetched by key; with more of them, all rows are fetched.
const MAX_STALE: usize = 512;

/// A row of a collection.
pub trait Entry: Placed {
    /// The identity of a row.
    type Key: Ord + Clone + Debug;

    /// Whether a collection shows nothing after the last row that it loaded, so that the rows have
    /// no gap. Otherwise a row that was left out is held when it changes.
    const IS_WINDOW: bool;

    /// Whether each attach ends what the session followed, unless it is followed again.
    const FOLLOWS: bool;

    /// What is added to a row that grows; [`Infallible`](std::convert::Infallible) for rows that do
    /// not.
    type Growth: Clone + Debug + Eq;

    /// This row with more.
    #[must_use]
    fn grown(&self, growth: &Self::Growth) -> Self;

    /// Approximate bytes of memory of an addition.
    fn growth_bytes(growth: &Self::Growth) -> usize;

    /// The identity of this row.
    fn key(&self) -> Self::Key;

    /// Approximate bytes of memory.
    fn bytes(&self) -> usize;
}

/// Bounds of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CollectionConfig {
    /// Rows wanted at first, and by each [`Input::LoadMore`].
    pub page: usize,
    /// Most rows: the first ones in the order of pages.
    pub max_rows: usize,
    /// Most bytes of rows ([`Entry::bytes`]), of which one always fits, and most bytes of changes
    /// during a load.
    pub max_bytes: usize,
}

/// A page of rows, in the daemon's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<R> {
    /// The rows.
    pub rows: Vec<R>,
    /// Start of the next page; `None` at the end.
    pub next: Option<String>,
    /// Number of all rows of the daemon, if it says so.
    pub total: Option<u64>,
    /// Number of the session event that the page is as of.
    pub seq: u64,
    /// Whether the rows that the collection has stand, so that the page has none.
    pub resumed: bool,
    /// Number of the follow that a first page is of.
    pub follow: Option<u64>,
}

/// A change of one row by an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowChange<R: Entry> {
    /// A new row, or the new value of one.
    Put(R),
    /// A row was removed.
    Remove(R::Key),
    /// A row grew.
    Grow(R::Key, R::Growth),
}

/// Inputs of a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input<R: Entry> {
    /// The host's active client attached to the session.
    Attached {
        /// The welcome's session state.
        session: SessionState,
    },
    /// The connection ended.
    Disconnected {
        /// The reason.
        reason: Reason,
    },
    /// The host cannot be reached, so nothing can be loaded. May be repeated.
    Unreachable {
        /// The reason.
        reason: Reason,
    },
    /// Fetch the rows again.
    Refresh,
    /// Fetch the rows again as they are from now on: a load on its way may have been answered.
    Reload,
    /// Fetch a page of the rows after the last one.
    LoadMore,
    /// The result of [`Effect::Load`].
    Page {
        /// The load it belongs to.
        load: Generation,
        /// The page, or why there is none.
        result: Result<Page<R>, LoadError>,
    },
    /// An event changed rows.
    Changed {
        /// Number of the event.
        seq: u64,
        /// The changes, each row at most once.
        changes: Vec<RowChange<R>>,
    },
    /// An event changed rows without their values.
    Stale {
        /// Number of the event.
        seq: u64,
        /// The rows; `None` if they can be any.
        keys: Option<Vec<R::Key>>,
    },
}

/// Effects for the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<K> {
    /// Request rows and report [`Input::Page`]; without a connection at once, with
    /// [`LoadError::Lost`].
    Load {
        /// Number of the load, to report with the result.
        load: Generation,
        /// The rows.
        request: Request<K>,
    },
}

/// Rows to request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<K> {
    /// The first page, and to follow what happens from there on.
    First {
        /// Rows wanted.
        limit: usize,
        /// What the rows held are as of: without any, if they have been followed since.
        held: Option<Held>,
    },
    /// A later page.
    Page {
        /// Its start ([`Page::next`]).
        cursor: String,
        /// Rows wanted.
        limit: usize,
    },
    /// These rows, in order of key. [`Page::next`] says that the last of them are missing.
    Rows(Vec<K>),
}

/// The collection machine. It begins without having been attached.
#[derive(Clone, Debug)]
pub struct Collection<R: Entry> {
    core: MachineCore<State, Effect<R::Key>>,
    config: CollectionConfig,
    /// Number of the newest load.
    generation: Generation,
    failures: u32,
    /// Rows that a load fetches, if there are as many.
    wanted: usize,
    rows: Rows<R>,
    /// The rows include every event of the epoch up to this one.
    applied: u64,
    /// The rows include later events, in some places.
    floors: Floors<R>,
    /// Rows whose newest value is to be fetched, with the event that said so.
    stale_rows: BTreeMap<R::Key, u64>,
    /// The event after which all rows are to be fetched.
    stale_since: Option<u64>,
    /// Whether the rows are those that a load brought, with every event since.
    is_unbroken: bool,
    /// Whether they were loaded since the numbering began.
    is_numbered: bool,
    /// The follow that they are of.
    follow: Option<u64>,
    incoming: Incoming<R>,
}

impl<R: Entry> Collection<R> {
    outputs!(State, Effect<R::Key>);

    /// No rows; `config` sets the bounds.
    pub fn new(config: CollectionConfig) -> Self {
        Self {
            core: MachineCore::default(),
            config,
            generation: Generation::ZERO,
            failures: 0,
            wanted: config.page.min(config.max_rows),
            rows: Rows::default(),
            applied: 0,
            floors: Floors::default(),
            stale_rows: BTreeMap::new(),
            stale_since: None,
            is_unbroken: false,
            is_numbered: false,
            follow: None,
            incoming: Incoming::default(),
        }
    }

    /// Numbers its loads after `last`, so that answers for an earlier collection are stale.
    #[must_use]
    pub const fn numbered_after(mut self, last: Generation) -> Self {
        self.generation = last;
        self
    }

    /// Feeds one input.
    pub fn handle(&mut self, now: MonotonicTime, input: Input<R>) {
        // The only check for results of loads that are over (INV-10).
        if let Input::Page { load, .. } = input
            && self.running() != Some(load)
        {
            return self.core.count_stale();
        }
        self.transition(now, input);
    }

    /// Call when [`Collection::poll_timeout`] has passed; an earlier call does nothing.
    pub fn handle_timeout(&mut self, now: MonotonicTime) {
        self.expire(now);
    }

    /// When to call [`Collection::handle_timeout`] next.
    pub const fn poll_timeout(&self) -> Option<MonotonicTime> {
        match self.state() {
            State::Loading { deadline, .. }
            | State::Ready {
                more: More::Loading { deadline },
            } => Some(*deadline),
            State::Failed { retry_at, .. } => *retry_at,
            // No timer: the next attach, refresh or wish for more is an input.
            State::Idle
            | State::Restored
            | State::Ready {
                more: More::Idle | More::Failed(_),
            } => None,
        }
    }

    /// Forgets the changes kept for a running load of rows that turn out not to belong here.
    pub fn discard(&mut self, mut is_wanted: impl FnMut(&R::Key) -> bool) {
        self.incoming.changes.retain(|key, _| is_wanted(key));
        self.incoming.growths.retain(|key, _| is_wanted(key));
        self.stale_rows.retain(|key, _| is_wanted(key));
    }

    /// Drops the rows at the end of a window which, as the caller knows, the daemon no longer has.
    /// If there are any, it has none after them either.
    pub fn drop_at_end(&mut self, is_gone: impl FnMut(&R) -> bool) {
        let is_dropped = self.rows.drop_at_end(is_gone);
        let is_extended = matches!(
            self.state(),
            State::Ready {
                more: More::Loading { .. }
            }
        );
        if is_dropped && is_extended {
            self.end_extension(More::Idle);
        }
    }

    /// Sets the bytes that the rows may take; rows over it are dropped at the end.
    pub fn set_max_bytes(&mut self, bytes: usize) {
        if bytes > self.config.max_bytes {
            self.rows.note_room();
        }
        self.config.max_bytes = bytes;
        self.rows.trim(&self.config);
    }

    /// The rows, in order of place. An unchanged row is the same `Arc` as before.
    pub const fn rows(&self) -> &RowList<R> {
        self.rows.list()
    }

    /// Incremented with every change of the rows, and only then.
    pub const fn rev(&self) -> u64 {
        self.rows.rev()
    }

    /// One row.
    pub fn get(&self, key: &R::Key) -> Option<&Arc<R>> {
        self.rows.get(key)
    }

    /// Approximate bytes of the rows.
    pub const fn bytes(&self) -> usize {
        self.rows.bytes()
    }

    /// Whether any load succeeded; later errors do not block the display.
    pub const fn has_succeeded(&self) -> bool {
        self.state().kind().is_loaded()
    }

    /// Number of the running load.
    pub fn running(&self) -> Option<Generation> {
        self.state().is_waiting().then_some(self.generation)
    }

    /// Whether the page on its way is a load's first one, which also follows.
    pub fn is_opening(&self) -> bool {
        matches!(self.incoming.request, Some(Request::First { .. }))
    }

    /// Number of the newest load.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// Error of the last load, until another one begins. One of [`Input::LoadMore`] is in
    /// [`Collection::beyond`].
    pub const fn error(&self) -> Option<LoadError> {
        if let State::Failed { error, .. } = self.state() {
            Some(*error)
        } else {
            None
        }
    }

    /// Whether the rows are current.
    pub const fn is_current(&self) -> bool {
        matches!(self.state(), State::Ready { .. })
    }

    /// The rows after the last one that can be loaded. Those that do not fit are
    /// [`Collection::left_out`].
    pub fn beyond(&self) -> Beyond {
        let is_open = self.rows.has_more() && !self.is_full();
        match self.state() {
            _ if !is_open => Beyond::None,
            State::Ready { more } => match more {
                More::Idle => Beyond::More,
                More::Loading { .. } => Beyond::Loading,
                More::Failed(error) => Beyond::Failed(*error),
            },
            State::Loading { .. } if self.wanted > self.rows.len() => Beyond::Loading,
            State::Idle | State::Restored | State::Loading { .. } | State::Failed { .. } => {
                Beyond::More
            }
        }
    }

    /// Whether the daemon has rows after the last one, whether or not they fit.
    pub const fn has_more(&self) -> bool {
        self.rows.has_more()
    }

    /// Place of the last row, if the daemon has rows after it.
    pub fn end(&self) -> Option<&R::Place> {
        self.rows.end()
    }

    /// Whether a row at this place is left out of the window, because rows before it may be.
    pub fn is_beyond(&self, place: &R::Place) -> bool {
        self.rows.is_beyond(place)
    }

    /// Whether the rows were loaded in the numbering in force, and each of them is as its newest
    /// event up to this one said: of a stale one, as before.
    pub const fn has_applied(&self, seq: u64) -> bool {
        self.has_succeeded() && self.is_numbered && seq <= self.applied
    }

    /// Whether a row, if there is one, is to be fetched.
    pub fn is_stale(&self, key: &R::Key) -> bool {
        self.stale_since.is_some() || self.stale_rows.contains_key(key)
    }

    /// The rows include every event that concerns them up to this one, if they are current. 0 after
    /// the numbering has begun anew.
    pub const fn applied(&self) -> u64 {
        self.applied
    }

    /// Whether no more rows fit.
    pub fn is_full(&self) -> bool {
        self.rows.len() >= self.config.max_rows
            || self.rows.bytes() >= self.config.max_bytes
            || self.rows.is_cut()
    }

    /// Number of the daemon's rows that are left out, if its pages say how many it has: exact after
    /// a load, then maintained from events.
    pub const fn left_out(&self) -> u64 {
        self.rows.left_out
    }
}
