//! `cargo xtask doctor`: what this machine lacks for any task, and the command that gets it.

use std::process::{Command, Stdio};

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

fn node_is_new_enough() -> bool {
    let output = Command::new("node").arg("--version").output();
    let Ok(output) = output else {
        return false;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let major = text.trim().trim_start_matches('v').split('.').next();
    major
        .and_then(|major| major.parse::<u32>().ok())
        .is_some_and(|major| major >= 20)
}

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
        found: || node_is_new_enough() && exists(bindings::npm()),
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
        found: || exists("javac"),
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
        found: || has_target("x86_64-pc-windows-gnu"),
        get: "rustup target add x86_64-pc-windows-gnu && apt-get install gcc-mingw-w64-x86-64",
    },
    Need {
        what: "the Android NDK",
        for_what: "`cargo xtask package aar`",
        found: || std::env::var_os("ANDROID_NDK_HOME").is_some(),
        get: "https://developer.android.com/ndk/downloads, then set ANDROID_NDK_HOME",
    },
    Need {
        what: "Xcode",
        for_what: "`cargo xtask package xcframework`",
        found: || runs("xcodebuild", &["-version"]),
        get: "a Mac with Xcode",
    },
];

fn has_target(target: &str) -> bool {
    let listed = Command::new("rustup")
        .args(["target", "list", "--installed"])
        .output();
    listed.is_ok_and(|output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().any(|line| line == target)
    })
}

/// Looks, and says.
///
/// # Errors
/// Never for what is missing: each task says by itself what it cannot do.
pub(crate) fn run() -> Outcome {
    let mut missing = 0;
    for need in NEEDS {
        if (need.found)() {
            println!("✓ {}", need.what);
        } else {
            missing += 1;
            println!("✗ {} (for {})\n    {}", need.what, need.for_what, need.get);
        }
    }
    println!(
        "\nwhat is fetched or built once is in {}",
        bindings::cache_dir().display()
    );
    match missing {
        0 => println!("nothing is missing"),
        1 => println!("1 thing is missing"),
        many => println!("{many} things are missing"),
    }
    Ok(())
}
