//! The loads of a collection: what is requested, and how pages and events become rows.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Collection, Effect, Entry, Incoming, MAX_KEYS, MAX_STALE, More, Page, Request, RowChange,
    State,
    incoming::{Change, End, Taken},
};
use crate::{
    MonotonicTime,
    data::load::{Held, LOAD_DEADLINE, LoadError},
};

impl<R: Entry> Collection<R> {
    /// Starts another numbering, or a cursor ahead of events that will not be replayed.
    pub(super) fn renumber(&mut self) {
        self.applied = 0;
        self.rows.renumber();
        self.floors = super::Floors::default();
        self.is_unbroken = false;
        self.is_numbered = false;
        self.stale_rows.clear();
        self.stale_since = None;
    }

    /// Starts a load from the first page, which contains the changes kept for an earlier load.
    pub(super) fn load(&mut self, now: MonotonicTime, event: &'static str) {
        let held = (R::FOLLOWS && self.is_unbroken).then_some(Held {
            seq: self.applied,
            follow: self.follow,
        });
        let limit = self.wanted;
        self.begin(now, event, Request::First { limit, held });
    }

    fn begin(&mut self, now: MonotonicTime, event: &'static str, request: Request<R::Key>) {
        self.incoming = Incoming::default();
        self.generation = self.generation.next();
        self.ask(request);
        let to = State::Loading {
            again: self.has_succeeded(),
            deadline: now + LOAD_DEADLINE,
        };
        self.set(to, event, None);
    }

    fn ask(&mut self, request: Request<R::Key>) {
        self.incoming.is_overtaken = false;
        self.incoming.request = Some(request.clone());
        let load = self.generation;
        self.core.push(Effect::Load { load, request });
    }

    /// Repeats the request on its way.
    pub(super) fn ask_again(&mut self) {
        if let Some(request) = self.incoming.request.clone() {
            self.ask(request);
        }
    }

    pub(super) fn want_more(&mut self) {
        let wanted = self.rows.len().saturating_add(self.config.page);
        self.wanted = self.wanted.max(wanted).min(self.config.max_rows);
    }

    /// Requests the page after the last row, if there is one and it fits.
    pub(super) fn extend(&mut self, now: MonotonicTime) {
        if !self.rows.has_more() || self.is_full() {
            return;
        }
        let Some(cursor) = self.rows.next().cloned() else {
            // Rows were dropped at the end, so where they were cannot be continued.
            self.is_unbroken = false;
            return self.load(now, "load_more");
        };
        self.incoming = Incoming::default();
        self.generation = self.generation.next();
        let limit = self.wanted.saturating_sub(self.rows.len()).max(1);
        self.ask(Request::Page { cursor, limit });
        let deadline = now + LOAD_DEADLINE;
        self.set_more(More::Loading { deadline });
    }

    pub(super) fn end_extension(&mut self, more: More) {
        self.incoming = Incoming::default();
        self.set_more(more);
    }

    /// No transition: the rows stay current.
    fn set_more(&mut self, to: More) {
        if let State::Ready { more } = self.core.state_mut() {
            *more = to;
        }
    }

    /// Applies the page after the last row.
    pub(super) fn take_more(&mut self, now: MonotonicTime, page: Page<R>) {
        let mut incoming = std::mem::take(&mut self.incoming);
        let (seq, after) = (page.seq, self.rows.end().cloned());
        // One page, whatever its length: the daemon bounds it.
        incoming.take(page, 0, &self.config);
        let ends_at = |end: &End<R::Place>| end.place.as_ref() <= after.as_ref();
        if incoming.end.as_ref().is_some_and(ends_at) {
            return self.set_more(More::Failed(LoadError::Malformed));
        }
        self.floors.push(after, incoming.end.as_ref(), seq);
        self.rows.set_end(incoming.end);
        self.rows.append(incoming.rows, &self.config);
        for (key, change) in incoming.changes {
            self.apply(&key, &change);
        }
        for (key, growths) in incoming.growths {
            self.grow_row(&key, &growths);
        }
        self.wanted = self.rows.len().max(self.config.page);
        self.set_more(More::Idle);
        self.settle(now);
    }

