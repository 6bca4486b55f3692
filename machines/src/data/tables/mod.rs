//! The tables of a host's services that an app follows (LD-2).
//!
//! Each table is a collection ([`crate::data::collection`]). Readers of the same table with the
//! same parameters share one; the driver reports the end of the last of them, and [`Tables::sweep`]
//! closes what nobody reads.
//!
//! **Scope.** A page says which keys its parameters stand for. Events are for all follows of a
//! session, so each table takes the rows that its scope covers. Several tables may have one scope,
//! which is followed until the last of them is closed.
//!
//! **Patches.** Over the rows of each table lie the patches of this client's intents that have not
//! left it ([`crate::data::patches`]).
//!
//! **Bounds** are in [`TablesConfig`]. The bytes are shared by all open tables.

mod overlay;
mod row;
mod view;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use bowline_protocol::{
    IntentId, Reason, SessionState,
    live::{Scope, TableChanged, TablePage},
};

pub use row::TableRow;
pub use view::{TableState, TableView};

use super::{
    collection::{self, Collection, CollectionConfig, Request, RowChange},
    follows::{Close, Follow, Follows},
    load::LoadError,
    patches::{self, Concern, PatchId, Patches, Told},
    screen::Connectivity,
};
use crate::data::target::LiveTarget;
use crate::{Generation, MonotonicTime, Transition, effects::EffectQueue};
use overlay::Overlay;

/// Bounds of a host's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TablesConfig {
    /// Rows wanted at first, and by each request for more.
    pub page: usize,
    /// Most rows of a table: the first ones. The rest is left out ([`TableView::truncated`]).
    pub max_rows: usize,
    /// Most open tables; further ones are refused.
    pub most_open: usize,
    /// Bytes shared by the rows of all open tables: with more open tables each holds less.
    pub bytes: usize,
}

impl Default for TablesConfig {
    fn default() -> Self {
        Self {
            page: 200,
            max_rows: 100_000,
            most_open: 64,
            bytes: 64 << 20,
        }
    }
}

/// An open table of a host. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(u64);

/// The maximum of tables is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TooManyTables {
    /// The maximum.
    pub most: usize,
}

/// Inputs of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Load a page of the rows after the last one.
    LoadMore,
    /// Fetch the rows again.
    Refresh,
    /// The result of [`Effect::Load`].
    Page {
        /// The load it belongs to.
        load: Generation,
        /// The page, or why there is none.
        result: Result<TablePage, LoadError>,
    },
}

/// Effects for the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Request rows by `live.open` or `live.page`, and report [`Input::Page`]; without a connection
    /// at once, with [`LoadError::Lost`].
    Load {
        /// The table.
        id: TableId,
        /// Number of the load, to report with the result.
        load: Generation,
        /// What to request them of.
        target: Arc<LiveTarget>,
        /// The rows.
        request: Request<Arc<str>>,
    },
    /// End following a scope by `live.close`. A failure costs unneeded events until the next
    /// attach.
    Close(Close),
    /// No row says any more that this intent failed, so it need not be kept for that.
    Forget(IntentId),
}

#[derive(Clone, Debug)]
struct OpenTable {
    target: Arc<LiveTarget>,
    rows: Collection<TableRow>,
    /// The keys that it covers, once the daemon has said so.
    scope: Option<Scope>,
    is_read: bool,
    overlay: Overlay,
    view: Arc<TableView>,
}

/// The tables of one host.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    config: TablesConfig,
    open: BTreeMap<TableId, OpenTable>,
    last: u64,
    /// How a new table learns the state of the connection.
    link: Link,
    effects: EffectQueue<Effect>,
    views: EffectQueue<(TableId, Arc<TableView>)>,
    follows: Follows,
    /// What this client's intents are expected to change.
    patches: Patches,
    /// The last event of the numbering in force.
    cursor: u64,
}

/// The last that was said about the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Link {
    /// Nothing yet.
    #[default]
    Unknown,
    Attached,
    Lost(Reason),
}

