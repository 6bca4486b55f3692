//! `cargo xtask bindings`: the library, the summary of its exported API, and the generated half of the bindings.
//!
//! Generated code is not committed; it goes where the packages of each language look for it:
//!
//! | language | folder |
//! |---|---|
//! | Swift | `bindings/swift/generated/BowlineFFI`, and its C module beside it in `BowlineFFIC` |
//! | Kotlin | `bindings/kotlin/generated` |
//! | TypeScript for Node | `bindings/typescript/packages/runtime/src/generated` |
//! | TypeScript for React Native | `bindings/typescript/packages/runtime/src/generated-native`, C++ beside it |
//!
//! With each comes one small file that says which library it was generated for (`abi_id`).

mod abi;
mod jna;
mod ubrn;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    memory::target_dir,
    process::{Outcome, cargo, host, run as run_command},
    tree,
};

pub(crate) use ubrn::cache_dir;

/// The summary of the exported API, for review.
const API: &str = "ffi/api.txt";

/// Where the packages of npm are.
const NODE_PACKAGES: &str = "bindings/typescript/packages";

/// Which bindings.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    /// Swift.
    Swift,
    /// Kotlin.
    Kotlin,
    /// TypeScript for Node and Electron.
    Node,
    /// TypeScript and C++ for React Native.
    Rn,
    /// All of them.
    All,
}

/// What is generated.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// For which language. Default: all.
    pub(crate) language: Option<Language>,
    /// Generates nothing: compares the exported API with its committed summary.
    #[arg(long)]
    pub(crate) check: bool,
    /// With the optimised and stripped library where bindings come with one (Node).
    #[arg(long)]
    pub(crate) release: bool,
}

/// Generates, or checks.
///
/// # Errors
/// When something is missing or does not build, and when a check finds a difference.
pub(crate) fn run(options: &Options) -> Outcome {
    if options.check {
        return check_api();
    }
    let library = keep_api(build(false)?)?;
    let wanted = options.language.unwrap_or(Language::All);
    for language in [
        Language::Swift,
        Language::Kotlin,
        Language::Node,
        Language::Rn,
    ] {
        if wanted == language || wanted == Language::All {
            generate(language, &library)?;
            if language == Language::Node && options.release {
                place_library(&build(true)?, &tree::root().join(NODE_PACKAGES))?;
            }
        }
    }
    Ok(())
}

/// The step of the tests: the surface is what was reviewed.
///
/// # Errors
/// Says which lines differ.
pub(crate) fn check_api() -> Outcome {
    let library = build(false)?;
    let summary = api(&library)?;
    let committed = fs::read_to_string(tree::root().join(API)).unwrap_or_default();
    if summary == committed {
        say!("the exported API is as {API} says");
        return Ok(());
    }
    for line in differences(&committed, &summary) {
        say!("{line}");
    }
    Err(format!(
        "the exported API is not what {API} says; `cargo xtask bindings` writes it anew"
    ))
}

/// Builds the library for this machine. The release is stripped, and with that of what describes its surface: code is
/// generated from the other one.
pub(crate) fn build(release: bool) -> Outcome<PathBuf> {
    let mut build = cargo(["build", "--locked", "--package=bowline-ffi", "--lib"]);
    if release {
        build.arg("--release");
    }
    run_command(&mut build)?;
    Ok(library(release))
}

/// Where cargo puts the library.
pub(crate) fn library(release: bool) -> PathBuf {
    let profile = if release { "release" } else { "debug" };
    target_dir().join(profile).join(library_name())
}

