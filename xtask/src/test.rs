//! `cargo xtask test`: the steps a change must pass, each timed, with a table at the end.

use std::time::{Duration, Instant};

use crate::{
    bindings, demo, fuzz, kotlin, kotlin_package, memory, node_memory, npm_package,
    process::{Done, Outcome, cargo, run as run_command},
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
    let mut lines = play(STEPS.iter().chain(further), keep_going);
    lines.extend(left_out.iter().map(|step| Line {
        name: step.name,
        took: Duration::ZERO,
        result: Some(Ok(Done::Skipped("only with --full, as in CI".to_owned()))),
    }));
    println!("\n{}", table(&lines));
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
        println!("\n── {} ──", step.name);
        let began = Instant::now();
        let result = (step.action)();
        let took = began.elapsed();
        match &result {
            Ok(Done::Whole) => println!("── {}: ok, {}", step.name, seconds(took)),
            Ok(Done::Skipped(why)) => println!("── {}: skipped: {why}", step.name),
            Err(error) => println!("── {}: FAILED, {}: {error}", step.name, seconds(took)),
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
