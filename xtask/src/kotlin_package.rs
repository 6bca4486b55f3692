//! `cargo xtask package jvm` and `package aar`.

use std::path::Path;

use anyhow::{Context, Result};
use xshell::cmd;

use crate::{
    bindings::{self, Language},
    kotlin, kotlin_app, needs, notices,
    process::{Workspace, exists, target_dir},
};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Android targets: the names in Rust, in Android, and of the NDK's compilers.
const ANDROID: [(&str, &str, &str); 4] = [
    (
        "aarch64-linux-android",
        "arm64-v8a",
        "aarch64-linux-android26",
    ),
    (
        "armv7-linux-androideabi",
        "armeabi-v7a",
        "armv7a-linux-androideabi26",
    ),
    ("x86_64-linux-android", "x86_64", "x86_64-linux-android26"),
    ("i686-linux-android", "x86", "i686-linux-android26"),
];

/// Builds the jar for the JVM: the bindings and the native library of this platform, at the path
/// where JNA looks. Installs it in Maven's local repository and tests it with an app.
///
/// # Errors
/// Something does not build, or the app fails.
pub(crate) fn jvm(sh: &Workspace) -> Result<()> {
    needs::require("jar")?;
    kotlin::prepare(sh)?;
    let library = bindings::build(sh, true)?;
    let folder = jna_folder(&sh.host()?)?;
    // A separate folder: the test build looks for files that a package does not have.
    let target = target_dir().join("kotlin-package");
    let classes = sh.empty(target.join("classes"))?;
    sh.copy(
        &library,
        &classes.join(folder).join(bindings::library_name()),
    )?;
    notices::place(
        sh,
        &sh.read_file("bindings/kotlin/README.md")?,
        &classes.join("META-INF"),
    )?;
    kotlin::maven(sh, true)?
        .arg(format!("-Dbowline.target={}", target.display()))
        .args(["-Dmaven.test.skip=true", "install"])
        .run()?;
    let jar = target.join(format!("bowline-{VERSION}.jar"));
    say!(
        "{}: {} KiB, with the library for {folder}; it is in Maven's local repository as dev.bowline:bowline:{VERSION}",
        jar.display(),
        sh.read_binary_file(&jar)?.len() >> 10
    );
    kotlin_app::run(sh)?;
    say!(
        "a release contains the libraries of every platform: run this on each and merge their folders into one jar"
    );
    Ok(())
}

/// Builds the Android library: native libraries with the NDK, the archive with Gradle.
///
/// # Errors
/// Something does not build.
pub(crate) fn aar(sh: &Workspace) -> Result<()> {
    bindings::for_tests(sh, Language::Kotlin)?;
    let project = "bindings/kotlin/android";
    say!("{project}: sources are complete");
    let Ok(ndk) = sh.var("ANDROID_NDK_HOME") else {
        say!(
            "skipped: no native libraries, no archive: the Android NDK is missing. On a machine that has it and the SDK \
             (https://developer.android.com/studio#command-line-tools-only: `sdkmanager 'ndk;27.2.12479018' 'platforms;android-36'`): \
             `rustup target add {}`, `export ANDROID_HOME=… ANDROID_NDK_HOME=…`, `cargo xtask package aar`",
            ANDROID.map(|(target, ..)| target).join(" ")
        );
        return Ok(());
    };
    let system = if cfg!(target_os = "macos") {
        "darwin"
    } else {
        "linux"
    };
    let tools = Path::new(&ndk).join(format!("toolchains/llvm/prebuilt/{system}-x86_64/bin"));
    for (target, folder, compiler) in ANDROID {
        let linker = tools.join(format!("{compiler}-clang"));
        let lower = target.replace('-', "_");
        bindings::for_target(sh, target)
            .args(["--config", "profile.release.strip=true"])
            .env(
                format!("CARGO_TARGET_{}_LINKER", lower.to_uppercase()),
                &linker,
            )
            .env(format!("CC_{lower}"), &linker)
            .env(format!("AR_{lower}"), tools.join("llvm-ar"))
            .run()?;
        let built = target_dir().join(target).join("release/libbowline_ffi.so");
        let placed = format!("{project}/src/main/jniLibs/{folder}/libbowline_ffi.so");
        sh.copy(&built, Path::new(&placed))?;
    }
    if !exists("gradle") {
        say!(
            "skipped: native libraries are in place, but no archive: Gradle is missing; https://gradle.org/install, then \
             `gradle -p {project} assembleRelease`"
        );
        return Ok(());
    }
    Ok(cmd!(sh, "gradle -p {project} --no-daemon assembleRelease").run()?)
}

/// Targets in Rust and the corresponding JNA folders in a jar.
const JNA_FOLDERS: [(&str, &str); 6] = [
    ("x86_64-unknown-linux-gnu", "linux-x86-64"),
    ("aarch64-unknown-linux-gnu", "linux-aarch64"),
    ("x86_64-apple-darwin", "darwin-x86-64"),
    ("aarch64-apple-darwin", "darwin-aarch64"),
    ("x86_64-pc-windows-msvc", "win32-x86-64"),
    ("x86_64-pc-windows-gnu", "win32-x86-64"),
];

fn jna_folder(target: &str) -> Result<&'static str> {
    let found = JNA_FOLDERS.iter().find(|(name, _)| *name == target);
    let (_, folder) = found.with_context(|| format!("the jar has no folder for {target}"))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_system_that_node_has_a_package_for_has_a_place_in_the_jar() {
        for target in [
            "x86_64-unknown-linux-gnu",
            "aarch64-apple-darwin",
            "x86_64-pc-windows-msvc",
        ] {
            assert!(jna_folder(target).is_ok(), "{target}");
        }
        assert!(jna_folder("sparc64-unknown-linux-gnu").is_err());
    }
}
