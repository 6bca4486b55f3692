//! Short ids: the end of an id, long enough to be unique in its list.
//!
//! The end is taken because ids of agents begin with the time of creation: ids of one day share
//! their first letters.

use std::collections::HashSet;

/// Least length of a short id.
const SHORT: usize = 8;

/// Number of letters from the end that make each of these ids unique; at least 8.
pub fn short_length<'a>(ids: impl Iterator<Item = &'a str> + Clone) -> usize {
    let longest = ids.clone().map(str::len).max().unwrap_or(SHORT);
    let total = ids.clone().collect::<HashSet<_>>().len();
    let is_enough = |length: &usize| {
        let ends: HashSet<_> = ids.clone().map(|id| end(id, *length)).collect();
        ends.len() == total
    };
    (SHORT..longest).find(is_enough).unwrap_or(longest)
}

/// The last letters of an id, or the whole id if it is shorter.
pub fn end(id: &str, length: usize) -> &str {
    let cut = id.len().saturating_sub(length);
    id.get(cut..).unwrap_or(id)
}

/// Whether a word matches an id: the whole id, its beginning (with or without the prefix `xyz_` of
/// its kind), or its end.
pub fn means(id: &str, word: &str) -> bool {
    let bare = id.split_once('_').map_or(id, |(_, bare)| bare);
    !word.is_empty() && (id.starts_with(word) || bare.starts_with(word) || id.ends_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_as_long_as_it_must_be() {
        let ids = ["agt_018a00112233", "agt_018b00112233", "agt_018c55667788"];
        assert_eq!(short_length(ids[1..].iter().copied()), 8);
        let length = short_length(ids.iter().copied());
        assert_eq!((length, end(ids[0], length)), (9, "a00112233"));
        assert_eq!(short_length(std::iter::empty()), 8);
        assert_eq!(
            short_length(["a", "a"].into_iter()),
            1,
            "the same one twice"
        );
        assert_eq!(end("abc", 8), "abc");
    }

    #[test]
    fn a_word_means_an_id_by_its_beginning_or_its_end() {
        let id = "agt_018f00112233";
        for word in [id, "agt_018f", "018f", "112233", "3"] {
            assert!(means(id, word), "{word}");
        }
        for word in ["", "8f00", "agt_112233", "x"] {
            assert!(!means(id, word), "{word}");
        }
    }
}
