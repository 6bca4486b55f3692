//! The Kotlin bindings: their tests (Maven, on the JVM) against the real daemon and relay, and the
//! measurement of their cost.

use std::path::PathBuf;

use anyhow::{Context, Result};
use xshell::{Cmd, cmd};

use crate::{
    bindings::{self, Language},
    guide, needs,
    process::{Workspace, target_dir},
};

/// Name of Maven's program.
pub(crate) const MAVEN: &str = if cfg!(windows) { "mvn.cmd" } else { "mvn" };

/// Generates, compiles and tests the bindings.
///
/// # Errors
/// A test fails; in CI also when Maven or the JDK is missing.
pub(crate) fn test(sh: &Workspace) -> Result<()> {
    needs::require("kotlin")?;
    prepare(sh)?;
    Ok(maven(sh, false)?.arg("test").run()?)
}

/// Measures the cost of the bindings on the JVM with the release library. Returns one JSON object
/// per line, as printed by `dev.bowline.bench`.
///
/// # Errors
/// Something does not compile, or a figure cannot be measured.
pub(crate) fn bench(sh: &Workspace, quick: bool) -> Result<String> {
    bindings::for_tests(sh, Language::Kotlin)?;
    bindings::build(sh, true)?;
    extract_guide(sh)?;
    // A file, because Maven mixes its own output with that of the program.
    let told = target_dir().join("kotlin-bench.jsonl");
    maven(sh, true)?
        .args(["test-compile", "exec:exec"])
        .arg(format!("-Dexec.outputFile={}", told.display()))
        .args(quick.then_some("-Dbowline.bench=--quick"))
        .run()?;
    Ok(sh.read_file(told)?)
}

/// Builds the generated code, the guide's program, and the programs that the tests start.
///
/// # Errors
/// Something does not build.
pub(crate) fn prepare(sh: &Workspace) -> Result<()> {
    bindings::programs(sh)?;
    bindings::for_tests(sh, Language::Kotlin)?;
    extract_guide(sh)
}

fn extract_guide(sh: &Workspace) -> Result<()> {
    guide::extract(
        sh,
        "docs/kotlin.md",
        "kotlin",
        &guide_folder().join("Guide.kt"),
    )?;
    guide::extract_fragments(
        sh,
        "docs/kotlin.md",
        "kotlin",
        FRAGMENTS,
        |n, code| format!("suspend fun Around.fragment{n}() {{\n{code}}}\n"),
        &fragments_folder().join("Fragments.kt"),
    )
}

/// The beginning of the file of the guide's fragments.
const FRAGMENTS: &str = "package dev.bowline.guide

import dev.bowline.*
import dev.bowline.voxel.Edit
import dev.bowline.voxel.Project
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.serialization.json.Json
";

/// Folder of the guide's fragments, which only the tests compile.
fn fragments_folder() -> PathBuf {
    target_dir().join("kotlin-fragments")
}

/// Folder of the guide's program.
fn guide_folder() -> PathBuf {
    target_dir().join("kotlin-guide")
}

/// Maven for the bindings, with the folder of the release or debug library.
///
/// # Errors
/// The library is in no folder.
pub(crate) fn maven(sh: &Workspace, release: bool) -> Result<Cmd<'_>> {
    let library = bindings::library(release);
    let native = library.parent().context("the library is in no folder")?;
    let native = format!("-Dbowline.library={}", native.display());
    let fragments = format!("-Dbowline.fragments={}", fragments_folder().display());
    Ok(project(sh, "bindings/kotlin/pom.xml").args([native, fragments]))
}

/// Maven for a project that contains the guide's program.
pub(crate) fn project<'a>(sh: &'a Workspace, pom: &str) -> Cmd<'a> {
    let guide = guide_folder();
    // The compiler daemon would outlive the build and hold a gigabyte of memory.
    cmd!(
        sh,
        "{MAVEN} --batch-mode --no-transfer-progress --quiet --file {pom}
            -Dkotlin.compiler.daemon=false -Dbowline.guide={guide}"
    )
}
