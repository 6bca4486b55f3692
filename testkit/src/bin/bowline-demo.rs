//! `bowline-demo`: runs the story of `cargo xtask demo`; also the story's client process.

use std::process::ExitCode;

use bowline_program::Exit;
use bowline_testkit::demo::{
    Options,
    follow::{Follow, follow},
    play,
};
use clap::{Parser, Subcommand};

/// Runs a session through disconnects, restarts and kills, with the real programs.
#[derive(Parser)]
#[command(name = "bowline-demo")]
struct Args {
    /// Leave everything running at the end and print how to try it by hand.
    #[arg(long)]
    keep: bool,
    /// Print one JSON object at the end instead of the summary.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Subcommand)]
enum Part {
    /// The client process of the story.
    #[command(hide = true)]
    Follow(Follow),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(Part::Follow(part)) = args.part {
        return match follow(part).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                bowline_program::complain!("bowline-demo follow: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let options = Options {
        keep: args.keep,
        json: args.json,
    };
    match play(options).await {
        Ok(report) => {
            if options.json {
                match serde_json::to_string(&report) {
                    Ok(json) => bowline_program::say!("{json}"),
                    Err(error) => bowline_program::complain!("bowline-demo: {error}"),
                }
            }
            let exit = match report.failures.is_empty() {
                true => Exit::Done,
                false => Exit::Failed,
            };
            bowline_program::print::conclude("bowline-demo", exit)
        }
        Err(error) => {
            bowline_program::complain!("bowline-demo: {error}");
            ExitCode::FAILURE
        }
    }
}
