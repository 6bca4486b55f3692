//! The tables of a host's services that an app follows (LD-2).
//!
//! Each table is a collection ([`crate::data::collection`]). Readers of the same table with the
//! same parameters share one; the driver reports the end of the last of them, and [`Tables::sweep`]
//! closes what nobody reads, as for logs and topics ([`crate::data::open`]).
//!
//! **Scope.** A page says which keys its parameters stand for. Events are for all follows of a
//! session, so each table takes the rows that its scope covers. Several tables may have one scope,
//! which is followed until the last of them is closed.
//!
//! **Patches.** Over the rows of each table lie the patches of this client's intents that have not
//! left it ([`crate::data::patches`]).
//!
//! **Bounds** are in [`ListsConfig`]. The bytes are shared by all open tables.

mod overlay;
mod row;
mod view;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bowline_protocol::{
    IntentId, Reason, Resume, SessionState,
    live::{LiveKind, Scope, TableChanged, TablePage},
};

pub use row::TableRow;
pub use view::{TableState, TableView};

use super::{
    cache::{Kept, Manifest, SavedList, SavedRows},
    collection::{self, Collection, RowChange},
    lists::{self, Kind, Learned, Lists, ListsConfig, OpenList, Opened},
    load::LoadError,
    open::{OpenId, TooMany},
    patches::{self, PatchId, Told},
    screen::Connectivity,
};
use crate::data::target::LiveTarget;
use crate::{Generation, MonotonicTime, Transition};
use overlay::Overlay;

/// Inputs of one table.
pub type Input = lists::Input<TablePage>;

/// Effects for the driver.
pub type Effect = lists::Effect<Arc<str>>;

/// A table with its rows and the patches over them.
type OpenTable = OpenList<Overlay>;

impl Kind for Overlay {
    type Row = TableRow;
    type Page = TablePage;
    type View = TableView;

    const MACHINE: &'static str = "table_sync";
    const CONFIG: ListsConfig = ListsConfig {
        page: 200,
        max_rows: 100_000,
        most_open: 64,
        bytes: 64 << 20,
    };

    fn is_stale(rows: &Collection<TableRow>, key: &str) -> bool {
        rows.is_stale(&Arc::from(key))
    }

    const KIND: LiveKind = LiveKind::Table;

    fn saved(table: &OpenTable) -> SavedRows {
        SavedRows::Table(table.rows.rows().clone())
    }

    fn restored(page: TablePage) -> Result<(collection::Page<TableRow>, Self), LoadError> {
        Ok((row::page(page)?, Self::default()))
    }

    fn follow_of(page: &TablePage) -> (&Scope, Option<u64>) {
        (&page.scope, page.follow)
    }

    fn page(
        table: &mut OpenTable,
        now: MonotonicTime,
        load: Generation,
        result: Result<TablePage, LoadError>,
    ) -> Option<Scope> {
        let mut former = None;
        if let Ok(page) = &result {
            match table.learn(now, load, (&page.scope, page.resumed)) {
                Learned::Same => {}
                Learned::Moved => return None,
                Learned::New(before) => {
                    // Events that arrived before concern other keys as well.
                    table.rows.discard(|key| page.scope.covers(key));
                    former = before;
                }
            }
        }
        let result = result.and_then(row::page);
        table
            .rows
            .handle(now, collection::Input::Page { load, result });
        former
    }
}

/// The tables of one host.
#[derive(Clone, Debug)]
pub struct Tables {
    lists: Lists<Overlay>,
}

impl Default for Tables {
    fn default() -> Self {
        Self::new(Overlay::CONFIG)
    }
}

impl Tables {
    /// No tables; `config` sets the bounds.
    pub fn new(config: ListsConfig) -> Self {
        Self {
            lists: Lists::new(config),
        }
    }

    /// Opens a table for a reader, or returns the open one with the same target. One whose load
    /// failed is tried again.
    ///
    /// # Errors
    /// [`TooMany`] at the bound; nothing has changed then.
    pub fn open(
        &mut self,
        now: MonotonicTime,
        target: LiveTarget,
    ) -> Result<(OpenId, Arc<TableView>), TooMany> {
        self.lists.open(now, target)
    }

    /// As [`Tables::open`]. A table that is not open yet begins with what an earlier run kept; it
    /// has no view before the next publication.
    ///
    /// # Errors
    /// As [`Tables::open`].
    pub fn open_kept(
        &mut self,
        now: MonotonicTime,
        target: LiveTarget,
        kept: Option<Kept<TablePage>>,
    ) -> Result<Opened<TableView>, TooMany> {
        self.lists.open_kept(now, target, kept)
    }

    /// As for logs: whether any has rows as of this event.
    pub(super) fn has_savable(&self, seq: u64, failures: Option<u64>) -> bool {
        self.lists.has_savable(seq, failures)
    }

    /// As for logs: whether the file of any is to be deleted.
    pub(super) fn has_refused(&self, failures: u64) -> bool {
        self.lists.has_refused(failures)
    }

    /// Collects those whose files are to be deleted, as for logs.
    pub(super) fn drop_refused(
        &mut self,
        failures: u64,
        refused: &mut Vec<(LiveKind, Arc<LiveTarget>)>,
    ) {
        self.lists.drop_refused(failures, refused);
    }

