//! What the tasks need of the machine: one table, which `cargo xtask doctor`, the steps of `cargo xtask test` and the single tasks
//! ask, so that none says that something is there which another one misses.

mod machine;

use std::fmt::Write as _;

use crate::{
    bindings, node_memory,
    process::{Outcome, exists},
    swift_root,
};
use machine::{has_components, is_at_least};
pub(crate) use machine::{has_target, is_root, runs};

/// Something that steps need.
pub(crate) struct Need {
    /// What, for people.
    pub(crate) what: &'static str,
    /// Which steps of `cargo xtask test` need it, by name.
    pub(crate) steps: &'static [&'static str],
    /// What those steps do without it.
    pub(crate) without: Without,
    /// Whether it is here. The error says more of what is missing than `what` does, or is empty.
    found: fn() -> Result<(), String>,
    /// How to get it.
    get: Get,
}

/// What a step does without something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Without {
    /// It fails.
    Fails,
    /// It is skipped; in CI it fails.
    Skips,
    /// It is skipped in CI as well: networks do not always let one have it.
    SkipsEverywhere,
    /// It runs, but for these tests; in CI it fails.
    Part(&'static str),
}

/// Where something comes from.
enum Get {
    /// Packages of Debian; elsewhere as the text says.
    Packages(&'static [&'static str], &'static str),
    /// Arguments of `rustup`.
    Rustup(&'static [&'static str]),
}

pub(crate) const WINDOWS: &str = "x86_64-pc-windows-gnu";
/// ring and SQLite are compiled from C, even for a check.
const WINDOWS_COMPILER: &str = "x86_64-w64-mingw32-gcc";

pub(crate) static NEEDS: &[Need] = &[
    Need {
        what: "rustfmt and clippy",
        steps: &["format", "clippy"],
        without: Without::Fails,
        found: || here(has_components(&["fmt", "clippy"])),
        get: Get::Rustup(&["component", "add", "rustfmt", "clippy"]),
    },
    Need {
        what: "a C compiler, for SQLite and ring",
        steps: &["clippy", "build", "tests", "demo"],
        without: Without::Fails,
        found: || here(cfg!(windows) || exists("cc")),
        get: Get::Packages(&["gcc", "libc6-dev"], "xcode-select --install"),
    },
    Need {
        what: "ip, for tests over networks of their own",
        steps: &["tests"],
        without: Without::Part("those in network namespaces"),
        found: || here(!cfg!(target_os = "linux") || exists("ip")),
        get: Get::Packages(&["iproute2"], "iproute2"),
    },
    Need {
        what: "Python 3, for clients of the local socket that are not ours",
        steps: &["tests"],
        without: Without::Part("those of other people's clients"),
        found: || here(exists("python3")),
        get: Get::Packages(&["python3"], "https://www.python.org"),
    },
    Need {
        what: "strace, for a disk that answers late",
        steps: &["tests"],
        without: Without::Part("those with a slow disk"),
        found: || here(!cfg!(target_os = "linux") || exists("strace")),
        get: Get::Packages(&["strace"], "strace"),
    },
    Need {
        what: "bindfs, for a file system that hangs",
        steps: &["tests"],
        without: Without::Part("those with a file system that hangs"),
        found: || here(!cfg!(target_os = "linux") || exists("bindfs") && exists("fusermount3")),
        get: Get::Packages(&["bindfs", "fuse3"], "bindfs and fuse3"),
    },
    Need {
        what: "a JDK, 17 or later",
        steps: &["kotlin", "jar"],
        without: Without::Skips,
        found: || here(is_at_least("javac", "-version", 17)),
        get: Get::Packages(&["openjdk-17-jdk-headless"], "https://adoptium.net"),
    },
    Need {
        what: "Maven",
        steps: &["kotlin", "jar"],
        without: Without::Skips,
        found: || here(exists(crate::kotlin::program())),
        get: Get::Packages(&["maven"], "https://maven.apache.org/install.html"),
    },
    Need {
        what: "Swift 6, or mmdebstrap and root to get one",
        steps: &["swift"],
        without: Without::Skips,
        found: swift_root::look,
        get: Get::Packages(
            &["mmdebstrap", "util-linux"],
            "https://www.swift.org/install",
        ),
    },
    Need {
        what: "Node with npm, 18 or later",
        steps: &["typescript", "npm", "asan node"],
        without: Without::Skips,
        found: || here(is_at_least("node", "--version", 18) && exists(bindings::npm())),
        get: Get::Packages(&["nodejs", "npm"], "https://nodejs.org"),
    },
    Need {
        what: "Rust's standard library for Windows",
        steps: &["windows"],
        without: Without::SkipsEverywhere,
        found: || here(cfg!(windows) || has_target(WINDOWS)),
        get: Get::Rustup(&["target", "add", WINDOWS]),
    },
    Need {
        what: "a C compiler for Windows",
        steps: &["windows"],
        without: Without::SkipsEverywhere,
        found: || here(cfg!(windows) || exists(WINDOWS_COMPILER)),
        get: Get::Packages(&["gcc-mingw-w64-x86-64"], "MinGW-w64"),
    },
    Need {
        what: "gcc's address sanitizer",
        steps: &["asan node"],
        without: Without::Skips,
        found: || here(!cfg!(target_os = "linux") || node_memory::sanitizer().is_some()),
        get: Get::Packages(&["gcc"], "gcc"),
    },
    Need {
        what: "valgrind",
        steps: &["valgrind"],
        without: Without::Skips,
        found: || here(exists("valgrind")),
        get: Get::Packages(&["valgrind", "libc6-dbg"], "https://valgrind.org"),
    },
    Need {
        what: "a C++ compiler, for libFuzzer",
        steps: &["fuzz"],
        without: Without::Skips,
        found: || here(exists("c++")),
        get: Get::Packages(&["g++"], "xcode-select --install"),
    },
];