impl Tables {
    /// No tables; `config` sets the bounds.
    pub fn new(config: TablesConfig) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// Opens a table for a reader, or returns the open one with the same target. One whose load
    /// failed is tried again.
    ///
    /// # Errors
    /// [`TooManyTables`] at the bound; nothing has changed then.
    pub fn open(
        &mut self,
        now: MonotonicTime,
        target: LiveTarget,
    ) -> Result<(TableId, Arc<TableView>), TooManyTables> {
        let same = self.open.iter_mut().find(|(_, one)| *one.target == target);
        if let Some((id, one)) = same {
            one.is_read = true;
            if one.rows.error().is_some() {
                one.rows.handle(now, collection::Input::Refresh);
            }
            return Ok((*id, Arc::clone(&one.view)));
        }
        if self.open.len() >= self.config.most_open {
            // Those that nobody reads any more make room.
            self.sweep();
        }
        if self.open.len() >= self.config.most_open {
            return Err(TooManyTables {
                most: self.config.most_open,
            });
        }
        self.last += 1;
        let id = TableId(self.last);
        let mut one = OpenTable {
            target: Arc::new(target),
            rows: Collection::new(CollectionConfig {
                page: self.config.page,
                max_rows: self.config.max_rows,
                max_bytes: self.config.bytes,
            }),
            scope: None,
            is_read: true,
            overlay: Overlay::default(),
            view: Arc::default(),
        };
        match self.link {
            Link::Unknown => {}
            // Nothing is held that a resumed session would continue.
            Link::Attached => {
                let session = SessionState::Resumed;
                one.rows
                    .handle(now, collection::Input::Attached { session });
            }
            Link::Lost(reason) => {
                one.rows
                    .handle(now, collection::Input::Disconnected { reason });
            }
        }
        let view = Arc::clone(&one.view);
        self.open.insert(id, one);
        self.share();
        Ok((id, view))
    }

    /// The open table with this target.
    pub fn find(&self, target: &LiveTarget) -> Option<TableId> {
        let mut open = self.open.iter();
        open.find_map(|(id, one)| (*one.target == *target).then_some(*id))
    }

    /// The last reader of a table left.
    pub fn left(&mut self, id: TableId) {
        if let Some(one) = self.open.get_mut(&id) {
            one.is_read = false;
        }
    }

    /// Closes tables without readers. Call every few seconds.
    pub fn sweep(&mut self) {
        for close in self.follows.sweep(&mut self.open) {
            self.effects.push(Effect::Close(close));
        }
        self.share();
        self.forget_patches();
    }

    /// Assigns each table its share of the bytes.
    fn share(&mut self) {
        let share = self.config.bytes / self.open.len().max(1);
        for one in self.open.values_mut() {
            one.rows.set_max_bytes(share);
        }
    }

    /// The host's active client attached to the session.
    pub fn attached(&mut self, now: MonotonicTime, session: SessionState) {
        self.link = Link::Attached;
        if session != SessionState::Resumed {
            self.cursor = 0;
            self.patches.renumber();
        }
        for one in self.open.values_mut() {
            one.rows
                .handle(now, collection::Input::Attached { session });
        }
    }

    /// The connection ended.
    pub fn disconnected(&mut self, now: MonotonicTime, reason: Reason) {
        self.link = Link::Lost(reason);
        for one in self.open.values_mut() {
            one.rows
                .handle(now, collection::Input::Disconnected { reason });
        }
    }

    /// The host cannot be reached. Repetitions have no effect.
    pub fn unreachable(&mut self, now: MonotonicTime, reason: Reason) {
        for one in self.open.values_mut() {
            one.rows
                .handle(now, collection::Input::Unreachable { reason });
        }
    }

    /// Feeds an input for one table; one for a table that was closed has no effect.
    pub fn handle(&mut self, now: MonotonicTime, id: TableId, input: Input) {
        let Some(one) = self.open.get_mut(&id) else {
            return;
        };
        let input = match input {
            Input::LoadMore => collection::Input::LoadMore,
            Input::Refresh => collection::Input::Refresh,
            Input::Page { load, result } => {
                if let Ok(page) = &result
                    && one.rows.running() == Some(load)
                {
                    let is_moved = one.scope.as_ref() != Some(&page.scope);
                    let is_opening = one.rows.is_opening();
                    if is_moved && one.scope.is_some() && (page.resumed || !is_opening) {
                        one.moved(now, load, page.resumed);
                        return self.settle_patches();
                    }
                    let former = is_moved.then(|| one.belongs_to(&page.scope)).flatten();
                    if is_opening {
                        let (name, scope) = (&one.target.name, &page.scope);
                        self.follows.answered(name, scope, page.follow, former);
                    }
                }
                let result = result.and_then(row::page);
                collection::Input::Page { load, result }
            }
        };
        one.rows.handle(now, input);
        self.settle_patches();
    }

