//! `bowline-bindgen`: generates the Swift and Kotlin bindings and the summary of the exported API
//! from the metadata in the built library.

mod api;

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use uniffi_bindgen::{
    BindgenLoader, BindgenPaths,
    bindings::{GenerateOptions, TargetLanguage, generate_with_bindgen_paths},
};

type Failure = Box<dyn std::error::Error>;

/// Generates bindings of the Bowline library.
#[derive(Parser)]
struct Args {
    /// The built library, of any target.
    #[arg(long)]
    library: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Swift sources, header and module map.
    Swift(Generate),
    /// Kotlin sources.
    Kotlin(Generate),
    /// The summary of the exported API, on standard output.
    Api,
}

#[derive(clap::Args)]
struct Generate {
    /// The workspace's `uniffi.toml`.
    #[arg(long)]
    config: PathBuf,
    /// Folder for the generated files.
    #[arg(long)]
    out: PathBuf,
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bowline-bindgen: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), Failure> {
    let loader = BindgenLoader::new(BindgenPaths::default());
    let components = loader.load_cis(loader.load_metadata(args.library.as_path().try_into()?)?)?;
    // Without this check the generators would write nothing and report no error.
    if components.is_empty() {
        let library = args.library.display();
        return Err(format!("{library} does not describe its surface: is it stripped?").into());
    }
    let (language, to) = match args.what {
        What::Swift(to) => (TargetLanguage::Swift, to),
        What::Kotlin(to) => (TargetLanguage::Kotlin, to),
        What::Api => {
            for component in &components {
                std::io::stdout().write_all(api::summary(component).as_bytes())?;
            }
            return Ok(());
        }
    };
    let options = GenerateOptions {
        languages: vec![language],
        source: args.library.try_into()?,
        out_dir: to.out.try_into()?,
        config_override: Some(to.config.try_into()?),
        ..GenerateOptions::default()
    };
    generate_with_bindgen_paths(options, BindgenPaths::default())?;
    Ok(())
}
