//! The TypeScript bindings: their tests as a step of `cargo xtask test`, and under the address sanitizer as a step of
//! `--full`.

use std::{path::PathBuf, process::Command};

use crate::{
    bindings::{self, npm},
    memory::target_dir,
    process::{self, Done, Outcome, cargo, exists, host, run as run_command},
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
    if let Some(skipped) = missing()? {
        return Ok(skipped);
    }
    prepare()?;
    let mut tests = npm_command(["test"]);
    // The daemon and its world, as the step before built them.
    tests.env("CARGO_TARGET_DIR", target_dir());
    run_command(&mut tests)?;
    Ok(Done::Whole)
}

/// Everything that the tests and the packages are made of.
pub(crate) fn prepare() -> Outcome {
    let generate = |language| {
        bindings::run(&bindings::Options {
            language: Some(language),
            check: false,
            release: false,
        })
    };
    generate(bindings::Language::Node)?;
    // Nothing runs these here; that they are generated at all is worth to know.
    generate(bindings::Language::Rn)?;
    run_command(&mut npm_command(["ci", "--no-audit", "--no-fund"]))?;
    run_command(&mut npm_command(["run", "types"]))?;
    run_command(&mut npm_command(["run", "build"]))
}

/// The library built with the address sanitizer and driven from Node, leaks included.
///
/// # Errors
/// When it found something.
pub(crate) fn asan() -> Outcome<Done> {
    let host = host()?;
    if !host.contains("linux") {
        let why = format!("Node is not run under the address sanitizer on {host}");
        return process::missing(why);
    }
    if let Some(skipped) = missing()? {
        return Ok(skipped);
    }
    prepare()?;
    let target = target_dir().join("asan");
    let mut build = cargo(["build", "--locked", "--package=bowline-ffi", "--lib"]);
    build
        .args(["--target", &host])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Zsanitizer=address")
        .env("CARGO_TARGET_DIR", &target);
    run_command(&mut build)?;
    let library = target
        .join(&host)
        .join("debug")
        .join(bindings::library_name());
    let mut node = Command::new("node");
    node.args(["--expose-gc", "tests/children/sanitized.mjs"])
        .current_dir(workspace())
        .env("BOWLINE_LIBRARY", library)
        .env("LD_PRELOAD", sanitizer()?)
        // Node itself frees little at its end: leaks are looked for while the library is in use, by the program.
        .env("ASAN_OPTIONS", "detect_leaks=1:leak_check_at_exit=0")
        .env(
            "LSAN_OPTIONS",
            format!(
                "suppressions={}",
                workspace().join("tests/support/lsan.txt").display()
            ),
        );
    run_command(&mut node)?;
    Ok(Done::Whole)
}

fn sanitizer() -> Outcome<String> {
    let output = Command::new("gcc")
        .arg("-print-file-name=libasan.so")
        .output();
    let output = output.map_err(|error| format!("`gcc` could not be started: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn missing() -> Outcome<Option<Done>> {
    if exists("node") && exists(npm()) {
        return Ok(None);
    }
    let what = "Node is missing; `apt-get install nodejs npm`, or from https://nodejs.org";
    process::missing(what.to_owned()).map(Some)
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
