//! `docs/protocol.md` and the code name the same methods, events, reasons, codes and limits: a test of the crate
//! `protocol`, so that this program needs nothing of it, and is built in seconds where nothing is built yet.

use super::Violation;
use crate::{
    process::{cargo, said},
    tree::Tree,
};

const PAGE: &str = "docs/protocol.md";

pub(super) fn check(_: &Tree) -> Vec<Violation> {
    let mut test = cargo([
        "test",
        "--quiet",
        "--locked",
        "--package=bowline-protocol",
        "--test=page",
    ]);
    match said(&mut test) {
        Ok(()) => Vec::new(),
        Err(said) => found(&said),
    }
}

/// The lines of the test that name the page; all that was said, where there are none.
fn found(said: &str) -> Vec<Violation> {
    let lines: Vec<_> = said.lines().filter_map(difference).collect();
    if lines.is_empty() {
        return vec![Violation::new(PAGE, 0, said.trim())];
    }
    lines
}

fn difference(line: &str) -> Option<Violation> {
    let (number, what) = line
        .strip_prefix(PAGE)?
        .strip_prefix(':')?
        .split_once(": ")?;
    Some(Violation::new(PAGE, number.parse().ok()?, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_test_finds_is_told_by_line_and_what_else_it_says_as_it_is() {
        let said = "running 1 test\ndocs/protocol.md:12: methods: the code knows no `a`\nfailed\n";
        let expected = Violation::new(PAGE, 12, "methods: the code knows no `a`");
        assert_eq!(found(said), [expected]);
        assert_eq!(
            found("no such crate\n"),
            [Violation::new(PAGE, 0, "no such crate")]
        );
    }
}