    pub(super) fn take_page(&mut self, now: MonotonicTime, page: Page<R>) {
        match self.incoming.request.take() {
            Some(Request::Rows(keys)) => self.take_rows(now, keys, page),
            Some(Request::First { held: Some(_), .. }) if page.resumed => {
                self.incoming = Incoming::default();
                self.loaded(now, "resumed");
            }
            Some(_) | None if page.resumed => self.fail(now, LoadError::Malformed, "load_failed"),
            Some(_) | None => match self.incoming.take(page, self.wanted, &self.config) {
                Taken::Endless => self.fail(now, LoadError::Malformed, "too_many_pages"),
                Taken::Next(cursor) => {
                    let held = self.incoming.rows.len();
                    let limit = self.wanted.saturating_sub(held);
                    self.ask(Request::Page { cursor, limit });
                    self.set_deadline(now);
                }
                Taken::Last => self.finish(now),
            },
        }
    }

    /// A final error may concern only the rows that are to be continued, which a daemon restored
    /// from a backup does not know: they are loaded anew.
    pub(super) fn fail_page(&mut self, now: MonotonicTime, error: LoadError) {
        let continues = matches!(
            self.incoming.request,
            Some(Request::First { held: Some(_), .. })
        );
        if continues && error.is_refusal() {
            // Its events may have the numbers of those that the rows are as of.
            self.renumber();
            self.load(now, "not_resumed");
        } else {
            self.fail(now, error, "load_failed");
        }
    }

    /// Each page has its own deadline; the load is the same.
    fn set_deadline(&mut self, now: MonotonicTime) {
        if let State::Loading { deadline, .. } = self.core.state_mut() {
            *deadline = now + LOAD_DEADLINE;
        }
    }

    /// Applies the last page: the rows, with later events on top, replace the former ones.
    fn finish(&mut self, now: MonotonicTime) {
        let Incoming {
            base,
            follow,
            mut rows,
            total,
            end,
            floors,
            changes,
            growths,
            ..
        } = std::mem::take(&mut self.incoming);
        self.floors = floors;
        self.follow = follow;
        let base = base.unwrap_or_default();
        let mut count = total.unwrap_or_default();
        let listed = rows.values().map(|(_, row)| row);
        let first = listed.min_by(|one, other| one.compare_rows(other)).cloned();
        for (key, change) in changes {
            let as_of = rows.get(&key).map_or(base, |(seq, _)| *seq);
            match &change.row {
                _ if change.seq <= as_of || self.floors.include(&change) => {}
                Some(row) => {
                    let is_new = first
                        .as_ref()
                        .is_none_or(|first| row.compare_rows(first).is_lt());
                    count = count.saturating_add(u64::from(is_new));
                    rows.insert(key, (change.seq, Arc::clone(row)));
                }
                None => {
                    count = count.saturating_sub(1);
                    rows.remove(&key);
                }
            }
        }
        for (key, growths) in growths {
            let Some((as_of, row)) = rows.get_mut(&key) else {
                continue;
            };
            for (seq, growth) in &growths {
                if seq <= as_of {
                    continue;
                }
                // Text that comes after what is missing waits for the row to be fetched.
                let Some(growth) = growth else {
                    break;
                };
                *row = Arc::new(row.grown(growth));
                *as_of = *seq;
            }
        }
        let is_older = |key: &R::Key, than: u64| rows.get(key).is_none_or(|(seq, _)| *seq < than);
        self.stale_rows.retain(|key, seq| is_older(key, *seq));
        self.stale_since = self.stale_since.filter(|seq| base < *seq);
        self.is_unbroken = self.stale_since.is_none();
        self.is_numbered = true;
        let held = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        // A daemon that does not report the total has at least one more.
        let count = if end.is_some() && total.is_some() {
            count.max(held.saturating_add(1))
        } else {
            held
        };
        self.applied = self.applied.max(base);
        self.rows.replace(rows, end, &self.config);
        let shown = u64::try_from(self.rows.len()).unwrap_or(u64::MAX);
        self.rows.left_out = count.saturating_sub(shown);
        self.loaded(now, "loaded");
    }

    /// Applies rows that were fetched by key; those without a row do not exist.
    fn take_rows(&mut self, now: MonotonicTime, keys: Vec<R::Key>, page: Page<R>) {
        let (seq, is_part) = (page.seq, page.next.is_some());
        let found = page.rows.into_iter().map(|row| (row.key(), Arc::new(row)));
        let mut found: BTreeMap<_, _> = found.collect();
        let last = found.last_key_value().map(|(key, _)| key.clone());
        if is_part && last.is_none() {
            return self.fail(now, LoadError::Malformed, "load_failed");
        }
        let incoming = std::mem::take(&mut self.incoming);
        for key in keys {
            if is_part && Some(&key) > last.as_ref() {
                continue;
            }
            if self.stale_rows.get(&key).is_some_and(|stale| *stale <= seq) {
                self.stale_rows.remove(&key);
            }
            let row = found.remove(&key);
            let since = incoming.changes.get(&key);
            if since.is_none_or(|change| change.seq <= seq) {
                self.rows.apply(&key, &Change { seq, row }, &self.config);
                if let Some(growths) = incoming.growths.get(&key) {
                    self.grow_row(&key, growths);
                }
                self.floors.push_row(key, seq);
            }
        }
        self.loaded(now, "loaded");
    }

