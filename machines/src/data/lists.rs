//! What tables and logs that are open have in common: rows in a collection, of which their readers
//! are shown views, with this client's patches (LD-3). They share bytes: with more open ones each
//! holds less.

mod patched;

use std::{fmt::Debug, sync::Arc};

use bowline_protocol::{
    IntentId, Reason, Resume, SessionState,
    live::{LiveKind, Scope},
};

use super::{
    cache::{Kept, Manifest, SavedList, SavedRows},
    collection::{self, Collection, CollectionConfig, Entry, Request},
    follows::{Close, Follow},
    load::LoadError,
    open::{Open, OpenId, OpenSet, Signal, TooMany},
    patches::{Concern, Left, Patches},
    target::LiveTarget,
};
use crate::{Generation, MonotonicTime, Transition, effects::EffectQueue};

/// Inputs of one table or log; `P`: a page of the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input<P> {
    /// Load the next page: of a table the rows after the last one, of a log the items before the
    /// oldest one.
    LoadMore,
    /// Fetch everything again.
    Refresh,
    /// The result of [`Effect::Load`].
    Page {
        /// The load it belongs to.
        load: Generation,
        /// The page, or why there is none.
        result: Result<P, LoadError>,
    },
}

/// Effects for the driver; `K`: what identifies a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<K> {
    /// Request rows by `live.open` or `live.page`, and report [`Input::Page`]; without a connection
    /// at once, with [`LoadError::Lost`].
    Load {
        /// The table or log.
        id: OpenId,
        /// Number of the load, to report with the result.
        load: Generation,
        /// What to request them of.
        target: Arc<LiveTarget>,
        /// The rows.
        request: Request<K>,
    },
    /// End following a scope by `live.close`. A failure costs unneeded events until the next
    /// attach.
    Close(Close),
    /// Nothing shows any more that this intent failed, so it need not be kept for that.
    Forget(IntentId),
}

/// Bounds of a host's tables, or of its logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListsConfig {
    /// Rows wanted at first, and by each request for more.
    pub page: usize,
    /// Most rows of one: the first ones of a table, the newest items of a log. The others are left
    /// out, which its view says.
    pub max_rows: usize,
    /// Most open ones; further ones are refused.
    pub most_open: usize,
    /// Bytes shared by the rows of all open ones.
    pub bytes: usize,
}

/// An open one, and what is shown of it, if anything is yet.
pub type Opened<V> = (OpenId, Option<Arc<V>>);

/// What is shown of one.
pub trait View: Clone + Debug + Default {
    /// Whether both have the same content, regardless of revisions, without comparing rows.
    fn says_the_same(&self, other: &Self) -> bool;

    /// Gives it a revision.
    fn set_rev(&mut self, rev: u64);
}

/// What a table or a log has of its own.
pub trait Kind: Clone + Debug + Default {
    /// Its rows.
    type Row: Entry + Clone + Debug;

    /// A page of the wire.
    type Page;

    /// What is shown of it.
    type View: View;

    /// Its name in transition records.
    const MACHINE: &'static str;

    /// The usual bounds.
    const CONFIG: ListsConfig;

    /// What it is on the wire.
    const KIND: LiveKind;

    /// What is kept of it for a later run of the app: its rows, without what lies over them.
    fn saved(list: &OpenList<Self>) -> SavedRows;

    /// The rows of a page that an earlier run kept, and what else the list begins with.
    ///
    /// # Errors
    /// [`LoadError::Malformed`].
    fn restored(page: Self::Page) -> Result<(collection::Page<Self::Row>, Self), LoadError>;

    /// The numbering of events began anew.
    fn renumber(&mut self) {}

    /// Whether an effect of which an event said only that there is one is to be fetched. `key`: of
    /// the row.
    fn is_stale(rows: &Collection<Self::Row>, key: &str) -> bool;

    /// The effects of intents that were told since the last call, each by the event with this
    /// number.
    fn take_told(&mut self) -> Vec<(IntentId, u64, Concern)> {
        Vec::new()
    }

    /// The scope and the follow of a page.
    fn follow_of(page: &Self::Page) -> (&Scope, Option<u64>);

    /// Takes the answer to a load. Returns the scope that the list had before, if it has another
    /// one now.
    fn page(
        list: &mut OpenList<Self>,
        now: MonotonicTime,
        load: Generation,
        result: Result<Self::Page, LoadError>,
    ) -> Option<Scope>;
}

