//! Patches over the rows of one table: which have left it, and the list with the others (LD-3).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bowline_protocol::live::Scope;

use super::{TableRow, TableTarget};
use crate::data::{
    collection::Collection,
    load::LoadError,
    patches::{Awaited, Concern, Layer, Patch, PatchId, Patches, lay},
    view::RowList,
};

/// The patches over one table.
#[derive(Clone, Debug, Default)]
pub(super) struct Overlay {
    /// Patches whose effects the rows include, while their intents are known.
    left: BTreeSet<PatchId>,
    /// Number of patches that have left so far.
    left_count: u64,
    shown: RowList<TableRow>,
    /// What the shown rows were made of.
    made: Made,
}

#[derive(Clone, Debug, Default)]
struct Made {
    base: RowList<TableRow>,
    /// Revision of the patches; `None` if there were none.
    patches: Option<u64>,
    left_count: u64,
    end: Option<Arc<str>>,
    scope: Option<Scope>,
}

impl Overlay {
    /// Whether a patch has left.
    pub(super) fn has_left(&self, id: PatchId) -> bool {
        self.left.contains(&id)
    }

    /// The rows include the effect of a patch.
    pub(super) fn leave(&mut self, id: PatchId) {
        self.left_count += u64::from(self.left.insert(id));
    }

    /// Lets the patches leave whose effects the rows include. `cursor`: the last event of the
    /// numbering in force.
    pub(super) fn settle(&mut self, patches: &Patches, rows: &Collection<TableRow>, cursor: u64) {
        self.left.retain(|(position, _)| patches.contains(position));
        let is_final = |error| matches!(error, LoadError::Rejected(reason) if reason.is_final());
        let is_refused = rows.error().is_some_and(is_final);
        let reached = rows.is_current().then(|| rows.applied().max(cursor));
        for (position, entry) in patches.iter() {
            for (number, patch) in entry.patches.iter().enumerate() {
                let key = Arc::from(patch.patch.key.as_str());
                let has_it = match entry.awaited(patch) {
                    None => false,
                    Some(_) if is_refused => true,
                    Some(Awaited::Current(seq)) => Some(seq) <= reached,
                    Some(Awaited::Told(seq, Concern::Value)) => rows.has_applied(seq),
                    Some(Awaited::Told(seq, Concern::Stale)) => {
                        rows.has_applied(seq) && !rows.is_stale(&key)
                    }
                };
                if has_it {
                    self.leave((*position, number));
                }
            }
        }
    }

    /// The rows with the patches over them; the same shared list as long as nothing changes.
    pub(super) fn lay(
        &mut self,
        patches: &Patches,
        rows: &Collection<TableRow>,
        target: &TableTarget,
        scope: Option<&Scope>,
    ) -> &RowList<TableRow> {
        let base = rows.rows();
        if patches.is_empty() {
            self.made.patches = None;
            if !self.shown.is_same(base) {
                self.shown = base.clone();
            }
            return &self.shown;
        }
        let is_made = self.made.patches == Some(patches.rev())
            && self.made.base.is_same(base)
            && self.made.left_count == self.left_count
            && self.made.end.as_ref() == rows.end()
            && self.made.scope.as_ref() == scope;
        if !is_made {
            self.made = Made {
                base: base.clone(),
                patches: Some(patches.rev()),
                left_count: self.left_count,
                end: rows.end().cloned(),
                scope: scope.cloned(),
            };
            let layers = self.layers(patches, |patch| patch.concerns(target, scope));
            self.shown = laid(rows, layers, &self.shown);
        }
        &self.shown
    }

    /// The patches that have not left, by key.
    fn layers<'a>(
        &self,
        patches: &'a Patches,
        concerns: impl Fn(&Patch) -> bool,
    ) -> BTreeMap<Arc<str>, Vec<Layer<'a>>> {
        let mut layers: BTreeMap<Arc<str>, Vec<Layer<'a>>> = BTreeMap::new();
        for (position, entry) in patches.iter() {
            for (number, one) in entry.patches.iter().enumerate() {
                if concerns(&one.patch)
                    && !self.has_left((*position, number))
                    && let Some(layer) = entry.layer(one)
                {
                    let key = Arc::from(one.patch.key.as_str());
                    layers.entry(key).or_default().push(layer);
                }
            }
        }
        layers
    }
}

/// The rows of a table with layers over them. Rows beyond its window stay left out. A row that is
/// as it was shown before is the same `Arc`.
fn laid(
    rows: &Collection<TableRow>,
    layers: BTreeMap<Arc<str>, Vec<Layer<'_>>>,
    before: &RowList<TableRow>,
) -> RowList<TableRow> {
    let mut list = rows.rows().clone();
    for (key, layers) in layers {
        if rows.is_beyond(&key) {
            continue;
        }
        let base = list.get(&key).cloned();
        match lay(&key, base.as_deref(), layers) {
            Some(row) if base.as_deref() == Some(&row) => {}
            Some(row) => {
                let same = before.get(&key).filter(|before| ***before == row);
                list.insert(same.cloned().unwrap_or_else(|| Arc::new(row)));
            }
            None => {
                list.remove(&key);
            }
        }
    }
    list
}
