//! Decision records are numbered from 0001 without gaps and titled by their number.

use super::Violation;
use crate::tree::Tree;

const FOLDER: &str = "docs/adr/";

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut expected = 1;
    for (path, text) in tree.ending(".md") {
        let Some(name) = path.strip_prefix(FOLDER) else {
            continue;
        };
        if name == "README.md" {
            continue;
        }
        let number = format!("{expected:04}");
        expected += 1;
        if !name.starts_with(&format!("{number}-")) {
            let what = format!("the next decision must be number {number}");
            found.push(Violation::new(path, 0, what));
        } else if !text.starts_with(&format!("# {number} ")) {
            let what = format!("its title must begin with `# {number} `");
            found.push(Violation::new(path, 1, what));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_and_a_wrong_title_are_found() {
        let tree = Tree::of(&[
            ("docs/adr/0001-why.md", "# 0001 Why\n"),
            ("docs/adr/0002-what.md", "# What\n"),
            ("docs/adr/0004-how.md", "# 0004 How\n"),
        ]);
        let files: Vec<_> = check(&tree).into_iter().map(|v| v.file).collect();
        assert_eq!(files, ["docs/adr/0002-what.md", "docs/adr/0004-how.md"]);
    }
}
