//! Finds, for a key of a table, log or topic, who follows a scope that covers it.

use std::{
    borrow::Borrow,
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound::{Included, Unbounded},
};

use bowline_protocol::live::Scope;

use super::Followed;

/// The sessions that follow one scope.
type Sessions = BTreeSet<i64>;

/// The followed scopes of all tables, logs and topics. One that nobody follows has no entry.
#[derive(Default)]
pub(in crate::ledger) struct Index {
    sources: HashMap<Followed, Scopes>,
}

/// The followed scopes of one of them.
#[derive(Default)]
struct Scopes {
    /// Scopes of one key.
    rows: BTreeMap<Scope, Sessions>,
    /// Scopes of all keys with a beginning, in the order of the beginnings.
    prefixes: BTreeMap<Prefix, Sessions>,
}

/// A scope in the order of what its keys begin with.
struct Prefix(Scope);

impl Prefix {
    fn text(&self) -> &str {
        self.0.as_prefix().unwrap_or_default()
    }
}

impl Borrow<str> for Prefix {
    fn borrow(&self) -> &str {
        self.text()
    }
}

impl PartialEq for Prefix {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Prefix {}

impl Ord for Prefix {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text().cmp(other.text())
    }
}

impl PartialOrd for Prefix {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Index {
    pub(super) fn insert(&mut self, of: Followed, scope: &Scope, session: i64) {
        let scopes = self.sources.entry(of).or_default();
        let sessions = if scope.as_prefix().is_some() {
            scopes.prefixes.entry(Prefix(scope.clone())).or_default()
        } else {
            scopes.rows.entry(scope.clone()).or_default()
        };
        sessions.insert(session);
    }

    pub(super) fn remove(&mut self, of: Followed, scope: &Scope, session: i64) {
        let Some(scopes) = self.sources.get_mut(&of) else {
            return;
        };
        let found = match scope.as_prefix() {
            Some(prefix) => scopes.prefixes.get_mut(prefix),
            None => scopes.rows.get_mut(scope),
        };
        let Some(sessions) = found else {
            return;
        };
        sessions.remove(&session);
        if sessions.is_empty() {
            match scope.as_prefix() {
                Some(prefix) => scopes.prefixes.remove(prefix),
                None => scopes.rows.remove(scope),
            };
        }
        if scopes.rows.is_empty() && scopes.prefixes.is_empty() {
            self.sources.remove(&of);
        }
    }

    /// The smallest followed scope that covers a key. Two keys with the same one have the same
    /// followers: the other scopes that cover a key also cover this one.
    pub(super) fn smallest(&self, of: Followed, key: &str) -> Option<&Scope> {
        let scopes = self.sources.get(&of)?;
        match scopes.rows.get_key_value(key) {
            Some((scope, _)) => Some(scope),
            None => scopes.longest(key).map(|(prefix, _)| &prefix.0),
        }
    }

    /// The sessions that follow a scope which covers all of `scope`, in ascending order.
    pub(super) fn followers(&self, of: Followed, scope: &Scope) -> Vec<i64> {
        let Some(scopes) = self.sources.get(&of) else {
            return Vec::new();
        };
        let mut all = Sessions::new();
        let mut text = match scope.as_prefix() {
            Some(prefix) => prefix,
            None => {
                all.extend(scopes.rows.get(scope).into_iter().flatten());
                scope.as_str()
            }
        };
        while let Some((prefix, sessions)) = scopes.longest(text) {
            all.extend(sessions);
            let mut shorter = prefix.text().chars();
            if shorter.next_back().is_none() {
                break;
            }
            text = shorter.as_str();
        }
        all.into_iter().collect()
    }
}

impl Scopes {
    /// The longest followed beginning of a text.
    fn longest(&self, text: &str) -> Option<(&Prefix, &Sessions)> {
        let mut end = text;
        loop {
            let before = (Unbounded, Included(end));
            let found = self.prefixes.range::<str, _>(before).next_back()?;
            let prefix = found.0.text();
            if end.starts_with(prefix) {
                return Some(found);
            }
            // A beginning of `end` that is followed is not above the one found, and so begins it
            // too.
            let mut pairs = end.char_indices().zip(prefix.chars());
            let (common, _) = pairs.find(|((_, one), other)| one != other)?;
            end = end.get(..common.0)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use bowline_protocol::live::LiveKind;

    use super::*;

    const TABLE: Followed = (LiveKind::Table, "test.rows");

    fn scope(text: &str) -> Scope {
        Scope::try_from(text.to_owned()).unwrap()
    }

    fn of(scopes: &[&str]) -> Index {
        let mut index = Index::default();
        for (n, text) in scopes.iter().enumerate() {
            index.insert(TABLE, &scope(text), i64::try_from(n).unwrap());
        }
        index
    }

    /// Scopes and keys of few letters, so that many begin each other.
    fn texts() -> Vec<String> {
        let letters = ["", "a", "b", "ab", "ä", "/"];
        let mut texts = Vec::new();
        for one in letters {
            for two in letters {
                for three in letters {
                    texts.push(format!("{one}{two}{three}"));
                }
            }
        }
        texts
    }

    #[test]
    fn ld_2_the_followers_of_a_key_are_those_whose_scope_covers_it() {
        let texts = texts();
        let mut scopes: Vec<Scope> = Vec::new();
        // Every third text as a beginning, every fifth as a key.
        for (n, text) in texts.iter().enumerate() {
            if n % 3 == 0 {
                scopes.push(Scope::prefix(text).unwrap());
            }
            if n % 5 == 0 && !text.is_empty() {
                scopes.push(Scope::row(text).unwrap());
            }
        }
        for skipped in 0..scopes.len().min(8) {
            let some = &scopes[skipped..];
            let texts_of: Vec<&str> = some.iter().map(Scope::as_str).collect();
            let index = of(&texts_of);
            for key in texts.iter().filter(|key| !key.is_empty()) {
                let covering = |at: &Scope| at.covers(key);
                let expected: Vec<i64> = (0..)
                    .zip(some)
                    .filter(|(_, at)| covering(at))
                    .map(|(n, _)| n)
                    .collect();
                let Some(smallest) = index.smallest(TABLE, key) else {
                    assert!(expected.is_empty(), "{key}");
                    continue;
                };
                assert!(smallest.covers(key), "{key}: {smallest}");
                assert_eq!(index.followers(TABLE, smallest), expected, "{key}");
            }
        }
    }

    #[test]
    fn what_nobody_follows_any_more_takes_no_memory() {
        let scopes = ["*", "a/*", "a/b"];
        let mut index = of(&scopes);
        assert_eq!(index.smallest(TABLE, "a/b"), Some(&scope("a/b")));
        index.remove(TABLE, &scope("a/b"), 7);
        index.remove((LiveKind::Topic, "test.rows"), &scope("*"), 0);
        assert_eq!(index.followers(TABLE, &scope("a/b")), [0, 1, 2]);
        for (n, text) in (0..).zip(scopes) {
            index.remove(TABLE, &scope(text), n);
        }
        assert!(index.sources.is_empty());
    }
}
