//! Comments of Rust files wrap at 100 columns.

use super::Violation;
use crate::tree::Tree;

/// Most columns of a line, as `rustfmt.toml` has it for code.
const COLUMNS: usize = 100;

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    tree.ending(".rs")
        .flat_map(|(path, text)| {
            long_lines(text).map(move |(line, columns)| {
                let what = format!("a comment of {columns} columns; wrap it at {COLUMNS}");
                Violation::new(path, line, what)
            })
        })
        .collect()
}

/// The lines, from 1, that are only a comment and too long, with their columns. Rows of tables,
/// what is between code fences (diagrams, examples) and a single word, such as a URL, may be long.
fn long_lines(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let mut is_fenced = false;
    (1..).zip(text.lines()).filter_map(move |(number, line)| {
        let Some(comment) = line.trim_start().strip_prefix("//") else {
            is_fenced = false;
            return None;
        };
        let words = comment.trim_start_matches(['/', '!']).trim();
        is_fenced ^= words.starts_with("```");
        let may_be_long = is_fenced || words.starts_with('|') || !words.contains(' ');
        let columns = line.chars().count();
        (columns > COLUMNS && !may_be_long).then_some((number, columns))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_comment_is_found_and_a_table_a_diagram_and_a_url_are_not() {
        let words = "word ".repeat(20);
        let text = format!(
            "//! {words}and\n//! ```text\n//! {words}and\n//! ```\n/// | {words}|\n// {}\nlet a = 1;\n    // {words}é\n",
            "u".repeat(120)
        );
        let tree = Tree::of(&[("a/src/a.rs", &text), ("a/notes.md", &text)]);
        let found: Vec<_> = check(&tree).into_iter().map(|it| it.line).collect();
        assert_eq!(found, [1, 8]);
    }
}
