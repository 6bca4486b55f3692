//! `cargo xtask test`: the steps that a change must pass, each timed, with a table at the end.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::builder::PossibleValuesParser;
use xshell::cmd;

use crate::{
    bindings, demo, fuzz, kotlin, kotlin_package, memory, needs, node_memory, npm_package,
    process::{Skipped, Workspace, exists, in_ci, skip_everywhere},
    swift, tidy, typescript, windows,
};

/// Which steps run.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Continue after a failed step; the exit code still reports the failure.
    #[arg(long)]
    keep_going: bool,
    /// Also run the slow steps, as CI does: memory checkers and fuzzing.
    #[arg(long)]
    full: bool,
    /// Run this step alone, a slow one too. Repeatable.
    #[arg(long, value_name = "STEP", conflicts_with = "full", value_parser = names())]
    only: Vec<String>,
}

/// A name and its action.
type Step = (&'static str, fn(&Workspace) -> Result<()>);

/// Ordered so that likely mistakes are found early.
const STEPS: &[Step] = &[
    (
        "format",
        |sh| Ok(cmd!(sh, "cargo fmt --all --check").run()?),
    ),
    ("tidy", |_| tidy::run()),
    ("clippy", |sh| {
        Ok(cmd!(
            sh,
            "cargo clippy --workspace --all-targets --locked -- -D warnings"
        )
        .run()?)
    }),
    ("deny", deny),
    // The binaries first: tests of other crates start them.
    ("build", |sh| {
        Ok(cmd!(sh, "cargo build --workspace --bins --examples --locked").run()?)
    }),
    // Compares the exported API with the reviewed summary.
    ("api", bindings::check_api),
    ("tests", |sh| {
        Ok(cmd!(
            sh,
            "cargo test --workspace --all-targets --locked --no-fail-fast"
        )
        .run()?)
    }),
    ("doc tests", |sh| {
        Ok(cmd!(sh, "cargo test --workspace --doc --locked").run()?)
    }),
    ("kotlin", kotlin::test),
    ("swift", swift::test),
    ("demo", |sh| demo::run(sh, demo::Options::default())),
    ("typescript", typescript::test),
    ("windows", windows::run),
];

/// Slow steps that rarely find a fault (`--full`).
const FULL: &[Step] = &[
    // Links of the documentation lead somewhere, those of private items too.
    ("docs", |sh| {
        let doc = cmd!(
            sh,
            "cargo doc --workspace --no-deps --document-private-items --locked"
        );
        Ok(doc.env("RUSTDOCFLAGS", "-D warnings").run()?)
    }),
    // An app with the jar as its only dependency.
    ("jar", kotlin_package::jvm),
    ("asan", memory::asan),
    ("npm", npm_package::test),
    ("asan node", node_memory::asan),
    ("valgrind", memory::valgrind),
    ("fuzz", |sh| fuzz::run(sh, &fuzz::Options::default())),
];

/// Licences, bans and sources of dependencies. New advisories are reported by the nightly workflow
/// of the public forge instead, since they do not come with a change.
fn deny(sh: &Workspace) -> Result<()> {
    if !exists("cargo-deny") {
        let why = "cargo-deny is missing; `cargo install --locked cargo-deny`";
        return skip_everywhere(why);
    }
    Ok(cmd!(sh, "cargo deny check licenses bans sources").run()?)
}

/// The result of a step.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Ok,
    Skipped(String),
    Failed,
    NotRun,
}

/// The values of `--only`: any other is an error that lists them.
fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(STEPS.iter().chain(FULL).map(|(name, _)| *name))
}

/// The steps to run, in their usual order, and the slow ones to report as left out.
fn chosen(options: &Options) -> (Vec<Step>, &'static [Step]) {
    let all = [STEPS, FULL].concat();
    if !options.only.is_empty() {
        let is_named = |(name, _): &Step| options.only.iter().any(|only| only == name);
        (all.into_iter().filter(is_named).collect(), &[])
    } else if options.full {
        (all, &[])
    } else {
        (STEPS.to_vec(), FULL)
    }
}

