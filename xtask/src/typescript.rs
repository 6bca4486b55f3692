//! The TypeScript bindings: their tests as a step of `cargo xtask test`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use xshell::cmd;

use crate::{
    bindings::{self, Language, NPM},
    needs,
    process::{Workspace, target_dir},
    tree, types,
};

/// The npm workspace.
pub(crate) fn workspace() -> PathBuf {
    tree::root().join("bindings/typescript")
}

/// Generates, type-checks, builds and tests the bindings for Node and React, and compares the types
/// of the example apps, whose generators run in Node.
///
/// # Errors
/// A step fails; in CI also when Node is missing.
pub(crate) fn test(sh: &Workspace) -> Result<()> {
    needs::require("typescript")?;
    bindings::programs(sh)?;
    // It also builds the example's service, which a test starts for the example's app.
    types::check(sh)?;
    prepare(sh)?;
    let _workspace = sh.push_dir(workspace());
    Ok(cmd!(sh, "{NPM} test")
        .env("CARGO_TARGET_DIR", target_dir())
        .run()?)
}

/// Runs the tests of the guide against the packages installed in a project.
///
/// # Errors
/// A test fails.
pub(crate) fn guide(sh: &Workspace, consumer: &Path) -> Result<()> {
    let _workspace = sh.push_dir(workspace());
    cmd!(sh, "{NPM} test -- tests/guide.test.ts")
        .env("CARGO_TARGET_DIR", target_dir())
        .env("BOWLINE_TEST_INSTALLED", consumer)
        .run()?;
    Ok(())
}

/// Builds everything that the tests and packages need.
///
/// # Errors
/// Something does not build.
pub(crate) fn prepare(sh: &Workspace) -> Result<()> {
    bindings::for_tests(sh, Language::Node)?;
    // Type-checked only; nothing here runs React Native.
    bindings::for_tests(sh, Language::Rn)?;
    let _workspace = sh.push_dir(workspace());
    cmd!(sh, "{NPM} ci --no-audit --no-fund").run()?;
    bindings::install_addon(sh, &workspace().join("node_modules"))?;
    cmd!(sh, "{NPM} run types").run()?;
    Ok(cmd!(sh, "{NPM} run build").run()?)
}

/// Measures the cost of the boundary in Node with the shipped library: one JSON object per line,
/// with a `figure` and its samples in microseconds.
///
/// # Errors
/// Something does not build or cannot be measured.
pub(crate) fn bench(sh: &Workspace, quick: bool) -> Result<String> {
    prepare(sh)?;
    let library = bindings::build(sh, true)?;
    let quick = quick.then_some("--quick");
    let _workspace = sh.push_dir(workspace());
    Ok(cmd!(sh, "node bench/bench.mjs --library {library} {quick...}").read()?)
}
