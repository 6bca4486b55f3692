//! The command line of `bowline-daemon` (`docs/commands.md`).

mod ask;
mod pair;
mod revoke;
mod run;
mod socket;

use std::{
    ffi::{OsStr, OsString},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
};

use bowline_local::Endpoint;
use bowline_program::{complain, print};
use bowline_protocol::relay::RelayUrlError;
use clap::{
    Args, CommandFactory, FromArgMatches, Parser, Subcommand, builder::TypedValueParser,
    error::ErrorKind,
};

use self::socket::Asked;
#[cfg(unix)]
use crate::agents::{LAUNCHER_ARGUMENT, launcher_main};
use crate::{
    config::{
        self, AdvertisedAddress, ConfigError, Home, Lapse, LogFormat, Overrides, RelayUrl, Settings,
    },
    program::Program,
};

const RUN_HELP: &str = "\
What is bounded, and what happens at each bound (prompts of 64 KiB, 4 MiB of output kept of a turn, 32 turns at once, and
more): \"Limits that users meet\" in Bowline's docs/commands.md. Those that are settings stand under [limits] in the
configuration file; `config check` prints them.";

/// What the process ends with (`docs/commands.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    NotReachable = 3,
    Refused = 4,
}

/// A message for people, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl ToString) -> Self {
        Self {
            exit,
            message: message.to_string(),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Usage, error)
    }
}

/// The command line of every daemon program; name, version and description are the program's.
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
struct Shared {
    /// Configuration file (TOML)
    #[arg(long, global = true, value_name = "FILE", env = "BOWLINE_CONFIG")]
    config: Option<PathBuf>,
    /// Directory of identity and database
    #[arg(long, global = true, value_name = "DIR", env = "BOWLINE_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// Local control socket [default: daemon.sock in the state directory]
    #[arg(long, global = true, value_name = "PATH", env = "BOWLINE_SOCKET")]
    socket: Option<PathBuf>,
    /// Log filter, for example `info` or `bowline_daemon=debug` [default: info]
    #[arg(long, global = true, value_name = "FILTER", env = "BOWLINE_LOG")]
    log: Option<String>,
    /// Form of log lines on standard error [default: text]
    #[arg(long, global = true, value_name = "FORM", env = "BOWLINE_LOG_FORMAT")]
    log_format: Option<LogFormat>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon (what happens without a command)
    ///
    /// Ctrl-C, SIGTERM and a terminal that closes end it in order: turns that run are ended, and clients come back when it is
    /// started again. Logs go to standard error, the addresses that it listens at go to standard output.
    #[command(after_long_help = RUN_HELP)]
    Run(RunFlags),
    /// Offer a device one chance to pair: prints a link and, if another machine can use it, a QR code
    ///
    /// An offer is good for one device and for a while, and lists every address of the daemon. A new one does not end those made
    /// before.
    Pair {
        /// How long the offer is good for, for example 10m
        #[arg(long, default_value = "10m", value_name = "DURATION")]
        ttl: Lapse,
        /// Print {"offer","expiresAt"} instead
        #[arg(long)]
        json: bool,
    },
    /// Show how the daemon is
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List sessions
    Sessions {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List open connections
    Connections {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List paired devices, or revoke one
    ///
    /// A device has a name, a platform, and an id of which the end is shown; its name or that end names it for `revoke`.
    Devices {
        #[command(subcommand)]
        command: Option<DevicesCommand>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Look at the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Debug, Subcommand)]
enum DevicesCommand {
    /// List paired devices (what happens without a command)
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Withdraw a device's pairing and cut its connections
    ///
    /// It has to pair again with a new offer. What it asked for so far stays done.
    Revoke {
        /// A device's name if only one has it, or a beginning or an end of its id (4 letters at least), as the list shows it
        #[arg(value_name = "DEVICE")]
        device: String,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check the configuration and print what is in force
    Check(RunFlags),
}

/// Flags of `run`.
#[derive(Clone, Debug, Default, Args)]
struct RunFlags {
    /// Where to listen; repeatable; port 0 picks a free one [default: 127.0.0.1:4717]
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "BOWLINE_LISTEN",
        value_delimiter = ','
    )]
    listen: Vec<SocketAddr>,
    /// Where to answer GET /metrics, for Prometheus [default: nowhere]
    #[arg(long, value_name = "ADDR:PORT", env = "BOWLINE_METRICS")]
    metrics: Option<SocketAddr>,
    /// A relay to register with, wss://HOST, or wss://TOKEN@HOST if it is private; repeatable
    #[arg(
        long,
        value_name = "URL",
        env = "BOWLINE_RELAY",
        value_delimiter = ',',
        hide_env_values = true,
        value_parser = RelayParser
    )]
    relay: Vec<RelayUrl>,
    /// Certificates (PEM) to trust in relays besides the public ones; repeatable
    #[arg(
        long,
        value_name = "FILE",
        env = "BOWLINE_RELAY_ROOT",
        value_delimiter = ','
    )]
    relay_root: Vec<PathBuf>,
    /// The daemon's name, for people [default: the machine's name]
    #[arg(long, value_name = "NAME", env = "BOWLINE_NAME")]
    name: Option<String>,
    /// What offers list instead of the addresses bound; repeatable
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "BOWLINE_ADVERTISE",
        value_delimiter = ','
    )]
    advertise: Vec<AdvertisedAddress>,
}

