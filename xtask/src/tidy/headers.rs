//! Every Rust file opens with a `//!` header that says what it owns.

use super::Violation;
use crate::tree::Tree;

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    tree.ending(".rs")
        .filter_map(|(path, text)| {
            let first = text.lines().next().unwrap_or_default();
            let said = first.strip_prefix("//!").map(str::trim);
            match said {
                Some(words) if words.split_whitespace().count() >= 2 => None,
                Some(_) => Some("its `//!` header says nothing"),
                None => Some("does not begin with a `//!` header"),
            }
            .map(|what| Violation::new(path, 1, what))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_header_is_found() {
        let tree = Tree::of(&[
            ("a/src/good.rs", "//! Owns the good.\n"),
            ("a/src/bad.rs", "use std::fmt;\n//! too late\n"),
            ("a/src/empty.rs", ""),
            ("a/src/hollow.rs", "//! hollow\n"),
            ("a/notes.txt", "no source"),
        ]);
        let files: Vec<_> = check(&tree).into_iter().map(|v| v.file).collect();
        assert_eq!(files, ["a/src/bad.rs", "a/src/empty.rs", "a/src/hollow.rs"]);
    }
}