fn here(found: bool) -> Result<(), String> {
    if found { Ok(()) } else { Err(String::new()) }
}

/// A need that is not met.
pub(crate) struct Missing {
    /// Of which.
    pub(crate) need: &'static Need,
    /// What there is to say beyond its name; may be empty.
    detail: String,
}

impl Missing {
    /// What is missing, in one clause.
    pub(crate) fn text(&self) -> String {
        if self.detail.is_empty() {
            return self.need.what.to_owned();
        }
        format!("{} ({})", self.need.what, self.detail)
    }
}

/// What is missing of the needs that `wanted` picks.
pub(crate) fn missing(wanted: impl Fn(&Need) -> bool) -> Vec<Missing> {
    let needs = NEEDS.iter().filter(|need| wanted(need));
    let looked = needs.filter_map(|need| {
        let detail = (need.found)().err()?;
        Some(Missing { need, detail })
    });
    looked.collect()
}

/// A need as missing.
#[cfg(test)]
pub(crate) fn as_missing(need: &'static Need) -> Missing {
    Missing {
        need,
        detail: String::new(),
    }
}

/// What a step cannot do without and does not have.
///
/// # Errors
/// That, and the line that gets it.
pub(crate) fn look(step: &str) -> Outcome {
    let skips =
        |need: &Need| need.steps.contains(&step) && !matches!(need.without, Without::Part(_));
    let missing = missing(skips);
    if missing.is_empty() {
        return Ok(());
    }
    let what: Vec<_> = missing.iter().map(Missing::text).collect();
    Err(format!(
        "{} is missing; {}",
        what.join(", and "),
        line(&missing)
    ))
}

/// The line that gets all of it.
pub(crate) fn line(missing: &[Missing]) -> String {
    let commands: Vec<_> = commands(missing, exists("apt-get"), is_root())
        .iter()
        .map(|command| command.join(" "))
        .collect();
    let mut text = String::new();
    if !commands.is_empty() {
        let _ = write!(text, "`{}`", commands.join(" && "));
    }
    for by_hand in by_hand(missing, exists("apt-get")) {
        let between = if text.is_empty() { "" } else { "; and " };
        let _ = write!(text, "{between}{by_hand}");
    }
    text
}

/// The commands that get what commands can get.
pub(crate) fn commands(missing: &[Missing], has_apt: bool, is_root: bool) -> Vec<Vec<String>> {
    let mut packages: Vec<&str> = Vec::new();
    let mut rustup: Vec<&[&str]> = Vec::new();
    for one in missing {
        match one.need.get {
            Get::Packages(names, _) if has_apt => {
                packages.extend(
                    names
                        .iter()
                        .filter(|name| !packages.contains(name))
                        .collect::<Vec<_>>(),
                );
            }
            Get::Packages(..) => {}
            Get::Rustup(arguments) => rustup.push(arguments),
        }
    }
    let owned = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    let apt = |words: &[&str]| {
        let sudo: &[&str] = if is_root { &[] } else { &["sudo"] };
        owned(&[sudo, &["apt-get"], words].concat())
    };
    let mut commands = Vec::new();
    if !packages.is_empty() {
        commands.push(apt(&["update"]));
        let install = ["install", "-y", "--no-install-recommends"];
        commands.push(apt(&[&install, packages.as_slice()].concat()));
    }
    commands.extend(
        rustup
            .iter()
            .map(|words| owned(&[&["rustup"], *words].concat())),
    );
    commands
}

/// What no command here gets, and where it is.
pub(crate) fn by_hand(missing: &[Missing], has_apt: bool) -> Vec<String> {
    let by_hand = missing.iter().filter_map(|one| match one.need.get {
        Get::Packages(_, elsewhere) if !has_apt => Some(format!("{}: {elsewhere}", one.need.what)),
        Get::Packages(..) | Get::Rustup(_) => None,
    });
    by_hand.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Missing> {
        NEEDS.iter().map(as_missing).collect()
    }

    #[test]
    fn one_line_gets_everything_that_debian_and_rustup_have() {
        let commands = commands(&all(), true, false);
        let lines: Vec<_> = commands.iter().map(|words| words.join(" ")).collect();
        assert_eq!(lines[0], "sudo apt-get update");
        for package in ["maven", "strace", "bindfs", "gcc-mingw-w64-x86-64"] {
            assert_eq!(
                lines[1].matches(package).count(),
                1,
                "{package}: {}",
                lines[1]
            );
        }
        assert!(
            lines
                .iter()
                .any(|line| line == "rustup target add x86_64-pc-windows-gnu")
        );
        assert!(by_hand(&all(), true).is_empty());
    }

    #[test]
    fn root_needs_no_sudo_and_without_apt_it_is_said_where_things_are() {
        assert_eq!(commands(&all(), true, true)[0], ["apt-get", "update"]);
        let commands = commands(&all(), false, true);
        assert!(commands.iter().all(|words| words[0] == "rustup"));
        let by_hand = by_hand(&all(), false);
        assert!(
            by_hand
                .iter()
                .any(|line| line.contains("https://nodejs.org"))
        );
    }

    #[test]
    fn every_step_that_a_need_names_is_one_of_the_tests() {
        for need in NEEDS {
            for step in need.steps {
                assert!(crate::test::is_step(step), "{}: {step}", need.what);
            }
        }
    }
}
