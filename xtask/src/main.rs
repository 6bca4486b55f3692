//! `cargo xtask …`: what a developer and the CI run. One program, so that both run the same.

#[macro_use]
mod say;

mod bench;
mod bindings;
mod demo;
mod doctor;
mod fuzz;
mod guide;
mod kotlin;
mod kotlin_app;
mod kotlin_package;
mod memory;
mod needs;
mod node_memory;
mod notices;
mod npm_package;
mod package;
mod process;
mod swift;
mod swift_package;
mod swift_root;
mod test;
mod tidy;
mod tree;
mod typescript;
mod windows;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::process::Done;

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
        /// Also what takes long and finds little day by day: checkers of memory, fuzzing. CI does.
        #[arg(long)]
        full: bool,
    },
    /// Plays a session through cuts, restarts and kills, with the real programs.
    Demo(demo::Options),
    /// Checks that the compiler does not make: headers, links, docs against code, dependencies, sizes.
    Tidy,
    /// Builds for release and measures: prints each figure with its method, target and verdict.
    Bench(bench::Options),
    /// The local socket under the address sanitizer and under valgrind; the library of the bindings under the sanitizer, in Node.
    Memory {
        /// Only one of them.
        checker: Option<memory::Checker>,
    },
    /// Every fuzz target for a few seconds.
    Fuzz(fuzz::Options),
    /// The library's bindings for other languages, and the summary of its exported API.
    Bindings(bindings::Options),
    /// What apps are given: packages with the native library in them.
    Package {
        /// Which.
        what: package::Package,
    },
    /// The tests of the TypeScript bindings.
    Typescript,
    /// The tests of the Swift bindings.
    Swift,
    /// The tests of the Kotlin bindings.
    Kotlin,
    /// What this machine lacks for any of these tasks, and the command that gets it. Exits 1 when something is missing.
    Doctor(doctor::Options),
    /// Type-checks and lints everything for Windows, from here.
    Windows,
}

fn main() -> ExitCode {
    let outcome = match Args::parse().task {
        Task::Test { keep_going, full } => test::run(keep_going, full),
        Task::Demo(options) => demo::run(options),
        Task::Tidy => tidy::run(),
        Task::Bench(options) => bench::run(&options),
        Task::Memory { checker } => memory::run(checker),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Bindings(options) => bindings::run(&options),
        Task::Package { what } => package::run(what),
        Task::Typescript => typescript::test().map(Done::tell),
        Task::Swift => swift::test().map(Done::tell),
        Task::Kotlin => kotlin::test().map(Done::tell),
        Task::Doctor(options) => doctor::run(options),
        Task::Windows => windows::run().map(Done::tell),
    };
    if let Err(error) = &outcome {
        complain!("xtask: {error}");
    }
    say::conclude(outcome.is_ok())
}
