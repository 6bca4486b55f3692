//! Every `cargo xtask …` in a page, workflow or comment names an existing command, and workflows
//! pass valid arguments.

use super::Violation;
use crate::{command_line, tree::Tree};

const CALL: &str = "cargo xtask ";
/// Files that name commands.
const ENDINGS: [&str; 4] = [".md", ".yml", ".rs", ".ci/run"];
/// This check's own examples.
const OWN: &str = "xtask/src/tidy/commands.rs";

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in tree.texts() {
        if path == OWN || !ENDINGS.iter().any(|ending| path.ends_with(ending)) {
            continue;
        }
        for (n, line) in text.lines().enumerate() {
            let is_run = path.contains("workflows/") && !line.trim_start().starts_with('#');
            for (at, _) in line.match_indices(CALL) {
                let call = line.get(at + CALL.len()..).unwrap_or_default();
                if let Some(what) = wrong(call, is_run) {
                    found.push(Violation::new(path, n + 1, what));
                }
            }
        }
    }
    found
}

/// The fault of a call, given the text after the program's name.
fn wrong(call: &str, is_whole: bool) -> Option<String> {
    let name = call.split(|c: char| !c.is_ascii_lowercase()).next()?;
    if name.is_empty() {
        // A placeholder or an option.
        return None;
    }
    if command_line().find_subcommand(name).is_none() {
        return Some(format!("there is no `{CALL}{name}`"));
    }
    if !is_whole {
        return None;
    }
    // Variables of the shell and the workflow are replaced by a number, which text arguments accept
    // too.
    let arguments = call.split_whitespace().map(|word| {
        let word = word.trim_matches(['"', '\'', '`']);
        if word.starts_with('$') { "1" } else { word }
    });
    let arguments = arguments.filter(|word| !["matrix.target", "}}"].contains(word));
    let error = command_line()
        .try_get_matches_from(["xtask"].into_iter().chain(arguments))
        .err()?;
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    Some(format!("`{CALL}{call}`: {first}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_do_not_exist_are_found_and_others_are_not() {
        let tree = Tree::of(&[
            (
                "docs/a.md",
                "`cargo xtask test --full`, `cargo xtask tset`\n`cargo xtask …` and `cargo xtask bench`",
            ),
            (
                ".github/workflows/a.yml",
                "run: cargo xtask fuzz --seconds \"$N\" \"$T\"\n\
                 run: cargo xtask fuzz --hours 1\n\
                 run: cargo xtask package programs --target ${{ matrix.target }}\n\
                 # `cargo xtask tidy`.\n\
                 run: cargo xtask package everything\n",
            ),
        ]);
        let at: Vec<_> = check(&tree).into_iter().map(|v| (v.file, v.line)).collect();
        let workflow = |line| (".github/workflows/a.yml".to_owned(), line);
        assert_eq!(at, [workflow(2), workflow(5), ("docs/a.md".to_owned(), 1)]);
    }
}
