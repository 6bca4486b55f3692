//! `cargo xtask package xcframework`: the Swift package as apps are given it, with the native library for Apple's systems.
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

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    bindings::{self, Language},
    memory::target_dir,
    process::{Done, Outcome, cargo, exists, run as run_command},
    swift::{self, Build, Place},
    swift_root::{Toolchain, toolchain},
    tree,
};

/// What goes into one slice: several targets of a slice are put into one library.
const SLICES: [&[&str]; 3] = [
    &["aarch64-apple-ios"],
    &["aarch64-apple-ios-sim", "x86_64-apple-ios"],
    &["aarch64-apple-darwin", "x86_64-apple-darwin"],
];
/// The oldest systems that the package names, for the C code in the library.
const OLDEST: [(&str, &str); 2] = [
    ("IPHONEOS_DEPLOYMENT_TARGET", "17.0"),
    ("MACOSX_DEPLOYMENT_TARGET", "14.0"),
];
/// The app that tries the package.
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
/// Opens the storage folder that it is told of.
const MAIN: &str = r#"import BowlineKit

let folder = CommandLine.arguments[1]
let bowline = try Bowline(RuntimeConfig(storageFolder: folder, appName: "consumer", appVersion: "1"))
try await bowline.shutdown()
print("opened")
"#;

/// Makes the package, and tries it on this machine where there is Swift. Without a Mac it has no library for Apple's systems.
///
/// # Errors
/// When something does not build, and when an app with the package does not run.
pub(crate) fn xcframework() -> Outcome<Done> {
    bindings::for_tests(Language::Swift)?;
    let library = bindings::build(true)?;
    let folder = target_dir().join("package/xcframework");
    let _ = fs::remove_dir_all(&folder);
    let package = folder.join("Bowline");
    sources(&package)?;
    let is_mac = exists("xcodebuild");
    if is_mac {
        framework(&folder.join("slices"), &package)?;
    } else {
        let to = package.join("lib").join(bindings::library_name());
        copy(&library, &to)?;
    }
    let tried = match toolchain()? {
        Ok(toolchain) => try_out(&toolchain, &folder).map(|()| None)?,
        Err(missing) => Some(missing),
    };
    let zipped = zip(&folder)?;
    say!("{}: made", package.display());
    say!("{zipped}");
    let mut lacks = Vec::new();
    if !is_mac {
        let targets: Vec<_> = SLICES
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        lacks.push(format!(
            "the package has no BowlineFFIC.xcframework, which takes a Mac with Xcode. There:\n  \
             rustup target add {}\n  cargo xtask package xcframework",
            targets.join(" ")
        ));
    }
    lacks.extend(tried.map(|missing| format!("no app was built with the package: {missing}")));
    if lacks.is_empty() {
        Ok(Done::Whole)
    } else {
        Ok(Done::Skipped(lacks.join("\n")))
    }
}

/// Everything but the library.
fn sources(package: &Path) -> Outcome {
    let ours = swift::package();
    for (from, to) in [
        ("Sources/BowlineKit", "Sources/BowlineKit"),
        ("generated/BowlineFFI", "Sources/BowlineFFI"),
        ("generated/BowlineFFIC", "Sources/BowlineFFIC"),
    ] {
        copy_folder(&ours.join(from), &package.join(to))?;
    }
    let root = tree::root();
    copy(
        &ours.join("Release/Package.swift"),
        &package.join("Package.swift"),
    )?;
    copy(&root.join("docs/swift.md"), &package.join("README.md"))?;
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
        copy(&root.join(licence), &package.join(licence))?;
    }
    Ok(())
}

