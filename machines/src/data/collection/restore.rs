//! Rows that outlive a run of the app (LD-5): when they may be kept, and how a later run begins
//! with them.

use super::{Collection, CollectionConfig, Entry, Page, State, incoming::End};

impl<R: Entry> Collection<R> {
    /// A collection that begins with rows of an earlier run, as that run kept them: as of the
    /// page's `seq`. `is_unbroken`: every later event of the epoch is yet to come, so the daemon
    /// may continue them; otherwise the next load replaces them. A page without rows that is not
    /// the last one, or whose rows are in no order, gives an empty collection.
    #[must_use]
    pub fn restored(config: CollectionConfig, page: Page<R>, is_unbroken: bool) -> Self {
        let mut it = Self::new(config);
        if page.rows.is_empty() && page.next.is_some() {
            return it;
        }
        let (seq, follow) = (page.seq, page.follow);
        let end = page.next.map(|next| End {
            place: page.rows.last().map(R::place),
            next: Some(next),
        });
        if !it.rows.begin(seq, page.rows, end, &it.config) {
            return it;
        }
        it.wanted = it.wanted.max(it.rows.len());
        if is_unbroken {
            it.applied = seq;
            it.follow = follow;
            it.is_unbroken = true;
            it.is_numbered = true;
        } else {
            it.rows.renumber();
        }
        it.set(State::Restored, "restored", None);
        it
    }

    /// Whether the rows are those of the daemon as of this event, exactly, if every event up to it
    /// was fed: none is on its way, to be fetched, or newer. Only then may they be kept.
    pub fn is_as_of(&self, seq: u64) -> bool {
        self.is_current()
            && self.is_unbroken
            && self.stale_rows.is_empty()
            && self.stale_since.is_none()
            && self.applied <= seq
            && self.floors.are_up_to(seq)
    }

    /// The follow that the rows are of, if the daemon gave it a number.
    pub const fn follow(&self) -> Option<u64> {
        self.follow
    }
}
