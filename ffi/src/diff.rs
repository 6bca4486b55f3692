//! What changed between two lists of keyed rows: cheap where they share rows, exact where they do not.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::Arc,
};

/// What makes the new list of the old one: take the removed rows out, put the others in or in the place of theirs, and
/// arrange them as the order says. Without an order, new rows go to the end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ListDiff<K, R> {
    pub(crate) removed: Vec<K>,
    pub(crate) upserts: Vec<Arc<R>>,
    pub(crate) order: Option<Vec<K>>,
}

/// Compares two lists; of a row that both have as the same value nothing is said.
pub(crate) fn diff<K: Clone + Eq + Hash, R: PartialEq>(
    old: &[Arc<R>],
    new: &[Arc<R>],
    key: impl Fn(&R) -> K,
) -> ListDiff<K, R> {
    let whole = new;
    let same_prefix = old
        .iter()
        .zip(new)
        .take_while(|(old, new)| Arc::ptr_eq(old, new));
    let same = same_prefix.count();
    let (old, new) = (
        old.get(same..).unwrap_or_default(),
        new.get(same..).unwrap_or_default(),
    );
    let before: HashMap<K, &Arc<R>> = old.iter().map(|row| (key(row), row)).collect();
    let after: HashSet<K> = new.iter().map(|row| key(row)).collect();
    let removed: Vec<K> = old
        .iter()
        .map(|row| key(row))
        .filter(|k| !after.contains(k))
        .collect();
    let is_known = |row: &&Arc<R>| {
        let old = before.get(&key(row));
        old.is_some_and(|old| Arc::ptr_eq(old, row) || old == row)
    };
    let upserts: Vec<Arc<R>> = new.iter().filter(|row| !is_known(row)).cloned().collect();
    // What the receiver has without being told an order: the rows that stay as they stood, then the new ones.
    let stayed = old.iter().map(|row| key(row)).filter(|k| after.contains(k));
    let added = new
        .iter()
        .map(|row| key(row))
        .filter(|k| !before.contains_key(k));
    let in_order = stayed.chain(added).eq(new.iter().map(|row| key(row)));
    let order = (!in_order).then(|| whole.iter().map(|row| key(row)).collect());
    ListDiff {
        removed,
        upserts,
        order,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(keys: &[(u32, &str)]) -> Vec<Arc<(u32, String)>> {
        let row = |(key, text): &(u32, &str)| Arc::new((*key, (*text).to_owned()));
        keys.iter().map(row).collect()
    }

    /// What a receiver does with a diff.
    fn apply(list: &mut Vec<Arc<(u32, String)>>, diff: &ListDiff<u32, (u32, String)>) {
        list.retain(|row| !diff.removed.contains(&row.0));
        for row in &diff.upserts {
            match list.iter_mut().find(|old| old.0 == row.0) {
                Some(old) => *old = Arc::clone(row),
                None => list.push(Arc::clone(row)),
            }
        }
        if let Some(order) = &diff.order {
            list.sort_by_key(|row| order.iter().position(|key| *key == row.0));
        }
    }

    #[test]
    fn bx_6_a_diff_makes_the_new_list_of_the_old_one() {
        let lists = [
            rows(&[]),
            rows(&[(1, "a"), (2, "b"), (3, "c")]),
            rows(&[(1, "a"), (2, "B"), (3, "c"), (4, "d")]),
            rows(&[(4, "d"), (1, "a"), (3, "c")]),
            rows(&[(0, "z"), (4, "d"), (3, "c"), (1, "a")]),
            rows(&[(9, "q")]),
        ];
        for old in &lists {
            for new in &lists {
                let mut list = old.clone();
                apply(&mut list, &diff(old, new, |row| row.0));
                assert_eq!(&list, new);
            }
        }
    }

    #[test]
    fn bx_6_an_appended_row_is_all_that_is_said() {
        let old = rows(&[(1, "a"), (2, "b")]);
        let mut new = old.clone();
        new.extend(rows(&[(3, "c")]));
        let diff = diff(&old, &new, |row| row.0);
        assert_eq!(
            (diff.removed.len(), diff.upserts.len(), diff.order),
            (0, 1, None)
        );
    }
}
