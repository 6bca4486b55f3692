//! `cargo xtask bindings`: the library, the summary of its exported API, and the generated half of
//! the bindings.
//!
//! Generated code is not committed; it is written where the packages of each language expect it:
//!
//! | language | folder |
//! |---|---|
//! | Swift | `bindings/swift/generated/BowlineFFI`, and its C module beside it in `BowlineFFIC` |
//! | Kotlin | `bindings/kotlin/generated` |
//! | TypeScript for Node | `bindings/typescript/packages/runtime/src/generated` |
//! | TypeScript for React Native | `bindings/typescript/packages/runtime/src/generated-native`, C++ beside it |
//!
//! Each language also gets one small file with the ABI id of its library (`abi_id`).

mod abi;
mod jna;
mod ubrn;

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use serde_json::json;
use xshell::{Cmd, cmd};

use crate::process::{Workspace, target_dir};

pub(crate) use abi::fnv;
pub(crate) use ubrn::{SOURCE as ADDON_SOURCE, addon_licence, cache_dir};

/// The summary of the exported API, for review.
const API: &str = "ffi/api.txt";
/// Configuration of the generators.
const CONFIG: &str = "uniffi.toml";
/// The npm packages.
/// File name of the addon with which Node calls the library, in the package of a platform.
pub(crate) const ADDON: &str = "addon.node";
/// Its licence, beside it.
pub(crate) const ADDON_LICENCE: &str = "LICENSE-MPL-2.0";
const NODE_PACKAGES: &str = "bindings/typescript/packages";
/// Name of the npm program.
pub(crate) const NPM: &str = if cfg!(windows) { "npm.cmd" } else { "npm" };

/// Target language of the bindings.
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
    /// All languages.
    All,
}

/// Selects the generated bindings.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Language to generate.
    #[arg(default_value = "all")]
    language: Language,
    /// Only compare the exported API with its committed summary; generate nothing.
    #[arg(long)]
    check: bool,
    /// Place the optimised, stripped library into bindings that include one (Node).
    #[arg(long)]
    release: bool,
}

/// Generates the bindings, or checks the API summary.
///
/// # Errors
/// A tool is missing, something does not build, or the check finds a difference.
pub(crate) fn run(
    sh: &Workspace,
    Options {
        language,
        check,
        release,
    }: Options,
) -> Result<()> {
    if check {
        return check_api(sh);
    }
    let mut library = build(sh, false)?;
    let summary = api(sh, &library)?;
    if sh.read_file(API).ok().as_ref() != Some(&summary) {
        sh.write_file(API, summary)?;
        say!("{API} was updated: review the change");
        // The library embeds a hash of the summary in `abi_id`.
        library = build(sh, false)?;
    }
    generate(sh, language, &library)?;
    if release && matches!(language, Language::Node | Language::All) {
        place_library(sh, &build(sh, true)?)?;
    }
    Ok(())
}

/// Test step: compares the exported API with the reviewed summary.
///
/// # Errors
/// The API differs; the differing lines are printed.
pub(crate) fn check_api(sh: &Workspace) -> Result<()> {
    let summary = api(sh, &build(sh, false)?)?;
    let committed = sh.read_file(API).unwrap_or_default();
    if summary == committed {
        say!("the exported API matches {API}");
        return Ok(());
    }
    for line in differences(&committed, &summary) {
        say!("{line}");
    }
    bail!("the exported API differs from {API}; `cargo xtask bindings` updates it")
}

/// Builds the library for this machine. The release build is stripped, metadata included, so code
/// is generated from the debug build.
///
/// # Errors
/// It does not build.
pub(crate) fn build(sh: &Workspace, release: bool) -> Result<PathBuf> {
    let release_flag = release.then_some("--release");
    cmd!(
        sh,
        "cargo build --locked -p bowline-ffi --lib {release_flag...}"
    )
    .run()?;
    Ok(library(release))
}

/// Builds the release library for another target.
pub(crate) fn for_target<'a>(sh: &'a Workspace, target: &str) -> Cmd<'a> {
    cmd!(
        sh,
        "cargo build --release --locked -p bowline-ffi --lib --target {target}"
    )
}

/// Path of the library in cargo's target folder.
pub(crate) fn library(release: bool) -> PathBuf {
    let profile = if release { "release" } else { "debug" };
    target_dir().join(profile).join(library_name())
}

