//! `cargo xtask memory`: the local socket (lesson 20), and the library that apps load, under a checker of memory.
//!
//! * `asan`: the tests of the local socket, daemon and client built with the address sanitizer, in processes and in
//!   the real program.
//! * `node`: the library of the bindings, see [`node_memory`].
//! * `valgrind`: the real program as it ships, under valgrind, a thousand requests and a clean end.
//!
//! Each checker is first shown faults that it must find: one that finds nothing anywhere proves nothing.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::needs;
use crate::node_memory;
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
    /// The address sanitizer over the library of the bindings, driven from Node.
    Node,
    /// Valgrind.
    Valgrind,
}

/// The tests that valgrind's daemon is put through.
const UNDER_VALGRIND: &str = "lesson_20_a_thousand_requests_of_the_program";
/// What counts as an error: reads and writes where nothing is, uses of nothing, and memory that is lost.
const VALGRIND: &str = "valgrind --quiet --error-exitcode=99 --leak-check=full \
                        --errors-for-leak-kinds=definite,indirect --show-leak-kinds=definite,indirect";

/// Runs one checker, or all.
///
/// # Errors
/// When a checker found something.
pub(crate) fn run(which: Option<Checker>) -> Outcome<()> {
    for checker in [Checker::Asan, Checker::Node, Checker::Valgrind] {
        if which.is_some_and(|only| only != checker) {
            continue;
        }
        let done = match checker {
            Checker::Asan => asan()?,
            Checker::Node => node_memory::asan()?,
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
    for fault in FAULTS {
        let program = faulty(fault, &[SANITIZER])?;
        must_find(Command::new(program), fault, fault.sanitizer_says)?;
    }
    // One build for both runs: the same packages, so that their dependencies have the same features.
    let tests = |which: &[&str], names: &[&str]| {
        // With `--target`, build scripts and macros are not instrumented.
        let mut tests = cargo(["test", "--locked", "--target", &host]);
        tests
            .args(QUICK_C)
            .args(["--package", "bowline-local", "--package", "bowline-daemon"])
            .args(which)
            .arg("--")
            .args(names)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", SANITIZER)
            .env("BOWLINE_TEST_INSTRUMENTED", "1")
            // What was freed is kept from use for a while, to find who uses it; with less of it growth shows.
            .env(
                "ASAN_OPTIONS",
                "quarantine_size_mb=4:thread_local_quarantine_size_kb=64",
            )
            .env("CARGO_TARGET_DIR", target_dir().join("asan"));
        run_command(&mut tests)
    };
    tests(&["--lib", "--test", "client"], &[])?;
    tests(&["--test", "daemon"], &["local", "lesson_20"])?;
    Ok(Done::Whole)
}

/// Valgrind.
///
/// # Errors
/// When it found something.
pub(crate) fn valgrind() -> Outcome<Done> {
    if let Err(missing) = needs::look("valgrind") {
        return process::missing(missing);
    }
    for fault in FAULTS {
        let program = faulty(fault, &[])?;
        let mut words = VALGRIND.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).arg(program);
        must_find(command, fault, fault.valgrind_says)?;
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

/// How the compiler is asked for the address sanitizer.
pub(crate) const SANITIZER: &str = "-Zsanitizer=address";

/// A program that does what no checker may overlook.
struct Fault {
    name: &'static str,
    source: &'static str,
    sanitizer_says: &'static str,
    valgrind_says: &'static str,
}

const FAULTS: &[Fault] = &[
    Fault {
        name: "use_after_free",
        source: "fn main() {
            let freed = Box::into_raw(Box::new([7_u8; 64]));
            drop(unsafe { Box::from_raw(freed) });
            let read = unsafe { std::ptr::read_volatile(freed.cast::<u8>()) };
            std::hint::black_box(read);
        }",
        sanitizer_says: "heap-use-after-free",
        valgrind_says: "Invalid read",
    },
    Fault {
        name: "leak",
        source: "#[inline(never)]
        fn lose(bytes: usize) {
            std::mem::forget(std::hint::black_box(vec![7_u8; bytes]));
        }
        fn main() {
            (100..200).for_each(lose);
        }",
        sanitizer_says: "detected memory leaks",
        valgrind_says: "definitely lost",
    },
];

/// Builds such a program.
fn faulty(fault: &Fault, flags: &[&str]) -> Outcome<PathBuf> {
    let folder = target_dir().join("faults");
    let source = folder.join(format!("{}.rs", fault.name));
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&source, fault.source))
        .map_err(|error| format!("{}: {error}", source.display()))?;
    let program = folder.join(fault.name);
    let mut rustc = Command::new("rustc");
    rustc
        .args(["--edition", "2024", "-g"])
        .args(flags)
        .arg(&source)
        .arg("-o")
        .arg(&program)
        .current_dir(tree::root())
        .env("RUSTC_BOOTSTRAP", "1");
    run_command(&mut rustc)?;
    Ok(program)
}

/// Runs a faulty program under a checker.
fn must_find(mut command: Command, fault: &Fault, says: &str) -> Outcome<()> {
    let shown = process::show(&command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("`{shown}` could not be started: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() || !said.contains(says) {
        return Err(format!(
            "the checker does not work here: it did not find the fault `{}`; it ended with {} and said: {said}",
            fault.name, output.status
        ));
    }
    say!("shown a {} it says: {says}", fault.name.replace('_', " "));
    Ok(())
}

/// Where cargo builds; what needs other flags builds below it, so that it throws nothing away.
pub(crate) fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| tree::root().join("target"), PathBuf::from)
}
