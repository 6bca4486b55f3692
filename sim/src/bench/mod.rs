//! The figures of `cargo xtask bench`: each with its method, the same for a bare peer, its target and verdict.
//!
//! A real `bowline-daemon` runs as its own process in a temporary folder; the load comes from this process
//! through the same client library that apps use. Nothing here asserts: a slow machine gets slow figures.

mod client;
mod commit;
mod control;
mod echo;
mod figures;
mod forwarder;
#[cfg(unix)]
mod line_echo;
#[cfg(unix)]
mod line_load;
mod pin;
mod pipe;
mod process;
mod report;
mod stats;

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::Parser;

use self::{
    echo::Buffers,
    figures::{FIGURES, Figure},
    report::{Measured, Report},
};

/// What anything here fails with: a sentence for the person at the terminal.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures a real daemon and prints figures with their method.
#[derive(Parser)]
#[command(name = "bowline-bench")]
struct Args {
    /// Fewer repetitions: seconds instead of minutes, and figures with more noise.
    #[arg(long)]
    quick: bool,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
    /// Where daemons keep their state meanwhile; its disk is the one measured. Default: beside this program.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// What the programs of other languages measured, a file for each. Default: nothing did.
    #[arg(long, value_name = "DIR")]
    bindings: Option<PathBuf>,
    /// Which figures; default: all.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Serve as the bare echo that figures are compared with.
    #[arg(long, hide = true)]
    echo_server: Option<Buffers>,
    /// Serve as the bare line echo, there.
    #[cfg(unix)]
    #[arg(long, hide = true)]
    line_echo_server: Option<PathBuf>,
    /// Serve as the bare forwarder that the relay is compared with.
    #[arg(long, hide = true)]
    forwarder: bool,
}

/// What every figure may use.
struct Bench {
    quick: bool,
    dir: PathBuf,
    bindings: Option<PathBuf>,
}

impl Bench {
    /// One of two sizes, by how much time there is.
    const fn pick(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

/// The program.
pub fn main() -> ExitCode {
    match role(&Args::parse()) {
        Ok(()) => bowline_program::print::conclude("bench", 0),
        Err(error) => {
            bowline_program::complain!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The bench, or one of the peers that it starts.
fn role(args: &Args) -> Outcome<()> {
    #[cfg(unix)]
    if let Some(path) = &args.line_echo_server {
        return line_echo::serve(path);
    }
    match args.echo_server {
        Some(buffers) => echo::serve(buffers),
        None if args.forwarder => forwarder::serve(),
        None => run(args),
    }
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
            "bench: not optimised, so the figures mean nothing; use `cargo xtask bench`"
        );
    }
    let here = std::env::current_exe()?;
    let here = here.parent().ok_or("this program is in no folder")?;
    let base = args.dir.as_deref().unwrap_or(here);
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(base)?;
    let bench = Arc::new(Bench {
        quick: args.quick,
        dir: folder.path().to_owned(),
        bindings: args.bindings.clone(),
    });
    let mut report = Report::begin(args.json, args.quick);
    for figure in FIGURES {
        let is_named = args.names.iter().any(|name| name == figure.name);
        if !is_named && (!args.names.is_empty() || !figures::is_there(figure, &bench)) {
            continue;
        }
        // A thread of its own: what it pins ends with it.
        let bench = Arc::clone(&bench);
        let measured = std::thread::spawn(|| measure(figure, bench)).join();
        report.add(
            figure,
            measured.unwrap_or_else(|_| Err("it panicked".into())),
        );
    }
    report.end()
}

/// Measures one figure on a runtime of its own, in a task, as an app's code would run: waking the outermost future
/// of a runtime costs a system call that no task pays.
fn measure(figure: &'static Figure, bench: Arc<Bench>) -> Outcome<Measured> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async { tokio::spawn((figure.measure)(bench)).await? })
}