/// File name of the library on this platform.
pub(crate) fn library_name() -> String {
    let (prefix, suffix) = (env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    format!("{prefix}bowline_ffi{suffix}")
}

fn api(sh: &Workspace, library: &Path) -> Result<String> {
    Ok(bindgen(sh, library).arg("api").read()? + "\n")
}

fn bindgen<'a>(sh: &'a Workspace, library: &Path) -> Cmd<'a> {
    cmd!(
        sh,
        "cargo run --quiet --locked -p bowline-bindgen -- --library {library}"
    )
}

/// Builds the programs that the binding tests start: daemons, a relay, and the test world.
///
/// # Errors
/// A program does not build.
pub(crate) fn programs(sh: &Workspace) -> Result<()> {
    let packages = [
        "-p",
        "bowline-daemon",
        "-p",
        "bowline-daemon-program",
        "-p",
        "bowline-relay",
        "-p",
        "bowline-testkit",
        // The service of the example apps.
        "-p",
        "bowline-examples",
    ];
    Ok(cmd!(
        sh,
        "cargo build --locked --bins --example voxel {packages...}"
    )
    .run()?)
}

/// Builds the library for this machine and generates the code of one language, for tests. Does not
/// update the API summary.
///
/// # Errors
/// Something does not build.
pub(crate) fn for_tests(sh: &Workspace, language: Language) -> Result<()> {
    generate(sh, language, &build(sh, false)?)
}

/// Generates the code of one language, or of all, from a library.
fn generate(sh: &Workspace, language: Language, library: &Path) -> Result<()> {
    let bindgen = |name: &str, out: &Path| {
        bindgen(sh, library)
            .arg(name)
            .args(["--config", CONFIG, "--out"])
            .arg(out)
            .run()
    };
    let abi_id =
        |file: PathBuf| -> Result<()> { Ok(sh.write_file(file, abi::source(sh, language)?)?) };
    match language {
        Language::Swift => {
            let out = sh.empty("bindings/swift/generated")?;
            let (swift, c) = (out.join("BowlineFFI"), out.join("BowlineFFIC"));
            bindgen("swift", &swift)?;
            // The package manager expects C modules in separate folders with this file name.
            sh.create_dir(&c)?;
            std::fs::rename(swift.join("BowlineFFIC.h"), c.join("BowlineFFIC.h"))?;
            std::fs::rename(
                swift.join("BowlineFFIC.modulemap"),
                c.join("module.modulemap"),
            )?;
            abi_id(swift.join("Abi.swift"))?;
        }
        Language::Kotlin => {
            let out = sh.empty("bindings/kotlin/generated")?;
            bindgen("kotlin", &out)?;
            let package = out.join("dev/bowline");
            // The JVM names classes after files, and the package has a `Bowline.kt` of its own.
            let code = package.join("Generated.kt");
            std::fs::rename(package.join("bowline.kt"), &code)?;
            jna::reuse_statuses(sh, &code)?;
            abi_id(package.join("Abi.kt"))?;
        }
        Language::Node => {
            let out = sh.empty(format!("{NODE_PACKAGES}/runtime/src/generated"))?;
            ubrn::node(sh, library, &out)?;
            abi_id(out.join("abi.ts"))?;
            place_library(sh, library)?;
        }
        Language::Rn => {
            let out = sh.empty(format!("{NODE_PACKAGES}/runtime/src/generated-native"))?;
            let cpp = sh.empty(format!("{NODE_PACKAGES}/runtime/cpp/generated"))?;
            ubrn::react_native(sh, library, &out, &cpp)?;
            abi_id(out.join("abi.ts"))?;
        }
        Language::All => {
            for language in [
                Language::Swift,
                Language::Kotlin,
                Language::Node,
                Language::Rn,
            ] {
                generate(sh, language, library)?;
            }
            return Ok(());
        }
    }
    say!("{language:?}: generated");
    Ok(())
}