    /// An intent with patches was queued, ended, or its failure was dismissed (LD-3).
    pub fn patch(&mut self, now: MonotonicTime, input: patches::Input) {
        // Its effect has a number in the session's new numbering that nobody knows, and may be told
        // later than the rows on their way were read. Those requested from now on have it.
        let is_unnumbered = matches!(
            input,
            patches::Input::Concluded {
                conclusion: patches::Conclusion::Done { seq: 0 },
                ..
            }
        );
        for patch in self.patches.handle(input) {
            for one in self.open.values_mut() {
                if patch.concerns(&one.target, one.scope.as_ref()) {
                    one.overlay.note(&patch.key);
                    if is_unnumbered {
                        one.rows.handle(now, collection::Input::Reload);
                    }
                }
            }
        }
        self.settle_patches();
    }

    /// Whether a failure of an intent would be shown by a row.
    pub fn is_patched_by(&self, intent_id: IntentId) -> bool {
        let mut saying = self.patches.saying(intent_id);
        saying.any(|(id, one)| one.makes_row() || !self.is_rowless(id, one))
    }

    /// Whether the tables that cover a patch's key are current and show no row of it.
    fn is_rowless(&self, id: PatchId, one: &Told) -> bool {
        let (patch, key) = (&one.patch, Arc::from(one.patch.key.as_str()));
        let open = self.open.values();
        let mut covering = open
            .filter(|open| patch.concerns(&open.target, open.scope.as_ref()))
            .peekable();
        let made = |open: &OpenTable| {
            let others = self.patches.of_key(&key);
            let mut others = others.filter(|(other, ..)| *other != id);
            others.any(|(other, entry, one)| {
                one.makes_row()
                    && entry.layer(one).is_some()
                    && one.patch.concerns(&open.target, open.scope.as_ref())
                    && !open.overlay.has_left(other)
            })
        };
        covering.peek().is_some()
            && covering.all(|open| {
                let rows = &open.rows;
                let is_known = rows.is_current() && !rows.is_beyond(&key) && !rows.is_stale(&key);
                is_known && rows.get(&key).is_none() && !made(open)
            })
    }

    /// An event changed a table.
    pub fn changed(&mut self, now: MonotonicTime, seq: u64, event: &TableChanged) {
        let open = self.open.values_mut();
        for one in open.filter(|one| one.target.name == event.name) {
            if let Some(input) = one.input(seq, event) {
                one.rows.handle(now, input);
            }
        }
        for (id, patch, concern) in self.patches.told(seq, event) {
            let shows =
                |one: &&mut OpenTable| one.target.name == event.name && one.rows.has_succeeded();
            if concern == Concern::Value {
                // In this very step; what is not loaded yet has the row once it is.
                let open = self.open.values_mut();
                open.filter(shows)
                    .for_each(|one| one.overlay.leave(id, &patch.key));
            }
        }
        self.passed(seq);
    }

    /// Every event up to this one was fed, whether or not it concerned a table.
    pub fn passed(&mut self, seq: u64) {
        self.cursor = seq;
        self.settle_patches();
    }

    /// Lets patches leave the tables that include their effects.
    fn settle_patches(&mut self) {
        if self.patches.has_awaited() {
            for one in self.open.values_mut() {
                one.overlay.settle(&self.patches, &one.rows, self.cursor);
            }
            self.forget_patches();
        }
        let unsaid = self.patches.unsaid();
        let unsaid = unsaid.filter(|(id, one)| self.is_rowless(*id, one));
        let unsaid: Vec<PatchId> = unsaid.map(|(id, _)| id).collect();
        for id in unsaid {
            let over = self.patches.drop_unsaid(id);
            over.into_iter()
                .for_each(|intent_id| self.effects.push(Effect::Forget(intent_id)));
        }
    }

    /// Forgets patches that no open table waits for.
    fn forget_patches(&mut self) {
        let open = &self.open;
        self.patches.forget(|id, patch| {
            let lays = |one: &OpenTable| patch.concerns(&one.target, one.scope.as_ref());
            !open
                .values()
                .any(|one| lays(one) && !one.overlay.has_left(id))
        });
    }

