//! The command line of `bowline-relay` (`docs/commands.md`).

mod run;

use std::{path::PathBuf, process::ExitCode};

use bowline_program::{config::parse_line, end, print};
use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{self, Written};

/// The program's name.
const NAME: &str = "bowline-relay";

/// Bowline's relay: connects clients to daemons that cannot be dialled directly; it cannot read the
/// messages it forwards.
#[derive(Parser)]
#[command(
    name = "bowline-relay",
    version,
    about,
    after_help = "Limits: 0 means none. Exit codes: 0 done, 1 failed, 2 usage or configuration."
)]
struct Cli {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "BOWLINE_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    written: Written,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the relay (default command)
    Run,
}

/// The whole program: parses the command line, runs the command and prints errors.
pub fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    let cli: Cli = match parse_line(&definition(), &args, |cli: &mut Cli| Some(&mut cli.written)) {
        Ok(cli) => cli,
        Err(error) => return print::usage(NAME, &error),
    };
    let settings = config::load(cli.config, cli.written);
    end(NAME, settings.map_err(Into::into).and_then(run::run))
}

/// The definition of the command line, for documentation.
pub fn definition() -> clap::Command {
    // They stand before or after `run`.
    Cli::command().mut_args(|flag| flag.global(true))
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        let matches = definition().try_get_matches_from(line.split(' '))?;
        Cli::from_arg_matches(&matches)
    }

    #[test]
    fn the_command_line_is_well_formed() {
        definition().debug_assert();
    }

    #[test]
    fn flags_stand_before_or_after_run_or_without_it() {
        for line in [
            "bowline-relay --listen 127.0.0.1:0 --sockets-per-daemon 9",
            "bowline-relay run --listen 127.0.0.1:0 --sockets-per-daemon 9",
            "bowline-relay --listen 127.0.0.1:0 run --sockets-per-daemon 9",
        ] {
            let cli = parse(line).unwrap();
            let Written { listen, limits, .. } = cli.written;
            assert_eq!(listen, Some(vec!["127.0.0.1:0".parse().unwrap()]), "{line}");
            assert_eq!(limits.sockets_per_daemon, Some(9), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |line: &str| parse(line).err().unwrap().to_string();
        assert!(error("bowline-relay --listen nowhere").contains("nowhere"));
        assert!(error("bowline-relay --peer-wait soon").contains("\"10s\""));
        assert!(error("bowline-relay --trusted-proxy x").contains("10.0.0.0/8"));
        assert!(error("bowline-relay --lisen 127.0.0.1:0").contains("--listen"));
    }
}
