//! `cargo xtask memory`: the local socket under a checker of memory (lesson 20).
//!
//! * `asan`: the tests of the local socket, daemon and client built with the address sanitizer, in processes and in
//!   the real program.
//! * `valgrind`: the real program as it ships, under valgrind, a thousand requests and a clean end.

use std::{env, path::PathBuf};

use crate::process::{self, Done, Outcome, cargo, host, run as run_command};
use crate::tree;

/// SQLite is C, which is neither instrumented nor measured here: the way that compiles in seconds.
pub(crate) const QUICK_C: [&str; 4] = [
    "--config",
    "profile.dev.package.libsqlite3-sys.opt-level=0",
    "--config",
    "profile.dev.package.libsqlite3-sys.debug=false",
];

/// Which checker.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checker {
    /// The address sanitizer.
    Asan,
    /// Valgrind.
    Valgrind,
}

/// The tests that valgrind's daemon is put through.
const UNDER_VALGRIND: &str = "lesson_20_a_thousand_requests_of_the_program";
/// What counts as an error: reads and writes where nothing is, uses of nothing, and memory that is lost.
const VALGRIND: &str = "valgrind --quiet --error-exitcode=99 --leak-check=full \
                        --errors-for-leak-kinds=definite,indirect --show-leak-kinds=definite,indirect";

/// Runs one checker, or both.
///
/// # Errors
/// When a checker found something.
pub(crate) fn run(which: Option<Checker>) -> Outcome<()> {
    for checker in [Checker::Asan, Checker::Valgrind] {
        if which.is_some_and(|only| only != checker) {
            continue;
        }
        let done = match checker {
            Checker::Asan => asan()?,
            Checker::Valgrind => valgrind()?,
        };
        done.tell();
    }
    Ok(())
}

/// The address sanitizer. It needs nothing beyond the toolchain.
///
/// # Errors
/// When it found something.
pub(crate) fn asan() -> Outcome<Done> {
    let host = host()?;
    if !host.contains("linux") && !host.contains("darwin") {
        let why = format!("the address sanitizer is not to be had for {host}");
        return process::missing(why);
    }
    // With `--target`, build scripts and macros are not instrumented.
    let mut tests = cargo(["test", "--tests", "--locked", "--target", &host]);
    tests
        .args(QUICK_C)
        .args(["--package", "bowline-local", "--package", "bowline-daemon"])
        .args(["--", "local", "lesson_20"])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Zsanitizer=address")
        .env("BOWLINE_TEST_INSTRUMENTED", "1")
        .env("CARGO_TARGET_DIR", target_dir().join("asan"));
    run_command(&mut tests)?;
    Ok(Done::Whole)
}

/// Valgrind.
///
/// # Errors
/// When it found something.
pub(crate) fn valgrind() -> Outcome<Done> {
    if !process::exists("valgrind") {
        return process::missing("valgrind is missing; `apt-get install valgrind`".to_owned());
    }
    let mut test = cargo([
        "test",
        "--locked",
        "--package",
        "bowline-daemon",
        "--test",
        "daemon",
    ]);
    test.args(["--", UNDER_VALGRIND, "--nocapture"])
        .env("BOWLINE_TEST_WRAPPER", VALGRIND);
    run_command(&mut test)?;
    Ok(Done::Whole)
}

/// Where cargo builds; what needs other flags builds below it, so that it throws nothing away.
pub(crate) fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| tree::root().join("target"), PathBuf::from)
}