/// The library for each of Apple's systems, in one bundle.
fn framework(staging: &Path, package: &Path) -> Outcome {
    let mut create = Command::new("xcodebuild");
    create.arg("-create-xcframework");
    for targets in SLICES {
        let slice = staging.join(targets.first().unwrap_or(&"slice"));
        make(&slice)?;
        let joined = slice.join("libbowline_ffi.a");
        let mut lipo = Command::new("lipo");
        lipo.arg("-create").arg("-output").arg(&joined);
        for target in targets {
            let build = [
                "build",
                "--release",
                "--locked",
                "--package=bowline-ffi",
                "--lib",
                "--target",
                target,
            ];
            run_command(cargo(build).envs(OLDEST))?;
            lipo.arg(target_dir().join(target).join("release/libbowline_ffi.a"));
        }
        run_command(&mut lipo)?;
        create
            .arg("-library")
            .arg(&joined)
            .arg("-headers")
            .arg(package.join("Sources/BowlineFFIC"));
    }
    run_command(
        create
            .arg("-output")
            .arg(package.join("BowlineFFIC.xcframework")),
    )?;
    fs::remove_dir_all(staging).map_err(|error| format!("{}: {error}", staging.display()))
}

/// Builds an app that depends on the package, for this system, and runs it: it opens a storage folder.
fn try_out(toolchain: &Toolchain, folder: &Path) -> Outcome {
    let consumer = folder.join("Consumer");
    write(&consumer.join("Package.swift"), CONSUMER)?;
    write(&consumer.join("Sources/consumer/main.swift"), MAIN)?;
    let search = format!("-L{}", folder.join("Bowline/lib").display());
    let mut arguments = vec!["build"];
    if !cfg!(target_os = "macos") {
        arguments.extend(["-Xlinker", &search]);
    }
    let place = Place {
        package: consumer.clone(),
        scratch: consumer.join(".build"),
    };
    swift::manage(toolchain, Build::Release, &place, &arguments)?;
    let program = place.scratch.join("release/consumer");
    let mut open = swift::command(toolchain, Build::Release, &program.to_string_lossy())?;
    let said = open
        .arg(folder.join("storage"))
        .output()
        .map_err(|error| format!("the consumer could not be started: {error}"))?;
    let _ = fs::remove_dir_all(folder.join("storage"));
    let said = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    if said == "opened" {
        say!(
            "an app with the package was built for this system, optimised, and opened a storage folder"
        );
        Ok(())
    } else {
        Err(format!(
            "an app with the package said `{said}` and not `opened`"
        ))
    }
}

/// The package as one file. Returns what became of it.
fn zip(folder: &Path) -> Outcome<String> {
    if !exists("zip") {
        return Ok("not zipped: there is no `zip`; `apt-get install zip`".to_owned());
    }
    let name = format!("Bowline-{}.zip", env!("CARGO_PKG_VERSION"));
    // Symbolic links stay what they are: those of a framework mean something.
    let mut zip = Command::new("zip");
    zip.current_dir(folder)
        .args(["--quiet", "--recurse-paths", "--symlinks", &name, "Bowline"]);
    run_command(&mut zip)?;
    let path = folder.join(&name);
    let size = fs::metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(format!("{}: {} KiB", path.display(), size.len() >> 10))
}

fn copy_folder(from: &Path, to: &Path) -> Outcome {
    let problem = |error: std::io::Error| format!("{}: {error}", from.display());
    for entry in fs::read_dir(from).map_err(problem)? {
        let entry = entry.map_err(problem)?;
        let (path, to): (PathBuf, PathBuf) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_folder(&path, &to)?;
        } else {
            copy(&path, &to)?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Outcome {
    make(to.parent().unwrap_or(to))?;
    fs::copy(from, to)
        .map(|_| ())
        .map_err(|error| format!("{}: {error}", from.display()))
}

fn write(path: &Path, text: &str) -> Outcome {
    make(path.parent().unwrap_or(path))?;
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn make(folder: &Path) -> Outcome {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_package_names_the_systems_that_it_has_a_library_for() {
        let shipped = swift::package().join("Release/Package.swift");
        let shipped = fs::read_to_string(shipped).unwrap();
        let developed = fs::read_to_string(swift::package().join("Package.swift")).unwrap();
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
        // No system that no slice is for.
        assert_eq!(named.matches("(.v").count(), OLDEST.len(), "{named}");
        assert!(
            !shipped.contains("unsafeFlags"),
            "no app can depend on such a package"
        );
    }
}
