//! `cargo xtask …`: what a developer and the CI run. One program, so that both run the same.

mod bench;
mod demo;
mod process;
mod test;
mod tidy;
mod tree;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Build, test and demonstration tasks of Bowline.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Formatting, lints, tidy checks, all tests: what must hold before a change is merged.
    Test {
        /// Go on after a failed step; the exit code still tells.
        #[arg(long)]
        keep_going: bool,
    },
    /// Plays a session through cuts, restarts and kills, with the real programs.
    Demo(demo::Options),
    /// Checks that the compiler does not make: headers, links, docs against code, dependencies, sizes.
    Tidy,
    /// Builds for release and measures: prints each figure with its method, target and verdict.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let outcome = match Args::parse().task {
        Task::Test { keep_going } => test::run(keep_going),
        Task::Demo(options) => demo::run(options),
        Task::Tidy => tidy::run(),
        Task::Bench(options) => bench::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
