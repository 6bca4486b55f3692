//! `cargo xtask package xcframework`: the Swift package with the native library for every system of Apple's.

use std::fs;

use crate::{
    bindings::{self, Language},
    memory::target_dir,
    process::{Done, Outcome, cargo, exists, run as run_command},
    swift,
    swift_root::toolchain,
};

/// What goes into one slice: several targets of a slice are put into one library.
const SLICES: [&[&str]; 3] = [
    &["aarch64-apple-ios"],
    &["aarch64-apple-ios-sim", "x86_64-apple-ios"],
    &["aarch64-apple-darwin", "x86_64-apple-darwin"],
];

/// Builds it, on a Mac; elsewhere what can be built: the package for this system, optimised.
///
/// # Errors
/// When something does not build.
pub(crate) fn xcframework() -> Outcome<Done> {
    bindings::for_tests(Language::Swift)?;
    bindings::build(true)?;
    if !exists("xcodebuild") {
        let why =
            "no framework: it takes a Mac with Xcode; run `cargo xtask package xcframework` there"
                .to_owned();
        return match toolchain()? {
            Ok(toolchain) => {
                swift::swift(
                    &toolchain,
                    swift::Build::Release,
                    &["build", "--product", "BowlineKit"],
                )?;
                println!("the package compiles for this system, optimised");
                Ok(Done::Skipped(why))
            }
            Err(missing) => Ok(Done::Skipped(format!("{missing}; {why}"))),
        };
    }
    let staging = target_dir().join("xcframework");
    let _ = fs::remove_dir_all(&staging);
    let headers = swift::package().join("generated/BowlineFFIC");
    let framework = swift::package().join("BowlineFFIC.xcframework");
    let _ = fs::remove_dir_all(&framework);
    let mut create = std::process::Command::new("xcodebuild");
    create.arg("-create-xcframework");
    for targets in SLICES {
        let slice = staging.join(targets.first().unwrap_or(&"slice"));
        fs::create_dir_all(&slice).map_err(|error| format!("{}: {error}", slice.display()))?;
        let joined = slice.join("libbowline_ffi.a");
        let mut lipo = std::process::Command::new("lipo");
        lipo.arg("-create").arg("-output").arg(&joined);
        for target in targets {
            run_command(&mut cargo([
                "build",
                "--release",
                "--locked",
                "--package=bowline-ffi",
                "--lib",
                "--target",
                target,
            ]))?;
            lipo.arg(target_dir().join(target).join("release/libbowline_ffi.a"));
        }
        run_command(&mut lipo)?;
        create
            .arg("-library")
            .arg(&joined)
            .arg("-headers")
            .arg(&headers);
    }
    run_command(create.arg("-output").arg(&framework))?;
    println!("{}: made", framework.display());
    Ok(Done::Whole)
}
