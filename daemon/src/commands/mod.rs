//! The command line of `bowline-daemon` (`docs/commands.md`).

mod ask;
mod audit;
mod devices;
mod grant;
mod lock;
mod offers;
mod pair;
mod run;
mod socket;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use bowline_local::Endpoint;
use bowline_program::{Failure, config::parse_line, end, print};
use clap::{Args, CommandFactory, Parser, Subcommand, error::ErrorKind};

use self::{pair::How, socket::Asked};
#[cfg(unix)]
use crate::agents::{LAUNCHER_ARGUMENT, launcher_main};
use crate::{
    config::{self, Home, LogFormat, Settings, Written},
    program::Program,
    relay::RelayPlan,
};

const RUN_HELP: &str = "\
What is bounded, and what happens at each bound (prompts of 64 KiB, 4 MiB of output kept of a turn, 32 turns at once, and
more): \"Limits that users meet\" in Bowline's docs/commands.md. Those that are settings stand under [limits] in the
configuration file; `config check` prints them.";

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
    /// Format of log lines on standard error [default: text]
    #[arg(long, global = true, value_name = "FORM", env = "BOWLINE_LOG_FORMAT")]
    log_format: Option<LogFormat>,
}

/// The form of a command's output.
#[derive(Debug, Args)]
struct Form {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
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
    /// Inspect the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Debug, Subcommand)]
enum OffersCommand {
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
enum DevicesCommand {
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
enum ConfigCommand {
    /// Check the configuration and print the resolved settings
    Check(Written),
}

impl Cli {
    /// The settings among the flags of the command, if it has any.
    const fn written(&mut self) -> Option<&mut Written> {
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
    fn settings(self, home: Home, run: Written) -> Result<Settings, Failure> {
        let written = Written {
            state_dir: self.state_dir,
            socket: self.socket,
            log: self.log,
            log_format: self.log_format,
            ..run
        };
        Ok(config::load(home, self.config, written)?)
    }
}

/// Parses a command line. Flags of `run` alone mean `run`.
fn parse(program: &Program, args: Vec<OsString>) -> Result<Cli, clap::Error> {
    let read = |args: &[OsString]| parse_line(&definition(program), args, Cli::written);
    match read(&args) {
        Ok(cli) if cli.command.is_some() => Ok(cli),
        // `run` must be explicit, so that its flags and variables are parsed.
        Ok(_) => read(&with_run(args)),
        Err(error) if error.kind() == ErrorKind::UnknownArgument => {
            read(&with_run(args)).map_err(|second| {
                // Without `run`, the first error is the relevant one.
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

/// The whole program: parses the command line, runs the command and prints errors.
pub(crate) fn main(program: Program, args: Vec<OsString>) -> ExitCode {
    let name = program.name;
    // Checked before parsing: the environment is that of an agent, and the arguments are not this
    // program's.
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
    end(name, dispatch(program, cli))
}

fn dispatch(program: Program, cli: Cli) -> Result<(), Failure> {
    let home = program.home;
    let Cli { shared, command } = cli;
    let name = program.name;
    let asked = |shared: Shared| -> Result<Asked, Failure> {
        Ok(Asked {
            socket: shared.settings(home, Written::default())?.socket,
            program: name,
        })
    };
    match command.unwrap_or_else(|| Command::Run(Written::default())) {
        Command::Run(flags) => run::run(shared.settings(home, flags)?, program.services),
        Command::Config {
            command: ConfigCommand::Check(flags),
        } => check(&shared.settings(home, flags)?),
        Command::Pair(how) => pair::pair(&asked(shared)?, &how),
        Command::Offers { command, form } => match command {
            None => offers::list(&asked(shared)?, form.json),
            Some(OffersCommand::List(Form { json })) => {
                offers::list(&asked(shared)?, json || form.json)
            }
            Some(OffersCommand::Cancel {
                offer,
                form: Form { json },
            }) => offers::cancel(&asked(shared)?, &offer, json || form.json),
            Some(OffersCommand::Approve {
                offer,
                code,
                form: Form { json },
            }) => offers::approve(&asked(shared)?, &offer, code.as_deref(), json || form.json),
        },
        Command::Status(Form { json }) => ask::status(&asked(shared)?, json),
        Command::Sessions(Form { json }) => ask::sessions(&asked(shared)?, json),
        Command::Connections(Form { json }) => ask::connections(&asked(shared)?, json),
        Command::Devices { command, form } => match command {
            None => ask::devices(&asked(shared)?, form.json),
            Some(DevicesCommand::List(Form { json })) => {
                ask::devices(&asked(shared)?, json || form.json)
            }
            Some(DevicesCommand::Revoke {
                device,
                keep_turns,
                form: Form { json },
            }) => devices::revoke(&asked(shared)?, &device, keep_turns, json || form.json),
            Some(DevicesCommand::Set {
                device,
                change,
                form: Form { json },
            }) => devices::set(&asked(shared)?, &device, &change, json || form.json),
        },
        Command::Audit(how) => audit::audit(&asked(shared)?, &how),
        Command::Lock(Form { json }) => lock::lock(&asked(shared)?, json),
        Command::Unlock(Form { json }) => lock::unlock(&asked(shared)?, json),
    }
}

fn check(settings: &Settings) -> Result<(), Failure> {
    run::log_filter(&settings.log)?;
    Endpoint::new(&settings.socket).map_err(Failure::usage)?;
    RelayPlan::new(settings).map_err(Failure::usage)?;
    let text = toml::to_string(&settings.to_written()).map_err(Failure::failed)?;
    print::out(format_args!("{text}"));
    Ok(())
}

/// Definition of a program's command line.
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
        assert_eq!(flags.listen, Some(vec!["127.0.0.1:0".parse().unwrap()]));
        assert_eq!(cli.shared.state_dir, Some(PathBuf::from("/s")));
        assert!(matches!(
            parsed("bowline-daemon").command,
            Some(Command::Run(_))
        ));
        assert!(matches!(
            parsed("bowline-daemon status --json --state-dir /s").command,
            Some(Command::Status(Form { json: true }))
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
