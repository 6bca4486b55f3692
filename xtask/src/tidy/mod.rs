//! `cargo xtask tidy`: checks that the compiler does not make, so that the map of the house stays true.

mod code_map;
mod connection_state;
mod decisions;
mod dependencies;
mod headers;
mod links;
mod places;
mod prints;
mod protocol_page;
mod sizes;

use std::fmt;

use crate::{process::Outcome, tree::Tree};

/// One thing that is not as it must be.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    /// Path from the root.
    file: String,
    /// From 1; 0 when it concerns the whole file.
    line: usize,
    /// What is wrong, and where it helps, what to do.
    what: String,
}

impl Violation {
    fn new(file: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.file, self.what)
        } else {
            write!(f, "{}:{}: {}", self.file, self.line, self.what)
        }
    }
}

/// A check is a function of the files.
type Check = fn(&Tree) -> Vec<Violation>;

const CHECKS: &[(&str, Check)] = &[
    ("every source file says what it is", headers::check),
    ("files are of a readable size", sizes::check),
    ("links lead somewhere", links::check),
    ("the code map is true", code_map::check),
    ("the protocol page and the code agree", protocol_page::check),
    ("dependencies point downward", dependencies::check),
    ("connection state exists once", connection_state::check),
    ("decisions are numbered without gaps", decisions::check),
    ("nothing names a place on one machine", places::check),
    ("prints do not panic", prints::check),
];

/// Runs every check and prints what it found.
///
/// # Errors
/// When anything was found, or the files cannot be read.
pub(crate) fn run() -> Outcome {
    let tree = Tree::read()?;
    let mut found = 0;
    for (name, check) in CHECKS {
        let violations = check(&tree);
        say!("{} {name}", if violations.is_empty() { "✓" } else { "✗" });
        for violation in &violations {
            say!("    {violation}");
        }
        found += violations.len();
    }
    for warning in sizes::long_files(&tree) {
        say!("  note: {warning}");
    }
    match found {
        0 => Ok(()),
        1 => Err("tidy found 1 violation".to_owned()),
        many => Err(format!("tidy found {many} violations")),
    }
}
