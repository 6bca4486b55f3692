//! `cargo xtask package jvm` and `package aar`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    bindings::{self, Language},
    kotlin,
    process::{Done, Outcome, cargo, exists, host, run as run_command},
    tree,
};

/// Android's targets, as Rust and as Android call them, with the compiler of the NDK.
const ANDROID: [(&str, &str, &str); 4] = [
    (
        "aarch64-linux-android",
        "arm64-v8a",
        "aarch64-linux-android26-clang",
    ),
    (
        "armv7-linux-androideabi",
        "armeabi-v7a",
        "armv7a-linux-androideabi26-clang",
    ),
    (
        "x86_64-linux-android",
        "x86_64",
        "x86_64-linux-android26-clang",
    ),
    ("i686-linux-android", "x86", "i686-linux-android26-clang"),
];

/// The jar for the JVM: the bindings and, for this machine's system, the native library, where JNA looks for it.
///
/// # Errors
/// When something does not build.
pub(crate) fn jvm() -> Outcome<Done> {
    if let Err(missing) = kotlin::look() {
        return Ok(Done::Skipped(missing));
    }
    bindings::for_tests(Language::Kotlin)?;
    let library = bindings::build(true)?;
    let folder = jna_folder(&host()?)?;
    let classes = tree::root()
        .join("bindings/kotlin/target/classes")
        .join(folder);
    let _ = fs::remove_dir_all(&classes);
    copy(&library, &classes.join(bindings::library_name()))?;
    let mut maven = kotlin::maven(true)?;
    run_command(maven.args(["-DskipTests", "-Dmaven.test.skip=true", "package"]))?;
    let jar = format!(
        "bindings/kotlin/target/bowline-{}.jar",
        env!("CARGO_PKG_VERSION")
    );
    let size = fs::metadata(tree::root().join(&jar)).map_err(|error| format!("{jar}: {error}"))?;
    println!(
        "{jar}: {} KiB, with the library for {folder}",
        size.len() >> 10
    );
    println!(
        "a release has the libraries of every system: run this on each, and put them into one jar"
    );
    Ok(Done::Whole)
}

/// The Android library: the native libraries by the NDK, and the archive by Gradle.
///
/// # Errors
/// When something does not build.
pub(crate) fn aar() -> Outcome<Done> {
    let library = bindings::build(false)?;
    bindings::generate(Language::Kotlin, &library)?;
    let project = tree::root().join("bindings/kotlin/android");
    println!("{}: sources are complete", project.display());
    let Some(ndk) = std::env::var_os("ANDROID_NDK_HOME").map(PathBuf::from) else {
        return Ok(Done::Skipped(
            "no native libraries, no archive: the Android NDK is missing; \
             https://developer.android.com/ndk/downloads, then set ANDROID_NDK_HOME"
                .to_owned(),
        ));
    };
    for (target, folder, compiler) in ANDROID {
        let built = android(&ndk, target, compiler)?;
        copy(
            &built,
            &project
                .join("src/main/jniLibs")
                .join(folder)
                .join("libbowline_ffi.so"),
        )?;
    }
    if !exists("gradle") {
        return Ok(Done::Skipped(
            "native libraries are in place, but no archive: Gradle is missing; https://gradle.org/install".to_owned(),
        ));
    }
    let mut gradle = std::process::Command::new("gradle");
    gradle
        .args(["--no-daemon", "assembleRelease"])
        .current_dir(&project);
    run_command(&mut gradle)?;
    Ok(Done::Whole)
}

fn android(ndk: &Path, target: &str, compiler: &str) -> Outcome<PathBuf> {
    let system = if cfg!(target_os = "macos") {
        "darwin-x86_64"
    } else {
        "linux-x86_64"
    };
    let tools = ndk
        .join("toolchains/llvm/prebuilt")
        .join(system)
        .join("bin");
    let linker = tools.join(compiler);
    let upper = target.to_uppercase().replace('-', "_");
    let lower = target.replace('-', "_");
    let mut build = cargo([
        "build",
        "--release",
        "--locked",
        "--package=bowline-ffi",
        "--lib",
        "--target",
        target,
    ]);
    build
        .args(["--config", "profile.release.strip=true"])
        .env(format!("CARGO_TARGET_{upper}_LINKER"), &linker)
        .env(format!("CC_{lower}"), &linker)
        .env(format!("AR_{lower}"), tools.join("llvm-ar"));
    run_command(&mut build)?;
    Ok(crate::memory::target_dir()
        .join(target)
        .join("release/libbowline_ffi.so"))
}

/// What JNA calls a system, in a jar.
fn jna_folder(target: &str) -> Outcome<&'static str> {
    let folders = [
        ("x86_64-unknown-linux-gnu", "linux-x86-64"),
        ("aarch64-unknown-linux-gnu", "linux-aarch64"),
        ("x86_64-apple-darwin", "darwin-x86-64"),
        ("aarch64-apple-darwin", "darwin-aarch64"),
        ("x86_64-pc-windows-msvc", "win32-x86-64"),
        ("x86_64-pc-windows-gnu", "win32-x86-64"),
    ];
    let found = folders.iter().find(|(name, _)| *name == target);
    found
        .map(|(_, folder)| *folder)
        .ok_or_else(|| format!("the jar has no place for {target}"))
}

fn copy(from: &Path, to: &Path) -> Outcome {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let copied = fs::copy(from, to);
    copied
        .map(|_| ())
        .map_err(|error| format!("{}: {error}", to.display()))
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
