//! `cargo xtask package xcframework`: the Swift package for apps, with the native library for
//! Apple's platforms.
//!
//! ```text
//! target/package/xcframework/
//!   Bowline/                       the package
//!     Package.swift                bindings/swift/Release's
//!     Sources/BowlineKit           the hand-written half
//!     Sources/BowlineFFI           the generated half
//!     Sources/BowlineFFIC          its C header and module map
//!     BowlineFFIC.xcframework      the library, a slice for each of Apple's systems: made on a Mac
//!     lib                          the library for this system: made elsewhere
//!   Bowline-<version>.zip          all of that
//!   Consumer/                      an app that was built with the package, and run
//! ```

use std::path::Path;

use anyhow::{Result, ensure};
use xshell::cmd;

use crate::{
    bindings::{self, Language},
    notices,
    process::{Skipped, Workspace, exists, target_dir},
    swift::{self, Build},
    swift_root::{Toolchain, toolchain},
};

/// Targets of each slice; several targets of a slice are joined into one library.
const SLICES: [&[&str]; 3] = [
    &["aarch64-apple-ios"],
    &["aarch64-apple-ios-sim", "x86_64-apple-ios"],
    &["aarch64-apple-darwin", "x86_64-apple-darwin"],
];
/// Oldest OS versions named by the package, for the C code in the library.
const OLDEST: [(&str, &str); 2] = [
    ("IPHONEOS_DEPLOYMENT_TARGET", "17.0"),
    ("MACOSX_DEPLOYMENT_TARGET", "14.0"),
];
/// The app that tests the package.
const CONSUMER: &str = r#"// swift-tools-version: 6.0
import PackageDescription

let package = Package(
    name: "Consumer",
    platforms: [.macOS(.v14)],
    dependencies: [.package(path: "../Bowline")],
    targets: [
        .executableTarget(name: "consumer", dependencies: [.product(name: "BowlineKit", package: "Bowline")])
    ],
    swiftLanguageModes: [.v6]
)
"#;
/// Opens the storage folder given as its argument.
const MAIN: &str = r#"import BowlineKit

let folder = CommandLine.arguments[1]
let bowline = try Bowline(RuntimeConfig(storageFolder: folder, appName: "consumer", appVersion: "1"))
try await bowline.shutdown()
print("opened")
"#;

/// Builds the package and tests it here if Swift is available. Without a Mac it lacks the library
/// for Apple's platforms.
///
/// # Errors
/// Something does not build, or an app with the package fails.
pub(crate) fn xcframework(sh: &Workspace) -> Result<()> {
    bindings::for_tests(sh, Language::Swift)?;
    let library = bindings::build(sh, true)?;
    let folder = sh.empty(target_dir().join("package/xcframework"))?;
    let package = folder.join("Bowline");
    for (from, to) in [
        ("Sources/BowlineKit", "Sources/BowlineKit"),
        ("generated/BowlineFFI", "Sources/BowlineFFI"),
        ("generated/BowlineFFIC", "Sources/BowlineFFIC"),
        ("Release/Package.swift", "Package.swift"),
    ] {
        sh.copy(&swift::package().join(from), &package.join(to))?;
    }
    notices::place(sh, &sh.read_file("docs/swift.md")?, &package)?;
    let mut lacks = Vec::new();
    if exists("xcodebuild") {
        framework(sh, &folder.join("slices"), &package)?;
    } else {
        sh.copy(
            &library,
            &package.join("lib").join(bindings::library_name()),
        )?;
        lacks.push(format!(
            "the package has no BowlineFFIC.xcframework, which takes a Mac with Xcode. There:\n  \
             rustup target add {}\n  cargo xtask package xcframework",
            SLICES.concat().join(" ")
        ));
    }
    match toolchain(sh) {
        Ok(toolchain) => try_out(sh, &toolchain, &folder)?,
        Err(why) if why.is::<Skipped>() => {
            lacks.push(format!("no app was built with the package: {why}"));
        }
        Err(error) => return Err(error),
    }
    say!("{}: made", package.display());
    zip(sh, &folder)?;
    for what in lacks {
        say!("skipped: {what}");
    }
    Ok(())
}

