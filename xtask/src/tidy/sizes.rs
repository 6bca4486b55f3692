//! Files stay readable: a note above one size, an error above another.

use super::Violation;
use crate::tree::Tree;

/// Lines above which a file gets a note.
const LONG: usize = 600;
/// Lines above which a file is an error.
const TOO_LONG: usize = 800;

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    over(tree, TOO_LONG)
        .map(|(path, lines)| {
            let what = format!("{lines} lines; divide it (at most {TOO_LONG})");
            Violation::new(path, 0, what)
        })
        .collect()
}

/// Notes on files between the two sizes.
pub(super) fn long_files(tree: &Tree) -> Vec<String> {
    over(tree, LONG)
        .filter(|(_, lines)| *lines <= TOO_LONG)
        .map(|(path, lines)| format!("{path} has {lines} lines"))
        .collect()
}

fn over(tree: &Tree, most: usize) -> impl Iterator<Item = (&str, usize)> {
    tree.ending(".rs")
        .map(|(path, text)| (path, text.lines().count()))
        .filter(move |(_, lines)| *lines > most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_too_long_is_found_and_a_long_one_noted() {
        let (long, too_long) = ("\n".repeat(601), "\n".repeat(801));
        let tree = Tree::of(&[
            ("a/src/fine.rs", "\n"),
            ("a/src/long.rs", &long),
            ("a/src/too_long.rs", &too_long),
        ]);
        assert_eq!(long_files(&tree), ["a/src/long.rs has 601 lines"]);
        assert_eq!(check(&tree)[0].file, "a/src/too_long.rs");
        assert_eq!(check(&tree).len(), 1);
    }
}
