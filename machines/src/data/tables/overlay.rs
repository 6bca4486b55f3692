//! Patches over the rows of one table: which have left it, and the list with the others (LD-3).

use std::{collections::BTreeSet, sync::Arc};

use bowline_protocol::live::Scope;

use super::TableRow;
use crate::data::target::LiveTarget;
use crate::data::{
    collection::Collection,
    load::LoadError,
    patches::{Awaited, Concern, PatchId, Patches, lay},
    view::RowList,
};

/// The patches over one table.
#[derive(Clone, Debug, Default)]
pub(super) struct Overlay {
    /// Patches whose effects the rows include, while their intents are known.
    left: BTreeSet<PatchId>,
    shown: RowList<TableRow>,
    /// What the shown rows were made of; `None`: of no patches.
    made: Option<Made>,
    /// Keys whose patches have changed since.
    changed: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct Made {
    base: RowList<TableRow>,
    end: Option<Arc<str>>,
    scope: Option<Scope>,
}

impl Overlay {
    /// Whether a patch has left.
    pub(super) fn has_left(&self, id: PatchId) -> bool {
        self.left.contains(&id)
    }

    /// The rows include the effect of a patch of this key.
    pub(super) fn leave(&mut self, id: PatchId, key: &str) {
        if self.left.insert(id) {
            self.note(key);
        }
    }

    /// A patch of this key is laid otherwise from now on.
    pub(super) fn note(&mut self, key: &str) {
        self.changed.insert(key.to_owned());
    }

    /// Lets the patches leave whose effects the rows include. `cursor`: the last event of the
    /// numbering in force.
    pub(super) fn settle(&mut self, patches: &Patches, rows: &Collection<TableRow>, cursor: u64) {
        self.left.retain(|(position, _)| patches.contains(position));
        let is_final = |error| matches!(error, LoadError::Rejected(reason) if reason.is_final());
        let is_refused = rows.error().is_some_and(is_final);
        let reached = rows.is_current().then(|| rows.applied().max(cursor));
        for (position, entry) in patches.waiting() {
            for (number, one) in entry.patches.iter().enumerate() {
                let key = one.patch.key.as_str();
                let has_it = match entry.awaited(one) {
                    None => false,
                    Some(_) if is_refused => true,
                    Some(Awaited::Current(seq)) => Some(seq) <= reached,
                    Some(Awaited::Told(seq, Concern::Value)) => rows.has_applied(seq),
                    Some(Awaited::Told(seq, Concern::Stale)) => {
                        rows.has_applied(seq) && !rows.is_stale(&Arc::from(key))
                    }
                };
                if has_it {
                    self.leave((*position, number), key);
                }
            }
        }
    }

    /// The same, to be laid anew.
    #[cfg(test)]
    pub(super) fn forgotten(self) -> Self {
        Self { made: None, ..self }
    }

    /// The rows with the patches over them; the same shared list as long as nothing changes. A
    /// change of patches costs what it changes, one of the rows costs all patches.
    pub(super) fn lay(
        &mut self,
        patches: &Patches,
        rows: &Collection<TableRow>,
        target: &LiveTarget,
        scope: Option<&Scope>,
    ) -> &RowList<TableRow> {
        let base = rows.rows();
        let changed = std::mem::take(&mut self.changed);
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
            left: &self.left,
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
    left: &'a BTreeSet<PatchId>,
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
            let is_laid = one.patch.concerns(self.target, self.scope) && !self.left.contains(&id);
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
