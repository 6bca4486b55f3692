//! `cargo xtask test`: the steps a change must pass, each timed, with a table at the end.

use std::time::{Duration, Instant};

use crate::{
    bindings, demo, fuzz, kotlin, kotlin_package, memory,
    needs::{self, Without},
    node_memory, npm_package,
    process::{Done, Outcome, cargo, is_ci, run as run_command},
    swift, tidy, typescript, windows,
};

/// One step: a heading and what it does.
struct Step {
    name: &'static str,
    action: fn() -> Outcome<Done>,
}

/// For what has no way to be skipped.
fn whole(outcome: Outcome) -> Outcome<Done> {
    outcome.map(|()| Done::Whole)
}

/// In the order in which a mistake is found soonest.
const STEPS: &[Step] = &[
    Step {
        name: "format",
        action: || whole(run_command(&mut cargo(["fmt", "--all", "--check"]))),
    },
    Step {
        name: "tidy",
        action: || whole(tidy::run()),
    },
    Step {
        name: "clippy",
        action: || {
            whole(run_command(&mut cargo([
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--",
                "-D",
                "warnings",
            ])))
        },
    },
    Step {
        // The binaries first: tests of other crates start them.
        name: "build",
        action: || {
            whole(run_command(&mut cargo([
                "build",
                "--workspace",
                "--bins",
                "--examples",
                "--locked",
            ])))
        },
    },
    Step {
        // What apps see of the library is what was reviewed.
        name: "api",
        action: || whole(bindings::check_api()),
    },
    Step {
        name: "tests",
        action: || {
            whole(run_command(&mut cargo([
                "test",
                "--workspace",
                "--all-targets",
                "--locked",
                "--no-fail-fast",
            ])))
        },
    },
    Step {
        name: "doc tests",
        action: || {
            whole(run_command(&mut cargo([
                "test",
                "--workspace",
                "--doc",
                "--locked",
            ])))
        },
    },
    Step {
        name: "kotlin",
        action: kotlin::test,
    },
    Step {
        name: "swift",
        action: swift::test,
    },
    Step {
        name: "demo",
        action: || whole(demo::run(demo::Options::default())),
    },
    Step {
        name: "typescript",
        action: typescript::test,
    },
    Step {
        name: "windows",
        action: windows::run,
    },
];

/// What takes long and finds little day by day (`--full`).
const FULL: &[Step] = &[
    Step {
        // An app that has nothing but the jar.
        name: "jar",
        action: kotlin_package::jvm,
    },
    Step {
        name: "asan",
        action: memory::asan,
    },
    Step {
        name: "npm",
        action: npm_package::test,
    },
    Step {
        name: "asan node",
        action: node_memory::asan,
    },
    Step {
        name: "valgrind",
        action: memory::valgrind,
    },
    Step {
        name: "fuzz",
        action: || fuzz::fuzz(&[], fuzz::SECONDS),
    },
];

/// How one step went.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    name: &'static str,
    took: Duration,
    /// `None`: not run, because an earlier step failed.
    result: Option<Outcome<Done>>,
}

/// Runs every step.
///
/// # Errors
/// Names the steps that failed.
pub(crate) fn run(keep_going: bool, full: bool) -> Outcome {
    let (further, left_out) = if full {
        (FULL, &[][..])
    } else {
        (&[][..], FULL)
    };
    let steps = || STEPS.iter().chain(further);
    // Now, and not after twenty minutes.
    announce(&steps().map(|step| step.name).collect::<Vec<_>>())?;
    let mut lines = play(steps(), keep_going);
    lines.extend(left_out.iter().map(|step| Line {
        name: step.name,
        took: Duration::ZERO,
        result: Some(Ok(Done::Skipped("only with --full, as in CI".to_owned()))),
    }));
    say!("\n{}", table(&lines));
    let failed: Vec<_> = lines
        .iter()
        .filter(|line| matches!(line.result, Some(Err(_))))
        .map(|line| line.name)
        .collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("failed: {}", failed.join(", ")))
    }
}

/// Whether there is a step of that name.
#[cfg(test)]
pub(crate) fn is_step(name: &str) -> bool {
    STEPS.iter().chain(FULL).any(|step| step.name == name)
}

