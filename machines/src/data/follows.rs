//! Which scopes a host follows for nobody any more: the rule of tables, logs and topics (LD-2).

use std::collections::{BTreeMap, BTreeSet};

use bowline_protocol::live::Scope;

/// Something that is followed for the readers of one target.
pub(super) trait Follow {
    /// The name of the table, log or topic.
    fn name(&self) -> &str;

    /// The keys that it covers, once the daemon has said so.
    fn scope(&self) -> Option<&Scope>;

    /// Whether somebody reads it.
    fn is_read(&self) -> bool;

    /// Whether a request is on its way whose answer may be a follow.
    fn is_asking(&self) -> bool;
}

/// Scopes that a target had before the service gave it another one, with the name of the table,
/// log or topic. To be closed by the next [`sweep`].
pub(super) type Former = BTreeSet<(String, Scope)>;

/// Removes what nobody reads, and returns the scopes to close. While a request of the same name is
/// on its way they stay, since its answer may be a follow of any of their scopes, which a close
/// would end.
pub(super) fn sweep<I: Copy + Ord, F: Follow>(
    open: &mut BTreeMap<I, F>,
    former: &mut Former,
) -> Former {
    let is_settled = |name: &str| {
        let mut same = open.values().filter(|one| one.name() == name);
        same.all(|one| !one.is_asking())
    };
    let over: Vec<I> = open
        .iter()
        .filter(|(_, one)| !one.is_read() && is_settled(one.name()))
        .map(|(id, _)| *id)
        .collect();
    let mut left: Former = former
        .extract_if(.., |(name, _)| is_settled(name))
        .collect();
    for id in over {
        if let Some(one) = open.remove(&id) {
            let scope = one.scope().cloned();
            left.extend(scope.map(|scope| (one.name().to_owned(), scope)));
        }
    }
    left.retain(|(name, scope)| {
        let is_its = |one: &F| one.name() == name && one.scope() == Some(scope);
        !open.values().any(is_its)
    });
    left
}
