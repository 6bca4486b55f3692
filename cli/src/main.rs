//! `bowline`: a terminal client on the Bowline runtime (`docs/commands.md`).

mod args;
mod client;
mod commands;
mod config;
mod failure;
mod find;
mod follow;
mod input;
mod lines;
mod output;
mod reasons;
mod terminal;
mod text;
mod turn;
mod waiting;

use std::{process::ExitCode, time::Duration};

use bowline_program::{
    Hangup, Signals, create_private_files,
    log::{self, LogError},
    print,
};
use clap::Parser;

use crate::{
    args::Cli,
    config::Settings,
    failure::{CliError, Exit, Stop},
    output::{Mode, Output},
};

/// Time for a command to end after a signal; its own deadlines are shorter.
const END: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    create_private_files();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let json = cli.written.json;
    let settings = match Settings::load(cli.config, cli.written).and_then(|settings| {
        start_log(&settings)?;
        Ok(settings)
    }) {
        Ok(settings) => settings,
        Err(error) => return end(output::fail_without_output(&error, json)),
    };
    // Armed before anything starts, so that no signal is missed.
    let signals = match Signals::arm(Hangup::Stop, END) {
        Ok(signals) => signals,
        Err(error) => {
            let error = CliError::failed("io", format!("cannot handle signals: {error}"));
            return end(output::fail_without_output(&error, json));
        }
    };
    // One thread suffices for one client and starts faster than a pool.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = CliError::failed("io", format!("cannot start: {error}"));
            return end(output::fail_without_output(&error, settings.json));
        }
    };
    let exit = runtime.block_on(run(&settings, cli.command, &signals));
    // A pending name lookup must not delay the exit.
    runtime.shutdown_background();
    end(exit)
}

/// The exit code, after flushing the last log lines.
fn end(exit: Exit) -> ExitCode {
    print::conclude("bowline", exit)
}

async fn run(settings: &Settings, command: args::Command, signals: &Signals) -> Exit {
    let output = Output::start(Mode::of(settings.json));
    let exit = commands::run(settings, command, &output, signals).await;
    match output.finish(signals).await {
        // Output that could not be written is a failure.
        Err(Stop::Error(_)) if exit == Exit::Done => Exit::Failed,
        _ => exit,
    }
}

/// An invalid command line, or a request for help.
fn usage(error: &clap::Error) -> ExitCode {
    let exit = print::usage("bowline", error);
    let asked = std::env::args_os().skip(1).any(|word| word == "--json");
    if asked && error.use_stderr() {
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default();
        let message = first.strip_prefix("error: ").unwrap_or(first);
        output::print_error_line(&CliError::usage("usage", message));
    }
    exit
}

fn start_log(settings: &Settings) -> Result<(), CliError> {
    let usage = |error: LogError| CliError::usage("usage", error);
    let filter = log::filter(&settings.log, "bowline_runtime").map_err(usage)?;
    log::start(filter, settings.log_format).map_err(usage)
}
