//! The rows of one table with the patches over them that have not left it (LD-3).

use std::sync::Arc;

use bowline_protocol::live::Scope;

use super::TableRow;
use crate::data::target::LiveTarget;
use crate::data::{
    collection::Collection,
    patches::{Left, Patches, lay},
    view::RowList,
};

/// The patches over one table.
#[derive(Clone, Debug, Default)]
pub(super) struct Overlay {
    shown: RowList<TableRow>,
    /// What the shown rows were made of; `None`: of no patches.
    made: Option<Made>,
}

#[derive(Clone, Debug)]
struct Made {
    base: RowList<TableRow>,
    end: Option<Arc<str>>,
    scope: Option<Scope>,
}

impl Overlay {
    /// The same, to be laid anew.
    #[cfg(test)]
    pub(super) fn forgotten(self) -> Self {
        Self { made: None, ..self }
    }

    /// The rows with the patches over them; the same shared list as long as nothing changes. A
    /// change of patches costs what it changes, one of the rows costs all patches.
    pub(super) fn lay(
        &mut self,
        (patches, left): (&Patches, &mut Left),
        rows: &Collection<TableRow>,
        target: &LiveTarget,
        scope: Option<&Scope>,
    ) -> &RowList<TableRow> {
        let base = rows.rows();
        let changed = left.take_changed();
        if patches.is_empty() {
            self.made = None;
            if !self.shown.is_same(base) {
                self.shown = base.clone();
            }
            return &self.shown;
        }
        let is_made = self.made.as_ref().is_some_and(|made| {
            made.base.is_same(base)
                && made.end.as_ref() == rows.end()
                && made.scope.as_ref() == scope
        });
        let before = self.shown.clone();
        let over = Over {
            patches,
            left,
            rows,
            target,
            scope,
            before: &before,
        };
        if is_made {
            for key in &changed {
                over.lay(&mut self.shown, key);
            }
        } else {
            self.shown = base.clone();
            for key in patches.keys() {
                over.lay(&mut self.shown, key);
            }
            self.made = Some(Made {
                base: base.clone(),
                end: rows.end().cloned(),
                scope: scope.cloned(),
            });
        }
        &self.shown
    }
}

/// What is laid over what.
struct Over<'a> {
    patches: &'a Patches,
    left: &'a Left,
    rows: &'a Collection<TableRow>,
    target: &'a LiveTarget,
    scope: Option<&'a Scope>,
    /// The rows shown before.
    before: &'a RowList<TableRow>,
}

impl Over<'_> {
    /// Lays the patches of a key that have not left over its row. A row beyond the window stays
    /// left out, and one that is as it was shown before is the same `Arc`.
    fn lay(&self, shown: &mut RowList<TableRow>, key: &str) {
        let key: Arc<str> = Arc::from(key);
        let base = self.rows.rows().get(&key);
        let layers = self.patches.of_key(&key).filter_map(|(id, entry, one)| {
            let is_laid = one.patch.concerns(self.target, self.scope) && !self.left.has_left(id);
            entry.layer(one).filter(|_| is_laid)
        });
        let row = lay(&key, base.map(AsRef::as_ref), layers);
        let row = row.filter(|_| !self.rows.is_beyond(&key));
        let Some(row) = row else {
            shown.remove(&key);
            return;
        };
        let same = [base, self.before.get(&key)].into_iter().flatten();
        let same = same.into_iter().find(|same| ***same == row).cloned();
        let is_shown = |same: &Arc<TableRow>| {
            let now = shown.get(&key);
            now.is_some_and(|now| Arc::ptr_eq(now, same))
        };
        if !same.as_ref().is_some_and(is_shown) {
            shown.insert(same.unwrap_or_else(|| Arc::new(row)));
        }
    }
}
