//! `cargo xtask memory`: runs the local socket (LS-20) and the binding library under memory
//! checkers.
//!
//! * `asan`: the tests of the local socket, with daemon and client built with the address
//!   sanitizer, in process and as the real program.
//! * `node`: the binding library, see [`node_memory`].
//! * `valgrind`: the real program as shipped, under valgrind: a thousand requests and a clean exit.
//!
//! Each checker first runs known faults that it must report ([`faults`]).

use anyhow::Result;
use xshell::{Cmd, cmd};

use crate::{
    faults::{self, Kind, SANITIZER},
    needs, node_memory,
    process::{Workspace, skip, target_dir, tell_skipped},
};

/// Compile flags of SQLite, which is C and neither instrumented nor measured here: the ones that
/// compile in seconds.
pub(crate) const QUICK_C: [&str; 4] = [
    "--config",
    "profile.dev.package.libsqlite3-sys.opt-level=0",
    "--config",
    "profile.dev.package.libsqlite3-sys.debug=false",
];

/// A memory checker.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checker {
    /// The address sanitizer.
    Asan,
    /// The address sanitizer on the binding library, driven from Node.
    Node,
    /// Valgrind.
    Valgrind,
}

/// The test that runs against the daemon under valgrind.
const UNDER_VALGRIND: &str = "ls_20_a_thousand_requests_of_the_program";
/// Valgrind reports invalid reads and writes, uninitialised values and lost memory as errors.
const VALGRIND: &str = "valgrind --quiet --error-exitcode=99 --leak-check=full \
                        --errors-for-leak-kinds=definite,indirect --show-leak-kinds=definite,indirect";

/// Runs one checker, or all.
///
/// # Errors
/// A checker reports a fault.
pub(crate) fn run(sh: &Workspace, which: Option<Checker>) -> Result<()> {
    let is_wanted = |checker| which.is_none_or(|only| only == checker);
    if is_wanted(Checker::Asan) {
        tell_skipped(asan(sh))?;
    }
    if is_wanted(Checker::Node) {
        tell_skipped(node_memory::asan(sh))?;
    }
    if is_wanted(Checker::Valgrind) {
        tell_skipped(valgrind(sh))?;
    }
    Ok(())
}

/// Runs the address sanitizer. Needs only the toolchain.
///
/// # Errors
/// The sanitizer reports a fault.
pub(crate) fn asan(sh: &Workspace) -> Result<()> {
    let host = sh.host()?;
    if !host.contains("linux") && !host.contains("darwin") {
        return skip(format!("the address sanitizer is not available for {host}"));
    }
    let check = |program: &_| sh.cmd(program);
    faults::must_be_found(sh, Kind::Program, &[SANITIZER], check, |fault| {
        fault.sanitizer
    })?;
    let test = |which: &[&str]| {
        // The packages of both runs, so that the dependencies have the same features. With
        // `--target`, build scripts and macros are not instrumented.
        let packages = [
            "-p",
            "bowline-local",
            "-p",
            "bowline-daemon",
            "-p",
            "bowline-agents",
            "-p",
            "bowline-daemon-program",
        ];
        instrumented(cmd!(
            sh,
            "cargo test --locked --target {host} {QUICK_C...} {packages...}"
        ))
        .args(which)
        .env("BOWLINE_TEST_INSTRUMENTED", "1")
        // A quarantine keeps freed memory from reuse, to detect later use; a small one, so that
        // growth stays visible.
        .env(
            "ASAN_OPTIONS",
            "quarantine_size_mb=4:thread_local_quarantine_size_kb=64",
        )
        .run()
    };
    test(&["--lib", "--test", "client"])?;
    Ok(test(&[
        "--test", "daemon", "--test", "agents", "--test", "program", "--", "local", "foreign",
        "ls_20",
    ])?)
}

/// Adds the address sanitizer to a cargo command, in a target folder of its own.
pub(crate) fn instrumented(cargo: Cmd<'_>) -> Cmd<'_> {
    cargo
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", SANITIZER)
        .env("CARGO_TARGET_DIR", target_dir().join("asan"))
}

/// Runs valgrind.
///
/// # Errors
/// Valgrind reports a fault.
pub(crate) fn valgrind(sh: &Workspace) -> Result<()> {
    needs::require("valgrind")?;
    let check = |program: &std::path::Path| {
        let mut words = VALGRIND.split(' ');
        sh.cmd(words.next().unwrap_or_default())
            .args(words)
            .arg(program)
    };
    faults::must_be_found(sh, Kind::Program, &[], check, |fault| fault.valgrind)?;
    cmd!(
        sh,
        "cargo test --locked -p bowline-daemon-program --test program -- {UNDER_VALGRIND} --nocapture"
    )
    .env("BOWLINE_TEST_WRAPPER", VALGRIND)
    .run()?;
    Ok(())
}
