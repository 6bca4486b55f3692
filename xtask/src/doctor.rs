//! `cargo xtask doctor`: what this machine lacks for any task, and the command that gets it.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    bindings,
    process::{Outcome, exists},
    swift_root,
};

/// Something that a task needs.
struct Need {
    what: &'static str,
    /// What is not done without it.
    for_what: &'static str,
    found: fn() -> bool,
    /// The command that gets it.
    get: &'static str,
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Whether a program says that it is of that major version or a later one.
fn is_at_least(program: &str, argument: &str, wanted: u32) -> bool {
    let Ok(output) = Command::new(program).arg(argument).output() else {
        return false;
    };
    // Java before 9 writes it to standard error.
    let text = [output.stdout, output.stderr].concat();
    major(&String::from_utf8_lossy(&text)).is_some_and(|major| major >= wanted)
}

/// The major version in a text such as `v20.11.1` or `javac 17.0.9`. Java calls its versions before 9 `1.8` and the like.
fn major(text: &str) -> Option<u32> {
    let at = text.find(|c: char| c.is_ascii_digit())?;
    let mut parts = text.get(at..)?.split(|c: char| !c.is_ascii_digit());
    let first = parts.next()?.parse().ok()?;
    match first {
        1 => parts.next()?.parse().ok(),
        first => Some(first),
    }
}

/// Whether an Android NDK is where the variable says.
fn has_ndk(named: Option<&Path>) -> bool {
    named.is_some_and(|folder| folder.join("toolchains/llvm").is_dir())
}

const ANDROID: [&str; 4] = [
    "aarch64-linux-android",
    "armv7-linux-androideabi",
    "x86_64-linux-android",
    "i686-linux-android",
];
const APPLE: [&str; 5] = [
    "aarch64-apple-ios",
    "aarch64-apple-ios-sim",
    "x86_64-apple-ios",
    "aarch64-apple-darwin",
    "x86_64-apple-darwin",
];

const NEEDS: &[Need] = &[
    Need {
        what: "Rust, as rust-toolchain.toml says",
        for_what: "everything",
        found: || exists("rustc") && exists("cargo"),
        get: "https://rustup.rs",
    },
    Need {
        what: "a C compiler",
        for_what: "everything",
        found: || exists("cc") || cfg!(windows),
        get: "apt-get install gcc libc6-dev, or xcode-select --install",
    },
    Need {
        what: "Node 20 or later, with npm",
        for_what: "the TypeScript bindings and their tests",
        found: || is_at_least("node", "--version", 20) && exists(bindings::npm()),
        get: "https://nodejs.org, or apt-get install nodejs npm",
    },
    Need {
        what: "the generator of the TypeScript bindings, built",
        for_what: "the TypeScript bindings; built when it is first needed",
        found: || bindings::ubrn_program().exists(),
        get: "cargo xtask bindings node",
    },
    Need {
        what: "a JDK, 17 or later",
        for_what: "the Kotlin bindings and their tests",
        found: || is_at_least("javac", "-version", 17),
        get: "apt-get install openjdk-17-jdk-headless",
    },
    Need {
        what: "Maven",
        for_what: "the Kotlin bindings and their tests",
        found: || exists("mvn"),
        get: "apt-get install maven",
    },
    Need {
        what: "Swift 6, or mmdebstrap to get one",
        for_what: "the Swift bindings and their tests",
        found: || swift_root::look().is_ok(),
        get: "apt-get install mmdebstrap, as root; or https://swift.org/install",
    },
    Need {
        what: "valgrind",
        for_what: "`cargo xtask memory`",
        found: || exists("valgrind"),
        get: "apt-get install valgrind",
    },
    Need {
        what: "the Windows target",
        for_what: "`cargo xtask windows`",
        found: || has_targets(&["x86_64-pc-windows-gnu"]),
        get: "rustup target add x86_64-pc-windows-gnu && apt-get install gcc-mingw-w64-x86-64",
    },
];

/// What other machines' packages need; nothing else does.
const OPTIONAL: &[Need] = &[
    Need {
        what: "the Android NDK, where ANDROID_NDK_HOME says",
        for_what: "`cargo xtask package aar`",
        found: || {
            has_ndk(
                std::env::var_os("ANDROID_NDK_HOME")
                    .as_deref()
                    .map(Path::new),
            )
        },
        get: "https://developer.android.com/ndk/downloads, then set ANDROID_NDK_HOME to its folder",
    },
    Need {
        what: "Rust's targets for Android",
        for_what: "`cargo xtask package aar`",
        found: || has_targets(&ANDROID),
        get: "rustup target add aarch64-linux-android armv7-linux-androideabi x86_64-linux-android i686-linux-android",
    },
    Need {
        what: "Gradle",
        for_what: "the archive of `cargo xtask package aar`",
        found: || exists("gradle"),
        get: "https://gradle.org/install",
    },
    Need {
        what: "Xcode",
        for_what: "`cargo xtask package xcframework`",
        found: || runs("xcodebuild", &["-version"]),
        get: "a Mac with Xcode",
    },
    Need {
        what: "Rust's targets for Apple's systems",
        for_what: "`cargo xtask package xcframework`",
        found: || has_targets(&APPLE),
        get: "rustup target add aarch64-apple-ios aarch64-apple-ios-sim x86_64-apple-ios aarch64-apple-darwin x86_64-apple-darwin",
    },
];

fn has_targets(targets: &[&str]) -> bool {
    let listed = Command::new("rustup")
        .args(["target", "list", "--installed"])
        .output();
    listed.is_ok_and(|output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        targets
            .iter()
            .all(|target| text.lines().any(|line| line == *target))
    })
}

/// Looks, and says.
///
/// # Errors
/// Never for what is missing: each task says by itself what it cannot do.
pub(crate) fn run() -> Outcome {
    let missing = look(NEEDS);
    println!("\nfor packages of other machines:");
    look(OPTIONAL);
    println!(
        "\nwhat is fetched or built once is in {}",
        bindings::cache_dir().display()
    );
    match missing {
        0 => println!("nothing is missing for what this machine can do"),
        1 => println!("1 thing is missing for what this machine can do"),
        many => println!("{many} things are missing for what this machine can do"),
    }
    Ok(())
}

/// Says of each whether it is there, and how many are not.
fn look(needs: &[Need]) -> usize {
    let mut missing = 0;
    for need in needs {
        if (need.found)() {
            println!("✓ {}", need.what);
        } else {
            missing += 1;
            println!("✗ {} (for {})\n    {}", need.what, need.for_what, need.get);
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_programs_say_them() {
        assert_eq!(major("v20.11.1\n"), Some(20));
        assert_eq!(major("javac 17.0.9\n"), Some(17));
        assert_eq!(major("javac 1.8.0_392\n"), Some(8));
        assert_eq!(major("openjdk 21 2023-09-19"), Some(21));
        assert_eq!(major("no version"), None);
    }

    #[test]
    fn an_ndk_that_is_not_where_the_variable_says_is_missing() {
        let folder = std::env::temp_dir().join("bowline-no-such-ndk");
        assert!(!has_ndk(None));
        assert!(!has_ndk(Some(&folder)));
    }

    #[test]
    fn what_gets_the_targets_names_every_one() {
        for (what, targets) in [("for Android", &ANDROID[..]), ("for Apple's", &APPLE[..])] {
            let need = OPTIONAL.iter().find(|need| need.what.contains(what));
            let get = need.unwrap().get;
            assert!(targets.iter().all(|target| get.contains(target)), "{get}");
        }
    }
}
