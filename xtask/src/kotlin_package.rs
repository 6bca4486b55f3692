//! `cargo xtask package jvm` and `package aar`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    bindings::{self, Language},
    kotlin, kotlin_app,
    memory::target_dir,
    notices,
    process::{self, Done, Outcome, cargo, exists, host, run as run_command},
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

/// The jar for the JVM: the bindings and, for this machine's system, the native library, where JNA looks for it. It is put into
/// Maven's local repository, and tried by an app of its own.
///
/// # Errors
/// When something does not build, or the app does not run.
pub(crate) fn jvm() -> Outcome<Done> {
    if let Err(missing) = kotlin::look() {
        return process::missing(missing);
    }
    kotlin::prepare()?;
    let library = bindings::build(true)?;
    let folder = jna_folder(&host()?)?;
    // Not where the tests are compiled: they look for what is not there.
    let target = target_dir().join("kotlin-package");
    let classes = target.join("classes");
    let _ = fs::remove_dir_all(&classes);
    copy(
        &library,
        &classes.join(folder).join(bindings::library_name()),
    )?;
    let readme = tree::root().join("bindings/kotlin/README.md");
    let readme =
        fs::read_to_string(&readme).map_err(|error| format!("{}: {error}", readme.display()))?;
    notices::place(&readme, &classes.join("META-INF"))?;
    let mut maven = kotlin::maven(true)?;
    maven
        .arg(format!("-Dbowline.target={}", target.display()))
        .args(["-Dmaven.test.skip=true", "install"]);
    run_command(&mut maven)?;
    let jar = target.join(format!("bowline-{}.jar", env!("CARGO_PKG_VERSION")));
    let size = fs::metadata(&jar).map_err(|error| format!("{}: {error}", jar.display()))?;
    say!(
        "{}: {} KiB, with the library for {folder}; it is in Maven's local repository as dev.bowline:bowline:{}",
        jar.display(),
        size.len() >> 10,
        env!("CARGO_PKG_VERSION")
    );
    kotlin_app::run()?;
    say!(
        "a release has the libraries of every system: run this on each, and put their folders into one jar"
    );
    Ok(Done::Whole)
}

/// The Android library: the native libraries by the NDK, and the archive by Gradle.
///
/// # Errors
/// When something does not build.
pub(crate) fn aar() -> Outcome<Done> {
    bindings::for_tests(Language::Kotlin)?;
    let project = tree::root().join("bindings/kotlin/android");
    say!("{}: sources are complete", project.display());
    let Some(ndk) = std::env::var_os("ANDROID_NDK_HOME").map(PathBuf::from) else {
        return Ok(Done::Skipped(format!(
            "no native libraries, no archive: the Android NDK is missing. On a machine that has it and the SDK \
             (https://developer.android.com/studio#command-line-tools-only: `sdkmanager 'ndk;27.2.12479018' 'platforms;android-36'`): \
             `rustup target add {}`, `export ANDROID_HOME=… ANDROID_NDK_HOME=…`, `cargo xtask package aar`",
            ANDROID.map(|(target, ..)| target).join(" ")
        )));
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
        return Ok(Done::Skipped(format!(
            "native libraries are in place, but no archive: Gradle is missing; https://gradle.org/install, then \
                 `gradle -p {} assembleRelease`",
            project.display()
        )));
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
    Ok(target_dir().join(target).join("release/libbowline_ffi.so"))
}

/// Systems as Rust and as JNA, in a jar, call them.
const JNA_FOLDERS: [(&str, &str); 6] = [
    ("x86_64-unknown-linux-gnu", "linux-x86-64"),
    ("aarch64-unknown-linux-gnu", "linux-aarch64"),
    ("x86_64-apple-darwin", "darwin-x86-64"),
    ("aarch64-apple-darwin", "darwin-aarch64"),
    ("x86_64-pc-windows-msvc", "win32-x86-64"),
    ("x86_64-pc-windows-gnu", "win32-x86-64"),
];

fn jna_folder(target: &str) -> Outcome<&'static str> {
    let found = JNA_FOLDERS.iter().find(|(name, _)| *name == target);
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
