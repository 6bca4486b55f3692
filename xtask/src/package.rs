//! `cargo xtask package`: what apps are given. Each does all that this machine can, and says what it could not do and why.

use crate::{kotlin_package, npm_package, process::Outcome, swift_package};

/// What is packaged.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Package {
    /// The packages of npm: the bindings, the hooks, and the library of this platform.
    Npm,
    /// The jar for the JVM.
    Jvm,
    /// The Android library.
    Aar,
    /// The Swift package with the library for Apple's systems.
    Xcframework,
}

/// Packages.
///
/// # Errors
/// When something does not build. What the machine lacks is said, and is no failure.
pub(crate) fn run(what: Package) -> Outcome {
    let done = match what {
        Package::Npm => npm_package::npm()?,
        Package::Jvm => kotlin_package::jvm()?,
        Package::Aar => kotlin_package::aar()?,
        Package::Xcframework => swift_package::xcframework()?,
    };
    done.tell();
    Ok(())
}
