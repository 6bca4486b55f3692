//! `cargo xtask bench`: builds what is measured and what measures, for release, and runs the latter.
//!
//! The measuring program is `bowline-bench` of the `sim` crate, so that this one stays quick to build. What the bindings
//! cost is measured by a program of each language; `bowline-bench` judges what they write.

use std::{fs, path::PathBuf};

use crate::{
    bindings, kotlin,
    memory::target_dir,
    process::{Outcome, cargo, run as run_command},
    swift, typescript,
};

/// What is measured, and how it is told.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Fewer repetitions: a minute instead of several, and figures with more noise.
    #[arg(long)]
    quick: bool,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
    /// Where daemons keep their state meanwhile; its disk is the one measured. Default: the target folder.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Which figures: ping, rate, attach, start, memory, intents, events, views, library, swift, kotlin, typescript, local-ping,
    /// local-rate, local-memory, relay-ping, relay-stream, relay-connect, relay-memory, relay-stall, relayed. Default: all but those
    /// of languages whose tools are missing.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// A language whose program measures.
struct Language {
    name: &'static str,
    /// Says what is missing, and how to get it.
    look: fn() -> Result<(), String>,
    /// Runs the program, quickly or at length, and returns the lines that it wrote.
    bench: fn(bool) -> Outcome<Vec<String>>,
}

const LANGUAGES: [Language; 3] = [
    Language {
        name: "swift",
        look: swift::look,
        bench: swift::bench,
    },
    Language {
        name: "kotlin",
        look: kotlin::look,
        bench: kotlin::bench,
    },
    Language {
        name: "typescript",
        look: typescript::look,
        bench: typescript::bench,
    },
];

/// Builds and measures.
///
/// # Errors
/// When something does not build or a figure cannot be measured. A missed target is no error.
pub(crate) fn run(options: &Options) -> Outcome {
    let names = &options.names;
    if names.is_empty() || names.iter().any(|name| name == "library") {
        bindings::build(true)?;
    }
    let lines = measure_languages(options)?;
    let build = [
        "build",
        "--release",
        "--locked",
        "--package=bowline-daemon",
        "--package=bowline-relay",
        "--package=bowline-sim",
        "--bins",
    ];
    run_command(&mut cargo(build))?;
    let mut bench = cargo([
        "run",
        "--quiet",
        "--release",
        "--locked",
        "--package=bowline-sim",
        "--bin=bowline-bench",
        "--",
    ]);
    if options.quick {
        bench.arg("--quick");
    }
    if options.json {
        bench.arg("--json");
    }
    if let Some(dir) = &options.dir {
        // Relative to where the user is, not to the workspace, in which the program runs.
        bench
            .arg("--dir")
            .arg(std::path::absolute(dir).unwrap_or_else(|_| dir.clone()));
    }
    run_command(bench.arg("--bindings").arg(lines).args(names))
}

/// Runs the programs of the languages that are wanted, and says in which folder is what they wrote.
fn measure_languages(options: &Options) -> Outcome<PathBuf> {
    let names = &options.names;
    let folder = target_dir().join("bench");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for Language { name, look, bench } in LANGUAGES {
        let is_named = names.iter().any(|other| other == name);
        if !is_named && !names.is_empty() {
            continue;
        }
        match look() {
            Ok(()) => {
                let path = folder.join(name).with_extension("jsonl");
                let lines = bench(options.quick)?.join("\n");
                fs::write(&path, lines).map_err(|error| format!("{}: {error}", path.display()))?;
            }
            Err(missing) if is_named => return Err(missing),
            Err(missing) => complain!("{name} is not measured: {missing}"),
        }
    }
    Ok(folder)
}
