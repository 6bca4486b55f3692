//! The command line: commands, flags and their `BOWLINE_…` variables.

use std::path::PathBuf;

use bowline_program::{Lapse, LogFormat};
use bowline_runtime::machines::Path;
use clap::{Args, Parser, Subcommand, ValueEnum, builder::BoolishValueParser};
use serde::Deserialize;

const AFTER_HELP: &str = "\
Every flag has a key in the configuration file (--give-up is `give_up`) and a BOWLINE_… variable; a flag wins
over the variable, the variable over the file.

Exit codes: 0 done · 1 failed, or the turn did · 2 usage · 3 not reachable · 4 refused (pairing, revoked) ·
130 interrupted with Ctrl-C";

/// Talk to Bowline daemons from a terminal.
#[derive(Debug, Parser)]
#[command(name = "bowline", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Shared options")]
pub(crate) struct Shared {
    /// Print JSON, one object a line
    #[arg(long, global = true, env = "BOWLINE_JSON", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(crate) json: bool,
    /// Use only paths of this kind
    #[arg(
        long,
        global = true,
        value_name = "KIND",
        env = "BOWLINE_ONLY",
        hide_env = true
    )]
    pub(crate) only: Option<Only>,
    /// How long a host may stay out of reach before a command ends with exit code 3; "0s" = for ever
    /// [default: 30s]
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        env = "BOWLINE_TIMEOUT",
        hide_env = true
    )]
    pub(crate) timeout: Option<Lapse>,
    /// How long `run`, `send` and `history` go on without a connection once they had one; "0s" = for ever
    /// [default: 0s]
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        env = "BOWLINE_GIVE_UP",
        hide_env = true
    )]
    pub(crate) give_up: Option<Lapse>,
    /// Configuration file (TOML) [default: bowline/client.toml in the user's configuration folder, if there]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "BOWLINE_CONFIG",
        hide_env = true
    )]
    pub(crate) config: Option<PathBuf>,
    /// Folder of this client's identity, hosts and undelivered requests [default: bowline in the user's state
    /// folder]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "BOWLINE_STATE_DIR",
        hide_env = true
    )]
    pub(crate) state_dir: Option<PathBuf>,
    /// What is logged to stderr, for example debug or bowline_runtime=info [default: error]
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        env = "BOWLINE_LOG",
        hide_env = true
    )]
    pub(crate) log: Option<String>,
    /// Form of the log [default: text]
    #[arg(
        long,
        global = true,
        value_name = "FORM",
        env = "BOWLINE_LOG_FORMAT",
        hide_env = true
    )]
    pub(crate) log_format: Option<LogFormat>,
}

/// A kind of path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Only {
    /// Straight to the daemon
    Direct,
    /// Through a relay
    Relay,
    /// On the daemon's own machine
    Local,
}

impl From<Only> for Path {
    fn from(only: Only) -> Self {
        match only {
            Only::Direct => Self::Direct,
            Only::Relay => Self::Relay,
            Only::Local => Self::Local,
        }
    }
}

/// Where an agent is looked for or made.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct HostFlag {
    /// A host's serverId, the beginning of it, or its name; needed only where several hosts are known
    #[arg(long, env = "BOWLINE_HOST", hide_env = true)]
    pub(crate) host: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Pair this device with a daemon
    Pair {
        /// The link that `bowline-daemon pair` prints: bowline://pair?… ("-" reads it from standard input,
        /// where no other user of this machine sees it)
        offer: String,
    },
    /// List the hosts this device is paired with
    Hosts,
    /// List agents
    Agents(HostFlag),
    /// Make an agent, give it a prompt, and show its work until the turn ends
    ///
    /// The output of a command goes to stdout and stderr as the command wrote it. The exit code is 0 when the
    /// turn completed and 1 when it failed, was cancelled or was interrupted. Ctrl-C leaves the agent running.
    Run {
        #[command(flatten)]
        host: HostFlag,
        /// What the agent is made of, as the daemon's configuration names it
        #[arg(long, value_name = "NAME", env = "BOWLINE_PROVIDER", hide_env = true)]
        provider: Option<String>,
        /// Working directory on the daemon's machine [default: the current one]
        #[arg(long, value_name = "DIR", env = "BOWLINE_CWD", hide_env = true)]
        cwd: Option<String>,
        /// The prompt ("-" reads it from standard input)
        prompt: String,
    },
    /// Give an agent another prompt, and show its work until that turn ends
    Send {
        #[command(flatten)]
        host: HostFlag,
        /// An agent's id, the beginning of it, or its title
        agent: String,
        /// The prompt ("-" reads it from standard input)
        text: String,
    },
    /// Show what an agent did, oldest first
    History {
        #[command(flatten)]
        host: HostFlag,
        /// An agent's id, the beginning of it, or its title
        agent: String,
        /// Only the newest N items [default: all]
        #[arg(long, value_name = "N", env = "BOWLINE_LIMIT", hide_env = true)]
        limit: Option<u64>,
    },
    /// Show hosts and agents live
    Watch,
    /// Forget a host and the requests that wait for it
    Forget {
        /// A host's serverId, the beginning of it, or its name
        host: String,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, String> {
        Cli::try_parse_from(line.split(' ')).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn shared_flags_stand_before_or_after_the_command() {
        let before = parse("bowline --json --only relay --timeout 5s hosts").unwrap();
        let after = parse("bowline hosts --json --only relay --timeout 5s").unwrap();
        for cli in [before, after] {
            assert!(cli.shared.json && cli.shared.only == Some(Only::Relay));
            assert_eq!(cli.shared.timeout, Some("5s".parse().unwrap()));
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(
            parse("bowline hosts --timeout soon")
                .unwrap_err()
                .contains("\"30s\"")
        );
        assert!(
            parse("bowline hosts --only wifi")
                .unwrap_err()
                .contains("direct")
        );
        assert!(parse("bowline hists").unwrap_err().contains("history"));
    }
}