/// A table or log with readers, or one that is about to be closed.
#[derive(Clone, Debug)]
pub struct OpenList<K: Kind> {
    pub(super) target: Arc<LiveTarget>,
    pub(super) rows: Collection<K::Row>,
    /// The keys that it covers, once the daemon has said so.
    pub(super) scope: Option<Scope>,
    is_read: bool,
    /// Whether it began with rows of an earlier run that no view has yet.
    is_unshown: bool,
    /// The patches that have left it.
    pub(super) left: Left,
    pub(super) view: Arc<K::View>,
    pub(super) own: K,
    /// What its file has.
    written: Option<Written>,
    /// The failed writes at which its file was to be deleted; `None`: it may stay.
    dropped: Option<u64>,
}

/// The rows that a list's file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Written {
    rev: u64,
    follow: Option<u64>,
    seq: u64,
    /// Failed writes before it.
    failures: u64,
}

/// What an answer to a load said of the scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Learned {
    /// Nothing new.
    Same,
    /// It is another one now, with the one before.
    New(Option<Scope>),
    /// It is another one, which this answer does not begin to follow: all is loaded anew.
    Moved,
}

impl<K: Kind> OpenList<K> {
    pub(super) fn new(target: LiveTarget, config: CollectionConfig) -> Self {
        Self {
            target: Arc::new(target),
            rows: Collection::new(config),
            scope: None,
            is_read: true,
            is_unshown: false,
            left: Left::default(),
            view: Arc::default(),
            own: K::default(),
            written: None,
            dropped: None,
        }
    }

    /// Begins with what an earlier run kept; with nothing if that is malformed.
    fn restored(target: LiveTarget, config: CollectionConfig, kept: Kept<K::Page>) -> Self {
        let mut it = Self::new(target, config);
        let (scope, follow) = K::follow_of(&kept.page);
        let scope = scope.clone();
        let Ok((page, mut own)) = K::restored(kept.page) else {
            return it;
        };
        if !kept.is_unbroken {
            // Its numbers may be those of another history.
            own.renumber();
        }
        it.rows = Collection::restored(config, page, kept.is_unbroken);
        it.is_unshown = true;
        it.scope = Some(scope);
        it.own = own;
        it.written = kept.is_unbroken.then_some(Written {
            rev: it.rows.rev(),
            follow,
            seq: kept.stored_seq,
            failures: 0,
        });
        it
    }

    /// Whether its file has its rows.
    fn is_written(&self, failures: u64) -> bool {
        self.written.is_some_and(|written| {
            let now = (self.rows.rev(), self.rows.follow(), failures);
            (written.rev, written.follow, written.failures) == now
        })
    }

    /// Whether its file is to be deleted: the daemon refuses the rows, so that a later start must
    /// not show them again. A file that was not there is deleted as well.
    fn is_to_drop(&self, failures: u64) -> bool {
        let is_refused = self.rows.error().is_some_and(LoadError::is_refusal);
        is_refused && self.dropped != Some(failures)
    }

    /// Learns from the page of a load which keys it covers. After [`Learned::Moved`] the page is
    /// used up.
    pub(super) fn learn(
        &mut self,
        now: MonotonicTime,
        load: Generation,
        (scope, resumed): (&Scope, bool),
    ) -> Learned {
        if self.rows.running() != Some(load) || self.scope.as_ref() == Some(scope) {
            return Learned::Same;
        }
        if self.scope.is_none() || !resumed && self.rows.is_opening() {
            return Learned::New(self.scope.replace(scope.clone()));
        }
        let result = Err(LoadError::Malformed);
        self.rows
            .handle(now, collection::Input::Page { load, result });
        // A failed load is repeated after a pause, but would be continued again.
        if resumed || self.rows.is_current() {
            self.rows.handle(now, collection::Input::Refresh);
        }
        Learned::Moved
    }
}

impl<K: Kind> Follow for OpenList<K> {
    fn name(&self) -> &str {
        &self.target.name
    }

    fn scope(&self) -> Option<&Scope> {
        self.scope.as_ref()
    }

    fn is_read(&self) -> bool {
        self.is_read
    }

    fn is_asking(&self) -> bool {
        self.rows.running().is_some()
    }
}

impl<K: Kind> Open for OpenList<K> {
    fn target(&self) -> &LiveTarget {
        &self.target
    }

    fn set_read(&mut self, is_read: bool) {
        self.is_read = is_read;
    }

    fn signal(&mut self, now: MonotonicTime, signal: Signal) {
        let input = match signal {
            Signal::Attached(session) => {
                if session != SessionState::Resumed {
                    self.own.renumber();
                    self.written = None;
                }
                collection::Input::Attached { session }
            }
            Signal::Disconnected(reason) => collection::Input::Disconnected { reason },
            Signal::Unreachable(reason) => collection::Input::Unreachable { reason },
            Signal::Again if self.rows.error().is_none() => return,
            Signal::Again => collection::Input::Refresh,
        };
        self.rows.handle(now, input);
    }

