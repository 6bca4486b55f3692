//! What a running load has collected: rows, the events that they are as of, and the changes since.

use std::{collections::BTreeMap, sync::Arc};

use super::{CollectionConfig, Entry, MAX_PAGES, Page, Request};

/// Pages of the running load, and the newest change of each row since it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Incoming<R: Entry> {
    /// The request on its way.
    pub(super) request: Option<Request<R::Key>>,
    /// Whether another client has attached since that request, so that no later attach repeats it.
    pub(super) is_overtaken: bool,
    /// Number of the event that the whole load is as of: that of its first page.
    pub(super) base: Option<u64>,
    /// The follow that the first page is of.
    pub(super) follow: Option<u64>,
    pub(super) rows: Fetched<R>,
    bytes: usize,
    pages: u32,
    /// Total number of rows, according to the newest page.
    pub(super) total: Option<u64>,
    /// Where the fetched rows end, if the daemon has more.
    pub(super) end: Option<End<R::Place>>,
    /// The event that each page is as of.
    pub(super) floors: Floors<R>,
    pub(super) changes: BTreeMap<R::Key, Change<R>>,
    /// What was added to rows since such a change or without one.
    pub(super) growths: BTreeMap<R::Key, Growths<R>>,
    change_bytes: usize,
}

/// Fetched rows, each with the number of the event it is as of.
pub(super) type Fetched<R> = BTreeMap<<R as Entry>::Key, (u64, Arc<R>)>;

/// What was added to a row, by event in order; `None`: what an event did not hold, so that nothing
/// after it can be added to a row from before it.
pub(super) type Growths<R> = Vec<(u64, Option<<R as Entry>::Growth>)>;

/// A change of one row by an event; `None`: removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change<R> {
    pub(super) seq: u64,
    pub(super) row: Option<Arc<R>>,
}

/// What a page means for its load.
pub(super) enum Taken {
    /// The page that begins here is wanted as well.
    Next(String),
    /// It was the last one.
    Last,
    /// The daemon sends pages without rows and without end.
    Endless,
}

impl<R: Entry> Default for Incoming<R> {
    fn default() -> Self {
        Self {
            request: None,
            is_overtaken: false,
            base: None,
            follow: None,
            rows: BTreeMap::new(),
            bytes: 0,
            pages: 0,
            total: None,
            end: None,
            floors: Floors::default(),
            changes: BTreeMap::new(),
            growths: BTreeMap::new(),
            change_bytes: 0,
        }
    }
}

impl<R: Entry> Incoming<R> {
    /// Adds a page to a load of `wanted` rows.
    pub(super) fn take(
        &mut self,
        page: Page<R>,
        wanted: usize,
        config: &CollectionConfig,
    ) -> Taken {
        if self.base.is_none() {
            self.base = Some(page.seq);
            self.follow = page.follow;
        }
        self.pages = self.pages.saturating_add(1);
        self.total = page.total;
        let before = self.end.take().and_then(|end| end.place);
        let mut last = before.clone();
        let mut is_cut = false;
        for row in page.rows {
            if self.is_full(config) {
                is_cut = true;
                break;
            }
            last = last.max(Some(row.place()));
            self.bytes = self.bytes.saturating_add(row.bytes());
            self.rows.insert(row.key(), (page.seq, Arc::new(row)));
        }
        self.end = (is_cut || page.next.is_some()).then(|| End {
            place: last,
            // Rows that were cut off are on no later page.
            next: page.next.clone().filter(|_| !is_cut),
        });
        self.floors.push(before, self.end.as_ref(), page.seq);
        let held = self.rows.len();
        let brought = u32::try_from(held).unwrap_or(u32::MAX);
        match page.next {
            // Every page of a correct daemon has at least one row.
            Some(_) if self.pages >= MAX_PAGES && brought < self.pages => Taken::Endless,
            Some(next) if held < wanted && !self.is_full(config) && self.pages < MAX_PAGES => {
                Taken::Next(next)
            }
            Some(_) | None => Taken::Last,
        }
    }

    fn is_full(&self, config: &CollectionConfig) -> bool {
        self.rows.len() >= config.max_rows || self.bytes >= config.max_bytes
    }

