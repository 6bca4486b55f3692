//! `cargo xtask package`: the packages for apps. Each task does what this machine supports and
//! reports what it left out and why.

use anyhow::{Result, ensure};

use crate::{kotlin_package, npm_package, process::Workspace, program_package, swift_package};

/// Package and platform.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Package to build.
    what: Package,
    /// For `programs`: the Rust target to build for. Default: this platform.
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
}

/// A kind of package.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Package {
    /// The npm packages: the bindings, the hooks, and the library of this platform.
    Npm,
    /// The jar for the JVM.
    Jvm,
    /// The Android library.
    Aar,
    /// The Swift package with the library for Apple's platforms.
    Xcframework,
    /// The release archive: `bowline`, `bowline-daemon` and `bowline-relay`.
    Programs,
}

/// Builds a package.
///
/// # Errors
/// Something does not build. Missing tools are reported and are no error.
pub(crate) fn run(sh: &Workspace, Options { what, target }: Options) -> Result<()> {
    let is_programs = what == Package::Programs;
    ensure!(
        target.is_none() || is_programs,
        "--target is for `package programs`"
    );
    match what {
        Package::Npm => npm_package::npm(sh),
        Package::Jvm => kotlin_package::jvm(sh),
        Package::Aar => kotlin_package::aar(sh),
        Package::Xcframework => swift_package::xcframework(sh),
        Package::Programs => program_package::programs(sh, target),
    }
}
