//! Optimistic patches of a host's intents: what rows and logs are shown as before the daemon says
//! so (LD-3).
//!
//! ```text
//!  queued ──► laid ──event with its intent and key──────────► told ──┐
//!              ├─────done, with the number of an event──────► done ──┴─the table has it──► left
//!              ├─────refused, expired──► failed ──dismissed, too many, no row says so──► gone
//!              └─────dropped──► gone
//! ```
//!
//! "Table" stands for logs as well here, and "row" for the item that is expected at the end of one.
//!
//! A patch leaves each table by itself, once and for good: in the very step in which the table has
//! the change that carries the intent, or, if no such change comes, once the table is current and
//! has taken every event up to the number in the answer. A change of which only the key was told
//! counts when the row has been fetched. A table that the daemon refuses keeps no patch whose
//! intent has ended.
//!
//! When the numbering of events begins anew, what was told before is in the rows loaded after that,
//! so the patch leaves with them.
//!
//! A failed `merge` or `remove` is said by its row. Once a table that covers the key is current
//! without it, the patch is dropped: nothing shows it, and a later row of the key is another one.
//!
//! This module knows the patches of all intents; a list knows which of them have left it
//! ([`Left`]), and lays the others over its rows ([`super::tables`]) or after its items
//! ([`super::logs`]).
//!
//! **Bounds.** Those of one intent are in [`check`], the number of open intents is bounded by the
//! queue, of failures by its driver. Of intents that are done, at most [`MAX_AWAITED`] wait for
//! tables: one more, and the oldest patch leaves although the table has not caught up.

mod lay;
mod left;
mod values;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bowline_protocol::{IntentId, live::TableChanged};

pub(super) use lay::{Layer, lay};
pub(super) use left::Left;
pub use values::{
    Conclusion, Input, MAX_PATCH_BYTES, MAX_PATCHES, Patch, PatchChange, PatchError, RowFailure,
    check,
};

/// Most intents that are done and whose patches wait for a table; the oldest is dropped beyond it.
pub const MAX_AWAITED: usize = 256;

/// The order of intents: of creation, then of ids.
pub(super) type Position = (i64, IntentId);

/// A patch: its intent's position, and its own among those of the intent.
pub(super) type PatchId = (Position, usize);

/// The patches of one host's intents.
#[derive(Clone, Debug, Default)]
pub(super) struct Patches {
    entries: BTreeMap<Position, Entry>,
    positions: BTreeMap<IntentId, Position>,
    /// The patches of each key, whatever their table.
    by_key: BTreeMap<String, BTreeSet<PatchId>>,
    /// Intents with patches whose effect is known to exist, so that they wait for a table. Few,
    /// while many intents may be open: only these are looked at when an event comes.
    waiting: BTreeSet<Position>,
    /// Failed intents with patches that only a row of the daemon's can say it of.
    unsaid: BTreeSet<Position>,
}

/// The patches of one intent.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) patches: Vec<Told>,
    pub(super) state: State,
}

/// A patch, and the event that told its effect, if one has.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) patch: Arc<Patch>,
    pub(super) told: Option<(u64, Concern)>,
    /// Whether its intent has failed and there was no row to say so: it concerns no later row.
    is_dropped: bool,
}

impl Told {
    /// Whether a failure of its intent can be said by a row that it would have made.
    pub(super) fn makes_row(&self) -> bool {
        matches!(
            self.patch.change,
            PatchChange::Upsert(_) | PatchChange::Append(_)
        )
    }

    fn is_over(&self) -> bool {
        self.told.is_some() || self.is_dropped
    }
}

/// What a patch waits for, to leave a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    /// That the table shows what this event told of the row.
    Told(u64, Concern),
    /// That the table is current, with every event up to this one.
    Current(u64),
}

/// The state of an intent.
#[derive(Clone, Debug)]
pub(super) enum State {
    Open,
    Done { seq: u64 },
    Failed(Arc<RowFailure>),
}

/// How an event concerns the row of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// It has the row as it is now.
    Value,
    /// It says that the row has changed.
    Stale,
}

impl Entry {
    fn all(&self) -> Vec<Arc<Patch>> {
        let patches = self.patches.iter();
        patches.map(|one| Arc::clone(&one.patch)).collect()
    }

    /// How a patch is laid; `None` if it is not: its intent is said to have failed, but its effect
    /// was told, or there was no row to say so.
    pub(super) fn layer<'a>(&'a self, patch: &'a Told) -> Option<Layer<'a>> {
        let failure = match &self.state {
            State::Failed(_) if patch.is_over() => return None,
            State::Failed(failure) => Some(failure),
            State::Open | State::Done { .. } => None,
        };
        let change = &patch.patch.change;
        Some(Layer { change, failure })
    }

    /// Whether any patch waits for a table.
    fn waits(&self) -> bool {
        self.patches.iter().any(|one| self.awaited(one).is_some())
    }

    /// The patches whose failure only a row of the daemon's can say.
    fn unsaid(&self) -> impl Iterator<Item = (usize, &Told)> {
        let has_failed = matches!(self.state, State::Failed(_));
        let patches = self.patches.iter().enumerate();
        patches.filter(move |(_, one)| has_failed && !one.is_over() && !one.makes_row())
    }

