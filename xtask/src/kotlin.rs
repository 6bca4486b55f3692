//! The Kotlin bindings: their tests, by Maven on the JVM, against the real daemon and relay; and what they cost there.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    bindings::{self, Language},
    guide,
    memory::target_dir,
    needs,
    process::{self, Done, Outcome, run as run_command},
    tree,
};

/// Generates, compiles and tests.
///
/// # Errors
/// When a test failed; in CI also when Maven or the JDK is missing.
pub(crate) fn test() -> Outcome<Done> {
    if let Err(missing) = look() {
        return process::missing(missing);
    }
    prepare()?;
    run_command(maven(false)?.arg("test"))?;
    Ok(Done::Whole)
}

/// What is missing, and how to get it.
///
/// # Errors
/// That.
pub(crate) fn look() -> Result<(), String> {
    needs::look("kotlin")
}

/// Measures what the bindings cost on the JVM, over a library built for release: one JSON object a line, as
/// `dev.bowline.bench` prints them.
///
/// # Errors
/// When something is missing, does not compile, or cannot be measured.
pub(crate) fn bench(quick: bool) -> Outcome<Vec<String>> {
    look()?;
    bindings::for_tests(Language::Kotlin)?;
    bindings::build(true)?;
    extract_guide()?;
    // Maven's own output has more in it than what the program prints.
    let told = target_dir().join("kotlin-bench.jsonl");
    let mut maven = maven(true)?;
    maven
        .args(["test-compile", "exec:exec"])
        .arg(format!("-Dexec.outputFile={}", told.display()));
    if quick {
        maven.arg("-Dbowline.bench=--quick");
    }
    run_command(&mut maven)?;
    let lines =
        fs::read_to_string(&told).map_err(|error| format!("{}: {error}", told.display()))?;
    Ok(lines.lines().map(str::to_owned).collect())
}

/// The generated code, the guide's program, and the programs that the tests start.
///
/// # Errors
/// When something does not build.
pub(crate) fn prepare() -> Outcome {
    bindings::programs()?;
    bindings::for_tests(Language::Kotlin)?;
    extract_guide()
}

fn extract_guide() -> Outcome {
    guide::extract("docs/kotlin.md", "kotlin", &guide_folder().join("Guide.kt"))
}

/// Where the guide's program is.
pub(crate) fn guide_folder() -> PathBuf {
    target_dir().join("kotlin-guide")
}

/// Maven for our project, with what it must be told: among it where the library is, the one for release or the other.
///
/// # Errors
/// When the folders have no names.
pub(crate) fn maven(release: bool) -> Outcome<Command> {
    let native = bindings::library(release);
    let native = native.parent().ok_or("the library is in no folder")?;
    let mut maven = Command::new(program());
    maven
        .args(["--batch-mode", "--no-transfer-progress", "--quiet"])
        .arg("--file")
        .arg(tree::root().join("bindings/kotlin/pom.xml"))
        // It would stay, with a gigabyte.
        .arg("-Dkotlin.compiler.daemon=false")
        .arg(format!("-Dbowline.library={}", native.display()))
        .arg(format!("-Dbowline.guide={}", guide_folder().display()));
    Ok(maven)
}

/// What Maven's program is called.
pub(crate) const fn program() -> &'static str {
    if cfg!(windows) { "mvn.cmd" } else { "mvn" }
}
