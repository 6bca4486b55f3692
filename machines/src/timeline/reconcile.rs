//! How pages and events become updates.

use std::sync::Arc;

use bowline_protocol::{ItemId, TimelineItem, methods::HistoryPage};

use super::{
    Happened, Kept, Progress, Request, State, Timeline, Update,
    window::{Growth, Merge, ends_turn},
};
use crate::{Moment, load::LoadError};

/// No timeline is as long: indices are numbers that every language can count with.
const MAX_INDEX: u64 = 1 << 53;

/// Whether an event fits on what is held.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// Applied, or contained already.
    Done,
    /// Something before it is missing.
    Gap,
}

impl Timeline {
    /// One event, in the order of their numbers.
    pub(super) fn event(&mut self, now: Moment, seq: u64, happened: Happened) {
        if seq <= self.seen {
            return;
        }
        self.seen = seq;
        if self.is_contained(&happened) {
            return;
        }
        if self.must_wait(&happened) {
            self.keep(now, Kept { seq, happened });
            return;
        }
        // Its item may leave the window before the page comes, which is then the one that the consumer is given.
        if self.is_asked_for(&happened) {
            let happened = happened.clone();
            self.keep(now, Kept { seq, happened });
        }
        if self.apply(seq, happened) == Fit::Gap {
            self.anomalies = self.anomalies.saturating_add(1);
            self.catch_up(now, "gap");
        }
    }

    /// Whether a page that is still to be asked for contains it.
    const fn is_contained(&self, happened: &Happened) -> bool {
        match self.state {
            State::Failed {
                progress: Some(progress),
                ..
            } => happened.index() >= progress.exact_to,
            State::Idle | State::Failed { progress: None, .. } => true,
            State::CatchingUp { .. }
            | State::Live { .. }
            | State::LoadingOlder { .. }
            | State::LoadingNewer { .. } => false,
        }
    }

    /// Whether the running load is about the item, so that only its page tells what the event adds to.
    fn must_wait(&self, happened: &Happened) -> bool {
        match self.state {
            State::CatchingUp {
                request, progress, ..
            } => match request {
                Request::Newest if progress.pages == 0 => true,
                Request::Newest | Request::From(_) | Request::Before(_) => {
                    happened.index() >= progress.exact_to
                }
            },
            State::LoadingOlder { .. } => happened.index() < self.window.oldest(),
            State::Idle
            | State::Live { .. }
            | State::LoadingNewer { .. }
            | State::Failed { .. } => false,
        }
    }

    /// Whether the page for a detached consumer may have the item.
    fn is_asked_for(&self, happened: &Happened) -> bool {
        match self.state {
            State::LoadingNewer { from, .. } => {
                let is_delta = matches!(happened, Happened::Delta { .. });
                let index = happened.index();
                is_delta && index >= from && index - from < u64::from(self.config.page)
            }
            State::Idle
            | State::CatchingUp { .. }
            | State::Live { .. }
            | State::LoadingOlder { .. }
            | State::Failed { .. } => false,
        }
    }

