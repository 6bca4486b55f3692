//! Applies pages and events, which become updates.

use std::sync::Arc;

use bowline_protocol::{ItemId, TimelineItem, methods::HistoryPage};

use super::{
    End, Happened, Kept, Progress, Request, State, Timeline, Update,
    window::{Contradiction, ends_turn},
};
use crate::{MonotonicTime, data::load::LoadError};

/// Larger than any timeline; indices are exact integers in every language.
const MAX_INDEX: u64 = 1 << 53;

impl Timeline {
    /// Applies one event, in order of number.
    pub(super) fn event(&mut self, now: MonotonicTime, seq: u64, happened: Happened) {
        if seq <= self.seen {
            return;
        }
        self.seen = seq;
        // Complete items are not fetched again, so no page of a later load would say it. A page for
        // a detached consumer may be on its way with the text.
        if let Happened::Updated(item) = &happened {
            let index = item.index;
            let is_complete = (self.window.oldest()..self.first_unsure()).contains(&index);
            // A held one may be complete by the time a load that waits for its page has failed.
            if is_complete || self.window.item(index).is_some() {
                self.replace(item.clone(), seq);
            }
            if is_complete {
                if self.is_asked_for(&happened) {
                    self.keep(now, Kept { seq, happened });
                }
                return;
            }
        }
        if self.is_contained(&happened) {
            return;
        }
        if self.must_wait(&happened) {
            self.keep(now, Kept { seq, happened });
            return;
        }
        // The item may leave the window before the page arrives, whose copy the consumer then gets.
        if self.is_asked_for(&happened) {
            let happened = happened.clone();
            self.keep(now, Kept { seq, happened });
        }
        if !self.apply(seq, happened) {
            self.gap(now);
        }
    }

    /// An event is missing.
    fn gap(&mut self, now: MonotonicTime) {
        self.anomalies = self.anomalies.saturating_add(1);
        self.catch_up(now, "gap");
    }

    /// Whether a page not yet requested contains it.
    fn is_contained(&self, happened: &Happened) -> bool {
        match self.state() {
            State::Failed { progress, .. } => {
                progress.is_none_or(|progress| happened.index() >= progress.exact_to)
            }
            State::Idle => true,
            State::CatchingUp { .. } | State::Live { .. } | State::LoadingMore { .. } => false,
        }
    }

    /// Whether the running load covers the item, so that the event must wait for its page.
    fn must_wait(&self, happened: &Happened) -> bool {
        match self.state() {
            State::CatchingUp { asked, progress } => {
                (asked.request == Request::Newest && progress.pages == 0)
                    || happened.index() >= progress.exact_to
            }
            State::LoadingMore { end, .. } => {
                *end == End::Older && happened.index() < self.window.oldest()
            }
            State::Idle | State::Live { .. } | State::Failed { .. } => false,
        }
    }

    /// Whether the page for a detached consumer may contain the item.
    fn is_asked_for(&self, happened: &Happened) -> bool {
        let asked = self.state().asked().map(|asked| asked.request);
        matches!(self.state(), State::LoadingMore { .. })
            && matches!((asked, happened), (
                Some(Request::From(from)),
                Happened::Delta { .. } | Happened::Updated(_),
            ) if happened.index() >= from
                && happened.index() - from < u64::from(self.config.page))
    }

    fn keep(&mut self, now: MonotonicTime, kept: Kept) {
        self.kept_bytes = self.kept_bytes.saturating_add(kept.happened.bytes());
        self.kept.push_back(kept);
        if self.kept.len() > self.config.max_kept || self.kept_bytes > self.config.max_kept_bytes {
            self.fail(now, LoadError::Overrun, "overrun");
        }
    }

    pub(super) fn forget_kept(&mut self) {
        self.kept.clear();
        self.kept.shrink_to_fit();
        self.kept_bytes = 0;
    }

    /// Applies the kept events that need not wait any longer.
    fn drain_kept(&mut self, now: MonotonicTime) {
        let kept = std::mem::take(&mut self.kept);
        self.kept_bytes = 0;
        for event in kept {
            if self.must_wait(&event.happened) {
                self.kept_bytes = self.kept_bytes.saturating_add(event.happened.bytes());
                self.kept.push_back(event);
            } else if !self.apply(event.seq, event.happened) {
                // The load that starts now contains the others.
                return self.gap(now);
            }
        }
    }

    /// Applies an event, unless it is contained; false if something before it is missing.
    fn apply(&mut self, seq: u64, happened: Happened) -> bool {
        let (index, end) = (happened.index(), self.window.end());
        match happened {
            Happened::Appended(item) if index <= end => {
                let ends_turn = ends_turn(&item);
                // Otherwise a page contained it.
                if index == end {
                    self.append(item, seq);
                }
                if ends_turn {
                    // Events arrive in order, so all earlier ones have been applied.
                    self.window.turn_ended(index);
                }
                true
            }
            Happened::Delta { item_id, text, .. } if index < end => {
                self.grow(index, item_id, text, seq);
                true
            }
            Happened::Updated(item) if index < end => {
                self.replace(item, seq);
                true
            }
            Happened::Appended(_) | Happened::Delta { .. } | Happened::Updated(_) => false,
        }
    }

