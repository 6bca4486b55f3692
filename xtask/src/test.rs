//! `cargo xtask test`: the steps a change must pass, each timed, with a table at the end.

use std::time::{Duration, Instant};

use crate::{
    demo,
    process::{Outcome, cargo, run as run_command},
    tidy,
};

/// One step: a heading and what it does.
struct Step {
    name: &'static str,
    action: fn() -> Outcome,
}

/// In the order in which a mistake is found soonest.
const STEPS: &[Step] = &[
    Step {
        name: "format",
        action: || run_command(&mut cargo(["fmt", "--all", "--check"])),
    },
    Step {
        name: "tidy",
        action: tidy::run,
    },
    Step {
        name: "clippy",
        action: || {
            run_command(&mut cargo([
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--",
                "-D",
                "warnings",
            ]))
        },
    },
    Step {
        // The binaries first: tests of other crates start them.
        name: "build",
        action: || {
            run_command(&mut cargo([
                "build",
                "--workspace",
                "--bins",
                "--examples",
                "--locked",
            ]))
        },
    },
    Step {
        name: "tests",
        action: || {
            run_command(&mut cargo([
                "test",
                "--workspace",
                "--all-targets",
                "--locked",
                "--no-fail-fast",
            ]))
        },
    },
    Step {
        name: "doc tests",
        action: || run_command(&mut cargo(["test", "--workspace", "--doc", "--locked"])),
    },
    Step {
        name: "demo",
        action: || demo::run(demo::Options::default()),
    },
];

/// How one step went.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    name: &'static str,
    took: Duration,
    /// `None`: not run, because an earlier step failed.
    result: Option<Outcome>,
}

/// Runs every step.
///
/// # Errors
/// Names the steps that failed.
pub(crate) fn run(keep_going: bool) -> Outcome {
    let lines = play(STEPS, keep_going);
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

fn play(steps: &[Step], keep_going: bool) -> Vec<Line> {
    let mut stopped = false;
    let mut lines = Vec::with_capacity(steps.len());
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
            Ok(()) => println!("── {}: ok, {}", step.name, seconds(took)),
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
            Some(Ok(())) => ("ok", seconds(line.took)),
            Some(Err(_)) => ("FAILED", seconds(line.took)),
            None => ("not run", "–".to_owned()),
        };
        text.push_str(&format!("{:<12} {result:<8} {time:>9}\n", line.name));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Step = Step {
        name: "good",
        action: || Ok(()),
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
        assert_eq!(lines[1].result, Some(Ok(())));
    }
}
