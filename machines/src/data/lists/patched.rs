//! Patches of tables and of logs: when they are laid, and when they leave (LD-3).

use std::sync::Arc;

use bowline_protocol::IntentId;

use super::{Kind, Lists, OpenList};
use crate::{
    MonotonicTime,
    data::{
        collection,
        patches::{self, Concern, Patch, PatchId},
    },
};

impl<K: Kind> Lists<K> {
    /// An intent with patches was queued, ended, or its failure was dismissed (LD-3).
    pub fn patch(&mut self, now: MonotonicTime, input: patches::Input) {
        // Its effect has a number in the session's new numbering that nobody knows, and may be told
        // later than the rows on their way were read. Those requested from now on have it.
        let is_unnumbered = matches!(
            input,
            patches::Input::Concluded {
                conclusion: patches::Conclusion::Done { seq: 0 },
                ..
            }
        );
        let patches = self.patches.handle(input);
        for one in self.lay_anew(&patches) {
            if is_unnumbered {
                one.rows.handle(now, collection::Input::Reload);
            }
        }
        self.settle_patches();
    }

    /// Notes that patches are laid otherwise from now on. Returns the lists that are concerned,
    /// each once.
    fn lay_anew(&mut self, patches: &[Arc<Patch>]) -> Vec<&mut OpenList<K>> {
        let mut concerned = Vec::new();
        for (_, one) in self.open.iter_mut() {
            let mut is_concerned = false;
            for patch in patches {
                if patch.concerns(&one.target, one.scope.as_ref()) {
                    one.left.note(&patch.key);
                    is_concerned = true;
                }
            }
            if is_concerned {
                concerned.push(one);
            }
        }
        concerned
    }

    /// An event confirmed patches. They leave in this very step the lists that have the effect;
    /// what is not loaded yet has it once it is.
    pub(in crate::data) fn leave(&mut self, confirmed: &[(PatchId, Arc<Patch>, Concern)]) {
        for (_, one) in self.open.iter_mut() {
            one.leave(confirmed);
        }
    }

    /// Forgets the failure of an intent whose effects were all told: it was done after all.
    pub(in crate::data) fn drop_told(&mut self, intent_id: IntentId) {
        if let Some(patches) = self.patches.drop_told(intent_id) {
            self.lay_anew(&patches);
            self.unsaid.push(intent_id);
        }
    }

    /// Every event up to this one was fed, whether or not it concerned one of these lists.
    pub fn passed(&mut self, seq: u64) {
        self.cursor = seq;
        self.settle_patches();
    }

    /// Lets patches leave the lists that include their effects.
    pub(super) fn settle_patches(&mut self) {
        let mut over = Vec::new();
        for (_, one) in self.open.iter_mut() {
            for (intent_id, seq, concern) in one.own.take_told() {
                let is_its = |patch: &Patch| patch.concerns(&one.target, one.scope.as_ref());
                let told = self.patches.told(seq, Some(intent_id), |patch| {
                    is_its(patch).then_some(concern)
                });
                one.leave(&told);
                over.push(intent_id);
            }
        }
        for intent_id in over {
            self.drop_told(intent_id);
        }
        if self.patches.has_awaited() {
            for (_, one) in self.open.iter_mut() {
                let is_stale = |key: &str| K::is_stale(&one.rows, key);
                one.left
                    .settle(&self.patches, &one.rows, self.cursor, is_stale);
            }
            self.forget_patches();
        }
    }

    /// Forgets patches that no open list waits for.
    pub(super) fn forget_patches(&mut self) {
        let open = &self.open;
        self.patches.forget(|id, patch| {
            let lays = |one: &OpenList<K>| patch.concerns(&one.target, one.scope.as_ref());
            !open.iter().any(|one| lays(one) && !one.left.has_left(id))
        });
    }
}

impl<K: Kind> OpenList<K> {
    fn leave(&mut self, confirmed: &[(PatchId, Arc<Patch>, Concern)]) {
        for (id, patch, concern) in confirmed {
            let is_its = patch.concerns(&self.target, self.scope.as_ref());
            if is_its && *concern == Concern::Value && self.rows.has_succeeded() {
                self.left.leave(*id, &patch.key);
            }
        }
    }
}
