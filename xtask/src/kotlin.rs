//! The Kotlin bindings: their tests, by Maven on the JVM, against the real daemon and relay.

use std::{path::PathBuf, process::Command};

use crate::{
    bindings::{self, Language},
    guide,
    memory::target_dir,
    process::{self, Done, Outcome, exists, run as run_command},
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
    let mut maven = maven()?;
    run_command(maven.arg("test"))?;
    Ok(Done::Whole)
}

/// What is missing, and how to get it.
///
/// # Errors
/// That.
pub(crate) fn look() -> Result<(), String> {
    for (program, package) in [("javac", "openjdk-17-jdk-headless"), (program(), "maven")] {
        if !exists(program) {
            return Err(format!("{program} is missing; `apt-get install {package}`"));
        }
    }
    Ok(())
}

/// The generated code, the guide's program, and the programs that the tests start.
fn prepare() -> Outcome {
    bindings::programs()?;
    bindings::for_tests(Language::Kotlin)?;
    guide::extract("docs/kotlin.md", "kotlin", &guide_folder().join("Guide.kt"))
}

fn guide_folder() -> PathBuf {
    target_dir().join("kotlin-guide")
}

/// Maven for our project, with what it must be told.
///
/// # Errors
/// When the folders have no names.
pub(crate) fn maven() -> Outcome<Command> {
    let native = bindings::library(false);
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

const fn program() -> &'static str {
    if cfg!(windows) { "mvn.cmd" } else { "mvn" }
}