    /// What a patch waits for, if its effect is known to exist.
    pub(super) fn awaited(&self, patch: &Told) -> Option<Awaited> {
        let told = patch.told.map(|(seq, concern)| Awaited::Told(seq, concern));
        match self.state {
            State::Done { seq } => Some(told.unwrap_or(Awaited::Current(seq))),
            State::Open => told,
            State::Failed(_) => None,
        }
    }
}

impl Patches {
    /// Feeds one input. Returns the patches that are laid otherwise from now on.
    pub(super) fn handle(&mut self, input: Input) -> Vec<Arc<Patch>> {
        match input {
            Input::Queued {
                intent_id,
                at,
                patches,
            } => self.queued(intent_id, at, patches),
            Input::Concluded {
                intent_id,
                conclusion,
            } => self.concluded(intent_id, conclusion),
            Input::Dismissed { intent_id } => {
                let entry = self.positions.get(&intent_id);
                let entry = entry.and_then(|position| self.entries.get(position));
                match entry.map(|entry| &entry.state) {
                    Some(State::Failed(_)) => self.remove(intent_id),
                    Some(State::Open | State::Done { .. }) | None => Vec::new(),
                }
            }
        }
    }

    /// The patches of an intent that would say that it failed.
    pub(super) fn saying(&self, intent_id: IntentId) -> impl Iterator<Item = (PatchId, &Told)> {
        let position = self.positions.get(&intent_id);
        let entry = position.and_then(|position| self.entries.get_key_value(position));
        entry.into_iter().flat_map(|(position, entry)| {
            let patches = entry.patches.iter().enumerate();
            let patches = patches.filter(|(_, one)| !one.is_over());
            patches.map(|(number, one)| ((*position, number), one))
        })
    }

    /// The patches whose failure only a row of the daemon's can say.
    pub(super) fn unsaid(&self) -> impl Iterator<Item = (PatchId, &Told)> {
        let failed = self.unsaid.iter();
        let failed = failed.filter_map(|position| self.entries.get_key_value(position));
        failed.flat_map(|(position, entry)| {
            let patches = entry.unsaid();
            patches.map(|(number, one)| ((*position, number), one))
        })
    }

    /// Drops a patch whose failure no row says. Returns its intent if that was the last one.
    pub(super) fn drop_unsaid(&mut self, (position, number): PatchId) -> Option<IntentId> {
        let entry = self.entries.get_mut(&position)?;
        entry.patches.get_mut(number)?.is_dropped = true;
        let is_over = entry.patches.iter().all(Told::is_over);
        self.weigh(position);
        if is_over {
            self.remove(position.1);
        }
        is_over.then_some(position.1)
    }

