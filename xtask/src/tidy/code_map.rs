//! The code map names files and folders that exist.

use super::Violation;
use crate::tree::Tree;

const MAP: &str = "ARCHITECTURE.md";

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let Some(text) = tree.text(MAP) else {
        return vec![Violation::new(MAP, 0, "is missing")];
    };
    let mut found = Vec::new();
    for (n, line) in text.lines().enumerate() {
        for code in line.split('`').skip(1).step_by(2) {
            let is_path = code.ends_with('/') || code.ends_with(".rs");
            if is_path && !code.contains(' ') && !tree.contains(code) {
                found.push(Violation::new(
                    MAP,
                    n + 1,
                    format!("`{code}` does not exist"),
                ));
            }
        }
    }
    // The reverse: every crate is on the map.
    for (path, _) in tree.ending("/Cargo.toml") {
        let folder = path.trim_end_matches("Cargo.toml");
        if !text.contains(&format!("`{folder}`")) {
            found.push(Violation::new(
                MAP,
                0,
                format!("`{folder}` is not on the map"),
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_moved_and_a_crate_that_nobody_drew_are_found() {
        let tree = Tree::of(&[
            (MAP, "### `daemon/`\nsee `daemon/src/gone.rs` and `a b/`\n"),
            ("daemon/Cargo.toml", ""),
            ("relay/Cargo.toml", ""),
        ]);
        let found: Vec<_> = check(&tree).into_iter().map(|v| v.what).collect();
        assert_eq!(
            found,
            [
                "`daemon/src/gone.rs` does not exist",
                "`relay/` is not on the map"
            ]
        );
    }
}
