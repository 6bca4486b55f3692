//! The items of one log, and after them those that are only expected (LD-3).
//!
//! A window of a log always reaches its end, so what is expected is always shown, also before the
//! first items are there and while newer ones are fetched.

use std::sync::Arc;

use super::row::{Expected, LogRow};
use crate::data::{
    collection::Collection,
    patches::{Left, PatchChange, Patches},
    target::LiveTarget,
    view::RowList,
};

/// Items with expected ones after them.
#[derive(Clone, Debug, Default)]
pub(super) struct Laid {
    shown: RowList<LogRow>,
    /// The items that they were made of; `None`: they are these.
    base: Option<RowList<LogRow>>,
}

impl Laid {
    /// The items with the expected ones whose patches have not left; the same shared list as long
    /// as nothing changes. A change costs the expected items.
    pub(super) fn lay(
        &mut self,
        (patches, left): (&Patches, &mut Left),
        rows: &Collection<LogRow>,
        target: &LiveTarget,
    ) -> &RowList<LogRow> {
        let base = rows.rows();
        let is_changed = !left.take_changed().is_empty();
        if patches.is_empty() {
            self.base = None;
            if !self.shown.is_same(base) {
                self.shown = base.clone();
            }
            return &self.shown;
        }
        if !is_changed && self.base.as_ref().is_some_and(|made| made.is_same(base)) {
            return &self.shown;
        }
        let mut shown = base.clone();
        for (id, entry, one) in patches.of_key("") {
            let is_laid = one.patch.concerns(target, None) && !left.has_left(id);
            let Some(layer) = entry.layer(one).filter(|_| is_laid) else {
                continue;
            };
            let PatchChange::Append(value) = layer.change else {
                continue;
            };
            let expected = Expected::new(id, layer.failure);
            let same = self.shown.get(&expected.place());
            let same = same.filter(|same| same.expected.as_deref() == Some(&expected));
            let row = same.cloned();
            shown.insert(row.unwrap_or_else(|| Arc::new(LogRow::expected(expected, value))));
        }
        self.shown = shown;
        self.base = Some(base.clone());
        &self.shown
    }
}