/// What the library's file is called on this machine.
pub(crate) fn library_name() -> String {
    let (prefix, suffix) = (env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    format!("{prefix}bowline_ffi{suffix}")
}

/// Writes the summary. The library says in `abi_id` which one it was built with, so it is built again if that changed.
fn keep_api(library: PathBuf) -> Outcome<PathBuf> {
    let path = tree::root().join(API);
    let summary = api(&library)?;
    if fs::read_to_string(&path).is_ok_and(|old| old == summary) {
        return Ok(library);
    }
    write(&path, &summary)?;
    say!("{API} was written anew: review what changed in it");
    build(false)
}

fn api(library: &Path) -> Outcome<String> {
    let mut command = bindgen(library);
    let output = command
        .arg("api")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo could not be started: {error}"))?;
    if !output.status.success() {
        return Err("the exported API could not be read from the library".to_owned());
    }
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}

fn bindgen(library: &Path) -> Command {
    let mut command = cargo([
        "run",
        "--quiet",
        "--locked",
        "--package=bowline-bindgen",
        "--",
        "--library",
    ]);
    command.arg(library);
    command
}

/// The programs of the project that the tests of bindings start: a daemon, a relay, and the world around them.
///
/// # Errors
/// When they do not build.
pub(crate) fn programs() -> Outcome {
    run_command(&mut cargo([
        "build",
        "--locked",
        "--bins",
        "--package=bowline-daemon",
        "--package=bowline-relay",
        "--package=bowline-sim",
    ]))
}

/// The library of this machine and the code of one language, for tests. The summary of the API is left as it is.
///
/// # Errors
/// When something does not build.
pub(crate) fn for_tests(language: Language) -> Outcome {
    let library = build(false)?;
    generate(language, &library)
}

/// The code of one language, for a library.
///
/// # Errors
/// When a generator fails.
pub(crate) fn generate(language: Language, library: &Path) -> Outcome {
    let root = tree::root();
    let config = root.join("uniffi.toml");
    let to = |name: &str, out: &Path| -> Outcome {
        let mut command = bindgen(library);
        command.arg(name).arg("--config").arg(&config);
        run_command(command.arg("--out").arg(out))
    };
    let bindings = root.join("bindings");
    match language {
        Language::Swift => {
            let out = empty(&bindings.join("swift/generated"))?;
            let (swift, c) = (out.join("BowlineFFI"), out.join("BowlineFFIC"));
            to("swift", &swift)?;
            // The package manager wants C modules in folders of their own, under this name.
            make(&c)?;
            rename(&swift.join("BowlineFFIC.h"), &c.join("BowlineFFIC.h"))?;
            rename(
                &swift.join("BowlineFFIC.modulemap"),
                &c.join("module.modulemap"),
            )?;
            write(&swift.join("Abi.swift"), &abi::swift()?)?;
        }
        Language::Kotlin => {
            let out = empty(&bindings.join("kotlin/generated"))?;
            to("kotlin", &out)?;
            jna::reuse_statuses(&out.join("dev/bowline/ffi/bowline.kt"))?;
            write(&out.join("dev/bowline/ffi/Abi.kt"), &abi::kotlin()?)?;
        }
        Language::Node => {
            let packages = root.join(NODE_PACKAGES);
            let out = empty(&packages.join("runtime/src/generated"))?;
            ubrn::node(library, &config, &out)?;
            write(&out.join("abi.ts"), &abi::typescript()?)?;
            place_library(library, &packages)?;
        }
        Language::Rn => {
            let runtime = bindings.join("typescript/packages/runtime");
            let out = empty(&runtime.join("src/generated-native"))?;
            let cpp = empty(&runtime.join("cpp/generated"))?;
            ubrn::react_native(library, &config, &out, &cpp)?;
            write(&out.join("abi.ts"), &abi::typescript()?)?;
        }
        Language::All => {}
    }
    say!("{language:?}: generated");
    Ok(())
}

/// The library as the package of this platform holds it: where the generated code looks for it.
fn place_library(library: &Path, packages: &Path) -> Outcome {
    let platform = node_platform(&host()?)?;
    let folder = packages.join(format!("runtime-{platform}"));
    make(&folder)?;
    let manifest = platform_manifest(&platform)?;
    write(&folder.join("package.json"), &manifest)?;
    let to = folder.join(library_name());
    // A copy over a library that a process has mapped would change it under that process.
    let _ = fs::remove_file(&to);
    fs::copy(library, &to)
        .map(|_| ())
        .map_err(|error| format!("{}: {error}", to.display()))
}

/// The manifest of a platform's package.
fn platform_manifest(platform: &str) -> Outcome<String> {
    let mut parts = platform.split('-');
    let (os, cpu, libc) = (parts.next(), parts.next(), parts.next());
    let library = library_name();
    let mut manifest = serde_json::json!({
        "name": format!("@bowline/runtime-{platform}"),
        "version": env!("CARGO_PKG_VERSION"),
        "description": format!("The native library of @bowline/runtime for {platform}"),
        "license": "Apache-2.0 OR MIT",
        "main": library,
        "files": [library],
        "os": [os],
        "cpu": [cpu],
    });
    if let (Some("gnu"), Some(fields)) = (libc, manifest.as_object_mut()) {
        fields.insert("libc".to_owned(), serde_json::json!(["glibc"]));
    }
    serde_json::to_string_pretty(&manifest)
        .map(|text| text + "\n")
        .map_err(|error| error.to_string())
}

/// What Node calls a target. Node for Windows is built with MSVC, and asks for that; a library that was built with MinGW has the same
/// C interface.
pub(crate) fn node_platform(target: &str) -> Outcome<String> {
    let name = match target {
        "x86_64-unknown-linux-gnu" => "linux-x64-gnu",
        "aarch64-unknown-linux-gnu" => "linux-arm64-gnu",
        "x86_64-apple-darwin" => "darwin-x64",
        "aarch64-apple-darwin" => "darwin-arm64",
        "x86_64-pc-windows-msvc" | "x86_64-pc-windows-gnu" => "win32-x64-msvc",
        other => return Err(format!("there is no package for {other}")),
    };
    Ok(name.to_owned())
}

/// What npm's program is called.
pub(crate) const fn npm() -> &'static str {
    if cfg!(windows) { "npm.cmd" } else { "npm" }
}

