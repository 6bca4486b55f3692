//! Requirement ids are consistent in both directions: each cited id is defined in
//! `docs/requirements.md`, and each defined id is cited by a test.
//!
//! An id is cited in prose and comments (`INV-12`, `C37b`) or within a name (`inv_12_…`,
//! `case_c37b_…`). A citation counts as tested in a test's name or a line of test code: a file
//! below a folder `tests`, `Tests` or `test`, a file `tests.rs` or `….test.ts`, or a module under
//! `#[cfg(test)]`. An id that no test can prove is marked `*By review:*` with the reason.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use crate::tree::Tree;

const PAGE: &str = "docs/requirements.md";
/// This file; its tests use invented ids.
const OWN: &str = "xtask/src/tidy/requirements.rs";
/// The mark of an item that no test can prove, followed by the reason.
const BY_REVIEW: &str = "*By review:*";
/// Files that may cite ids, by their ending.
const READ: &[&str] = &[
    ".rs", ".swift", ".kt", ".kts", ".ts", ".tsx", ".mjs", ".md", ".toml", ".sh",
];
/// Names of standards and licences that look like ids.
const FOREIGN: &[&str] = &["BSD", "FNV", "MPL", "SHA", "UTF"];

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let Some(page) = tree.text(PAGE) else {
        return vec![Violation::new(PAGE, 0, "is missing")];
    };
    let mut found = Vec::new();
    let defined = definitions(page, &mut found);
    let groups: BTreeSet<_> = defined.keys().filter_map(|id| group(id)).collect();
    let mut tested = BTreeSet::new();
    for (path, text) in tree.texts() {
        if path == PAGE || path == OWN || !READ.iter().any(|ending| path.ends_with(ending)) {
            continue;
        }
        let first_test_line = first_test_line(path, text);
        for (index, line) in text.lines().enumerate() {
            for id in cited(line, &groups) {
                if !defined.contains_key(&id) {
                    let what = format!("`{id}` is not defined in {PAGE}");
                    found.push(Violation::new(path, index + 1, what));
                } else if index >= first_test_line {
                    tested.insert(id);
                }
            }
        }
    }
    for (id, definition) in &defined {
        let what = match (definition.by_review, tested.contains(id)) {
            (false, false) => format!("no test cites `{id}`"),
            (true, true) => format!("a test cites `{id}`: it needs no mark"),
            _ => continue,
        };
        found.push(Violation::new(PAGE, definition.line, what));
    }
    found
}

/// One item of the page.
struct Definition {
    /// From 1.
    line: usize,
    by_review: bool,
}

/// The items of the page, `* **ID** sentence`, each with the indented lines below it.
fn definitions(page: &str, found: &mut Vec<Violation>) -> BTreeMap<String, Definition> {
    let mut defined: BTreeMap<String, Definition> = BTreeMap::new();
    let mut current: Option<String> = None;
    for (index, line) in page.lines().enumerate() {
        let line_number = index + 1;
        if let Some((id, _)) = line
            .strip_prefix("* **")
            .and_then(|rest| rest.split_once("**"))
        {
            let item = Definition {
                line: line_number,
                by_review: false,
            };
            if !is_id(id) {
                let what = format!("`{id}` is not the form of an id");
                found.push(Violation::new(PAGE, line_number, what));
            } else if defined.insert(id.to_owned(), item).is_some() {
                let what = format!("`{id}` is defined twice");
                found.push(Violation::new(PAGE, line_number, what));
            }
            current = Some(id.to_owned());
        } else if !line.starts_with("  ") {
            current = None;
        }
        if let Some((_, reason)) = line.split_once(BY_REVIEW)
            && let Some(item) = current.as_ref().and_then(|id| defined.get_mut(id))
        {
            item.by_review = true;
            if reason.trim().is_empty() {
                let what = "the mark says no reason on its line";
                found.push(Violation::new(PAGE, line_number, what));
            }
        }
    }
    defined
}