    /// Keeps a change for the rows on their way; false if there are more than are kept.
    pub(super) fn keep(
        &mut self,
        key: R::Key,
        change: Change<R>,
        config: &CollectionConfig,
    ) -> bool {
        let bytes = |change: &Change<R>| change.row.as_ref().map_or(0, |row| row.bytes());
        self.change_bytes = self.change_bytes.saturating_add(bytes(&change));
        for (_, growth) in self.growths.remove(&key).unwrap_or_default() {
            let bytes = growth.as_ref().map_or(0, R::growth_bytes);
            self.change_bytes = self.change_bytes.saturating_sub(bytes);
        }
        if let Some(old) = self.changes.insert(key, change) {
            self.change_bytes = self.change_bytes.saturating_sub(bytes(&old));
        }
        self.fits(config)
    }

    /// Notes that an event said of a row that it changed, but not how.
    pub(super) fn keep_stale(&mut self, key: R::Key, seq: u64, config: &CollectionConfig) -> bool {
        self.growths.entry(key).or_default().push((seq, None));
        self.fits(config)
    }

    /// As [`Incoming::keep`], for what is added to a row. It is not added to a kept row: a page may
    /// be as of a later event than that, with changes that nobody was told of.
    pub(super) fn keep_growth(
        &mut self,
        key: R::Key,
        seq: u64,
        growth: R::Growth,
        config: &CollectionConfig,
    ) -> bool {
        // What is gone does not grow.
        let is_gone = |change: &Change<R>| change.row.is_none();
        if !self.changes.get(&key).is_some_and(is_gone) {
            let bytes = R::growth_bytes(&growth);
            self.change_bytes = self.change_bytes.saturating_add(bytes);
            let growths = self.growths.entry(key).or_default();
            growths.push((seq, Some(growth)));
        }
        self.fits(config)
    }

    fn fits(&self, config: &CollectionConfig) -> bool {
        let kept = self.changes.len().saturating_add(self.growths.len());
        kept <= config.max_rows && self.change_bytes <= config.max_bytes
    }
}

/// Where rows end although the daemon has more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End<P> {
    /// Place of the last row; `None` if there is none.
    pub(super) place: Option<P>,
    /// Start of the next page; `None` if it is not known.
    pub(super) next: Option<String>,
}

/// The events that parts of a list include, because they were fetched later than its first page. An
/// event of such a part that arrives afterwards must not bring back a row that was removed since.
/// Only for windows, whose pages are parts in the order of places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Floors<R: Entry> {
    parts: Vec<Floor<R::Place>>,
    pub(super) rows: BTreeMap<R::Key, u64>,
}

/// The part after `after`, up to and including `to`; `None`: without such a bound.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Floor<P> {
    after: Option<P>,
    to: Option<P>,
    seq: u64,
}

impl<R: Entry> Default for Floors<R> {
    fn default() -> Self {
        Self {
            parts: Vec::new(),
            rows: BTreeMap::new(),
        }
    }
}

impl<R: Entry> Floors<R> {
    /// Adds a page: the part after `after` and before the end.
    pub(super) fn push(&mut self, after: Option<R::Place>, end: Option<&End<R::Place>>, seq: u64) {
        let to = end.map(|end| end.place.clone());
        // A page without rows that is not the last one says nothing.
        if R::IS_WINDOW && to != Some(None) {
            let to = to.flatten();
            self.parts.push(Floor { after, to, seq });
        }
    }

    /// Adds a row that was fetched by its key.
    pub(super) fn push_row(&mut self, key: R::Key, seq: u64) {
        self.rows.insert(key, seq);
    }

    /// The event that the place of a row includes.
    fn at(&self, row: &R) -> Option<u64> {
        let covers = |floor: &&Floor<R::Place>| {
            let is_after = |after: &R::Place| row.compare(after).is_gt();
            floor.after.as_ref().is_none_or(is_after)
                && floor.to.as_ref().is_none_or(|to| row.compare(to).is_le())
        };
        let part = self.parts.iter().find(covers).map(|floor| floor.seq);
        part.max(self.rows.get(&row.key()).copied())
    }

    /// Whether a change is in the rows already.
    pub(super) fn include(&self, change: &Change<R>) -> bool {
        let floor = change.row.as_ref().and_then(|row| self.at(row));
        floor.is_some_and(|seq| change.seq <= seq)
    }

    /// Whether no part includes an event after this one.
    pub(super) fn are_up_to(&self, seq: u64) -> bool {
        self.parts.iter().all(|floor| floor.seq <= seq) && self.rows.values().all(|at| *at <= seq)
    }

    /// Forgets what says nothing any more: every event that it includes has arrived.
    pub(super) fn forget(&mut self, applied: u64) {
        self.parts.retain(|floor| floor.seq > applied);
        self.rows.retain(|_, seq| *seq > applied);
    }
}