    fn handle_timeout(&mut self, now: MonotonicTime) {
        self.rows.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<MonotonicTime> {
        self.rows.poll_timeout()
    }

    fn poll_transition(&mut self) -> Option<Transition> {
        let transition = self.rows.poll_transition()?;
        Some(Transition {
            machine: K::MACHINE,
            ..transition
        })
    }

    fn stale(&self) -> u32 {
        self.rows.stale()
    }
}

/// The tables of one host, or its logs.
#[derive(Clone, Debug)]
pub struct Lists<K: Kind> {
    pub(super) config: ListsConfig,
    pub(super) open: OpenSet<OpenList<K>>,
    views: EffectQueue<(OpenId, Arc<K::View>)>,
    /// What this client's intents are expected to change.
    pub(super) patches: Patches,
    /// Intents whose failure nothing says any more.
    pub(super) unsaid: EffectQueue<IntentId>,
    /// The last event of the numbering in force.
    cursor: u64,
}

impl<K: Kind> Default for Lists<K> {
    fn default() -> Self {
        Self::new(K::CONFIG)
    }
}

impl<K: Kind> Lists<K> {
    /// None; `config` sets the bounds.
    pub fn new(config: ListsConfig) -> Self {
        Self {
            config,
            open: OpenSet::new(config.most_open),
            views: EffectQueue::default(),
            patches: Patches::default(),
            unsaid: EffectQueue::default(),
            cursor: 0,
        }
    }

    /// Opens one for a reader, or returns the open one with the same target. One whose load failed
    /// is tried again.
    ///
    /// # Errors
    /// [`TooMany`] at the bound; nothing has changed then.
    pub fn open(
        &mut self,
        now: MonotonicTime,
        target: LiveTarget,
    ) -> Result<(OpenId, Arc<K::View>), TooMany> {
        let (id, view) = self.open_kept(now, target, None)?;
        Ok((id, view.unwrap_or_default()))
    }

    /// As [`Lists::open`]. One that is not open yet begins with what an earlier run kept; it has no
    /// view before the next publication.
    ///
    /// # Errors
    /// As [`Lists::open`].
    pub fn open_kept(
        &mut self,
        now: MonotonicTime,
        target: LiveTarget,
        kept: Option<Kept<K::Page>>,
    ) -> Result<Opened<K::View>, TooMany> {
        let config = CollectionConfig {
            page: self.config.page,
            max_rows: self.config.max_rows,
            max_bytes: self.config.bytes,
        };
        let make = |target| match kept {
            Some(kept) => OpenList::restored(target, config, kept),
            None => OpenList::new(target, config),
        };
        let id = self.open.open(now, target, make)?;
        self.share();
        let shown = self.open.get(id).filter(|one| !one.is_unshown);
        Ok((id, shown.map(|one| Arc::clone(&one.view))))
    }

    /// The open one with this target.
    pub fn find(&self, target: &LiveTarget) -> Option<OpenId> {
        self.open.find(target)
    }

    /// The last reader left.
    pub fn left(&mut self, id: OpenId) {
        self.open.left(id);
    }

    /// Closes those without readers. Call every few seconds.
    pub fn sweep(&mut self) {
        self.open.sweep();
        self.share();
        self.forget_patches();
    }

    /// Assigns each its share of the bytes.
    fn share(&mut self) {
        let share = self.config.bytes / self.open.len().max(1);
        for (_, one) in self.open.iter_mut() {
            one.rows.set_max_bytes(share);
        }
    }

    /// The host's active client attached to the session.
    pub fn attached(&mut self, now: MonotonicTime, session: SessionState) {
        if session != SessionState::Resumed {
            self.cursor = 0;
            self.patches.renumber();
        }
        self.open.signal(now, Signal::Attached(session));
    }

    /// The connection ended.
    pub fn disconnected(&mut self, now: MonotonicTime, reason: Reason) {
        self.open.signal(now, Signal::Disconnected(reason));
    }

    /// The host cannot be reached. Repetitions have no effect.
    pub fn unreachable(&mut self, now: MonotonicTime, reason: Reason) {
        self.open.signal(now, Signal::Unreachable(reason));
    }

    /// Feeds an input for one; one for what was closed has no effect.
    pub fn handle(&mut self, now: MonotonicTime, id: OpenId, input: Input<K::Page>) {
        let Some(one) = self.open.get_mut(id) else {
            return;
        };
        match input {
            Input::LoadMore => one.rows.handle(now, collection::Input::LoadMore),
            Input::Refresh => one.rows.handle(now, collection::Input::Refresh),
            Input::Page { load, result } => {
                let is_opening = one.rows.running() == Some(load) && one.rows.is_opening();
                let page = result.as_ref().ok().filter(|_| is_opening);
                let opened = page.map(|page| {
                    let (scope, follow) = K::follow_of(page);
                    (scope.clone(), follow)
                });
                let former = K::page(one, now, load, result);
                if let Some((scope, follow)) = opened
                    && one.scope.as_ref() == Some(&scope)
                {
                    self.open.answered(id, &scope, follow, former);
                }
            }
        }
        self.settle_patches();
    }