    fn append(&mut self, item: TimelineItem, seq: u64) {
        if !self.window.is_detached() {
            self.updates.push(Update::Appended(Arc::new(item.clone())));
        }
        self.window.push(item, seq, &self.config);
    }

    fn grow(&mut self, index: u64, item_id: ItemId, text: String, seq: u64) {
        match self.window.grow(index, &item_id, &text, seq, &self.config) {
            Ok(true) if !text.is_empty() => self.updates.push(Update::Grown {
                index,
                item_id,
                text,
            }),
            Ok(_) => {}
            Err(Contradiction) => self.anomalies = self.anomalies.saturating_add(1),
        }
    }

    fn replace(&mut self, item: TimelineItem, seq: u64) {
        match self.window.replace(item, seq) {
            Ok(item) => item
                .into_iter()
                .for_each(|item| self.updates.push(Update::Replaced(item))),
            Err(Contradiction) => self.anomalies = self.anomalies.saturating_add(1),
        }
    }

    /// Applies a page of the load that catches up.
    ///
    /// Only the first page of a load proves that turns are over for all items that may have grown:
    /// its items may have grown again before the next page was read, and those events may still
    /// arrive.
    pub(super) fn take_missed(
        &mut self,
        now: MonotonicTime,
        request: Request,
        progress: Progress,
        page: HistoryPage,
    ) {
        let from = match request {
            Request::From(index) => Some(index),
            Request::Newest | Request::Before(_) => None,
        };
        if !is_a_run(&page, from) {
            self.fail(now, LoadError::Malformed, "malformed_page");
            return;
        }
        let last = page.items.last().map(|item| item.index);
        let more = match request {
            // The page before item 1 does not show what follows, the newest page not what is older.
            Request::From(0) => true,
            Request::From(_) => page.has_more,
            Request::Newest | Request::Before(_) => false,
        };
        let next = last.map_or(progress.exact_to, |index| index.saturating_add(1));
        let is_far = from.is_none() && progress.pages > 0;
        // All held items were known before the page was requested, so the daemon must have them.
        if !(more && last.is_some()) && next < self.window.end() {
            return self.diverged(now);
        }
        let first = page.items.first().map_or(0, |item| item.index);
        if is_far && first > progress.exact_to {
            self.skip(progress.exact_to, page);
        } else {
            if from.is_none() {
                self.window.begin_at(first);
            }
            if !self.merge(page, progress.pages == 0) {
                return self.diverged(now);
            }
        }
        if more && last.is_some() {
            let pages = progress.pages.saturating_add(1);
            let exact_to = next;
            let progress = Progress { pages, exact_to };
            let asked = self.ask_missed(now, progress, false);
            *self.core.state_mut() = State::CatchingUp { asked, progress };
            self.drain_kept(now);
        } else {
            self.failures = 0;
            self.loaded = true;
            self.settle_live(now);
        }
    }

    /// Merges a page; false if it is of another timeline than the held one.
    fn merge(&mut self, page: HistoryPage, settles: bool) -> bool {
        for item in page.items {
            let (index, item_id) = (item.index, item.id.clone());
            let settles = settles && ends_turn(&item);
            if index >= self.window.end() {
                self.append(item, page.seq);
            } else if item.dropped_bytes > 0 {
                match self.window.replace(item, page.seq) {
                    Ok(Some(item)) => self.updates.push(Update::Replaced(item)),
                    Ok(None) => {}
                    Err(Contradiction) => return false,
                }
            } else {
                match self.window.merge(item, page.seq) {
                    Ok(Some(text)) => self.updates.push(Update::Grown {
                        index,
                        item_id,
                        text,
                    }),
                    Ok(None) => {}
                    Err(Contradiction) => return false,
                }
            }
            if settles {
                self.window.turn_ended(index);
            }
        }
        true
    }

    /// Continues with the newest page, without the items between.
    fn skip(&mut self, exact_to: u64, page: HistoryPage) {
        let end = page.items.iter().rev().find(|item| ends_turn(item));
        let end = end.map(|item| item.index);
        let HistoryPage { items, seq, .. } = page;
        match self.window.skip_to(items, seq, exact_to, &self.config) {
            Some(items) => {
                self.wish = None;
                self.updates.push(Update::Restarted(items));
                if let Some(end) = end {
                    self.window.turn_ended(end);
                }
            }
            None => {
                let from = self.window.consumer_end();
                self.updates.push(Update::Dropped { from });
            }
        }
    }

