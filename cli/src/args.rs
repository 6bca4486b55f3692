//! The command line: commands, flags and their `BOWLINE_…` variables.

use std::path::PathBuf;

use bowline_program::{Lapse, LogFormat};
use bowline_runtime::machines::Path;
use clap::{Args, Parser, Subcommand, ValueEnum, builder::BoolishValueParser};
use serde::Deserialize;

const AFTER_HELP: &str = "\
Begin with: `bowline-daemon run` and `bowline-daemon pair` on the machine that is to do the work, then
`bowline pair OFFER` and `bowline run 'echo hello'` here.

A HOST is the name of a host, or a beginning or an end of its serverId. An AGENT is its title, or a beginning or an
end of its id: what the lists show is enough.

Every flag has a key in the configuration file (--give-up is `give_up`) and a BOWLINE_… variable; a flag wins
over the variable, the variable over the file.

Exit codes: 0 done · 1 failed, or the turn did · 2 usage or configuration · 3 not reachable · 4 refused
(pairing, revoked) · 129, 130, 143 ended by SIGHUP, Ctrl-C, SIGTERM";

const PAIR_HELP: &str = "\
Examples:
  bowline pair 'bowline://pair?v=1&s=srv_…'    the quotes keep the shell from reading the &
  ssh workshop bowline-daemon pair --json | jq -r .offer | bowline pair -";

const RUN_HELP: &str = "\
Examples:
  bowline run 'make test'
  bowline run --provider claude --cwd /srv/site 'Mend the failing test'
  bowline run - < prompt.txt
  git diff | bowline run -
  bowline run -- '-v is not a flag of bowline here'

Ctrl-C ends bowline and leaves the agent at work: `bowline history AGENT` shows what it did, `bowline watch` whether it
is done. What a command leaves running in the background is not waited for: its turn ends when the command does.

A prompt has at most 64 KiB; put longer text into a file and name it. 4 MiB of a turn's output are kept, and 32 turns run
at once on a host: a further one waits, and bowline says so. All bounds: \"Limits that users meet\" in docs/commands.md.";

const SEND_HELP: &str = "\
Examples:
  bowline send 9b1f04c2 'and now the other test'
  bowline send 9b1f04c2 - < prompt.txt

Ctrl-C ends bowline and leaves the agent at work, as with `bowline run`.

A prompt has at most 64 KiB, and an agent holds at most 64 of them at a time. All bounds: \"Limits that users meet\" in
docs/commands.md.";

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
    /// Certificates (PEM) to trust in relays besides the public ones; repeatable
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "BOWLINE_RELAY_ROOT",
        value_delimiter = ',',
        hide_env = true
    )]
    pub(crate) relay_root: Vec<PathBuf>,
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
    /// What this device is called in the daemon's list of devices; told when it pairs [default: this machine's name]
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "BOWLINE_DEVICE_NAME",
        hide_env = true
    )]
    pub(crate) device_name: Option<String>,
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
    /// A host's name, or a beginning or an end of its serverId; needed only where several hosts are known
    #[arg(long, env = "BOWLINE_HOST", hide_env = true)]
    pub(crate) host: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Pair this device with a daemon
    ///
    /// An offer works once and for a few minutes. Pairing again with a host that is known already keeps it and adds
    /// the addresses of the offer.
    #[command(after_long_help = PAIR_HELP)]
    Pair {
        /// The link that `bowline-daemon pair` prints: bowline://pair?… ("-" reads it from standard input,
        /// where no other user of this machine sees it)
        offer: String,
    },
    /// List the hosts this device is paired with
    Hosts,
    /// List agents
    Agents {
        #[command(flatten)]
        host: HostFlag,
        /// List archived agents too (--json always does)
        #[arg(long)]
        all: bool,
    },
    /// List the providers of a host: what its agents can be made of
    Providers(HostFlag),
    /// Make an agent, give it a prompt, and show its work until the turn ends
    ///
    /// The output of a command goes to stdout and stderr as the command wrote it. The exit code is 0 when the
    /// turn completed and 1 when it failed, was cancelled or was interrupted.
    #[command(after_long_help = RUN_HELP)]
    Run {
        #[command(flatten)]
        host: HostFlag,
        /// What the agent is made of, as `bowline providers` lists it; needed only where there are several
        #[arg(long, value_name = "NAME", env = "BOWLINE_PROVIDER", hide_env = true)]
        provider: Option<String>,
        /// Working directory on the daemon's machine [default: the current one]
        #[arg(long, value_name = "DIR", env = "BOWLINE_CWD", hide_env = true)]
        cwd: Option<String>,
        /// The prompt, at most 64 KiB ("-" reads it from standard input; after "--" it may begin with a dash)
        prompt: String,
    },
    /// Give an agent another prompt, and show its work until that turn ends
    ///
    /// If the agent is at work, the prompt waits for its turn, and the output of the turns before it comes first.
    #[command(after_long_help = SEND_HELP)]
    Send {
        #[command(flatten)]
        host: HostFlag,
        /// An agent: its title, or a beginning or an end of its id
        agent: String,
        /// The prompt, at most 64 KiB ("-" reads it from standard input; after "--" it may begin with a dash)
        text: String,
    },
    /// Show what an agent did, oldest first
    History {
        #[command(flatten)]
        host: HostFlag,
        /// An agent: its title, or a beginning or an end of its id
        agent: String,
        /// Only the newest N items [default: all]
        #[arg(long, value_name = "N", env = "BOWLINE_LIMIT", hide_env = true)]
        limit: Option<u64>,
    },
    /// Put an agent away for good
    ///
    /// Its running turn is cancelled, prompts that wait are dropped, and it takes no more. Its history can still be
    /// read. There is no way back.
    Archive {
        #[command(flatten)]
        host: HostFlag,
        /// An agent: its title, or a beginning or an end of its id
        agent: String,
    },
    /// Show hosts and agents live
    ///
    /// On a terminal it fills the window; q, Esc and Ctrl-C end it. Into a pipe or a file it prints a line for each
    /// change, and with --json every snapshot as a line.
    Watch,
    /// Forget a host and the requests that wait for it
    ///
    /// The daemon still knows this device: `bowline-daemon devices revoke` on its machine ends that.
    Forget {
        /// A host's name, or a beginning or an end of its serverId
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
