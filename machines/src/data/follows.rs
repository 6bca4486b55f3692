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

/// A scope, with the name of its table, log or topic.
type Named = (String, Scope);

/// What the session follows for a list of tables, logs or topics.
#[derive(Clone, Debug, Default)]
pub(super) struct Follows {
    /// The newest number that was answered for each scope, after the attach in which it was.
    numbers: BTreeMap<Named, (u64, Option<u64>)>,
    /// Attaches so far.
    attaches: u64,
    /// Scopes that a target had before the service gave it another one, to be closed by the next
    /// [`Follows::sweep`].
    former: BTreeSet<Named>,
}

/// A follow to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The name of the table, log or topic.
    pub name: String,
    /// Its scope.
    pub scope: Scope,
    /// Only this follow, if the daemon gave it a number. A request to end it that arrives late thus
    /// does not end one that began after it.
    pub follow: Option<u64>,
}

impl Follows {
    /// The daemon answered that it follows a scope. `former`: the scope of the same target before.
    pub(super) fn answered(
        &mut self,
        name: &str,
        scope: &Scope,
        follow: Option<u64>,
        former: Option<Scope>,
    ) {
        let named = |scope| (name.to_owned(), scope);
        let newest = self.numbers.entry(named(scope.clone())).or_default();
        // Answers of two targets with one scope may come in either order.
        *newest = (self.attaches, follow).max(*newest);
        self.former.extend(former.map(named));
    }

    /// Another attach: everything is opened again, and a daemon that was restarted may have begun
    /// with smaller numbers.
    pub(super) fn attached(&mut self) {
        self.attaches += 1;
    }

    /// Removes what nobody reads, and returns what to close. While a request of the same name is on
    /// its way all of that name stays, since its answer may be a follow of any of the scopes, which
    /// a close would end.
    pub(super) fn sweep<I: Copy + Ord, F: Follow>(
        &mut self,
        open: &mut BTreeMap<I, F>,
    ) -> Vec<Close> {
        let is_settled = |name: &str| {
            let mut same = open.values().filter(|one| one.name() == name);
            same.all(|one| !one.is_asking())
        };
        let over: Vec<I> = open
            .iter()
            .filter(|(_, one)| !one.is_read() && is_settled(one.name()))
            .map(|(id, _)| *id)
            .collect();
        let former = self.former.extract_if(.., |(name, _)| is_settled(name));
        let mut left: BTreeSet<Named> = former.collect();
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
        let closed = left.into_iter().map(|named| {
            let follow = self.numbers.remove(&named).and_then(|(_, follow)| follow);
            let (name, scope) = named;
            Close {
                name,
                scope,
                follow,
            }
        });
        closed.collect()
    }
}
