//! The TypeScript bindings: their tests as a step of `cargo xtask test`.

use std::{path::PathBuf, process::Command};

use crate::{
    bindings::{self, npm},
    memory::target_dir,
    needs,
    process::{self, Done, Outcome, json_lines, run as run_command},
    tree,
};

/// The workspace of npm.
pub(crate) fn workspace() -> PathBuf {
    tree::root().join("bindings/typescript")
}

/// Generates, type-checks, builds and tests the bindings for Node and React.
///
/// # Errors
/// When anything of it fails; without Node, in CI.
pub(crate) fn test() -> Outcome<Done> {
    if let Err(missing) = look() {
        return process::missing(missing);
    }
    bindings::programs()?;
    prepare()?;
    let mut tests = npm_command(["test"]);
    tests.env("CARGO_TARGET_DIR", target_dir());
    run_command(&mut tests)?;
    Ok(Done::Whole)
}

/// Runs the tests of the guide against the packages that a project has installed.
///
/// # Errors
/// When they fail.
pub(crate) fn guide(consumer: &std::path::Path) -> Outcome {
    let mut tests = npm_command(["test", "--", "tests/guide.test.ts"]);
    tests
        .env("CARGO_TARGET_DIR", target_dir())
        .env("BOWLINE_TEST_INSTALLED", consumer);
    run_command(&mut tests)
}

/// Everything that the tests and the packages are made of.
pub(crate) fn prepare() -> Outcome {
    bindings::for_tests(bindings::Language::Node)?;
    // Nothing runs these here, but they are type-checked.
    bindings::for_tests(bindings::Language::Rn)?;
    run_command(&mut npm_command(["ci", "--no-audit", "--no-fund"]))?;
    run_command(&mut npm_command(["run", "types"]))?;
    run_command(&mut npm_command(["run", "build"]))
}

/// What is missing, and how to get it.
///
/// # Errors
/// That.
pub(crate) fn look() -> Result<(), String> {
    needs::look("typescript")
}

/// Measures what the boundary costs in Node, with the library as it is shipped: one JSON object a line, each with a `figure` and its
/// samples in microseconds.
///
/// # Errors
/// When something does not build or cannot be measured.
pub(crate) fn bench(quick: bool) -> Outcome<Vec<String>> {
    prepare()?;
    let library = bindings::build(true)?;
    let mut measure = Command::new("node");
    measure
        .current_dir(workspace())
        .args(["bench/bench.mjs", "--library"])
        .arg(library);
    if quick {
        measure.arg("--quick");
    }
    json_lines(&mut measure)
}

fn npm_command<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = Command::new(npm());
    command.args(arguments).current_dir(workspace());
    command
}

/// `npm pack` of one folder, into another.
pub(crate) fn pack(folder: &std::path::Path, to: &std::path::Path) -> Outcome {
    let mut command = Command::new(npm());
    command.arg("pack").arg("--pack-destination").arg(to);
    run_command(command.current_dir(folder))
}
