//! `cargo xtask doctor`: reports missing tools and the commands that install them.

use anyhow::{Result, bail};

use crate::{
    bindings,
    needs::{self, FURTHER, NEEDS, Need, is_root},
    process::{Workspace, exists, in_ci},
};

/// Options of the doctor.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Run the install commands (as root, or through sudo), then check again.
    #[arg(long)]
    install: bool,
}

/// Checks, reports, and installs if requested.
///
/// # Errors
/// A tool that `cargo xtask test` needs is missing. Tools only for packages of other platforms are
/// reported but are no error.
pub(crate) fn run(sh: &Workspace, options: Options) -> Result<()> {
    let mut missing = needs::missing(|_| true);
    if options.install && !missing.is_empty() {
        install(sh, &missing);
        missing = needs::missing(|_| true);
    }
    for need in NEEDS {
        if missing.iter().any(|one| std::ptr::eq(*one, need)) {
            say!(
                "✗ {}\n    without it {}",
                need.what,
                need.effect(&need.steps.join(", "), in_ci())
            );
        } else {
            say!("✓ {}", need.what);
        }
    }
    say!("\nonly for packages of other machines:");
    for need in FURTHER {
        if (need.found)() {
            say!("✓ {}", need.what);
        } else {
            say!(
                "– {} (for `{}`)\n    {}",
                need.what,
                need.steps.join(", "),
                needs::how(&[need])
            );
        }
    }
    say!(
        "\ndownloads and tools built once are cached in {}",
        bindings::cache_dir().display()
    );
    if !missing.is_empty() {
        let then = if options.install {
            "these could not be installed"
        } else {
            "or run `cargo xtask doctor --install`"
        };
        say!(
            "to install the missing tools: {}\n{then}",
            needs::how(&missing)
        );
    }
    verdict(&missing)?;
    say!("nothing is missing for the tasks this machine supports");
    Ok(())
}

/// The exit result.
///
/// # Errors
/// Anything is missing; the text names the affected steps.
fn verdict(missing: &[&Need]) -> Result<()> {
    let mut steps: Vec<_> = missing
        .iter()
        .flat_map(|need| need.steps)
        .copied()
        .collect();
    steps.sort_unstable();
    steps.dedup();
    let steps = steps.join(", ");
    match missing.len() {
        0 => Ok(()),
        1 => bail!("1 thing is missing for these steps of `cargo xtask test --full`: {steps}"),
        many => {
            bail!("{many} things are missing for these steps of `cargo xtask test --full`: {steps}")
        }
    }
}

/// Runs the install commands. A failed command is repeated package by package, so that one
/// unavailable package does not block the others.
fn install(sh: &Workspace, missing: &[&Need]) {
    let (commands, by_hand) = needs::install(missing, exists("apt-get"), is_root());
    for command in commands {
        if play(sh, &command) {
            continue;
        }
        if let Some((install, packages)) = command.split_once("--no-install-recommends ") {
            for package in packages.split(' ') {
                play(sh, &format!("{install}--no-install-recommends {package}"));
            }
        }
    }
    for what in by_hand {
        say!("not installed from here: {what}");
    }
}

/// Prints a command and runs it. Returns whether it succeeded.
fn play(sh: &Workspace, command: &str) -> bool {
    say!("→ {command}");
    let mut words = command.split(' ');
    let program = sh.cmd(words.next().unwrap_or_default());
    let done = program
        .args(words)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .run();
    if let Err(error) = &done {
        say!("  {error}");
    }
    done.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_makes_the_doctor_fail_and_names_the_steps() {
        assert!(verdict(&[]).is_ok());
        let maven = NEEDS.iter().find(|need| need.what == "Maven").unwrap();
        let error = verdict(&[maven]).unwrap_err().to_string();
        assert!(
            error.contains("1 thing") && error.contains("jar, kotlin"),
            "{error}"
        );
    }
}