/// The ids that a line cites, in prose or within names. `%C3` is a percent-encoded byte of a URL.
fn cited(line: &str, groups: &BTreeSet<&str>) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for word in line.split(|c: char| !c.is_ascii_alphanumeric() && !"_-%".contains(c)) {
        if is_id(word) {
            ids.insert(word.to_owned());
        } else {
            ids.extend(named(word, groups));
        }
    }
    ids
}

/// The ids within a name: `inv_2_bx_4_…` and `case_c8_…`.
fn named<'a>(name: &'a str, groups: &'a BTreeSet<&str>) -> impl Iterator<Item = String> + 'a {
    let parts = name.split('_');
    parts.clone().zip(parts.skip(1)).filter_map(|(part, next)| {
        let mut chars = next.chars();
        match (part, chars.next()) {
            ("case", Some(letter)) => {
                let id = format!("{}{}", letter.to_ascii_uppercase(), chars.as_str());
                is_case(&id).then_some(id)
            }
            _ => {
                let group = part.to_ascii_uppercase();
                (part != group && groups.contains(group.as_str()) && is_number(next))
                    .then(|| format!("{group}-{next}"))
            }
        }
    })
}

fn is_id(word: &str) -> bool {
    is_case(word)
        || word
            .split_once('-')
            .is_some_and(|(group, number)| is_group(group) && is_number(number))
}

/// `INV` of `INV-12`; a case has none.
fn group(id: &str) -> Option<&str> {
    id.split_once('-').map(|(group, _)| group)
}

fn is_group(text: &str) -> bool {
    matches!(text.len(), 2..=3)
        && text.chars().all(|c| c.is_ascii_uppercase())
        && !FOREIGN.contains(&text)
}

fn is_number(text: &str) -> bool {
    matches!(text.len(), 1..=2) && text.chars().all(|c| c.is_ascii_digit())
}

/// `C8`, `C37b`, `X1`.
fn is_case(word: &str) -> bool {
    word.strip_prefix(['C', 'X']).is_some_and(|rest| {
        is_number(
            rest.strip_suffix(|c: char| c.is_ascii_lowercase())
                .unwrap_or(rest),
        )
    })
}