/// Builds the library for each of Apple's platforms, in one bundle.
fn framework(sh: &Workspace, staging: &Path, package: &Path) -> Result<()> {
    let headers = package.join("Sources/BowlineFFIC");
    let mut create = cmd!(sh, "xcodebuild -create-xcframework");
    for (number, targets) in SLICES.iter().enumerate() {
        let joined = sh
            .create_dir(staging.join(number.to_string()))?
            .join("libbowline_ffi.a");
        let mut lipo = cmd!(sh, "lipo -create -output {joined}");
        for target in *targets {
            bindings::for_target(sh, target).envs(OLDEST).run()?;
            lipo = lipo.arg(target_dir().join(target).join("release/libbowline_ffi.a"));
        }
        lipo.run()?;
        create = create
            .arg("-library")
            .arg(joined)
            .arg("-headers")
            .arg(&headers);
    }
    create
        .arg("-output")
        .arg(package.join("BowlineFFIC.xcframework"))
        .run()?;
    Ok(sh.remove_path(staging)?)
}

/// Builds an app that depends on the package, for this platform, and runs it: it opens a storage
/// folder.
fn try_out(sh: &Workspace, toolchain: &Toolchain, folder: &Path) -> Result<()> {
    let consumer = folder.join("Consumer");
    sh.write_file(consumer.join("Package.swift"), CONSUMER)?;
    sh.write_file(consumer.join("Sources/consumer/main.swift"), MAIN)?;
    let scratch = consumer.join(".build");
    let mut build = swift::manager(sh, toolchain, Build::Release, "build", &consumer, &scratch)?;
    if !cfg!(target_os = "macos") {
        build = build.args(["-Xlinker", &format!("-L{}/Bowline/lib", folder.display())]);
    }
    build.run()?;
    let (program, storage) = (scratch.join("release/consumer"), folder.join("storage"));
    let open = swift::command(sh, toolchain, Build::Release, &program)?.arg(&storage);
    let said = open.ignore_status().read()?;
    sh.remove_path(storage)?;
    ensure!(
        said == "opened",
        "an app with the package printed `{said}` instead of `opened`"
    );
    say!(
        "an optimised app with the package was built for this platform and opened a storage folder"
    );
    Ok(())
}

/// Packs the package into one file.
fn zip(sh: &Workspace, folder: &Path) -> Result<()> {
    if !exists("zip") {
        say!("not zipped: there is no `zip`; `apt-get install zip`");
        return Ok(());
    }
    let name = format!("Bowline-{}.zip", env!("CARGO_PKG_VERSION"));
    let _folder = sh.push_dir(folder);
    // Keeps symbolic links, which a framework needs.
    cmd!(sh, "zip --quiet --recurse-paths --symlinks {name} Bowline").run()?;
    let path = folder.join(&name);
    say!(
        "{}: {} KiB",
        path.display(),
        sh.read_binary_file(&path)?.len() >> 10
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_package_names_the_systems_that_it_has_a_library_for() {
        let shipped = swift::package().join("Release/Package.swift");
        let shipped = std::fs::read_to_string(shipped).unwrap();
        let developed = std::fs::read_to_string(swift::package().join("Package.swift")).unwrap();
        let platforms = |text: &str| {
            let line = text.lines().find(|line| line.contains("platforms:"));
            line.map(|line| line.trim().to_owned())
        };
        assert_eq!(platforms(&shipped), platforms(&developed));
        let named = platforms(&shipped).unwrap();
        for (variable, version) in OLDEST {
            let system = if variable.starts_with("IPHONE") {
                "iOS"
            } else {
                "macOS"
            };
            let major = version.split('.').next().unwrap();
            assert!(named.contains(&format!(".{system}(.v{major})")), "{named}");
        }
        // No platform without a slice.
        assert_eq!(named.matches("(.v").count(), OLDEST.len(), "{named}");
        assert!(
            !shipped.contains("unsafeFlags"),
            "no app can depend on such a package"
        );
    }
}