    /// Collects what is to be written, as for logs. What lies over the rows is in the outbox.
    pub(super) fn save(
        &mut self,
        position: &Resume,
        failures: u64,
        lists: &mut Vec<SavedList>,
        manifest: &mut Manifest,
    ) -> usize {
        self.lists.save(position, failures, lists, manifest)
    }

    /// The open table with this target.
    pub fn find(&self, target: &LiveTarget) -> Option<OpenId> {
        self.lists.find(target)
    }

    /// The last reader of a table left.
    pub fn left(&mut self, id: OpenId) {
        self.lists.left(id);
    }

    /// Closes tables without readers. Call every few seconds.
    pub fn sweep(&mut self) {
        self.lists.sweep();
    }

    /// The host's active client attached to the session.
    pub fn attached(&mut self, now: MonotonicTime, session: SessionState) {
        self.lists.attached(now, session);
    }

    /// The connection ended.
    pub fn disconnected(&mut self, now: MonotonicTime, reason: Reason) {
        self.lists.disconnected(now, reason);
    }

    /// The host cannot be reached. Repetitions have no effect.
    pub fn unreachable(&mut self, now: MonotonicTime, reason: Reason) {
        self.lists.unreachable(now, reason);
    }

    /// Feeds an input for one table; one for a table that was closed has no effect.
    pub fn handle(&mut self, now: MonotonicTime, id: OpenId, input: Input) {
        self.lists.handle(now, id, input);
        self.drop_unsaid();
    }

    /// An intent with patches was queued, ended, or its failure was dismissed (LD-3).
    pub fn patch(&mut self, now: MonotonicTime, input: patches::Input) {
        self.lists.patch(now, input);
        self.drop_unsaid();
    }

    /// Whether a failure of an intent would be shown by a row.
    pub fn is_patched_by(&self, intent_id: IntentId) -> bool {
        let mut saying = self.lists.patches.saying(intent_id);
        saying.any(|(id, one)| one.makes_row() || !self.is_rowless(id, one))
    }

    /// Whether the tables that cover a patch's key are current and show no row of it.
    fn is_rowless(&self, id: PatchId, one: &Told) -> bool {
        let (patch, key) = (&one.patch, Arc::from(one.patch.key.as_str()));
        let open = self.lists.open.iter();
        let mut covering = open
            .filter(|open| patch.concerns(&open.target, open.scope.as_ref()))
            .peekable();
        let made = |open: &OpenTable| {
            let others = self.lists.patches.of_key(&key);
            let mut others = others.filter(|(other, ..)| *other != id);
            others.any(|(other, entry, one)| {
                one.makes_row()
                    && entry.layer(one).is_some()
                    && one.patch.concerns(&open.target, open.scope.as_ref())
                    && !open.left.has_left(other)
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
        for one in self.lists.open.named(&event.name) {
            if let Some(input) = one.input(seq, event) {
                one.rows.handle(now, input);
            }
        }
        let confirmed = self
            .lists
            .patches
            .told(seq, event.intent_id, |patch| patches::concern(event, patch));
        self.lists.leave(&confirmed);
        event
            .intent_id
            .into_iter()
            .for_each(|intent_id| self.lists.drop_told(intent_id));
        self.passed(seq);
    }

    /// Every event up to this one was fed, whether or not it concerned a table.
    pub fn passed(&mut self, seq: u64) {
        self.lists.passed(seq);
        self.drop_unsaid();
    }

    /// Drops the patches whose failure no row says.
    fn drop_unsaid(&mut self) {
        let unsaid = self.lists.patches.unsaid();
        let unsaid = unsaid.filter(|(id, one)| self.is_rowless(*id, one));
        let unsaid: Vec<PatchId> = unsaid.map(|(id, _)| id).collect();
        for id in unsaid {
            let over = self.lists.patches.drop_unsaid(id);
            over.into_iter()
                .for_each(|intent_id| self.lists.unsaid.push(intent_id));
        }
    }

    /// Call when [`Tables::poll_timeout`] has passed; an earlier call does nothing.
    pub fn handle_timeout(&mut self, now: MonotonicTime) {
        self.lists.handle_timeout(now);
    }

    /// When to call [`Tables::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<MonotonicTime> {
        self.lists.poll_timeout()
    }

    /// The next effect to execute.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.lists.poll_effect()
    }

    /// The next transition record for the log.
    pub fn poll_transition(&mut self) -> Option<Transition> {
        self.lists.poll_transition()
    }

    /// Builds the newest views, for [`Tables::poll_view`]; each that differs from its predecessor
    /// gets the next revision. `host`: its status.
    pub fn publish(&mut self, host: Connectivity, rev: &mut u64) {
        self.lists.publish_each(rev, |one, patches| {
            let (rows, scope) = (&one.rows, one.scope.as_ref());
            let over = (patches, &mut one.left);
            let shown = one.own.lay(over, rows, &one.target, scope);
            TableView::of(rows, shown.clone(), host, one.view.rev)
        });
    }

    /// The next view for the readers of a table.
    pub fn poll_view(&mut self) -> Option<(OpenId, Arc<TableView>)> {
        self.lists.poll_view()
    }

    /// Results of loads that were over; they changed nothing (INV-10).
    pub fn stale(&self) -> u64 {
        self.lists.stale()
    }
}

impl OpenTable {
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