    /// Call when [`Tables::poll_timeout`] has passed; an earlier call does nothing.
    pub fn handle_timeout(&mut self, now: MonotonicTime) {
        for one in self.open.values_mut() {
            one.rows.handle_timeout(now);
        }
    }

    /// When to call [`Tables::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<MonotonicTime> {
        let open = self.open.values();
        open.filter_map(|one| one.rows.poll_timeout()).min()
    }

    /// The next effect to execute.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        // A later open of the same scope would be undone by a close, so these come first.
        if let Some(effect) = self.effects.pop() {
            return Some(effect);
        }
        self.open.iter_mut().find_map(|(id, one)| {
            let collection::Effect::Load { load, request } = one.rows.poll_effect()?;
            Some(Effect::Load {
                id: *id,
                load,
                target: Arc::clone(&one.target),
                request,
            })
        })
    }

    /// The next transition record for the log.
    pub fn poll_transition(&mut self) -> Option<Transition> {
        let mut open = self.open.values_mut();
        let transition = open.find_map(|one| one.rows.poll_transition())?;
        Some(Transition {
            machine: "table_sync",
            ..transition
        })
    }

    /// Builds the newest views, for [`Tables::poll_view`]; each that differs from its predecessor
    /// gets the next revision. `host`: its status.
    pub fn publish(&mut self, host: Connectivity, rev: &mut u64) {
        for (id, one) in &mut self.open {
            let (rows, scope) = (&one.rows, one.scope.as_ref());
            let shown = one.overlay.lay(&self.patches, rows, &one.target, scope);
            let mut view = TableView::of(rows, shown.clone(), host, one.view.rev);
            if view.says_the_same(&one.view) {
                continue;
            }
            *rev += 1;
            view.rev = *rev;
            one.view = Arc::new(view);
            if one.is_read {
                self.views.push((*id, Arc::clone(&one.view)));
            }
        }
    }

    /// The next view for the readers of a table.
    pub fn poll_view(&mut self) -> Option<(TableId, Arc<TableView>)> {
        self.views.pop()
    }

    /// Results of loads that were over; they changed nothing (INV-10).
    pub fn stale(&self) -> u64 {
        let open = self.open.values();
        open.map(|one| u64::from(one.rows.stale())).sum()
    }
}

impl Follow for OpenTable {
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

impl OpenTable {
    /// Learns the keys that it covers, and returns the scope before. Events that arrived before
    /// concern other keys as well.
    fn belongs_to(&mut self, scope: &Scope) -> Option<Scope> {
        self.rows.discard(|key| scope.covers(key));
        self.scope.replace(scope.clone())
    }

    /// The service has given the parameters another scope, which no first page of this table began
    /// to follow: the rows are neither continued nor completed, but loaded anew.
    fn moved(&mut self, now: MonotonicTime, load: Generation, was_resumed: bool) {
        let result = Err(LoadError::Malformed);
        self.rows
            .handle(now, collection::Input::Page { load, result });
        // A failed load is repeated after a pause, but would be continued again.
        if was_resumed || self.rows.is_current() {
            self.rows.handle(now, collection::Input::Refresh);
        }
    }

    /// What of an event concerns it, if anything does.
    fn input(&self, seq: u64, event: &TableChanged) -> Option<collection::Input<TableRow>> {
        let scope = self.scope.as_ref();
        let is_covered = |key: &str| scope.is_none_or(|scope| scope.covers(key));
        let owned = |keys: &[String]| -> Vec<Arc<str>> {
            let keys = keys.iter().filter(|key| is_covered(key));
            keys.map(|key| Arc::from(key.as_str())).collect()
        };
        if event.stale {
            let keys = event.keys.as_deref().map(owned);
            let concerns = match &keys {
                Some(keys) => !keys.is_empty(),
                None => scope.is_none_or(|scope| scope.overlaps(&event.scope)),
            };
            return concerns.then_some(collection::Input::Stale { seq, keys });
        }
        let put = event.upserts.iter().filter(|row| is_covered(&row.key));
        let put = put.map(|row| RowChange::Put(row.clone().into()));
        let removed = owned(&event.removed).into_iter().map(RowChange::Remove);
        let changes: Vec<_> = put.chain(removed).collect();
        (!changes.is_empty()).then_some(collection::Input::Changed { seq, changes })
    }
}
