//! The tools that tasks need, in one table shared by `cargo xtask doctor`, the steps of `cargo
//! xtask test` and the single tasks, so that all agree on whether a tool is present.

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::{
    bindings, kotlin, node_memory,
    process::{exists, skip, succeeds},
    swift_root, tree, wine,
};

/// A tool that steps need.
pub(crate) struct Need {
    /// Name for people.
    pub(crate) what: &'static str,
    /// Names of the steps of `cargo xtask test` that need it; in [`FURTHER`], of the tasks.
    pub(crate) steps: &'static [&'static str],
    /// Effect on those steps when it is missing.
    pub(crate) without: Without,
    /// Whether it is present.
    pub(crate) found: fn() -> bool,
    /// How to install it.
    get: Get,
}

/// Effect of a missing tool on a step. In CI each of them is a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Without {
    /// The step fails.
    Fails,
    /// The step is skipped.
    Skips,
    /// The step runs without these tests.
    Part(&'static str),
}

/// Source of a tool.
enum Get {
    /// Debian packages; on other systems, the text.
    Packages(&'static str, &'static str),
    /// Arguments of `rustup`.
    Rustup(&'static str),
    /// By hand, from there.
    From(&'static str),
}

/// `rustup` arguments for the targets of Android, of Apple's systems and of Windows.
const ANDROID: &str = "target add aarch64-linux-android armv7-linux-androideabi x86_64-linux-android i686-linux-android";
const APPLE: &str = "target add aarch64-apple-ios aarch64-apple-ios-sim x86_64-apple-ios aarch64-apple-darwin x86_64-apple-darwin";
const WINDOWS: &str = "target add x86_64-pc-windows-gnu";

/// What `cargo xtask test --full` needs.
pub(crate) static NEEDS: &[Need] = &[
    Need {
        what: "rustfmt and clippy",
        steps: &["format", "clippy"],
        without: Without::Fails,
        found: || {
            ["fmt", "clippy"]
                .iter()
                .all(|name| succeeds("cargo", &[name, "--version"]))
        },
        get: Get::Rustup("component add rustfmt clippy"),
    },
    Need {
        what: "a C compiler, for SQLite and ring",
        steps: &["clippy", "build", "tests", "demo"],
        without: Without::Fails,
        found: || cfg!(windows) || exists("cc"),
        get: Get::Packages("gcc libc6-dev", "xcode-select --install"),
    },
    Need {
        what: "ip, for tests in network namespaces",
        steps: &["tests"],
        without: Without::Part("those in network namespaces"),
        found: || !cfg!(target_os = "linux") || exists("ip"),
        get: Get::Packages("iproute2", "iproute2"),
    },
    Need {
        what: "Python 3, for third-party clients of the local socket",
        steps: &["tests"],
        without: Without::Part("those of third-party clients and the example script"),
        found: || exists("python3"),
        get: Get::Packages("python3", "https://www.python.org"),
    },
    Need {
        what: "strace, for a slow disk",
        steps: &["tests"],
        without: Without::Part("those with a slow disk"),
        found: || !cfg!(target_os = "linux") || exists("strace"),
        get: Get::Packages("strace", "strace"),
    },
    Need {
        what: "bindfs, for a file system that hangs",
        steps: &["tests"],
        without: Without::Part("those with a file system that hangs"),
        found: || !cfg!(target_os = "linux") || exists("bindfs") && exists("fusermount3"),
        get: Get::Packages("bindfs fuse3", "bindfs and fuse3"),
    },
    Need {
        what: "a JDK, 17 or later",
        steps: &["kotlin", "jar"],
        without: Without::Skips,
        found: || is_at_least("javac", "-version", 17),
        get: Get::Packages("openjdk-17-jdk-headless", "https://adoptium.net"),
    },
    Need {
        what: "Maven",
        steps: &["kotlin", "jar"],
        without: Without::Skips,
        found: || exists(kotlin::MAVEN),
        get: Get::Packages("maven", "https://maven.apache.org/install.html"),
    },
    Need {
        what: "Swift 6, or root with mmdebstrap and util-linux to get one",
        steps: &["swift"],
        without: Without::Skips,
        found: swift_root::is_available,
        get: Get::Packages(
            "mmdebstrap util-linux",
            "https://www.swift.org/install (or as root: apt-get install mmdebstrap util-linux)",
        ),
    },
    Need {
        what: "Node with npm, 18 or later",
        steps: &["typescript", "npm", "asan node"],
        without: Without::Skips,
        found: || is_at_least("node", "--version", 18) && exists(bindings::NPM),
        get: Get::Packages("nodejs npm", "https://nodejs.org"),
    },
    Need {
        what: "make, for the addon of Node",
        steps: &["typescript", "npm", "asan node"],
        without: Without::Skips,
        found: || cfg!(windows) || exists("make"),
        get: Get::Packages("make", "xcode-select --install"),
    },
    Need {
        what: "Rust's standard library for Windows",
        steps: &["windows"],
        without: Without::Skips,
        found: || cfg!(windows) || has_targets(WINDOWS),
        get: Get::Rustup(WINDOWS),
    },
    Need {
        what: "a C compiler for Windows",
        steps: &["windows"],
        without: Without::Skips,
        found: || cfg!(windows) || exists(crate::windows::COMPILER),
        get: Get::Packages("gcc-mingw-w64-x86-64", "MinGW-w64"),
    },
    Need {
        what: "Wine, which runs the programs built for Windows",
        steps: &["windows"],
        without: Without::Skips,
        found: || cfg!(windows) || wine::loader().is_some(),
        get: Get::Packages("wine64", "https://www.winehq.org"),
    },
    Need {
        what: "gcc's address sanitizer",
        steps: &["asan node"],
        without: Without::Skips,
        found: || !cfg!(target_os = "linux") || node_memory::sanitizer().is_some(),
        get: Get::Packages("gcc", "gcc"),
    },
    Need {
        what: "valgrind",
        steps: &["valgrind"],
        without: Without::Skips,
        found: || exists("valgrind"),
        get: Get::Packages("valgrind libc6-dbg", "https://valgrind.org"),
    },
    Need {
        what: "a C++ compiler, for libFuzzer",
        steps: &["fuzz"],
        without: Without::Skips,
        found: || exists("c++"),
        get: Get::Packages("g++", "xcode-select --install"),
    },
];

/// What only packages for other platforms need.
pub(crate) static FURTHER: &[Need] = &[
    Need {
        what: "the Android NDK, in the folder named by ANDROID_NDK_HOME",
        steps: &["cargo xtask package aar"],
        without: Without::Skips,
        found: || {
            std::env::var_os("ANDROID_NDK_HOME")
                .is_some_and(|folder| Path::new(&folder).join("toolchains/llvm").is_dir())
        },
        get: Get::From(
            "https://developer.android.com/ndk/downloads, then set ANDROID_NDK_HOME to its folder",
        ),
    },
    Need {
        what: "Rust's targets for Android",
        steps: &["cargo xtask package aar"],
        without: Without::Skips,
        found: || has_targets(ANDROID),
        get: Get::Rustup(ANDROID),
    },
    Need {
        what: "Gradle, for the archive",
        steps: &["cargo xtask package aar"],
        without: Without::Skips,
        found: || exists("gradle"),
        get: Get::From("https://gradle.org/install"),
    },
    Need {
        what: "Xcode",
        steps: &["cargo xtask package xcframework"],
        without: Without::Skips,
        found: || succeeds("xcodebuild", &["-version"]),
        get: Get::From("a Mac with Xcode"),
    },
    Need {
        what: "Rust's targets for Apple's systems",
        steps: &["cargo xtask package xcframework"],
        without: Without::Skips,
        found: || has_targets(APPLE),
        get: Get::Rustup(APPLE),
    },
];

impl Need {
    /// The effect of its absence on some of its steps. In CI nothing is skipped.
    pub(crate) fn effect(&self, steps: &str, in_ci: bool) -> String {
        match (self.without, in_ci) {
            (Without::Fails, _) => format!("{steps} cannot run"),
            (Without::Skips, false) => format!("{steps} will be skipped"),
            (Without::Part(tests), false) => format!("{steps} will leave out {tests}"),
            (Without::Skips, true) => format!("{steps} fails, since CI is set"),
            (Without::Part(tests), true) => {
                format!("{steps} fails at {tests}, since CI is set")
            }
        }
    }

    /// Whether the steps that need it fail without it.
    pub(crate) fn is_fatal(&self, in_ci: bool) -> bool {
        in_ci || self.without == Without::Fails
    }
}

/// The missing tools among the needs that `wanted` selects.
pub(crate) fn missing(wanted: impl Fn(&Need) -> bool) -> Vec<&'static Need> {
    let missing = NEEDS.iter().filter(|need| wanted(need) && !(need.found)());
    missing.collect()
}

/// Checks the tools that a step cannot run without.
///
/// # Errors
/// The step is skipped: the missing tools and how to install them.
pub(crate) fn require(step: &str) -> Result<()> {
    let missing =
        missing(|need| need.steps.contains(&step) && !matches!(need.without, Without::Part(_)));
    if missing.is_empty() {
        return Ok(());
    }
    let what: Vec<_> = missing.iter().map(|need| need.what).collect();
    skip(format!(
        "{} is missing; {}",
        what.join(", and "),
        how(&missing)
    ))
}

/// How to install them all, in one line.
pub(crate) fn how(missing: &[&Need]) -> String {
    let (commands, mut ways) = install(missing, exists("apt-get"), is_root());
    if !commands.is_empty() {
        ways.insert(0, format!("`{}`", commands.join(" && ")));
    }
    ways.join("; and ")
}

/// The commands that install what a package manager offers, and where to get the others.
pub(crate) fn install(needs: &[&Need], has_apt: bool, is_root: bool) -> (Vec<String>, Vec<String>) {
    let (mut packages, mut rustup, mut by_hand) = (Vec::new(), Vec::new(), Vec::new());
    for need in needs {
        match need.get {
            Get::Packages(names, _) if has_apt => packages.extend(names.split(' ')),
            Get::Packages(_, from) | Get::From(from) => {
                by_hand.push(format!("{}: {from}", need.what))
            }
            Get::Rustup(arguments) => rustup.push(format!("rustup {arguments}")),
        }
    }
    let mut commands = Vec::new();
    if !packages.is_empty() {
        packages.sort_unstable();
        packages.dedup();
        let apt = if is_root { "apt-get" } else { "sudo apt-get" };
        commands.push(format!("{apt} update"));
        commands.push(format!(
            "{apt} install -y --no-install-recommends {}",
            packages.join(" ")
        ));
    }
    commands.append(&mut rustup);
    (commands, by_hand)
}

/// Whether the process runs as root and needs no `sudo`.
pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Whether the toolchain of this checkout has the standard library of the targets that `rustup`
/// would add. Checks the sysroot, because `rustup` may list another toolchain.
fn has_targets(rustup: &str) -> bool {
    let mut targets = rustup.split(' ').skip(2);
    targets.all(|target| {
        let mut rustc = Command::new("rustc");
        rustc.args(["--print", "target-libdir", "--target", target]);
        let printed = rustc.current_dir(tree::root()).output();
        printed.is_ok_and(|output| {
            let folder = String::from_utf8_lossy(&output.stdout);
            !folder.trim().is_empty() && Path::new(folder.trim()).is_dir()
        })
    })
}

/// Whether a program reports at least this major version.
fn is_at_least(program: &str, argument: &str, wanted: u32) -> bool {
    let output = Command::new(program).arg(argument).output();
    output.is_ok_and(|output| {
        // Some write it to standard error.
        let text = [output.stdout, output.stderr].concat();
        major(&String::from_utf8_lossy(&text)).is_some_and(|major| major >= wanted)
    })
}

/// The major version in a text such as `v20.11.1` or `javac 17.0.9`.
fn major(text: &str) -> Option<u32> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    numbers.find(|number| !number.is_empty())?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<&'static Need> {
        NEEDS.iter().collect()
    }

    #[test]
    fn one_line_gets_everything_that_debian_and_rustup_have() {
        let (commands, by_hand) = install(&all(), true, false);
        assert_eq!(commands[0], "sudo apt-get update");
        for package in [
            "maven",
            "strace",
            "bindfs",
            "gcc-mingw-w64-x86-64",
            "wine64",
        ] {
            let count = commands[1]
                .split(' ')
                .filter(|word| *word == package)
                .count();
            assert_eq!(count, 1, "{package}: {}", commands[1]);
        }
        assert!(commands.contains(&format!("rustup {WINDOWS}")));
        assert_eq!(by_hand, [""; 0]);
    }

    #[test]
    fn root_needs_no_sudo_and_without_apt_it_is_said_where_things_are() {
        assert_eq!(install(&all(), true, true).0[0], "apt-get update");
        let (commands, by_hand) = install(&all(), false, true);
        assert!(
            commands
                .iter()
                .all(|command| command.starts_with("rustup "))
        );
        assert!(
            by_hand
                .iter()
                .any(|line| line.contains("https://nodejs.org"))
        );
    }

    #[test]
    fn what_is_missing_is_a_failure_only_where_a_step_cannot_run_or_in_ci() {
        for need in NEEDS {
            let fails = need.without == Without::Fails;
            assert!(need.is_fatal(true) && need.is_fatal(false) == fails);
            assert!(!need.effect("it", true).contains("skipped"));
        }
        let effect = |in_ci| NEEDS.iter().map(move |need| need.effect("it", in_ci));
        for (said, in_ci) in [
            ("it will be skipped", false),
            ("it will leave out those with a slow disk", false),
            ("it fails, since CI is set", true),
            ("it fails at those with a slow disk, since CI is set", true),
        ] {
            assert!(effect(in_ci).any(|effect| effect == said), "{said}");
        }
    }

    #[test]
    fn every_step_that_a_need_names_is_one_of_the_tests() {
        for need in NEEDS {
            for step in need.steps {
                assert!(crate::test::is_step(step), "{}: {step}", need.what);
            }
        }
    }

    #[test]
    fn versions_are_read_as_programs_say_them() {
        assert_eq!(major("v20.11.1\n"), Some(20));
        assert_eq!(major("javac 17.0.9\n"), Some(17));
        // Java 8, which is older than any wanted.
        assert_eq!(major("javac 1.8.0_392\n"), Some(1));
        assert_eq!(major("openjdk 21 2023-09-19"), Some(21));
        assert_eq!(major("no version"), None);
    }
}