/// Runs the steps that the options choose.
///
/// # Errors
/// Names the failed steps.
pub(crate) fn run(sh: &Workspace, options: &Options) -> Result<()> {
    let (steps, left_out) = chosen(options);
    // Reported at the start instead of after twenty minutes.
    announce(&steps)?;
    let mut lines = play(sh, &steps, options.keep_going);
    lines.extend(left_out.iter().map(|(name, _)| {
        let why = "only with --full, as in CI".to_owned();
        (*name, Outcome::Skipped(why), Duration::ZERO)
    }));
    say!("\n{}", table(&lines));
    let failed = lines
        .iter()
        .filter(|(_, outcome, _)| *outcome == Outcome::Failed);
    let failed: Vec<_> = failed.map(|(name, ..)| *name).collect();
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// Whether a step of this name exists.
#[cfg(test)]
pub(crate) fn is_step(name: &str) -> bool {
    STEPS.iter().chain(FULL).any(|(step, _)| *step == name)
}

/// Prints the missing tools, what these steps do without them, and the line that installs all of
/// them.
///
/// # Errors
/// A step cannot run at all; in CI also when anything would be skipped.
fn announce(steps: &[Step]) -> Result<()> {
    let runs = |name: &&&str| steps.iter().any(|(step, _)| step == *name);
    let missing = needs::missing(|need| need.steps.iter().any(|name| runs(&name)));
    if missing.is_empty() {
        say!("no tool is missing; `deny` runs only where cargo-deny is installed");
        return Ok(());
    }
    say!("missing on this machine:");
    for need in &missing {
        let names: Vec<_> = need.steps.iter().filter(runs).copied().collect();
        say!(
            "  {}: {}",
            need.what,
            need.effect(&names.join(", "), in_ci())
        );
    }
    say!("to install: {}", needs::how(&missing));
    say!("or `cargo xtask doctor --install`");
    let fatal = missing.iter().filter(|need| need.is_fatal(in_ci()));
    let fatal: Vec<_> = fatal.map(|need| need.what).collect();
    ensure!(
        fatal.is_empty(),
        "the tests do not start without: {}",
        fatal.join("; ")
    );
    Ok(())
}

/// Runs steps until one fails, or all.
fn play(
    sh: &Workspace,
    steps: &[Step],
    keep_going: bool,
) -> Vec<(&'static str, Outcome, Duration)> {
    let mut stopped = false;
    let mut lines = Vec::new();
    for (name, action) in steps {
        if stopped {
            lines.push((*name, Outcome::NotRun, Duration::ZERO));
            continue;
        }
        say!("\n── {name} ──");
        let began = Instant::now();
        let done = action(sh);
        let took = began.elapsed();
        let outcome = match done {
            Ok(()) => {
                say!("── {name}: ok, {}", seconds(took));
                Outcome::Ok
            }
            Err(why) if why.is::<Skipped>() => {
                say!("── {name}: skipped: {why}");
                Outcome::Skipped(why.to_string())
            }
            Err(error) => {
                say!("── {name}: FAILED, {}: {error:#}", seconds(took));
                stopped = !keep_going;
                Outcome::Failed
            }
        };
        lines.push((*name, outcome, took));
    }
    lines
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn table(lines: &[(&str, Outcome, Duration)]) -> String {
    let mut text = format!("{:<12} {:<8} {:>9}\n", "step", "result", "time");
    for (name, outcome, took) in lines {
        // Skipped steps are listed with their reason, so that they are not overlooked.
        let (result, time, why) = match outcome {
            Outcome::Ok => ("ok", seconds(*took), String::new()),
            Outcome::Skipped(why) => ("skipped", "–".to_owned(), format!("  {why}")),
            Outcome::Failed => ("FAILED", seconds(*took), String::new()),
            Outcome::NotRun => ("not run", "–".to_owned(), String::new()),
        };
        text.push_str(&format!("{name:<12} {result:<8} {time:>9}{why}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Step = ("good", |_| Ok(()));
    const BAD: Step = ("bad", |_| anyhow::bail!("broken"));
    const SKIPPED: Step = ("skipped", |_| {
        Err(anyhow::Error::msg(Skipped(
            "there is no such thing here".to_owned(),
        )))
    });

    fn played(steps: &[Step], keep_going: bool) -> (Vec<Outcome>, String) {
        let lines = play(&Workspace::open().unwrap(), steps, keep_going);
        let table = table(&lines);
        (
            lines.into_iter().map(|(_, outcome, _)| outcome).collect(),
            table,
        )
    }

    #[test]
    fn the_first_failure_ends_the_run_and_the_table_says_what_was_not_run() {
        let (outcomes, table) = played(&[GOOD, BAD, GOOD], false);
        assert_eq!(outcomes, [Outcome::Ok, Outcome::Failed, Outcome::NotRun]);
        assert!(table.contains("not run"));
    }

    #[test]
    fn only_the_named_steps_run_slow_ones_too_and_other_names_are_refused_with_the_list() {
        use clap::Parser;
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            options: Options,
        }
        let parse = |line: &[&str]| Line::try_parse_from([&["test"], line].concat());
        let names = |line: &[&str]| {
            let (steps, left_out) = chosen(&parse(line).unwrap().options);
            let names: Vec<_> = steps.iter().map(|(name, _)| *name).collect();
            (names, left_out.len())
        };
        let line = ["--only", "asan node", "--only", "tidy"];
        assert_eq!(names(&line), (vec!["tidy", "asan node"], 0));
        assert_eq!(names(&[]).1, FULL.len());
        assert_eq!(names(&["--full"]).0.len(), STEPS.len() + FULL.len());
        let unknown = parse(&["--only", "everything"]).err().unwrap().to_string();
        for (name, _) in STEPS.iter().chain(FULL) {
            assert!(unknown.contains(name), "{name}: {unknown}");
        }
        assert!(parse(&["--full", "--only", "tidy"]).is_err());
    }

    #[test]
    fn with_keep_going_every_step_runs() {
        assert_eq!(played(&[BAD, GOOD], true).0, [Outcome::Failed, Outcome::Ok]);
    }

    #[test]
    fn what_was_skipped_stands_in_the_table_with_its_reason_and_is_no_failure() {
        let (outcomes, table) = played(&[SKIPPED, GOOD], false);
        assert_eq!(outcomes[1], Outcome::Ok);
        assert!(table.contains("there is no such thing here"));
    }
}
