//! `cargo xtask bench`: builds the programs in release mode and runs the measurements.
//!
//! `bowline-bench` (crate `bench`) measures, so that xtask stays quick to build. A program per
//! language measures the cost of its bindings; `bowline-bench` judges the samples it writes.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use xshell::cmd;

use crate::{
    bindings, kotlin, needs,
    process::{Workspace, target_dir},
    swift, typescript,
};

/// Scope, repetitions and output format of a measurement.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Fewer repetitions: takes about a minute instead of several; the figures are noisier.
    #[arg(long)]
    quick: bool,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
    /// Number of complete runs. With more than one, the report ends with a table of each ratio to a
    /// bare peer: smallest, middle and largest over the runs.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Folder for the state of the measured daemons; its disk is the one measured. Default: the
    /// target folder.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Figures to measure: ping, rate, attach, start, memory, intents, events, views, live-opening,
    /// cached, live-changes, live-follows, live-rows, blobs, library, swift, kotlin, typescript,
    /// local-ping, local-rate, local-memory, relay-ping, relay-stream, relay-connect,
    /// relay-memory, relay-stall, relayed, frozen-path. Default: all, except languages whose tools
    /// are missing.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// Runs the measuring program of a language (`true`: quick) and returns its output lines.
type Bench = fn(&Workspace, bool) -> Result<String>;

const LANGUAGES: [(&str, Bench); 3] = [
    ("swift", swift::bench),
    ("kotlin", kotlin::bench),
    ("typescript", typescript::bench),
];

/// Builds everything and runs the measurements.
///
/// # Errors
/// Something does not build, or a figure cannot be measured. A missed target is no error.
pub(crate) fn run(sh: &Workspace, options: Options) -> Result<()> {
    let names = &options.names;
    if names.is_empty() || names.iter().any(|name| name == "library") {
        bindings::build(sh, true)?;
    }
    let lines = target_dir().join("bench");
    sh.remove_path(&lines)?;
    for run in 1..=options.runs {
        measure_languages(sh, &options, &lines.join(run.to_string()))?;
    }
    cmd!(
        sh,
        "cargo build --release --locked -p bowline-daemon -p bowline-daemon-program -p bowline-relay -p bowline-bench
            --bins --example sheet"
    )
    .run()?;
    let quick = options.quick.then_some("--quick");
    let json = options.json.then_some("--json");
    // Relative to the user's working directory; the program itself runs in the workspace root.
    let dir = options
        .dir
        .as_deref()
        .map(std::path::absolute)
        .transpose()?;
    let dir = dir.iter().flat_map(|dir| [Path::new("--dir"), dir]);
    let runs = options.runs.to_string();
    // Not by `cargo run`, which would build the libraries anew with the features of this package
    // alone.
    let program = target_dir()
        .join("release")
        .join(format!("bowline-bench{}", std::env::consts::EXE_SUFFIX));
    cmd!(
        sh,
        "{program} {quick...} {json...} {dir...} --runs={runs} --bindings {lines} {names...}"
    )
    .run()?;
    Ok(())
}

/// Runs the measuring programs of the requested languages and writes their lines into `folder`.
fn measure_languages(sh: &Workspace, options: &Options, folder: &Path) -> Result<()> {
    sh.create_dir(folder)?;
    for (name, bench) in LANGUAGES {
        let is_named = options.names.iter().any(|other| other == name);
        if !is_named && !options.names.is_empty() {
            continue;
        }
        match needs::require(name) {
            Ok(()) => {
                let lines = bench(sh, options.quick)?;
                sh.write_file(folder.join(name).with_extension("jsonl"), lines)?;
            }
            Err(missing) if is_named => bail!("{missing}"),
            Err(missing) => complain!("{name} is not measured: {missing}"),
        }
    }
    Ok(())
}
