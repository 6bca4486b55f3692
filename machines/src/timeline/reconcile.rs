//! How pages and events become updates.

use std::sync::Arc;

use bowline_protocol::{ItemId, TimelineItem, methods::HistoryPage};

use super::{
    Effect, Happened, Kept, Request, State, Timeline, Update,
    window::{Growth, Merge, ends_turn},
};
use crate::{
    Moment,
    load::{LOAD_DEADLINE, LoadError},
};

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
        if self.must_wait(&happened) {
            self.keep(now, Kept { seq, happened });
        } else if self.apply(seq, happened) == Fit::Gap {
            self.anomalies = self.anomalies.saturating_add(1);
            self.catch_up(now, "gap");
        }
    }

    /// Whether the running load is about the item, so that only its page tells what the event adds to.
    const fn must_wait(&self, happened: &Happened) -> bool {
        match self.state {
            State::CatchingUp { request, .. } => match request {
                Request::From(index) => happened.index() >= index,
                Request::Newest | Request::Before(_) => true,
            },
            State::LoadingOlder { .. } => happened.index() < self.window.oldest(),
            State::Idle | State::Live { .. } | State::Failed { .. } => false,
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
        self.updates.push(Update::Appended(Arc::new(item.clone())));
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
    pub(super) fn take_newer(
        &mut self,
        now: Moment,
        request: Request,
        pages: u32,
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
        if let (None, Some(item)) = (from, page.items.first()) {
            self.window.begin_at(item.index);
        }
        for item in page.items {
            let (index, item_id) = (item.index, item.id.clone());
            let settles = pages == 0 && ends_turn(&item);
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
                    Merge::Diverged => return self.diverged(now),
                }
            }
            if settles {
                self.window.turn_ended(index);
            }
        }
        // The page before item 1 says nothing of what follows, the newest page nothing of what is older.
        let next = last.map(|index| index.saturating_add(1));
        let more = match request {
            Request::From(0) => true,
            Request::From(_) => page.has_more,
            Request::Newest | Request::Before(_) => false,
        };
        match next.or(from) {
            Some(next) if more && last.is_some() => {
                self.load_next(now, next, pages.saturating_add(1));
                self.drain_kept(now);
            }
            // Everything held was known before the page was asked for, so the daemon must have it.
            Some(next) if next < self.window.end() => self.diverged(now),
            Some(_) | None => {
                self.failures = 0;
                self.loaded = true;
                self.set(State::Live { older_error: None }, "loaded", None);
                self.drain_kept(now);
            }
        }
    }

    /// Asks for the page that follows.
    fn load_next(&mut self, now: Moment, next: u64, pages: u32) {
        self.generation = self.generation.next();
        let request = Request::From(next);
        self.effects.push(Effect::Load {
            generation: self.generation,
            request,
            subscribe: false,
        });
        self.amend(State::CatchingUp {
            load: self.generation,
            request,
            pages,
            deadline: now + LOAD_DEADLINE,
        });
    }

    /// What is shown is not the daemon's timeline. Everything is fetched again, after a pause.
    fn diverged(&mut self, now: Moment) {
        self.anomalies = self.anomalies.saturating_add(1);
        self.window = super::Window::default();
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
        let to = State::Live { older_error: None };
        if before != self.window.oldest() {
            // The consumer that asked is gone.
            self.set(to, "loaded", None);
        } else if !is_contiguous(&items)
            || items
                .last()
                .is_some_and(|item| item.index.saturating_add(1) != before)
            || (items.is_empty() && has_more)
        {
            let error = LoadError::Malformed;
            let to = State::Live {
                older_error: Some(error),
            };
            self.set(to, "malformed_page", None);
        } else {
            if !has_more {
                self.window.note_start();
            }
            if !items.is_empty() {
                let shown = self.window.prepend(items, seq, &self.config);
                self.updates.push(Update::Prepended(shown));
            }
            self.set(to, "loaded", None);
        }
        self.drain_kept(now);
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
    items
        .iter()
        .zip(items.iter().skip(1))
        .all(|(one, next)| one.index.checked_add(1) == Some(next.index))
}