    /// Ends the load.
    fn settle_live(&mut self, now: MonotonicTime) {
        self.set(State::Live { failed: None }, "loaded", None);
        self.drain_kept(now);
        self.grant_wish(now);
    }

    /// The held items are not the daemon's timeline. Everything is fetched again, after a pause.
    fn diverged(&mut self, now: MonotonicTime) {
        self.anomalies = self.anomalies.saturating_add(1);
        self.window = super::Window::default();
        self.wish = None;
        while self.updates.pop().is_some() {}
        self.updates.push(Update::Cleared);
        self.fail(now, LoadError::Malformed, "diverged");
    }

    /// Applies a page for one end of the consumer's items, unless the consumer that requested it is
    /// gone.
    pub(super) fn take_more(
        &mut self,
        now: MonotonicTime,
        request: Request,
        mut page: HistoryPage,
    ) {
        self.grow_page(&mut page);
        let window = &self.window;
        let fits = match request {
            Request::Before(index) if index == window.oldest() => self.take_older(index, page),
            Request::From(index) if window.is_detached() && index == window.consumer_end() => {
                self.take_newer(index, page)
            }
            Request::Before(_) | Request::From(_) | Request::Newest => true,
        };
        if fits {
            self.settle_live(now);
        } else {
            self.fail(now, LoadError::Malformed, "malformed_page");
        }
    }

    /// Adds a page of items before those of the consumer; false if it is malformed.
    fn take_older(&mut self, before: u64, page: HistoryPage) -> bool {
        let HistoryPage {
            items,
            has_more,
            seq,
        } = page;
        let last = items.last().map(|item| item.index.saturating_add(1));
        let is_next = last.map_or(!has_more, |end| end == before);
        if !is_next || !is_contiguous(&items) {
            return false;
        }
        if !has_more {
            self.window.note_start();
        }
        if !items.is_empty() {
            let shown = self.window.prepend(items, seq, &self.config);
            self.updates.push(Update::Prepended(shown));
        }
        true
    }

    /// Adds a page of items after those of a detached consumer; false if it is malformed.
    fn take_newer(&mut self, from: u64, page: HistoryPage) -> bool {
        // The held items follow, so the page cannot be empty.
        if page.items.is_empty() || !is_a_run(&page, Some(from)) {
            return false;
        }
        let shown = self.window.extend(page.items, page.seq);
        self.show(shown);
        true
    }

    /// Extends a page's items by their kept events, where the end of their turn was applied after
    /// the page was read: the window counts them as complete and would drop the events.
    fn grow_page(&mut self, page: &mut HistoryPage) {
        let (max, seq) = (self.config.max_item_bytes, page.seq);
        let complete_to = self.window.complete_to();
        let bytes = &mut self.kept_bytes;
        self.kept.retain(|kept| {
            let index = kept.happened.index();
            let item = page.items.iter_mut().find(|item| item.index == index);
            let (item_id, text) = match (&kept.happened, item) {
                (Happened::Updated(updated), Some(item)) if updated.id == item.id => {
                    // An older one is in the page.
                    if kept.seq > seq {
                        *item = updated.clone();
                    }
                    *bytes = bytes.saturating_sub(kept.happened.bytes());
                    return false;
                }
                (Happened::Delta { item_id, text, .. }, _) => (item_id, text),
                _ => return true,
            };
            let item = page.items.iter_mut().find(|item| item.index == index);
            match item {
                Some(item)
                    if kept.seq > seq
                        && index < complete_to
                        && item.id == *item_id
                        && item.text.len().saturating_add(text.len()) <= max =>
                {
                    item.text.push_str(text);
                    *bytes = bytes.saturating_sub(kept.happened.bytes());
                    false
                }
                _ => true,
            }
        });
    }

    /// Moves a detached consumer to the newest items.
    pub(super) fn jump_to_newest(&mut self) {
        if self.window.is_detached() {
            let items = self.restart_consumer();
            self.updates.push(Update::Restarted(items));
        }
    }

    /// Appends items for the consumer.
    pub(super) fn show(&mut self, items: Vec<Arc<TimelineItem>>) {
        for item in items {
            self.updates.push(Update::Appended(item));
        }
    }
}

/// Whether the page's items are consecutive from the requested index.
fn is_a_run(page: &HistoryPage, from: Option<u64>) -> bool {
    let begins_well = match (page.items.first(), from) {
        (Some(item), Some(from)) => item.index == from,
        (Some(_), None) => true,
        // An empty page with more to follow would be requested for ever.
        (None, _) => !page.has_more,
    };
    begins_well && is_contiguous(&page.items)
}

fn is_contiguous(items: &[TimelineItem]) -> bool {
    items.last().is_none_or(|item| item.index < MAX_INDEX)
        && items
            .iter()
            .zip(items.iter().skip(1))
            .all(|(one, next)| one.index.checked_add(1) == Some(next.index))
}
