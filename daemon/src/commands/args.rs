//! The commands and flags of a daemon program.

use std::path::PathBuf;

use bowline_program::Failure;
use clap::{Args, CommandFactory, Parser, Subcommand};

use super::{audit, devices, pair::How};
use crate::{
    config::{self, Home, LogFormat, Sections, Settings, Written},
    program::Program,
};

const RUN_HELP: &str = "\
What is bounded, and what happens at each bound (prompts of 64 KiB, 4 MiB of output kept of a turn, 32 turns at once, and
more): \"Limits that users meet\" in Bowline's docs/commands.md. Those that are settings stand under [limits] in the
configuration file, those of a service under its own key, as [agents]; `config check` prints them.";

/// The command line of every daemon program; name, version and description are the program's.
#[derive(Debug, Parser)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) shared: Shared,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
pub(super) struct Shared {
    /// Configuration file (TOML)
    #[arg(long, global = true, value_name = "FILE", env = "BOWLINE_CONFIG")]
    config: Option<PathBuf>,
    /// Directory of identity and database
    #[arg(long, global = true, value_name = "DIR", env = "BOWLINE_STATE_DIR")]
    pub(super) state_dir: Option<PathBuf>,
    /// Local control socket [default: daemon.sock in the state directory]
    #[arg(long, global = true, value_name = "PATH", env = "BOWLINE_SOCKET")]
    socket: Option<PathBuf>,
    /// Log filter, for example `info`, or `info,bowline_daemon=debug`; agents are `bowline_agents`
    /// [default: info]
    #[arg(long, global = true, value_name = "FILTER", env = "BOWLINE_LOG")]
    log: Option<String>,
    /// Format of log lines on standard error [default: text]
    #[arg(long, global = true, value_name = "FORM", env = "BOWLINE_LOG_FORMAT")]
    log_format: Option<LogFormat>,
}

/// The form of a command's output.
#[derive(Debug, Args)]
pub(super) struct Form {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the daemon (default command)
    ///
    /// Ctrl-C, SIGTERM and a closed terminal end it in an orderly way: running turns end, and
    /// clients reconnect when it is started again. Logs go to standard error, listening addresses
    /// to standard output.
    #[command(after_long_help = RUN_HELP)]
    Run(Written),
    /// Create a pairing offer for one device: prints a link and, if other machines can use it, a QR
    /// code
    ///
    /// An offer is valid for one device and for a limited time, and lists every address of the
    /// daemon. When a device comes, its name and a code of six digits are shown; it is paired after
    /// a yes. A paired device may do everything that its owner may, unless `--role`, `--provider`
    /// and `--root` say less. A new offer does not end earlier ones.
    Pair(How),
    /// List open pairing offers, withdraw one, or pair with the device that asks
    Offers {
        #[command(subcommand)]
        command: Option<OffersCommand>,
        #[command(flatten)]
        form: Form,
    },
    /// Show the daemon's status
    Status(Form),
    /// List sessions
    Sessions(Form),
    /// List open connections
    Connections(Form),
    /// List paired devices, change what one may do, or revoke one
    ///
    /// A device has a name, a platform and an id, whose end is shown. `set` and `revoke` accept the
    /// name or that end.
    Devices {
        #[command(subcommand)]
        command: Option<DevicesCommand>,
        #[command(flatten)]
        form: Form,
    },
    /// Show who paired, was refused or revoked, and what each device asked for
    Audit(audit::How),
    /// Refuse all devices and stop agents, until `unlock`
    ///
    /// For a lost device, or while you look at the audit log: every device's connections are cut
    /// and it is refused, running turns end, and waiting turns wait. A restart does not end it. The
    /// daemon's own machine is not locked out.
    Lock(Form),
    /// Serve devices again after `lock`
    Unlock(Form),
    /// Show what the daemon offers to apps: methods, tables, logs and topics
    ///
    /// This is what the program has linked; no daemon needs to run. `--json` prints it as an
    /// OpenRPC document, which a running daemon answers `rpc.discover` with.
    Describe {
        #[command(flatten)]
        form: Form,
        /// Print the types of the services as one JSON Schema, for generators of types
        #[arg(long, conflicts_with = "json")]
        schema: bool,
    },
    /// Inspect the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum OffersCommand {
    /// List open offers (default command)
    List(Form),
    /// Withdraw an offer; a device that asks with it is told
    Cancel {
        /// Beginning or end of the offer's id (at least 4 letters), as the list shows it
        #[arg(value_name = "OFFER")]
        offer: String,
        #[command(flatten)]
        form: Form,
    },
    /// Pair with the device that asks with an offer, once you have compared the code
    Approve {
        /// Beginning or end of the offer's id (at least 4 letters), as the list shows it
        #[arg(value_name = "OFFER")]
        offer: String,
        /// The six digits that your device shows; without them the terminal asks
        #[arg(long, value_name = "CODE")]
        code: Option<String>,
        #[command(flatten)]
        form: Form,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum DevicesCommand {
    /// List paired devices (default command)
    List(Form),
    /// Revoke a device's pairing and close its connections
    ///
    /// It has to pair again with a new offer. Its running and waiting turns are ended; what they
    /// did until then stays.
    Revoke {
        /// A device's name if it is unique, or the beginning or end of its id (at least 4 letters),
        /// as the list shows it
        #[arg(value_name = "DEVICE")]
        device: String,
        /// Let the turns that it asked for go on
        #[arg(long)]
        keep_turns: bool,
        #[command(flatten)]
        form: Form,
    },
    /// Change what a device may do
    ///
    /// Only what is named changes, from the device's next request on. Its connections are made
    /// again.
    Set {
        /// A device's name if it is unique, or the beginning or end of its id (at least 4 letters),
        /// as the list shows it
        #[arg(value_name = "DEVICE")]
        device: String,
        #[command(flatten)]
        change: devices::Change,
        #[command(flatten)]
        form: Form,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check the configuration and print the resolved settings
    Check(Written),
}

impl Cli {
    /// The settings among the flags of the command, if it has any.
    pub(super) const fn written(&mut self) -> Option<&mut Written> {
        match &mut self.command {
            Some(
                Command::Run(written)
                | Command::Config {
                    command: ConfigCommand::Check(written),
                },
            ) => Some(written),
            _ => None,
        }
    }
}

impl Shared {
    /// The settings of a command with these flags.
    pub(super) fn settings(
        self,
        home: Home,
        run: Written,
        sections: &Sections,
    ) -> Result<Settings, Failure> {
        let written = Written {
            state_dir: self.state_dir,
            socket: self.socket,
            log: self.log,
            log_format: self.log_format,
            ..run
        };
        Ok(config::load(home, self.config, written, sections)?)
    }
}

/// Definition of a program's command line.
pub(super) fn definition(program: &Program) -> clap::Command {
    let name = program.name;
    Cli::command()
        .name(name)
        .version(program.version)
        .about(program.about)
        .after_help(format!(
            "Without a command it runs: `{name} --listen 0.0.0.0:4717` is `{name} run --listen …`.\n\
             Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 no daemon reachable, 4 refused."
        ))
}
