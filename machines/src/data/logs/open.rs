//! One log that an app follows: what of a session's events and of the daemon's pages concerns it.

use std::{cmp::Reverse, collections::VecDeque, sync::Arc};

use bowline_protocol::{
    SessionState,
    live::{LogAppended, LogGrown, LogPage, Scope},
};

use super::{
    LogEvent,
    row::{self, LogGrowth, LogRow},
    view::LogView,
};
use crate::data::target::LiveTarget;
use crate::{
    Generation, MonotonicTime,
    data::{
        collection::{Collection, CollectionConfig, Input, RowChange},
        follows::Follow,
        load::LoadError,
    },
};

/// Most bytes of events that are kept while it is not known which log of the name this is.
const MAX_EARLY: usize = 1 << 20;
/// Most new items that are fetched by index; beyond it the newest page is.
const MAX_NEW: u64 = 256;

/// A log with readers, or one that is about to be closed.
#[derive(Clone, Debug)]
pub(super) struct OpenLog {
    pub(super) target: Arc<LiveTarget>,
    pub(super) rows: Collection<LogRow>,
    /// Its key, once the daemon has said which one the parameters stand for.
    pub(super) scope: Option<Scope>,
    /// Bounds of the log on the daemon, as far as known in this epoch.
    pub(super) bounds: (u64, u64),
    /// Events of the name since the request for the first page, which says whose key is this log's.
    early: VecDeque<(u64, LogEvent)>,
    early_bytes: usize,
    /// Whether events may have been missed, so that the items are to be fetched again.
    is_incomplete: bool,
    pub(super) is_read: bool,
    pub(super) view: Arc<LogView>,
}

impl Follow for OpenLog {
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

impl OpenLog {
    pub(super) fn new(target: LiveTarget, config: CollectionConfig) -> Self {
        Self {
            target: Arc::new(target),
            rows: Collection::new(config),
            scope: None,
            bounds: (0, 0),
            early: VecDeque::new(),
            early_bytes: 0,
            is_incomplete: false,
            is_read: true,
            view: Arc::default(),
        }
    }

    /// The host's active client attached. In another epoch the daemon may be one restored from a
    /// backup, whose indexes are lower.
    pub(super) fn attached(&mut self, now: MonotonicTime, session: SessionState) {
        if session != SessionState::Resumed {
            self.bounds = (0, 0);
            self.forget_early();
        }
        self.rows.handle(now, Input::Attached { session });
    }

    fn forget_early(&mut self) -> VecDeque<(u64, LogEvent)> {
        self.early_bytes = 0;
        std::mem::take(&mut self.early)
    }

    /// Takes the answer to a load. Returns the scope that it had before, if it has another one now.
    pub(super) fn page(
        &mut self,
        now: MonotonicTime,
        load: Generation,
        result: Result<LogPage, LoadError>,
    ) -> Option<Scope> {
        let mut former = None;
        if let Ok(page) = &result
            && self.rows.running() == Some(load)
        {
            if self.scope.as_ref() != Some(&page.scope) {
                if self.scope.is_some() && (page.resumed || !self.rows.is_opening()) {
                    self.moved(now, load, page.resumed);
                    return None;
                }
                former = self.scope.replace(page.scope.clone());
                self.bounds = (0, 0);
                // What was kept for the page is of the log before, and of this one nothing was.
                self.rows.discard(|_| false);
                self.is_incomplete |= former.is_some();
                for (seq, event) in self.forget_early() {
                    self.event(now, seq, &event);
                }
            }
            self.note_bounds(page.first, page.next);
        }
        let result = result.and_then(row::page);
        self.rows.handle(now, Input::Page { load, result });
        if self.is_incomplete && self.rows.is_current() {
            self.is_incomplete = false;
            self.rows.handle(now, Input::Refresh);
        }
        self.drop_old();
        former
    }

    /// The service has given the parameters another log, which no first page began to follow: the
    /// items are neither continued nor completed, but loaded anew.
    fn moved(&mut self, now: MonotonicTime, load: Generation, was_resumed: bool) {
        let result = Err(LoadError::Malformed);
        self.rows.handle(now, Input::Page { load, result });
        // A failed load is repeated after a pause, but would be continued again.
        if was_resumed || self.rows.is_current() {
            self.rows.handle(now, Input::Refresh);
        }
    }

    /// Applies an event of a log of its name.
    pub(super) fn event(&mut self, now: MonotonicTime, seq: u64, event: &LogEvent) {
        let key = event.key();
        if self.scope.as_ref().is_some_and(|scope| scope.covers(key)) {
            let input = match event.clone() {
                LogEvent::Appended(event) => self.appended(seq, event),
                LogEvent::Grown(event) => self.grown(seq, event),
            };
            self.rows.handle(now, input);
            self.drop_old();
        } else if self.scope.is_none() && self.rows.is_opening() {
            self.early_bytes = self.early_bytes.saturating_add(event.bytes());
            if self.early_bytes <= MAX_EARLY {
                self.early.push_back((seq, event.clone()));
            } else {
                self.is_incomplete = true;
            }
        }
    }

    fn appended(&mut self, seq: u64, event: LogAppended) -> Input<LogRow> {
        let newest = self.rows.rows().first().map(|row| row.index);
        self.note_bounds(event.first, event.next);
        if !event.stale {
            let rows = event.items.into_iter().map(LogRow::from);
            let changes = rows.map(RowChange::Put).collect();
            return Input::Changed { seq, changes };
        }
        // Which items are new is known from those that are held, if these are current.
        let newest = newest.filter(|_| self.rows.is_current());
        let from = newest.map(|newest| newest.saturating_add(1).max(event.first));
        let few = from.filter(|from| event.next.saturating_sub(*from) <= MAX_NEW);
        let keys = few.map(|from| (from..event.next).map(Reverse).collect());
        Input::Stale { seq, keys }
    }

    fn grown(&self, seq: u64, event: LogGrown) -> Input<LogRow> {
        let key = Reverse(event.index);
        let mut changes = Vec::new();
        if !event.stale {
            let growth = LogGrowth {
                field: event.field.into(),
                text: event.text,
            };
            changes.push(RowChange::Grow(key, growth));
        } else if !self.rows.is_current()
            || self.rows.running().is_some()
            || self.rows.get(&key).is_some()
        {
            let keys = Some(vec![key]);
            return Input::Stale { seq, keys };
        }
        Input::Changed { seq, changes }
    }

    fn note_bounds(&mut self, first: u64, next: u64) {
        let (known_first, known_next) = self.bounds;
        self.bounds = (known_first.max(first), known_next.max(next));
    }

    /// Drops what the daemon no longer keeps.
    fn drop_old(&mut self) {
        let first = self.bounds.0;
        self.rows.drop_at_end(|row| row.index < first);
    }
}