/// Copies the library, and the addon with which Node calls it, into the npm package of this
/// platform, where the generated code loads them.
fn place_library(sh: &Workspace, library: &Path) -> Result<()> {
    let platform = node_platform(&sh.host()?)?;
    let folder = Path::new(NODE_PACKAGES).join(format!("runtime-{platform}"));
    sh.write_file(folder.join("package.json"), platform_manifest(platform))?;
    for (from, name) in [
        (library, library_name()),
        (&ubrn::addon(sh)?, ADDON.to_owned()),
    ] {
        let to = folder.join(name);
        // Overwriting a mapped library would change it under the running process.
        sh.remove_path(&to)?;
        sh.copy_file(from, to)?;
    }
    Ok(())
}

/// Places the addon where npm would install it, for programs that run in the checkout: they name
/// the library themselves.
///
/// # Errors
/// It cannot be built or copied.
pub(crate) fn install_addon(sh: &Workspace, modules: &Path) -> Result<()> {
    let platform = node_platform(&sh.host()?)?;
    let folder = modules.join(format!("@bowline/runtime-{platform}"));
    sh.write_file(folder.join("package.json"), platform_manifest(platform))?;
    let to = folder.join(ADDON);
    sh.remove_path(&to)?;
    Ok(sh.copy_file(ubrn::addon(sh)?, to)?)
}

/// The manifest of a platform package.
fn platform_manifest(platform: &str) -> String {
    let mut parts = platform.split('-');
    let (os, cpu, libc) = (parts.next(), parts.next(), parts.next());
    let library = library_name();
    let mut manifest = json!({
        "name": format!("@bowline/runtime-{platform}"),
        "version": env!("CARGO_PKG_VERSION"),
        "description": format!("The native library of @bowline/runtime for {platform}"),
        // The addon is of its generator.
        "license": "(Apache-2.0 OR MIT) AND MPL-2.0",
        "main": library,
        "files": [library, ADDON, ADDON_LICENCE],
        "os": [os],
        "cpu": [cpu],
    });
    if let (Some("gnu"), Some(fields)) = (libc, manifest.as_object_mut()) {
        fields.insert("libc".to_owned(), json!(["glibc"]));
    }
    format!("{manifest:#}\n")
}

/// Node's names of the platforms for which there may be a package.
pub(crate) const NODE_PLATFORMS: [&str; 5] = [
    "linux-x64-gnu",
    "linux-arm64-gnu",
    "darwin-x64",
    "darwin-arm64",
    "win32-x64-msvc",
];

/// The Node name of a Rust target. Node for Windows is built with MSVC and asks for that; a library
/// built with MinGW has the same C interface.
pub(crate) fn node_platform(target: &str) -> Result<&'static str> {
    let name = match target {
        "x86_64-unknown-linux-gnu" => "linux-x64-gnu",
        "aarch64-unknown-linux-gnu" => "linux-arm64-gnu",
        "x86_64-apple-darwin" => "darwin-x64",
        "aarch64-apple-darwin" => "darwin-arm64",
        "x86_64-pc-windows-msvc" | "x86_64-pc-windows-gnu" => "win32-x64-msvc",
        other => bail!("there is no package for {other}"),
    };
    Ok(name)
}

fn differences(old: &str, new: &str) -> Vec<String> {
    let gone = old.lines().filter(|line| !new.lines().any(|n| n == *line));
    let added = new.lines().filter(|line| !old.lines().any(|o| o == *line));
    let gone = gone.map(|line| format!("- {line}"));
    gone.chain(added.map(|line| format!("+ {line}"))).collect()
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
        let manifest = platform_manifest("linux-x64-gnu");
        let value: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        assert_eq!(value["os"][0], "linux");
        assert_eq!(value["cpu"][0], "x64");
        assert_eq!(value["libc"][0], "glibc");
        assert_eq!(value["files"][1], ADDON);
        assert!(node_platform("sparc64-unknown-linux-gnu").is_err());
        for target in ["x86_64-unknown-linux-gnu", "aarch64-apple-darwin"] {
            assert!(NODE_PLATFORMS.contains(&node_platform(target).unwrap()));
        }
    }

    #[test]
    fn a_library_of_either_windows_toolchain_is_in_the_package_that_node_asks_for() {
        let native = "bindings/typescript/packages/runtime/src/native.ts";
        let native = Workspace::open().unwrap().read_file(native).unwrap();
        for target in ["x86_64-pc-windows-msvc", "x86_64-pc-windows-gnu"] {
            let platform = node_platform(target).unwrap();
            assert!(
                native.contains(&platform.replace("x64", "${arch}")),
                "{platform}"
            );
        }
    }
}