    /// Those with patches that wait for a table, in the order in which they lie over each other.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (&Position, &Entry)> {
        let waiting = self.waiting.iter();
        waiting.filter_map(|position| self.entries.get_key_value(position))
    }

    /// Every key with patches.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.by_key.keys().map(String::as_str)
    }

    /// The patches of a key, in the order in which they lie over each other.
    pub(super) fn of_key(&self, key: &str) -> impl Iterator<Item = (PatchId, &Entry, &Told)> {
        let ids = self.by_key.get(key).into_iter().flatten();
        ids.filter_map(|id| {
            let (position, number) = id;
            let entry = self.entries.get(position)?;
            Some((*id, entry, entry.patches.get(*number)?))
        })
    }

    pub(super) fn contains(&self, position: &Position) -> bool {
        self.entries.contains_key(position)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Notes the patches of an intent that its event confirms, and returns them.
    pub(super) fn told(
        &mut self,
        seq: u64,
        intent_id: Option<IntentId>,
        concern: impl Fn(&Patch) -> Option<Concern>,
    ) -> Vec<(PatchId, Arc<Patch>, Concern)> {
        let position = intent_id.and_then(|id| self.positions.get(&id));
        let Some((position, entry)) =
            position.and_then(|position| Some((*position, self.entries.get_mut(position)?)))
        else {
            return Vec::new();
        };
        let mut confirmed = Vec::new();
        for (number, patch) in entry.patches.iter_mut().enumerate() {
            if let Some(concern) = concern(&patch.patch) {
                patch.told = Some((seq, concern));
                confirmed.push(((position, number), Arc::clone(&patch.patch), concern));
            }
        }
        self.weigh(position);
        confirmed
    }

    /// Removes an intent that has failed although each of its effects was told or cannot be said to
    /// have failed: its answer was lost, and it was done. Returns its patches.
    pub(super) fn drop_told(&mut self, intent_id: IntentId) -> Option<Vec<Arc<Patch>>> {
        let entry = self.entries.get(self.positions.get(&intent_id)?)?;
        let is_over =
            matches!(entry.state, State::Failed(_)) && entry.patches.iter().all(Told::is_over);
        is_over.then(|| self.remove(intent_id))
    }

    /// The numbering of events begins anew.
    pub(super) fn renumber(&mut self) {
        for entry in self.entries.values_mut() {
            if let State::Done { seq } = &mut entry.state {
                *seq = 0;
            }
            for patch in &mut entry.patches {
                patch.told = patch.told.map(|_| (0, Concern::Value));
            }
        }
    }

    /// Forgets the intents that are done and of which no patch has to be laid any more.
    pub(super) fn forget(&mut self, has_left: impl Fn(PatchId, &Patch) -> bool) {
        let is_over = |(position, entry): &(&Position, &Entry)| {
            let mut patches = entry.patches.iter().enumerate();
            matches!(entry.state, State::Done { .. })
                && patches.all(|(number, one)| has_left((**position, number), &one.patch))
        };
        let over = self.waiting().filter(is_over);
        let over: Vec<IntentId> = over.map(|(at, _)| at.1).collect();
        for intent_id in over {
            self.remove(intent_id);
        }
    }

    /// Whether any patch waits for a table.
    pub(super) fn has_awaited(&self) -> bool {
        debug_assert!(
            self.entries
                .iter()
                .all(|(position, entry)| entry.waits() == self.waiting.contains(position)),
            "every change of an entry is weighed"
        );
        !self.waiting.is_empty()
    }

    /// Notes what an intent waits for, after it has changed.
    fn weigh(&mut self, position: Position) {
        let entry = self.entries.get(&position);
        if entry.is_some_and(|entry| entry.unsaid().next().is_some()) {
            self.unsaid.insert(position);
        } else {
            self.unsaid.remove(&position);
        }
        if self.entries.get(&position).is_some_and(Entry::waits) {
            self.waiting.insert(position);
        } else {
            self.waiting.remove(&position);
        }
    }

    fn queued(&mut self, intent_id: IntentId, at: i64, patches: Vec<Patch>) -> Vec<Arc<Patch>> {
        if patches.is_empty() || self.positions.contains_key(&intent_id) {
            return Vec::new();
        }
        let position = (at, intent_id);
        let patches = patches.into_iter().map(|patch| Told {
            patch: Arc::new(patch),
            told: None,
            is_dropped: false,
        });
        let entry = Entry {
            patches: patches.collect(),
            state: State::Open,
        };
        for (number, one) in entry.patches.iter().enumerate() {
            let key = one.patch.key.clone();
            self.by_key
                .entry(key)
                .or_default()
                .insert((position, number));
        }
        let changed = entry.all();
        self.positions.insert(intent_id, position);
        self.entries.insert(position, entry);
        changed
    }

    fn concluded(&mut self, intent_id: IntentId, conclusion: Conclusion) -> Vec<Arc<Patch>> {
        let position = self.positions.get(&intent_id).copied();
        let entry =
            position.and_then(|position| Some((position, self.entries.get_mut(&position)?)));
        let Some((position, entry)) = entry else {
            return Vec::new();
        };
        let mut changed = entry.all();
        match conclusion {
            Conclusion::Done { seq } => {
                entry.state = State::Done { seq };
                self.weigh(position);
                let done = self.waiting();
                let done = done.filter(|(_, entry)| matches!(entry.state, State::Done { .. }));
                let done: Vec<IntentId> = done.map(|(at, _)| at.1).collect();
                if let Some(oldest) = done.first().filter(|_| done.len() > MAX_AWAITED) {
                    changed.extend(self.remove(*oldest));
                }
            }
            Conclusion::Failed(error) => {
                entry.state = State::Failed(Arc::new(RowFailure { intent_id, error }));
                let is_told = entry.patches.iter().all(|patch| patch.told.is_some());
                self.weigh(position);
                if is_told {
                    self.remove(intent_id);
                }
            }
            Conclusion::Dropped => {
                self.remove(intent_id);
            }
        }
        changed
    }

    fn remove(&mut self, intent_id: IntentId) -> Vec<Arc<Patch>> {
        let position = self.positions.remove(&intent_id);
        let Some((position, entry)) =
            position.and_then(|position| Some((position, self.entries.remove(&position)?)))
        else {
            return Vec::new();
        };
        self.waiting.remove(&position);
        self.unsaid.remove(&position);
        for (number, one) in entry.patches.iter().enumerate() {
            if let Some(ids) = self.by_key.get_mut(&one.patch.key) {
                ids.remove(&(position, number));
                if ids.is_empty() {
                    self.by_key.remove(&one.patch.key);
                }
            }
        }
        entry.all()
    }
}

/// How an event concerns the row of a patch, if it does.
pub(super) fn concern(event: &TableChanged, patch: &Patch) -> Option<Concern> {
    if patch.table != event.name {
        return None;
    }
    let key = patch.key.as_str();
    if event.stale {
        let is_it = match &event.keys {
            Some(keys) => keys.iter().any(|one| one == key),
            None => event.scope.covers(key),
        };
        return is_it.then_some(Concern::Stale);
    }
    let is_put = event.upserts.iter().any(|row| row.key == key);
    let is_it = is_put || event.removed.iter().any(|one| one == key);
    is_it.then_some(Concern::Value)
}
