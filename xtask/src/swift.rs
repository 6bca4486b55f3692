//! The Swift bindings: their tests (Swift package manager) against the real daemon and relay, and
//! the measurement of their cost.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::Cmd;

use crate::{
    bindings::{self, Language},
    guide,
    process::{Workspace, in_ci, target_dir},
    swift_root::{Toolchain, toolchain},
    tree,
};

/// The measuring program of the package.
const BENCH: &str = "bowline-bench-app";

/// Build profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    /// For tests.
    Debug,
    /// Optimised, with the shipped library.
    Release,
}

impl Build {
    fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }
}

/// Generates, compiles and tests the bindings.
///
/// # Errors
/// A test fails; in CI also when Swift is missing and cannot be installed.
pub(crate) fn test(sh: &Workspace) -> Result<()> {
    let toolchain = toolchain(sh)?;
    bindings::programs(sh)?;
    bindings::for_tests(sh, Language::Swift)?;
    let program = package().join("generated/Guide/main.swift");
    guide::extract(sh, "docs/swift.md", "swift", &program)?;
    place_example(sh)?;
    let fragments = sh.create_dir(package().join("generated/Fragments"))?;
    sh.copy(
        &package().join("Tests/Fragments/Around.swift"),
        &fragments.join("Around.swift"),
    )?;
    guide::extract_fragments(
        sh,
        "docs/swift.md",
        "swift",
        "import BowlineKit\nimport Foundation\n",
        |n, code| {
            format!("extension Around {{\nfunc fragment{n}() async throws {{\n{code}}}\n}}\n")
        },
        &fragments.join("Fragments.swift"),
    )?;
    // What a process occupies is measured without the other tests.
    for part in [["--skip", "MemoryTests"], ["--filter", "MemoryTests"]] {
        let manager = manager(sh, &toolchain, Build::Debug, "test", &package(), &scratch())?;
        // The package has only Swift Testing tests, none of XCTest.
        manager.arg("--disable-xctest").args(part).run()?;
    }
    Ok(())
}

/// Places the example app and the types generated for it into the package: the package manager
/// takes no sources from outside of it.
///
/// # Errors
/// A file cannot be read or written.
fn place_example(sh: &Workspace) -> Result<()> {
    let to = sh.empty(package().join("generated/Voxel"))?;
    let example = tree::root().join("examples/voxel");
    sh.copy(&example.join("swift"), &to)?;
    sh.copy(
        &example.join("app-types/Voxel.swift"),
        &to.join("Voxel.swift"),
    )
}

/// Measures the cost of the boundary from Swift with the shipped library: one JSON object per line,
/// with a `figure` and its samples in microseconds.
///
/// # Errors
/// Something does not build, or a figure cannot be measured.
pub(crate) fn bench(sh: &Workspace, quick: bool) -> Result<String> {
    let toolchain = toolchain(sh)?;
    // Code is generated from the debug library; the release library is stripped of its metadata.
    bindings::for_tests(sh, Language::Swift)?;
    bindings::build(sh, true)?;
    let manager = manager(
        sh,
        &toolchain,
        Build::Release,
        "build",
        &package(),
        &scratch(),
    )?;
    manager.args(["--quiet", "--product", BENCH]).run()?;
    let program = scratch().join("release").join(BENCH);
    let measure = command(sh, &toolchain, Build::Release, &program)?;
    Ok(measure.args(quick.then_some("--quick")).read()?)
}

/// A package manager command on a package, with its build folder.
///
/// # Errors
/// The build folder cannot be created.
pub(crate) fn manager<'a>(
    sh: &'a Workspace,
    toolchain: &Toolchain,
    build: Build,
    verb: &str,
    package: &Path,
    scratch: &Path,
) -> Result<Cmd<'a>> {
    let command = command(sh, toolchain, build, Path::new("swift"))?;
    // The command already runs in a mount namespace, in which SwiftPM's own sandbox does not work.
    let command = command.args([verb, "--disable-sandbox", "--configuration", build.name()]);
    Ok(command
        .arg("--package-path")
        .arg(package)
        .arg("--scratch-path")
        .arg(scratch))
}

/// A program of the toolchain's system, with the paths of the library and of the programs that the
/// tests start.
///
/// # Errors
/// The build folder cannot be created.
pub(crate) fn command<'a>(
    sh: &'a Workspace,
    toolchain: &Toolchain,
    build: Build,
    program: &Path,
) -> Result<Cmd<'a>> {
    let library = bindings::library(build == Build::Release);
    let library = library.parent().context("the library is in no folder")?;
    let built = scratch().join(build.name());
    let mut variables = vec![
        ("BOWLINE_LIBRARY_DIR", library),
        ("BOWLINE_PROGRAMS", library),
        ("BOWLINE_SWIFT_BUILT", &built),
        ("LD_LIBRARY_PATH", library),
        ("DYLD_LIBRARY_PATH", library),
    ];
    if in_ci() {
        variables.push(("CI", Path::new("true")));
    }
    toolchain.command(sh, program, &variables)
}

/// The project's Swift package.
pub(crate) fn package() -> PathBuf {
    tree::root().join("bindings/swift")
}

/// Build folder of Swift.
fn scratch() -> PathBuf {
    target_dir().join("swift")
}

#[cfg(test)]
mod tests {
    use crate::tree::Tree;

    #[test]
    fn inv_7_no_view_can_connect_or_disconnect() {
        let tree = Tree::read().unwrap();
        let mut seen = 0;
        for (path, text) in tree.texts() {
            let ours = path.starts_with("bindings/swift/Sources/BowlineKit/")
                || path.starts_with("bindings/kotlin/src/main/");
            if !ours {
                continue;
            }
            seen += 1;
            for (n, line) in text.lines().enumerate() {
                let name = ["func ", "fun "]
                    .iter()
                    .find_map(|word| line.split_once(word));
                let name = name
                    .map(|(_, rest)| rest.to_lowercase())
                    .unwrap_or_default();
                let drives = ["connect", "disconnect", "reconnect"];
                let drives = drives.iter().any(|word| name.starts_with(word));
                assert!(!drives, "{path}:{}: {line}", n + 1);
            }
        }
        assert!(seen > 10, "{seen}");
    }
}
