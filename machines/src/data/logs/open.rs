//! One log that an app follows: what of a session's events and of the daemon's pages concerns it.

use std::{cmp::Reverse, collections::VecDeque};

use bowline_protocol::{
    IntentId,
    live::{LiveKind, LogAppended, LogGrown, LogItem, LogPage, LogReplaced, Scope},
};

use super::{
    LogEvent,
    laid::Laid,
    row::{self, LogGrowth, LogRow},
    view::LogView,
};
use crate::{
    Generation, MonotonicTime,
    data::{
        cache::SavedRows,
        collection::{Collection, Input, Page, RowChange},
        lists::{Kind, Learned, ListsConfig, OpenList},
        load::LoadError,
        patches::Concern,
    },
};

/// Most bytes of events that are kept while it is not known which log of the name this is.
const MAX_EARLY: usize = 1 << 20;
/// Most new items that are fetched by index; beyond it the newest page is.
const MAX_NEW: u64 = 256;

/// A log with its items.
pub(super) type OpenLog = OpenList<Window>;

/// What a log has besides its items.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// Bounds of the log on the daemon, as far as known in this epoch.
    pub(super) bounds: (u64, u64),
    /// Events of the name since the request for the first page, which says whose key is this log's.
    early: VecDeque<(u64, LogEvent)>,
    early_bytes: usize,
    /// Whether events may have been missed, so that the items are to be fetched again.
    is_incomplete: bool,
    /// Intents that added items, by events of this log, since the patches were last settled.
    told: Vec<(IntentId, u64, Concern)>,
    /// The items with those after them that are only expected.
    pub(super) laid: Laid,
}

impl Kind for Window {
    type Row = LogRow;
    type Page = LogPage;
    type View = LogView;

    const MACHINE: &'static str = "log_sync";
    const CONFIG: ListsConfig = ListsConfig {
        page: 100,
        max_rows: 20_000,
        most_open: 64,
        bytes: 64 << 20,
    };

    const KIND: LiveKind = LiveKind::Log;

    fn saved(log: &OpenLog) -> SavedRows {
        let (first, next) = log.own.bounds;
        SavedRows::Log {
            items: log.rows.rows().clone(),
            first,
            next,
        }
    }

    fn restored(page: LogPage) -> Result<(Page<LogRow>, Self), LoadError> {
        let own = Self {
            bounds: (page.first, page.next),
            ..Self::default()
        };
        Ok((row::page(page)?, own))
    }

    /// The daemon may be one restored from a backup, whose indexes are lower.
    fn renumber(&mut self) {
        self.bounds = (0, 0);
        self.take_early();
    }

    /// Without a key, all that is fetched is waited for.
    fn is_stale(rows: &Collection<LogRow>, _: &str) -> bool {
        !rows.is_current()
    }

    fn take_told(&mut self) -> Vec<(IntentId, u64, Concern)> {
        std::mem::take(&mut self.told)
    }

    fn follow_of(page: &LogPage) -> (&Scope, Option<u64>) {
        (&page.scope, page.follow)
    }

    fn page(
        log: &mut OpenLog,
        now: MonotonicTime,
        load: Generation,
        result: Result<LogPage, LoadError>,
    ) -> Option<Scope> {
        let mut former = None;
        if let Ok(page) = &result
            && log.rows.running() == Some(load)
        {
            match log.learn(now, load, (&page.scope, page.resumed)) {
                Learned::Same => {}
                Learned::Moved => return None,
                Learned::New(before) => {
                    log.own.bounds = (0, 0);
                    // What was kept for the page is of the log before, and of this one nothing was.
                    log.rows.discard(|_| false);
                    log.own.is_incomplete |= before.is_some();
                    for (seq, event) in log.own.take_early() {
                        log.event(now, seq, &event);
                    }
                    former = before;
                }
            }
            log.own.note_bounds(page.first, page.next);
        }
        let result = result.and_then(row::page);
        let is_refused = matches!(result, Err(LoadError::Rejected(_)));
        log.rows.handle(now, Input::Page { load, result });
        if is_refused && log.rows.is_opening() {
            // Not continued, but loaded anew: perhaps of a daemon whose indexes are lower.
            log.own.bounds = (0, 0);
        }
        if log.own.is_incomplete && log.rows.is_current() {
            log.own.is_incomplete = false;
            log.rows.handle(now, Input::Refresh);
        }
        log.drop_old();
        former
    }
}

impl Window {
    fn take_early(&mut self) -> VecDeque<(u64, LogEvent)> {
        self.early_bytes = 0;
        std::mem::take(&mut self.early)
    }

    fn note_bounds(&mut self, first: u64, next: u64) {
        let (known_first, known_next) = self.bounds;
        self.bounds = (known_first.max(first), known_next.max(next));
    }
}

impl OpenLog {
    /// Applies an event of a log of its name.
    pub(super) fn event(&mut self, now: MonotonicTime, seq: u64, event: &LogEvent) {
        let key = event.key();
        if self.scope.as_ref().is_some_and(|scope| scope.covers(key)) {
            let input = match event.clone() {
                LogEvent::Appended(event) => self.appended(seq, event),
                LogEvent::Grown(event) => self.grown(seq, event),
                LogEvent::Replaced(event) => self.replaced(seq, event),
            };
            self.rows.handle(now, input);
            self.drop_old();
        } else if self.scope.is_none() && self.rows.is_opening() {
            self.own.early_bytes = self.own.early_bytes.saturating_add(event.bytes());
            if self.own.early_bytes <= MAX_EARLY {
                self.own.early.push_back((seq, event.clone()));
            } else {
                self.own.is_incomplete = true;
            }
        }
    }

    fn appended(&mut self, seq: u64, event: LogAppended) -> Input<LogRow> {
        let newest = self.rows.rows().first().map(|row| row.index);
        self.own.note_bounds(event.first, event.next);
        // Without items, the event only tells that others were dropped.
        let adds = event.stale || !event.items.is_empty();
        if let Some(intent_id) = event.intent_id.filter(|_| adds) {
            let concern = if event.stale {
                Concern::Stale
            } else {
                Concern::Value
            };
            self.own.told.push((intent_id, seq, concern));
        }
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
        if event.stale {
            return self.outdated(seq, event.index);
        }
        let growth = LogGrowth {
            field: event.field.into(),
            text: event.text,
        };
        let changes = vec![RowChange::Grow(Reverse(event.index), growth)];
        Input::Changed { seq, changes }
    }

    /// An item after the end of the window stays left out, as any row there.
    fn replaced(&self, seq: u64, event: LogReplaced) -> Input<LogRow> {
        let Some(index) = event.index else {
            // Any item may have another value.
            return Input::Stale { seq, keys: None };
        };
        let Some(value) = event.value.filter(|_| !event.stale) else {
            return self.outdated(seq, index);
        };
        let item = LogItem {
            index,
            value,
            omitted_bytes: None,
            unreadable: false,
        };
        let changes = vec![RowChange::Put(item.into())];
        Input::Changed { seq, changes }
    }

    /// An item is to be fetched, if it is held or may be on its way.
    fn outdated(&self, seq: u64, index: u64) -> Input<LogRow> {
        let key = Reverse(index);
        if !self.rows.is_current() || self.rows.running().is_some() || self.rows.get(&key).is_some()
        {
            let keys = Some(vec![key]);
            return Input::Stale { seq, keys };
        }
        let changes = Vec::new();
        Input::Changed { seq, changes }
    }

    /// Drops what the daemon no longer keeps.
    fn drop_old(&mut self) {
        let first = self.own.bounds.0;
        self.rows.drop_at_end(|row| row.index < first);
    }
}
