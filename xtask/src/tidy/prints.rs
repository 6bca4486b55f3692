//! Programs print through one helper: `println!` and its kin panic when the reader has gone away or the disk is full.

use super::Violation;
use crate::tree::Tree;

/// The macros that panic.
const FORBIDDEN: &[&str] = &["println!", "print!", "eprintln!", "eprint!", "dbg!"];

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    tree.ending(".rs")
        .filter(|(path, _)| !path.contains("/tests/") && !path.ends_with("build.rs"))
        .flat_map(|(path, text)| {
            // What stands behind is tests.
            let code = text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
            code.enumerate()
                .filter(|(_, line)| is_forbidden(line))
                .map(|(index, _)| {
                    let what = "a print that panics when nobody reads; use `say!` or `complain!` (`bowline-program`)";
                    Violation::new(path, index + 1, what)
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

fn is_forbidden(line: &str) -> bool {
    let code = line.trim_start();
    if code.starts_with("//") {
        return false;
    }
    FORBIDDEN.iter().any(|name| {
        let mut found = code.match_indices(name);
        found.any(|(at, _)| {
            let before = code.get(..at).and_then(|before| before.chars().next_back());
            // A word of its own, and code rather than a text about it.
            before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '_' | '`' | '"'))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_c2_prints_that_panic_are_found_outside_of_tests() {
        let tree = Tree::of(&[
            (
                "a/src/bad.rs",
                "//! Bad.\nfn f() {\n    println!();\n    std::eprint!(\"x\");\n}\n",
            ),
            (
                "a/src/good.rs",
                "//! As `println!` does.\nfn f() { say!(); }\n#[cfg(test)]\nmod t { fn g() { println!(); } }\n",
            ),
            ("a/tests/t.rs", "fn f() { println!(); }\n"),
        ]);
        let found: Vec<_> = check(&tree).into_iter().map(|v| (v.file, v.line)).collect();
        assert_eq!(
            found,
            [
                ("a/src/bad.rs".to_owned(), 3),
                ("a/src/bad.rs".to_owned(), 4)
            ]
        );
    }
}
