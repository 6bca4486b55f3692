//! `cargo xtask tidy`: checks beyond the compiler that keep code and documentation consistent.

mod code_map;
mod commands;
mod comments;
mod connection_state;
mod decisions;
mod dependencies;
mod headers;
mod links;
mod local_paths;
mod modules;
mod requirements;
mod sizes;
mod toolchain;

use std::fmt;

use anyhow::{Result, ensure};

use crate::tree::Tree;

/// A fault found by a check.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    /// Path from the root.
    file: String,
    /// From 1; 0 for the whole file.
    line: usize,
    /// The fault and, where useful, how to fix it.
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
    ("every source file has a header", headers::check),
    ("files are of a readable size", sizes::check),
    ("comments wrap", comments::check),
    ("links resolve", links::check),
    ("the code map is current", code_map::check),
    ("dependencies point downward", dependencies::check),
    ("modules use those below them", modules::check),
    ("connection state exists once", connection_state::check),
    ("decisions are numbered without gaps", decisions::check),
    ("no path of a single machine is named", local_paths::check),
    ("named commands exist", commands::check),
    ("the Rust versions agree", toolchain::check),
    (
        "requirement ids are defined and tested",
        requirements::check,
    ),
];

/// Runs every check and prints what it found.
///
/// # Errors
/// A check found something, or the files cannot be read.
pub(crate) fn run() -> Result<()> {
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
    ensure!(found == 0, "violations found by tidy: {found}");
    Ok(())
}
