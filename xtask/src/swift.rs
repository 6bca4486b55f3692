//! The Swift bindings: their tests, by the package manager, against the real daemon and relay, and what they cost.

use std::{path::PathBuf, process::Command};

use crate::{
    bindings::{self, Language},
    guide,
    memory::target_dir,
    process::{self, Done, Outcome, json_lines, run as run_command},
    swift_root::{Toolchain, toolchain},
    tree,
};

/// The program that measures, in the package.
const BENCH: &str = "bowline-bench-app";

/// How something is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    /// For tests.
    Debug,
    /// Optimised, with the library that is shipped.
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

/// Generates, compiles and tests.
///
/// # Errors
/// When a test failed; in CI also when there is no Swift and none can be had.
pub(crate) fn test() -> Outcome<Done> {
    let toolchain = match toolchain()? {
        Ok(toolchain) => toolchain,
        Err(missing) => return process::missing(missing),
    };
    bindings::programs()?;
    bindings::for_tests(Language::Swift)?;
    let program = package().join("generated/Guide/main.swift");
    guide::extract("docs/swift.md", "swift", &program)?;
    // Swift Testing: there are no tests of the older kind.
    swift(&toolchain, Build::Debug, &["test", "--disable-xctest"])?;
    Ok(Done::Whole)
}

/// What is missing, and how to get it. Makes the root with Swift, where there is none yet and one can be made.
///
/// # Errors
/// That.
pub(crate) fn look() -> Result<(), String> {
    toolchain()?.map(|_| ())
}

/// Measures what the boundary costs from Swift, with the library as it is shipped: one JSON object a line, each with a
/// `figure` and its samples in microseconds.
///
/// # Errors
/// When something does not build or cannot be measured, and when there is no Swift.
pub(crate) fn bench(quick: bool) -> Outcome<Vec<String>> {
    let toolchain = toolchain()??;
    // The code is generated from the other one: this one is stripped of what describes its surface.
    bindings::for_tests(Language::Swift)?;
    bindings::build(true)?;
    swift(
        &toolchain,
        Build::Release,
        &["build", "--quiet", "--product", BENCH],
    )?;
    let program = scratch().join("release").join(BENCH);
    let mut measure = command(&toolchain, Build::Release, &program.to_string_lossy())?;
    if quick {
        measure.arg("--quick");
    }
    json_lines(&mut measure)
}

/// A package, and where it is built.
pub(crate) struct Place {
    /// Its folder.
    pub(crate) package: PathBuf,
    /// Where the package manager builds.
    pub(crate) scratch: PathBuf,
}

/// Runs a command of the package manager on our package.
fn swift(toolchain: &Toolchain, build: Build, arguments: &[&str]) -> Outcome {
    let place = Place {
        package: package(),
        scratch: scratch(),
    };
    manage(toolchain, build, &place, arguments)
}

/// Runs a command of the package manager.
///
/// # Errors
/// When it fails.
pub(crate) fn manage(
    toolchain: &Toolchain,
    build: Build,
    place: &Place,
    arguments: &[&str],
) -> Outcome {
    let mut command = command(toolchain, build, "swift")?;
    let (verb, rest) = arguments.split_first().ok_or("no command")?;
    command
        .arg(verb)
        .arg("--package-path")
        .arg(&place.package)
        .arg("--scratch-path")
        .arg(&place.scratch)
        .args(["--configuration", build.name()])
        // A namespace of our own is sandbox enough, and theirs does not work in it.
        .arg("--disable-sandbox")
        .args(rest);
    run_command(&mut command)
}

/// A program of the toolchain's system, which finds the library and what the tests start.
///
/// # Errors
/// When the build folder cannot be made.
pub(crate) fn command(toolchain: &Toolchain, build: Build, program: &str) -> Outcome<Command> {
    let library = bindings::library(build == Build::Release);
    let library = library.parent().ok_or("the library is in no folder")?;
    let (library, built) = (library.to_string_lossy(), scratch().join(build.name()));
    let built = built.to_string_lossy();
    let mut variables = vec![
        ("BOWLINE_LIBRARY_DIR", &*library),
        ("BOWLINE_PROGRAMS", &*library),
        ("BOWLINE_SWIFT_BUILT", &*built),
        ("LD_LIBRARY_PATH", &*library),
        ("DYLD_LIBRARY_PATH", &*library),
    ];
    if std::env::var_os("CI").is_some() {
        variables.push(("CI", "true"));
    }
    toolchain.command(program, &variables)
}

/// Our package.
pub(crate) fn package() -> PathBuf {
    tree::root().join("bindings/swift")
}

/// Where Swift builds.
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