/// The first line of test code in a file, from 0; in a Rust file it runs to the end, as clippy
/// demands of test modules.
fn first_test_line(path: &str, text: &str) -> usize {
    let (folders, file) = path.rsplit_once('/').unwrap_or(("", path));
    let mut folders = folders.split('/');
    if file.ends_with(".md") || file.ends_with(".toml") {
        usize::MAX
    } else if folders.any(|folder| matches!(folder, "tests" | "Tests" | "test"))
        || file == "tests.rs"
        || file.contains(".test.")
    {
        0
    } else {
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        let is_module = |at: usize| {
            // Further attributes may stand between.
            let mut code = lines
                .iter()
                .skip(at)
                .skip_while(|line| line.starts_with("#["));
            code.next()
                .is_some_and(|line| line.contains("mod ") && line.ends_with('{'))
        };
        let mut numbered = lines.iter().enumerate();
        let first = numbered.position(|(at, line)| *line == "#[cfg(test)]" && is_module(at));
        first.unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &str = "# R\n\n* **AA-1** Holds.\n* **C8** Holds on\n  two lines.\n";

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let found = check(&Tree::of(files));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ids_that_tests_cite_in_names_and_comments_are_well() {
        let files = [
            (PAGE, BOTH),
            ("a/src/a.rs", "//! AA-1, as UTF-8 and SHA-256; `%C3%A4`.\n"),
            ("a/tests/a.rs", "fn case_c8_and_aa_1_hold() {}\n"),
        ];
        assert_eq!(found(&files), Vec::<String>::new());
    }

    #[test]
    fn an_id_that_is_not_defined_is_found_wherever_it_is_cited() {
        let test = "fn aa_1_case_c8_x() {}\nfn bb_1_is_no_id() {}\n";
        for (path, cites) in [
            ("docs/x.md", "(AA-2)"),
            ("b/Sources/x.swift", "/// (AA-2)"),
            ("b/src/main/x.kt", "/** AA-2: x */"),
            ("b/x.ts", "it(\"AA-2: x\""),
            ("x.toml", "# AA-2"),
            ("a/src/x.rs", "fn aa_2_x() {}"),
        ] {
            let files = [(PAGE, BOTH), ("a/src/tests.rs", test), (path, cites)];
            let expected = format!("{path}:1: `AA-2` is not defined in {PAGE}");
            assert_eq!(found(&files), [expected]);
        }
        let files = [
            (PAGE, BOTH),
            ("a/src/tests.rs", test),
            ("a.md", "\nBB-1, C9, C8b, X1"),
        ];
        let expected = ["BB-1", "C8b", "C9", "X1"]
            .map(|id| format!("a.md:2: `{id}` is not defined in {PAGE}"));
        assert_eq!(found(&files), expected);
    }

    #[test]
    fn an_id_that_no_test_cites_is_found() {
        let untested = [
            ("a/src/a.rs", "// AA-1\nfn aa_1_x() {}\n"),
            ("docs/tests/a.md", "AA-1"),
            (
                "a/src/c.rs",
                "#[cfg(test)]\nmod tests;\n\nmod x { // AA-1\n}\n",
            ),
        ];
        let expected = format!("{PAGE}:3: no test cites `AA-1`");
        for (path, text) in untested {
            let files = [(PAGE, BOTH), ("a/tests/c8.rs", "// C8\n"), (path, text)];
            assert_eq!(found(&files), std::slice::from_ref(&expected), "{path}");
        }
    }

    #[test]
    fn what_counts_as_a_test() {
        for (path, text) in [
            ("a/tests/a/b.rs", "/// AA-1: x.\n"),
            ("a/src/x/tests.rs", "fn bx_aa_1_x() {}\n"),
            ("b/Tests/x.swift", "@Test(\"AA-1: x\")\n"),
            ("b/src/test/x.kt", "// AA-1\n"),
            ("b/x.test.ts", "it(\"AA-1: x\")\n"),
            (
                "a/src/a.rs",
                "#[cfg(test)]\n#[allow(x)]\nmod tests {\n    fn aa_1_x() {}\n}\n",
            ),
            (
                "a/src/b.rs",
                "mod x {\n    #[cfg(test)]\n    mod t {\n        mod u {\n        }\n        // AA-1\n    }\n}\n",
            ),
        ] {
            let files = [(PAGE, BOTH), ("c/tests/c8.rs", "// C8\n"), (path, text)];
            assert_eq!(found(&files), Vec::<String>::new(), "{path}");
        }
    }

    #[test]
    fn what_only_a_review_can_tell_is_marked_with_its_reason() {
        let page = "* **AA-1** Holds.\n  *By review:* no test reads prose.\n";
        assert_eq!(found(&[(PAGE, page)]), Vec::<String>::new());
        let cited = [(PAGE, page), ("a/tests/a.rs", "// AA-1\n")];
        let expected = format!("{PAGE}:1: a test cites `AA-1`: it needs no mark");
        assert_eq!(found(&cited), [expected]);
        let expected = format!("{PAGE}:1: the mark says no reason on its line");
        assert_eq!(
            found(&[(PAGE, "* **AA-1** Holds. *By review:*\n")]),
            [expected]
        );
    }

    #[test]
    fn the_page_defines_each_id_once_and_in_its_form() {
        let page = "* **AA-1** x\n* **AA-1** y\n* **AA1** z\n";
        let expected = [
            format!("{PAGE}:2: `AA-1` is defined twice"),
            format!("{PAGE}:3: `AA1` is not the form of an id"),
        ];
        assert_eq!(
            found(&[(PAGE, page), ("a/tests/a.rs", "// AA-1\n")])[..2],
            expected
        );
        assert_eq!(found(&[]), [format!("{PAGE}: is missing")]);
    }
}
