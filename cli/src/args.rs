//! The command line: commands, flags and their `BOWLINE_…` variables.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::Written;

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
  ssh workshop bowline-daemon pair --json | jq -r .offer | bowline pair --yes -";

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
at once on a host: a further one waits, and bowline reports it. All bounds: \"Limits that users meet\" in docs/commands.md.";

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
#[command(mut_args(|shared| shared.global(true).hide_env(true)))]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) written: Written,
    /// Configuration file (TOML) [default: bowline/client.toml in the user's configuration folder,
    /// if it exists]
    #[arg(
        help_heading = "Shared options",
        long,
        value_name = "FILE",
        env = "BOWLINE_CONFIG"
    )]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Selects the host of a command.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct HostFlag {
    /// A host's name, or the beginning or end of its serverId; required only if several hosts are
    /// known
    #[arg(long, env = "BOWLINE_HOST", hide_env = true)]
    pub(crate) host: Option<String>,
}

/// The command to run.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Pair this device with a daemon
    ///
    /// Shows the daemon's name and addresses and asks before it contacts any of them. An offer
    /// works once, for a few minutes. Pairing again with a known host keeps it and adds
    /// the addresses of the offer.
    #[command(after_long_help = PAIR_HELP)]
    Pair {
        /// The link printed by `bowline-daemon pair`: bowline://pair?… ("-" reads it from standard
        /// input, which hides it from other users of this machine)
        offer: String,
        /// Pair without asking: for scripts, which have no terminal to answer on
        #[arg(long)]
        yes: bool,
    },
    /// List the paired hosts
    Hosts,
    /// List agents
    Agents {
        #[command(flatten)]
        host: HostFlag,
        /// Include archived agents (--json always does)
        #[arg(long)]
        all: bool,
    },
    /// List the providers of a host, which its agents can use
    Providers(HostFlag),
    /// Create an agent, give it a prompt, and show its work until the turn ends
    ///
    /// A command's output goes unchanged to stdout and stderr. The exit code is 0 when the turn
    /// completed and 1 when it failed, was cancelled or was interrupted.
    #[command(after_long_help = RUN_HELP)]
    Run {
        #[command(flatten)]
        host: HostFlag,
        /// The agent's provider, as listed by `bowline providers`; required only if there are
        /// several
        #[arg(long, value_name = "NAME", env = "BOWLINE_PROVIDER", hide_env = true)]
        provider: Option<String>,
        /// Working directory on the daemon's machine [default: the current one]
        #[arg(long, value_name = "DIR", env = "BOWLINE_CWD", hide_env = true)]
        cwd: Option<String>,
        /// The prompt, at most 64 KiB ("-" reads it from standard input; after "--" it may begin
        /// with a dash)
        prompt: String,
    },
    /// Give an agent another prompt, and show its work until that turn ends
    ///
    /// If the agent is working, the prompt is queued, and the output of earlier turns is shown
    /// first.
    #[command(after_long_help = SEND_HELP)]
    Send {
        #[command(flatten)]
        host: HostFlag,
        /// An agent: its title, or the beginning or end of its id
        agent: String,
        /// The prompt, at most 64 KiB ("-" reads it from standard input; after "--" it may begin
        /// with a dash)
        text: String,
    },
    /// Show an agent's history, oldest first
    History {
        #[command(flatten)]
        host: HostFlag,
        /// An agent: its title, or the beginning or end of its id
        agent: String,
        /// Only the newest N items [default: all]
        #[arg(long, value_name = "N", env = "BOWLINE_LIMIT", hide_env = true)]
        limit: Option<u64>,
    },
    /// Archive an agent permanently
    ///
    /// Cancels its running turn and drops queued prompts; it accepts no more. Its history stays
    /// readable. This cannot be undone.
    Archive {
        #[command(flatten)]
        host: HostFlag,
        /// An agent: its title, or the beginning or end of its id
        agent: String,
    },
    /// Show hosts and agents live
    ///
    /// On a terminal it fills the window; q, Esc and Ctrl-C quit. Into a pipe or file it prints a
    /// line per change, or with --json a line per snapshot.
    Watch,
    /// Forget a host and its undelivered requests
    ///
    /// The daemon still lists this device: remove it with `bowline-daemon devices revoke` on its
    /// machine.
    Forget {
        /// A host's name, or the beginning or end of its serverId
        host: String,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::config::Only;

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
            assert!(cli.written.json && cli.written.only == Some(Only::Relay));
            assert_eq!(cli.written.timeout, Some("5s".parse().unwrap()));
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