/// Says what these steps will leave out for want of something, and the one line that gets all of it.
///
/// # Errors
/// When a step cannot but fail; in CI also when something would be left out that CI must not leave out.
fn announce(steps: &[&str]) -> Outcome {
    let missing = needs::missing(|need| need.steps.iter().any(|step| steps.contains(step)));
    if missing.is_empty() {
        say!("nothing is missing here: every step will run");
        return Ok(());
    }
    let mut fatal = 0;
    say!("missing on this machine:");
    for one in &missing {
        let names = one.need.steps.iter().filter(|step| steps.contains(step));
        let names: Vec<_> = names.copied().collect();
        let (lost, fails) = lost(one.need.without, &names.join(", "), is_ci());
        fatal += u32::from(fails);
        say!("  {}: {lost}", one.text());
    }
    say!("to get it: {}", needs::line(&missing));
    say!("or `cargo xtask doctor --install`");
    if fatal == 0 {
        return Ok(());
    }
    Err("the tests are not begun without what is missing".to_owned())
}

/// What becomes of steps, and whether that is a failure.
fn lost(without: Without, steps: &str, is_ci: bool) -> (String, bool) {
    match without {
        Without::Fails => (format!("{steps} cannot run"), true),
        Without::Skips if is_ci => (
            format!("{steps} would be skipped; with CI set that is a failure"),
            true,
        ),
        Without::Part(tests) if is_ci => (
            format!("{steps} would leave out {tests}; with CI set that is a failure"),
            true,
        ),
        Without::Skips | Without::SkipsEverywhere => (format!("{steps} will be skipped"), false),
        Without::Part(tests) => (format!("{steps} will leave out {tests}"), false),
    }
}

fn play<'a>(steps: impl IntoIterator<Item = &'a Step>, keep_going: bool) -> Vec<Line> {
    let mut stopped = false;
    let mut lines = Vec::new();
    for step in steps {
        if stopped {
            lines.push(Line {
                name: step.name,
                took: Duration::ZERO,
                result: None,
            });
            continue;
        }
        say!("\n── {} ──", step.name);
        let began = Instant::now();
        let result = (step.action)();
        let took = began.elapsed();
        match &result {
            Ok(Done::Whole) => say!("── {}: ok, {}", step.name, seconds(took)),
            Ok(Done::Skipped(why)) => say!("── {}: skipped: {why}", step.name),
            Err(error) => say!("── {}: FAILED, {}: {error}", step.name, seconds(took)),
        }
        stopped = result.is_err() && !keep_going;
        lines.push(Line {
            name: step.name,
            took,
            result: Some(result),
        });
    }
    lines
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn table(lines: &[Line]) -> String {
    let mut text = format!("{:<12} {:<8} {:>9}\n", "step", "result", "time");
    for line in lines {
        let (result, time) = match &line.result {
            Some(Ok(Done::Whole)) => ("ok", seconds(line.took)),
            Some(Ok(Done::Skipped(_))) => ("skipped", "–".to_owned()),
            Some(Err(_)) => ("FAILED", seconds(line.took)),
            None => ("not run", "–".to_owned()),
        };
        text.push_str(&format!("{:<12} {result:<8} {time:>9}", line.name));
        // What was not checked must not be overlooked among what was.
        if let Some(Ok(Done::Skipped(why))) = &line.result {
            text.push_str(&format!("  {why}"));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Step = Step {
        name: "good",
        action: || Ok(Done::Whole),
    };
    const SKIPPED: Step = Step {
        name: "skipped",
        action: || Ok(Done::Skipped("there is no such thing here".to_owned())),
    };
    const BAD: Step = Step {
        name: "bad",
        action: || Err("broken".to_owned()),
    };

    #[test]
    fn the_first_failure_ends_the_run_and_the_table_says_what_was_not_run() {
        let lines = play(&[GOOD, BAD, GOOD], false);
        assert_eq!(lines[1].result, Some(Err("broken".to_owned())));
        assert_eq!(lines[2].result, None);
        assert!(table(&lines).contains("not run"));
    }

    #[test]
    fn what_is_missing_is_a_failure_only_where_a_step_cannot_run_or_in_ci() {
        let fails = |without, is_ci| lost(without, "kotlin", is_ci).1;
        assert!(fails(Without::Fails, false));
        assert!(!fails(Without::Skips, false) && fails(Without::Skips, true));
        assert!(!fails(Without::Part("some"), false) && fails(Without::Part("some"), true));
        assert!(!fails(Without::SkipsEverywhere, true));
        assert!(lost(Without::Skips, "kotlin", false).0.contains("kotlin"));
    }

    #[test]
    fn with_keep_going_every_step_runs() {
        let lines = play(&[BAD, GOOD], true);
        assert_eq!(lines[1].result, Some(Ok(Done::Whole)));
    }

    #[test]
    fn what_was_skipped_stands_in_the_table_with_its_reason_and_is_no_failure() {
        let lines = play(&[SKIPPED, GOOD], false);
        assert_eq!(lines[1].result, Some(Ok(Done::Whole)));
        assert!(table(&lines).contains("there is no such thing here"));
    }
}