/// Reads a relay's URL. The error does not repeat it as the library's own would: it may hold a token (C33).
#[derive(Clone)]
struct RelayParser;

impl TypedValueParser for RelayParser {
    type Value = RelayUrl;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<RelayUrl, clap::Error> {
        let parsed = value
            .to_str()
            .map_or(Err(RelayUrlError::Character), str::parse);
        parsed.map_err(|problem| {
            let text = format!("`relay` (--relay, BOWLINE_RELAY): {problem}\n");
            clap::Error::raw(ErrorKind::ValueValidation, text).with_cmd(command)
        })
    }
}

impl Shared {
    fn settings(self, home: Home, run: RunFlags) -> Result<Settings, Failure> {
        Ok(config::load(Overrides {
            home,
            config: self.config,
            state_dir: self.state_dir,
            log: self.log,
            log_format: self.log_format,
            listen: run.listen,
            socket: self.socket,
            metrics: run.metrics,
            relay: run.relay,
            relay_root: run.relay_root,
            name: run.name,
            advertise: run.advertise,
        })?)
    }
}

/// Parses a command line. Flags of `run` alone mean `run`.
fn parse(program: &Program, args: Vec<OsString>) -> Result<Cli, clap::Error> {
    let read = |args: &[OsString]| {
        let mut definition = definition(program);
        let matches = definition.try_get_matches_from_mut(args)?;
        Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut definition))
    };
    match read(&args) {
        Ok(cli) if cli.command.is_some() => Ok(cli),
        // `run` must be said once, so that its flags and variables are read.
        Ok(_) => read(&with_run(args)),
        Err(error) if error.kind() == ErrorKind::UnknownArgument => {
            read(&with_run(args)).map_err(|second| {
                // Without `run` the first error is the one that fits what was written.
                if second.kind() == ErrorKind::UnknownArgument {
                    error
                } else {
                    second
                }
            })
        }
        Err(error) => Err(error),
    }
}

fn with_run(mut args: Vec<OsString>) -> Vec<OsString> {
    args.insert(args.len().min(1), "run".into());
    args
}

/// The whole program: parses the command line, does what it says, says what went wrong.
pub(crate) fn main(program: Program, args: Vec<OsString>) -> ExitCode {
    let name = program.name;
    // Before anything is parsed: its environment is an agent's, and its arguments are nobody's.
    #[cfg(unix)]
    if args
        .get(1)
        .is_some_and(|command| command == LAUNCHER_ARGUMENT)
    {
        return launcher_main(name);
    }
    let cli = match parse(&program, args) {
        Ok(cli) => cli,
        Err(error) => return print::usage(name, &error),
    };
    let exit = match dispatch(program, cli) {
        Ok(()) => Exit::Done,
        Err(failure) => {
            complain!("{name}: {}", failure.message);
            failure.exit
        }
    };
    print::conclude(name, exit as u8)
}

