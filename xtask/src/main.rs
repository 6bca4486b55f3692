//! `cargo xtask …`: the development and CI tasks. One program, so that developers and CI run the
//! same steps.

#[macro_use]
mod process;

mod bench;
mod bindings;
mod demo;
mod doctor;
mod faults;
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
mod program_package;
mod swift;
mod swift_package;
mod swift_root;
mod test;
mod tidy;
mod tree;
mod types;
mod typescript;
mod windows;
mod wine;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::process::{Workspace, tell_skipped};

/// Build, test and demonstration tasks of Bowline.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run formatting, lints, tidy checks and all tests: the condition for merging a change.
    Test(test::Options),
    /// Run a session through disconnects, restarts and kills, with the real programs.
    Demo(demo::Options),
    /// Run checks beyond the compiler: headers, links, requirement ids, dependencies, sizes.
    Tidy,
    /// Build in release mode and measure: prints each figure with its method, target and verdict.
    Bench(bench::Options),
    /// Run the local socket under the address sanitizer and valgrind, and the binding library under
    /// the sanitizer in Node.
    Memory {
        /// Checker to run. Default: all.
        checker: Option<memory::Checker>,
    },
    /// Run every fuzz target for a few seconds.
    Fuzz(fuzz::Options),
    /// Generate the bindings for other languages and the summary of the exported API.
    Bindings(bindings::Options),
    /// Build the packages for apps, with the native library.
    Package(package::Options),
    /// Generate the types of the example apps from what their service says that it offers.
    Types,
    /// Test the TypeScript bindings.
    Typescript,
    /// Test the Swift bindings.
    Swift,
    /// Test the Kotlin bindings.
    Kotlin,
    /// Report tools that are missing on this machine and the command that installs them. Exits 1
    /// when something is missing.
    Doctor(doctor::Options),
    /// Cross-check the workspace for Windows, and run the Windows programs under Wine.
    Windows,
}

/// The clap definition, for checks that compare command names.
fn command_line() -> clap::Command {
    Args::command()
}

fn main() -> ExitCode {
    let task = Args::parse().task;
    let done = Workspace::open().and_then(|sh| match task {
        Task::Test(options) => test::run(&sh, &options),
        Task::Demo(options) => demo::run(&sh, options),
        Task::Tidy => tidy::run(),
        Task::Bench(options) => bench::run(&sh, options),
        Task::Memory { checker } => memory::run(&sh, checker),
        Task::Fuzz(options) => fuzz::run(&sh, &options),
        Task::Bindings(options) => bindings::run(&sh, options),
        Task::Package(options) => package::run(&sh, options),
        Task::Types => types::run(&sh),
        Task::Typescript => typescript::test(&sh),
        Task::Swift => swift::test(&sh),
        Task::Kotlin => kotlin::test(&sh),
        Task::Doctor(options) => doctor::run(&sh, options),
        Task::Windows => windows::run(&sh),
    });
    if let Err(error) = tell_skipped(done) {
        complain!("xtask: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