    fn keep(&mut self, now: Moment, kept: Kept) {
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

    /// Applies what was kept, as far as it need not wait any longer.
    fn drain_kept(&mut self, now: Moment) {
        let kept = std::mem::take(&mut self.kept);
        self.kept_bytes = 0;
        for event in kept {
            if self.must_wait(&event.happened) {
                self.kept_bytes = self.kept_bytes.saturating_add(event.happened.bytes());
                self.kept.push_back(event);
            } else if self.apply(event.seq, event.happened) == Fit::Gap {
                // The rest is contained in the load that starts now.
                self.anomalies = self.anomalies.saturating_add(1);
                self.catch_up(now, "gap");
                return;
            }
        }
    }

    fn apply(&mut self, seq: u64, happened: Happened) -> Fit {
        let index = happened.index();
        match happened {
            Happened::Appended(_) if index > self.window.end() => Fit::Gap,
            Happened::Appended(item) => {
                let ends_turn = ends_turn(&item);
                // Otherwise a page brought it.
                if index == self.window.end() {
                    self.append(item, seq);
                }
                if ends_turn {
                    // Events come in order: nothing that happened before is still to come.
                    self.window.turn_ended(index);
                }
                Fit::Done
            }
            Happened::Delta { .. } if index >= self.window.end() => Fit::Gap,
            Happened::Delta { item_id, text, .. } => {
                self.grow(index, item_id, text, seq);
                Fit::Done
            }
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
            Growth::Grown if text.is_empty() => {}
            Growth::Grown => self.updates.push(Update::Grown {
                index,
                item_id,
                text,
            }),
            Growth::Contained => {}
            Growth::Mismatch => self.anomalies = self.anomalies.saturating_add(1),
        }
    }

    /// A page of the load that brings the timeline up to date.
    ///
    /// Only the first page of a load tells which turns are over for everything that may have grown: what came with it
    /// may have grown again before the next one was read, and the events that say so may still be on their way.
    pub(super) fn take_missed(
        &mut self,
        now: Moment,
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
            // The page before item 1 says nothing of what follows, the newest page nothing of what is older.
            Request::From(0) => true,
            Request::From(_) => page.has_more,
            Request::Newest | Request::Before(_) => false,
        };
        let next = last.map_or(progress.exact_to, |index| index.saturating_add(1));
        let is_far = from.is_none() && progress.pages > 0;
        // Everything held was known before the page was asked for, so the daemon must have it.
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
            let state = self.ask_missed(now, Progress { pages, exact_to }, false);
            self.amend(state);
            self.drain_kept(now);
        } else {
            self.failures = 0;
            self.loaded = true;
            self.settle_live(now);
        }
    }

    /// Takes over what a page knows; false if that is not the timeline that is held.
    fn merge(&mut self, page: HistoryPage, settles: bool) -> bool {
        for item in page.items {
            let (index, item_id) = (item.index, item.id.clone());
            let settles = settles && ends_turn(&item);
            if index >= self.window.end() {
                self.append(item, page.seq);
            } else {
                match self.window.merge(item, page.seq) {
                    Merge::Suffix(text) => self.updates.push(Update::Grown {
                        index,
                        item_id,
                        text,
                    }),
                    Merge::Same => {}
                    Merge::Diverged => return false,
                }
            }
            if settles {
                self.window.turn_ended(index);
            }
        }
        true
    }

    /// Goes on with the newest page, leaving out what lies between.
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

    /// No load is running any more.
    fn settle_live(&mut self, now: Moment) {
        let to = State::Live {
            older_error: None,
            newer_error: None,
        };
        self.set(to, "loaded", None);
        self.drain_kept(now);
        self.grant_wish(now);
    }

    /// What is shown is not the daemon's timeline. Everything is fetched again, after a pause.
    fn diverged(&mut self, now: Moment) {
        self.anomalies = self.anomalies.saturating_add(1);
        self.window = super::Window::default();
        self.wish = None;
        while self.updates.pop().is_some() {}
        self.updates.push(Update::Cleared);
        self.fail(now, LoadError::Malformed, "diverged");
    }

    /// A page of items before those that the consumer has.
    pub(super) fn take_older(&mut self, now: Moment, before: u64, page: HistoryPage) {
        let HistoryPage {
            items,
            has_more,
            seq,
        } = page;
        if before != self.window.oldest() {
            // The consumer that asked is gone.
        } else if !is_contiguous(&items)
            || items
                .last()
                .is_some_and(|item| item.index.saturating_add(1) != before)
            || (items.is_empty() && has_more)
        {
            self.fail(now, LoadError::Malformed, "malformed_page");
            return;
        } else {
            if !has_more {
                self.window.note_start();
            }
            if !items.is_empty() {
                let shown = self.window.prepend(items, seq, &self.config);
                self.updates.push(Update::Prepended(shown));
            }
        }
        self.settle_live(now);
    }

    /// A page of items after those that a detached consumer has.
    pub(super) fn take_newer(&mut self, now: Moment, from: u64, page: HistoryPage) {
        if self.window.is_detached() && from == self.window.consumer_end() {
            // What is held comes after it, so there is something.
            if !is_a_run(&page, Some(from)) || page.items.is_empty() {
                self.fail(now, LoadError::Malformed, "malformed_page");
                return;
            }
            let shown = self.window.extend(page.items, page.seq);
            self.show(shown);
        }
        self.settle_live(now);
    }

    /// What the consumer has goes on with what is held.
    pub(super) fn join(&mut self) {
        let shown = self.window.join();
        self.show(shown);
    }

    fn show(&mut self, items: Vec<Arc<TimelineItem>>) {
        for item in items {
            self.updates.push(Update::Appended(item));
        }
    }
}

/// Whether the page's items are a run of the timeline that begins where it should.
fn is_a_run(page: &HistoryPage, from: Option<u64>) -> bool {
    let begins_well = match (page.items.first(), from) {
        (Some(item), Some(from)) => item.index == from,
        (Some(_), None) => true,
        // Nothing, and more of it, would be asked for without end.
        (None, Some(_)) => !page.has_more,
        (None, None) => !page.has_more,
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