fn dispatch(program: Program, cli: Cli) -> Result<(), Failure> {
    let home = program.home;
    let Cli { shared, command } = cli;
    let name = program.name;
    let asked = |shared: Shared| -> Result<Asked, Failure> {
        Ok(Asked {
            socket: shared.settings(home, RunFlags::default())?.socket,
            program: name,
        })
    };
    match command.unwrap_or_else(|| Command::Run(RunFlags::default())) {
        Command::Run(flags) => run::run(shared.settings(home, flags)?, program.services),
        Command::Config {
            command: ConfigCommand::Check(flags),
        } => check(&shared.settings(home, flags)?),
        Command::Pair { ttl, json } => pair::pair(&asked(shared)?, ttl, json),
        Command::Status { json } => ask::status(&asked(shared)?, json),
        Command::Sessions { json } => ask::sessions(&asked(shared)?, json),
        Command::Connections { json } => ask::connections(&asked(shared)?, json),
        Command::Devices { command, json } => match command {
            None => ask::devices(&asked(shared)?, json),
            Some(DevicesCommand::List { json: also }) => {
                ask::devices(&asked(shared)?, json || also)
            }
            Some(DevicesCommand::Revoke { device }) => revoke::revoke(&asked(shared)?, &device),
        },
    }
}

fn check(settings: &Settings) -> Result<(), Failure> {
    run::log_filter(&settings.log)?;
    Endpoint::new(&settings.socket)?;
    let text =
        toml::to_string(&settings.to_file()).map_err(|error| Failure::new(Exit::Failed, error))?;
    print::out(format_args!("{text}"));
    Ok(())
}

/// The definition of a program's command line.
fn definition(program: &Program) -> clap::Command {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Cli {
        let args = line.split(' ').map(Into::into).collect();
        parse(&Program::bowline(), args).unwrap()
    }

    #[test]
    fn the_command_line_is_well_formed() {
        definition(&Program::bowline()).debug_assert();
    }

    #[test]
    fn a_program_of_an_author_speaks_in_its_own_name() {
        let program = Program::new("voxel-daemon", "1.2.3").about("Voxels.");
        let said = |line: &str| {
            let args = line.split(' ').map(Into::into).collect();
            parse(&program, args).unwrap_err().to_string()
        };
        assert_eq!(said("voxel-daemon --version"), "voxel-daemon 1.2.3\n");
        let help = said("voxel-daemon --help");
        assert!(
            help.starts_with("Voxels.") && help.contains("`voxel-daemon run"),
            "{help}"
        );
        assert!(!help.contains("bowline-daemon"), "{help}");
        assert!(said("voxel-daemon stats").contains("Usage: voxel-daemon"));
    }

    #[test]
    fn without_a_command_it_runs() {
        let cli = parsed("bowline-daemon --listen 127.0.0.1:0 --name x --state-dir /s");
        let Some(Command::Run(flags)) = cli.command else {
            panic!("not run");
        };
        assert_eq!(flags.listen, ["127.0.0.1:0".parse().unwrap()]);
        assert_eq!(cli.shared.state_dir, Some(PathBuf::from("/s")));
        assert!(matches!(
            parsed("bowline-daemon").command,
            Some(Command::Run(_))
        ));
        assert!(matches!(
            parsed("bowline-daemon status --json --state-dir /s").command,
            Some(Command::Status { json: true })
        ));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |line: &str| {
            parse(
                &Program::bowline(),
                line.split(' ').map(Into::into).collect(),
            )
            .unwrap_err()
            .to_string()
        };
        assert!(error("bowline-daemon --listen nowhere").contains("nowhere"));
        assert!(error("bowline-daemon --lisen 127.0.0.1:0").contains("--lisen"));
        for wrong in [
            "ws://S3CRET#x@h",
            "ws://Zm9v/S3CRET@127.0.0.1:48100",
            "http://S3CRET@h",
        ] {
            let text = error(&format!("bowline-daemon --relay {wrong}"));
            assert!(
                text.contains("BOWLINE_RELAY") && !text.contains("S3CRET"),
                "{text}"
            );
        }
        assert!(error("bowline-daemon pair --ttl soon").contains("\"10m\""));
        assert!(error("bowline-daemon devices revoke").contains("<DEVICE>"));
        assert!(
            error("bowline-daemon stats").contains("status"),
            "a suggestion"
        );
    }
}