    fn loaded(&mut self, now: MonotonicTime, event: &'static str) {
        self.failures = 0;
        self.floors.forget(self.applied);
        self.set(State::READY, event, None);
        self.settle(now);
    }

    /// Fetches what the current rows lack: values, then rows that are wanted.
    fn settle(&mut self, now: MonotonicTime) {
        if self.stale_since.is_some() {
            self.load(now, "stale");
        } else if !self.stale_rows.is_empty() {
            let keys = self.stale_rows.keys().take(MAX_KEYS).cloned().collect();
            self.begin(now, "stale", Request::Rows(keys));
        } else if self.rows.len() < self.wanted {
            self.extend(now);
        }
    }

    /// Applies one event in order of number; an earlier one is not applied again.
    pub(super) fn change(&mut self, now: MonotonicTime, seq: u64, changes: Vec<RowChange<R>>) {
        if seq <= self.applied {
            return;
        }
        self.applied = seq;
        for change in changes {
            let (key, row) = match change {
                RowChange::Put(row) => (row.key(), Some(Arc::new(row))),
                RowChange::Remove(key) => (key, None),
                RowChange::Grow(key, growth) => {
                    self.grow(now, seq, key, growth);
                    continue;
                }
            };
            self.stale_rows.remove(&key);
            let change = Change { seq, row };
            if self.has_succeeded() {
                self.apply(&key, &change);
            }
            if self.running().is_some() && !self.incoming.keep(key, change, &self.config) {
                self.overrun(now);
            }
        }
        self.floors.forget(self.applied);
        self.fill(now);
    }

    /// Lets a displayed row grow if it is exact, and the one on its way.
    fn grow(&mut self, now: MonotonicTime, seq: u64, key: R::Key, growth: R::Growth) {
        let is_exact = self.is_unbroken && !self.stale_rows.contains_key(&key);
        if self.has_succeeded() && is_exact {
            self.rows.grow(&key, seq, &growth, &self.config);
        }
        if self.running().is_some() && !self.incoming.keep_growth(key, seq, growth, &self.config) {
            self.overrun(now);
        }
    }

    /// Lets a fetched row grow up to what is missing, which it is fetched for again.
    fn grow_row(&mut self, key: &R::Key, growths: &[(u64, Option<R::Growth>)]) {
        for (seq, growth) in growths {
            match growth {
                Some(growth) => self.rows.grow(key, *seq, growth, &self.config),
                None if self.rows.includes(key, *seq) => {}
                None => break,
            }
        }
    }

    fn apply(&mut self, key: &R::Key, change: &Change<R>) {
        if !self.floors.include(change) {
            self.rows.apply(key, change, &self.config);
        }
    }

    fn overrun(&mut self, now: MonotonicTime) {
        if self.is_current() {
            self.end_extension(More::Failed(LoadError::Overrun));
        } else {
            self.fail(now, LoadError::Overrun, "overrun");
        }
    }

    /// A window must not be empty while the daemon has rows.
    fn fill(&mut self, now: MonotonicTime) {
        if self.rows.list().is_empty() && *self.state() == State::READY {
            self.extend(now);
        }
    }

    /// Notes rows whose values are to be fetched. A running load may bring them.
    pub(super) fn outdate(&mut self, now: MonotonicTime, seq: u64, keys: Option<Vec<R::Key>>) {
        if seq <= self.applied {
            return;
        }
        self.applied = seq;
        self.floors.forget(seq);
        match keys {
            Some(keys) if self.stale_rows.len().saturating_add(keys.len()) <= MAX_STALE => {
                let is_loading = self.running().is_some();
                let mut fits = true;
                for key in keys {
                    if is_loading {
                        fits &= self.incoming.keep_stale(key.clone(), seq, &self.config);
                    }
                    self.stale_rows.insert(key, seq);
                }
                if !fits {
                    self.overrun(now);
                }
            }
            Some(_) | None => {
                self.stale_rows.clear();
                self.stale_since = Some(seq);
                self.is_unbroken = false;
            }
        }
        if self.is_current() {
            self.settle(now);
        }
    }
}
