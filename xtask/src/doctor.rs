//! `cargo xtask doctor`: what this machine lacks for any task, and the command that gets it.

use std::{path::Path, process::Command};

use crate::{
    bindings,
    needs::{self, Missing, NEEDS, Without, is_root, runs},
    process::{Outcome, exists, run as run_command},
};

/// How it looks.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Run the commands that get what is missing (as root, or by sudo), then look again.
    #[arg(long)]
    install: bool,
}

/// Something that only packages for other machines need.
struct Further {
    what: &'static str,
    for_what: &'static str,
    found: fn() -> bool,
    get: &'static str,
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

const FURTHER: &[Further] = &[
    Further {
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
    Further {
        what: "Rust's targets for Android",
        for_what: "`cargo xtask package aar`",
        found: || ANDROID.iter().all(|target| needs::has_target(target)),
        get: "rustup target add aarch64-linux-android armv7-linux-androideabi x86_64-linux-android i686-linux-android",
    },
    Further {
        what: "Gradle",
        for_what: "the archive of `cargo xtask package aar`",
        found: || exists("gradle"),
        get: "https://gradle.org/install",
    },
    Further {
        what: "Xcode",
        for_what: "`cargo xtask package xcframework`",
        found: || runs(Command::new("xcodebuild").arg("-version")),
        get: "a Mac with Xcode",
    },
    Further {
        what: "Rust's targets for Apple's systems",
        for_what: "`cargo xtask package xcframework`",
        found: || APPLE.iter().all(|target| needs::has_target(target)),
        get: "rustup target add aarch64-apple-ios aarch64-apple-ios-sim x86_64-apple-ios aarch64-apple-darwin x86_64-apple-darwin",
    },
];

/// Looks, says, and installs where it is asked to.
///
/// # Errors
/// When something is missing for `cargo xtask test`. What only packages for other machines need is said and is no error.
pub(crate) fn run(options: Options) -> Outcome {
    let mut missing = needs::missing(|_| true);
    if options.install && !missing.is_empty() {
        install(&missing);
        missing = needs::missing(|_| true);
    }
    for need in NEEDS {
        match missing.iter().find(|one| std::ptr::eq(one.need, need)) {
            None => say!("✓ {}", need.what),
            Some(one) => say!("✗ {}\n    {}", one.text(), lost(one)),
        }
    }
    say!("\nonly for packages of other machines:");
    for need in FURTHER {
        if (need.found)() {
            say!("✓ {}", need.what);
        } else {
            say!("– {} (for {})\n    {}", need.what, need.for_what, need.get);
        }
    }
    say!(
        "\nwhat is fetched or built once is in {}",
        bindings::cache_dir().display()
    );
    if !missing.is_empty() {
        let how = if options.install {
            "this is what it could not install"
        } else {
            "or `cargo xtask doctor --install`, which runs that"
        };
        say!("to get what is missing: {}\n{how}", needs::line(&missing));
    }
    verdict(&missing)?;
    say!("nothing is missing for what this machine can do");
    Ok(())
}

/// Whether that is all right.
///
/// # Errors
/// When anything is missing: which steps are concerned.
fn verdict(missing: &[Missing]) -> Outcome {
    let mut steps: Vec<_> = missing
        .iter()
        .flat_map(|one| one.need.steps)
        .copied()
        .collect();
    steps.sort_unstable();
    steps.dedup();
    match missing.len() {
        0 => Ok(()),
        1 => Err(format!(
            "1 thing is missing for these steps of `cargo xtask test --full`: {}",
            steps.join(", ")
        )),
        many => Err(format!(
            "{many} things are missing for these steps of `cargo xtask test --full`: {}",
            steps.join(", ")
        )),
    }
}

/// What is not done without it.
fn lost(missing: &Missing) -> String {
    let steps = missing.need.steps.join(", ");
    match missing.need.without {
        Without::Fails => format!("without it fail: {steps}"),
        Without::Skips | Without::SkipsEverywhere => format!("without it are skipped: {steps}"),
        Without::Part(tests) => format!("without it {steps} leave out {tests}"),
    }
}

/// Runs the commands. What fails is tried package by package, so that one that cannot be had does not keep the others away.
fn install(missing: &[Missing]) {
    for command in needs::commands(missing, exists("apt-get"), is_root()) {
        if play(&command) {
            continue;
        }
        let options = command.iter().rposition(|word| word.starts_with('-'));
        let Some((fixed, packages)) = options.and_then(|at| command.split_at_checked(at + 1))
        else {
            continue;
        };
        for package in packages {
            let mut one = fixed.to_vec();
            one.push(package.clone());
            play(&one);
        }
    }
    for what in needs::by_hand(missing, exists("apt-get")) {
        say!("not installed from here: {what}");
    }
}

/// Shows a command and runs it; whether it ended well.
fn play(words: &[String]) -> bool {
    say!("→ {}", words.join(" "));
    let Some((program, arguments)) = words.split_first() else {
        return false;
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(crate::tree::root())
        .env("DEBIAN_FRONTEND", "noninteractive");
    match run_command(&mut command) {
        Ok(()) => true,
        Err(error) => {
            say!("  {error}");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_makes_the_doctor_fail_and_names_the_steps() {
        assert_eq!(verdict(&[]), Ok(()));
        let maven = NEEDS.iter().find(|need| need.what == "Maven").unwrap();
        let error = verdict(&[needs::as_missing(maven)]).unwrap_err();
        assert!(
            error.contains("1 thing") && error.contains("jar, kotlin"),
            "{error}"
        );
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
            let need = FURTHER.iter().find(|need| need.what.contains(what));
            let get = need.unwrap().get;
            assert!(targets.iter().all(|target| get.contains(target)), "{get}");
        }
    }
}
