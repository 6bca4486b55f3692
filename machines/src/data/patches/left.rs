//! Which patches have left one list, because its rows include their effects (LD-3).

use std::collections::BTreeSet;

use super::{Awaited, Concern, PatchId, Patches};
use crate::data::{
    collection::{Collection, Entry},
    load::LoadError,
};

/// The patches that have left one list.
#[derive(Clone, Debug, Default)]
pub(in crate::data) struct Left {
    /// Patches whose effects the rows include, while their intents are known.
    ids: BTreeSet<PatchId>,
    /// Keys whose patches have changed since they were laid.
    changed: BTreeSet<String>,
}

impl Left {
    /// Whether a patch has left.
    pub(in crate::data) fn has_left(&self, id: PatchId) -> bool {
        self.ids.contains(&id)
    }

    /// The rows include the effect of a patch of this key.
    pub(in crate::data) fn leave(&mut self, id: PatchId, key: &str) {
        if self.ids.insert(id) {
            self.note(key);
        }
    }

    /// A patch of this key is laid otherwise from now on.
    pub(in crate::data) fn note(&mut self, key: &str) {
        self.changed.insert(key.to_owned());
    }

    /// The keys whose patches are to be laid again.
    pub(in crate::data) fn take_changed(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.changed)
    }

    /// Lets the patches leave whose effects the rows include. `cursor`: the last event of the
    /// numbering in force. `is_stale`: whether a row of a key is to be fetched.
    pub(in crate::data) fn settle<R: Entry>(
        &mut self,
        patches: &Patches,
        rows: &Collection<R>,
        cursor: u64,
        is_stale: impl Fn(&str) -> bool,
    ) {
        self.ids.retain(|(position, _)| patches.contains(position));
        let is_refused = rows.error().is_some_and(LoadError::is_refusal);
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
                        rows.has_applied(seq) && !is_stale(key)
                    }
                };
                if has_it {
                    self.leave((*position, number), key);
                }
            }
        }
    }
}
