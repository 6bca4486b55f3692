//! The whole workspace type-checked for Windows, from whatever machine this is: named pipes are written here and run
//! elsewhere, so the compiler must see them.

use crate::{
    memory::QUICK_C,
    needs::{self, WINDOWS},
    process::{Done, Outcome, cargo, run as run_command},
};

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
    if let Err(missing) = needs::look("windows") {
        return Ok(Done::Skipped(format!("not checked for Windows: {missing}")));
    }
    let mut clippy = cargo(["clippy", "--workspace", "--lib", "--bins", "--locked"]);
    clippy.args(["--target", WINDOWS]).args(QUICK_C);
    run_command(clippy.args(["--", "-D", "warnings"]))?;
    // What helps tests that only Unix runs is unused here, so that warnings say little about them.
    let mut check = cargo([
        "check",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--locked",
    ]);
    check.args(["--target", WINDOWS]).args(QUICK_C);
    run_command(&mut check)?;
    Ok(Done::Whole)
}