fn differences(old: &str, new: &str) -> Vec<String> {
    let gone = old.lines().filter(|line| !new.lines().any(|n| n == *line));
    let added = new.lines().filter(|line| !old.lines().any(|o| o == *line));
    let gone = gone.map(|line| format!("- {line}"));
    gone.chain(added.map(|line| format!("+ {line}"))).collect()
}

fn empty(folder: &Path) -> Outcome<PathBuf> {
    let _ = fs::remove_dir_all(folder);
    make(folder)?;
    Ok(folder.to_owned())
}

fn make(folder: &Path) -> Outcome {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))
}

fn rename(from: &Path, to: &Path) -> Outcome {
    fs::rename(from, to).map_err(|error| format!("{}: {error}", from.display()))
}

fn write(path: &Path, text: &str) -> Outcome {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_the_surface_is_told_line_by_line() {
        let found = differences("fn a()\nfn b()\n", "fn a()\nfn b() -> u32\n");
        assert_eq!(found, ["- fn b()", "+ fn b() -> u32"]);
    }

    #[test]
    fn a_platform_package_is_installed_on_its_platform_only() {
        let manifest = platform_manifest("linux-x64-gnu").unwrap();
        let value: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        assert_eq!(value["os"][0], "linux");
        assert_eq!(value["cpu"][0], "x64");
        assert_eq!(value["libc"][0], "glibc");
        assert!(node_platform("sparc64-unknown-linux-gnu").is_err());
    }

    #[test]
    fn a_library_of_either_windows_toolchain_is_in_the_package_that_node_asks_for() {
        let native = "bindings/typescript/packages/runtime/src/native.ts";
        let native = fs::read_to_string(tree::root().join(native)).unwrap();
        for target in ["x86_64-pc-windows-msvc", "x86_64-pc-windows-gnu"] {
            let platform = node_platform(target).unwrap();
            assert!(
                native.contains(&platform.replace("x64", "${arch}")),
                "{platform}"
            );
        }
    }
}