    /// Call when [`Lists::poll_timeout`] has passed; an earlier call does nothing.
    pub fn handle_timeout(&mut self, now: MonotonicTime) {
        self.open.handle_timeout(now);
    }

    /// When to call [`Lists::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<MonotonicTime> {
        self.open.poll_timeout()
    }

    /// The next effect to execute.
    pub fn poll_effect(&mut self) -> Option<Effect<<K::Row as Entry>::Key>> {
        if let Some(intent_id) = self.unsaid.pop() {
            return Some(Effect::Forget(intent_id));
        }
        if let Some(close) = self.open.poll_close() {
            return Some(Effect::Close(close));
        }
        self.open.iter_mut().find_map(|(id, one)| {
            let collection::Effect::Load { load, request } = one.rows.poll_effect()?;
            Some(Effect::Load {
                id,
                load,
                target: Arc::clone(&one.target),
                request,
            })
        })
    }

    /// The next transition record for the log of the program.
    pub fn poll_transition(&mut self) -> Option<Transition> {
        self.open.poll_transition()
    }

    /// Builds the newest views, for [`Lists::poll_view`]; each that differs from its predecessor
    /// gets the next revision.
    pub(super) fn publish_each(
        &mut self,
        rev: &mut u64,
        mut build: impl FnMut(&mut OpenList<K>, &Patches) -> K::View,
    ) {
        for (id, one) in self.open.iter_mut() {
            let mut view = build(one, &self.patches);
            let is_first = std::mem::take(&mut one.is_unshown);
            if !is_first && view.says_the_same(&one.view) {
                continue;
            }
            *rev += 1;
            view.set_rev(*rev);
            one.view = Arc::new(view);
            if one.is_read {
                self.views.push((id, Arc::clone(&one.view)));
            }
        }
    }

    /// Whether the file of any is to be deleted, after so many failed writes.
    pub(super) fn has_refused(&self, failures: u64) -> bool {
        self.open.iter().any(|one| one.is_to_drop(failures))
    }

    /// Collects those whose files are to be deleted.
    pub(super) fn drop_refused(
        &mut self,
        failures: u64,
        refused: &mut Vec<(LiveKind, Arc<LiveTarget>)>,
    ) {
        for (_, one) in self.open.iter_mut() {
            if one.is_to_drop(failures) {
                (one.written, one.dropped) = (None, Some(failures));
                refused.push((K::KIND, Arc::clone(&one.target)));
            }
        }
    }

    /// Whether any has rows as of this event, and, with `failures`, rows that its file has not.
    pub(super) fn has_savable(&self, seq: u64, failures: Option<u64>) -> bool {
        self.open.iter().any(|one| {
            let is_new = failures.is_none_or(|failures| !one.is_written(failures));
            is_new && one.scope.is_some() && one.rows.is_as_of(seq)
        })
    }

    /// Collects what is to be written of those that are as of a position, and names them in its
    /// manifest. Returns the approximate bytes.
    pub(super) fn save(
        &mut self,
        position: &Resume,
        failures: u64,
        lists: &mut Vec<SavedList>,
        manifest: &mut Manifest,
    ) -> usize {
        let seq = position.last_seq;
        let mut bytes = 0_usize;
        for (_, one) in self.open.iter_mut() {
            let Some(scope) = one.scope.clone().filter(|_| one.rows.is_as_of(seq)) else {
                continue;
            };
            if !one.is_written(failures) {
                let follow = one.rows.follow();
                lists.push(SavedList {
                    kind: K::KIND,
                    target: Arc::clone(&one.target),
                    epoch: position.epoch.clone(),
                    seq,
                    scope,
                    follow,
                    more: one.rows.has_more(),
                    rows: K::saved(one),
                });
                bytes = bytes.saturating_add(one.rows.bytes());
                one.dropped = None;
                one.written = Some(Written {
                    rev: one.rows.rev(),
                    follow,
                    seq,
                    failures,
                });
            }
            if let Some(written) = one.written {
                manifest.add(K::KIND, &one.target, written.seq);
            }
        }
        bytes
    }

    /// The next view for the readers of one.
    pub fn poll_view(&mut self) -> Option<(OpenId, Arc<K::View>)> {
        self.views.pop()
    }

    /// Results of loads that were over; they changed nothing (INV-10).
    pub fn stale(&self) -> u64 {
        self.open.stale()
    }
}
