//! The repository names no path that exists on one machine only.

use super::Violation;
use crate::tree::Tree;

/// Each in two pieces, so that the check does not find this file.
const PLACES: &[(&str, &str)] = &[
    ("../sha", "red/"),
    ("/wo", "rk/main"),
    ("/wo", "rk/shared"),
    ("/wo", "rk/."),
    ("/tmp/hu", "b"),
    ("/tmp/", "w/"),
    ("/tmp/", "t/"),
    ("/ro", "ot/"),
    ("/Use", "rs/"),
];

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let places: Vec<_> = PLACES.iter().map(|(a, b)| format!("{a}{b}")).collect();
    let mut found = Vec::new();
    for (path, text) in tree.texts() {
        for (n, line) in text.lines().enumerate() {
            for place in places.iter().filter(|place| line.contains(place.as_str())) {
                let what = format!("`{place}` is a path of one machine");
                found.push(Violation::new(path, n + 1, what));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_one_machine_is_found() {
        let line = format!("fine\nsee {}{}design/x.md\n", PLACES[0].0, PLACES[0].1);
        let tree = Tree::of(&[("docs/a.md", &line), ("docs/b.md", "see ../docs/a.md")]);
        let found = check(&tree);
        assert_eq!((found.len(), found[0].line), (1, 2));
    }
}
