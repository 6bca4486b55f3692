//! The figures of `cargo xtask bench`: each with its method, the value of a bare peer, its target
//! and verdict.
//!
//! A real `bowline-daemon` runs as a separate process in a temporary folder; this process creates
//! the load with the client library that apps use. Nothing asserts: a slow machine reports slow
//! figures.

mod client;
mod commit;
mod echo;
mod figures;
mod forwarder;
#[cfg(unix)]
mod line_echo;
#[cfg(unix)]
mod line_load;
mod peer;
mod pin;
mod pipe;
mod process;
mod report;
mod spread;
mod stats;

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::Parser;

use self::{
    echo::Buffers,
    figures::{FIGURES, Figure},
    report::{Measured, Report},
};

/// Result whose error is a sentence for people.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures a real daemon and prints figures with their method.
#[derive(Parser)]
#[command(name = "bowline-bench")]
struct Args {
    /// Fewer repetitions: seconds instead of minutes; the figures are noisier.
    #[arg(long)]
    quick: bool,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
    /// Number of complete runs; the report ends with the spread of each figure over the runs.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Folder for the state of the measured daemons; its disk is the one measured. Default: beside
    /// this program.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Output of the language programs: a folder per run, named by its number, with a file per
    /// language. Default: none.
    #[arg(long, value_name = "DIR")]
    bindings: Option<PathBuf>,
    /// Figures to measure. Default: all.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Serve as the bare echo.
    #[arg(long, hide = true)]
    echo_server: Option<Buffers>,
    /// Serve as the bare line echo on this socket.
    #[cfg(unix)]
    #[arg(long, hide = true)]
    line_echo_server: Option<PathBuf>,
    /// Serve as the bare forwarder.
    #[arg(long, hide = true)]
    forwarder: bool,
}

/// Shared settings of all figures.
struct Bench {
    quick: bool,
    dir: PathBuf,
    bindings: Option<PathBuf>,
}

impl Bench {
    /// The full or the quick size.
    const fn pick(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

/// Entry point.
fn main() -> ExitCode {
    // Many connections are open at once here, in the peers and in the daemons.
    bowline_program::raise_file_limit();
    match role(&Args::parse()) {
        Ok(()) => bowline_program::print::conclude("bench", bowline_program::Exit::Done),
        Err(error) => {
            bowline_program::complain!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the bench, or one of the peers that it starts.
fn role(args: &Args) -> Outcome<()> {
    #[cfg(unix)]
    if let Some(path) = &args.line_echo_server {
        return on_one_thread(line_echo::serve(path));
    }
    match args.echo_server {
        Some(buffers) => on_one_thread(echo::serve(buffers)),
        None if args.forwarder => on_one_thread(forwarder::serve()),
        None => run(args),
    }
}

/// Runs a future to its end on a runtime of its own.
fn on_one_thread<T>(future: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build()?.block_on(future)
}

fn run(args: &Args) -> Outcome<()> {
    let known: Vec<_> = FIGURES.iter().map(|figure| figure.name).collect();
    if let Some(name) = args
        .names
        .iter()
        .find(|name| !known.contains(&name.as_str()))
    {
        return Err(format!("no figure `{name}`; there are: {}", known.join(", ")).into());
    }
    if cfg!(debug_assertions) {
        bowline_program::complain!(
            "bench: unoptimised build, figures are meaningless; use `cargo xtask bench`"
        );
    }
    let here = std::env::current_exe()?;
    let here = here.parent().ok_or("this program is in no folder")?;
    let base = args.dir.as_deref().unwrap_or(here);
    let mut report = Report::begin(args.json, args.quick);
    for run in 1..=args.runs {
        // A fresh folder, free of files from an earlier run.
        let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(base)?;
        let bench = Arc::new(Bench {
            quick: args.quick,
            dir: folder.path().to_owned(),
            bindings: args.bindings.as_ref().map(|dir| dir.join(run.to_string())),
        });
        report.run(run, args.runs);
        for figure in FIGURES {
            let is_named = args.names.iter().any(|name| name == figure.name);
            if !is_named && (!args.names.is_empty() || !figures::is_there(figure, &bench)) {
                continue;
            }
            // A separate thread: its CPU pinning ends with it.
            let bench = Arc::clone(&bench);
            let measured = std::thread::spawn(|| measure(figure, bench)).join();
            report.add(
                figure,
                measured.unwrap_or_else(|_| Err("it panicked".into())),
            );
        }
    }
    report.end()
}

/// Measures one figure on its own runtime, in a spawned task like an app's code: waking the
/// outermost future of a runtime costs a system call that tasks do not pay.
fn measure(figure: &'static Figure, bench: Arc<Bench>) -> Outcome<Measured> {
    on_one_thread(async { tokio::spawn((figure.measure)(bench)).await? })
}
