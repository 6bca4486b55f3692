//! The whole workspace type-checked for Windows, from whatever machine this is: named pipes are written here and run
//! elsewhere, so the compiler must see them.

use std::process::{Command, Stdio};

use crate::{
    memory::QUICK_C,
    process::{self, Done, Outcome, cargo, run as run_command},
};

const TARGET: &str = "x86_64-pc-windows-gnu";
/// ring and SQLite are compiled from C, even for a check.
const COMPILER: &str = "x86_64-w64-mingw32-gcc";

/// Checks, tests included, with the lints of every other target.
///
/// # Errors
/// When it does not compile. Where the means are missing it is skipped, and says what is missing.
pub(crate) fn run() -> Outcome<Done> {
    if cfg!(windows) {
        return Ok(Done::Skipped(
            "this is Windows: the other steps check it".into(),
        ));
    }
    if !has_target() {
        return Ok(Done::Skipped(format!(
            "not checked for Windows: the Rust target is missing; `rustup target add {TARGET}`"
        )));
    }
    if !process::exists(COMPILER) {
        return Ok(Done::Skipped(format!(
            "not checked for Windows: {COMPILER} is missing; `apt-get install gcc-mingw-w64-x86-64`"
        )));
    }
    let mut clippy = cargo(["clippy", "--workspace", "--lib", "--bins", "--locked"]);
    clippy.args(["--target", TARGET]).args(QUICK_C);
    run_command(clippy.args(["--", "-D", "warnings"]))?;
    // What helps tests that only Unix runs is unused here, so that warnings say little about them.
    let mut check = cargo([
        "check",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--locked",
    ]);
    check.args(["--target", TARGET]).args(QUICK_C);
    run_command(&mut check)?;
    Ok(Done::Whole)
}

/// Whether the standard library for it is there.
fn has_target() -> bool {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", TARGET]);
    let printed = rustc.stderr(Stdio::null()).output();
    printed.is_ok_and(|output| {
        let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        std::path::Path::new(&folder).is_dir()
    })
}
