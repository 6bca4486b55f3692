//! The command line of `bowline-daemon` (`docs/commands.md`).

mod args;
mod ask;
mod audit;
mod describe;
mod devices;
mod grant;
mod lock;
mod offers;
mod pair;
mod run;
mod socket;

use std::{ffi::OsString, process::ExitCode};

use bowline_local::Endpoint;
use bowline_program::{Failure, config::parse_line, end, print};
use clap::error::ErrorKind;

use self::{
    args::{Cli, Command, ConfigCommand, DevicesCommand, Form, OffersCommand, Shared, definition},
    socket::Asked,
};
use crate::{
    config::{Settings, Written},
    program::{HiddenMain, Program},
    relay::RelayPlan,
};

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
    // Checked before parsing: the environment may be that of somebody else, such as an agent.
    match hidden(&program, &args) {
        Ok(Some(main)) => return main(name),
        Ok(None) => {}
        Err(error) => return end(name, Err(error)),
    }
    let cli = match parse(&program, args) {
        Ok(cli) => cli,
        Err(error) => return print::usage(name, &error),
    };
    end(name, dispatch(program, cli))
}

/// The `main` of the hidden command that the arguments name.
///
/// # Errors
/// A hidden command of the program has an unsuitable name.
fn hidden(program: &Program, args: &[OsString]) -> Result<Option<HiddenMain>, Failure> {
    let visible = definition(program);
    let is_visible = |name| {
        let mut commands = visible.get_subcommands();
        name == "help" || commands.any(|command| command.get_name() == name)
    };
    for (n, name) in program.hidden_names().enumerate() {
        let is_word = !name.is_empty() && !name.starts_with('-') && !name.contains(' ');
        let is_taken = program
            .hidden_names()
            .take(n)
            .any(|earlier| earlier == name);
        if !is_word || is_taken || is_visible(name) {
            return Err(Failure::usage(format!(
                "this program has a hidden command `{name}`, which is no single word or the name of another command: rename it"
            )));
        }
    }
    let wanted = args.get(1).and_then(|first| first.to_str());
    Ok(wanted.and_then(|wanted| program.hidden_main(wanted)))
}

fn dispatch(program: Program, cli: Cli) -> Result<(), Failure> {
    let Cli { shared, command } = cli;
    let (home, name, sections) = (program.home, program.name, program.sections.clone());
    let services = program.into_services();
    let asked = |shared: Shared| -> Result<Asked, Failure> {
        Ok(Asked {
            socket: shared.settings(home, Written::default(), &sections)?.socket,
            program: name,
        })
    };
    match command.unwrap_or_else(|| Command::Run(Written::default())) {
        Command::Run(flags) => run::run(shared.settings(home, flags, &sections)?, services),
        Command::Config {
            command: ConfigCommand::Check(flags),
        } => check(&shared.settings(home, flags, &sections)?),
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
        Command::Describe {
            form: Form { json },
            schema,
        } => describe::describe(services, json, schema),
        Command::Lock(Form { json }) => lock::lock(&asked(shared)?, json),
        Command::Unlock(Form { json }) => lock::unlock(&asked(shared)?, json),
    }
}

fn check(settings: &Settings) -> Result<(), Failure> {
    run::log_filter(&settings.log)?;
    Endpoint::new(&settings.socket).map_err(Failure::usage)?;
    RelayPlan::new(settings).map_err(Failure::usage)?;
    let text = settings.to_toml().map_err(Failure::failed)?;
    print::out(format_args!("{text}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Cli {
        let args = line.split(' ').map(Into::into).collect();
        parse(&Program::bowline(), args).unwrap()
    }

    #[test]
    fn ld_6_a_hidden_command_runs_before_anything_is_read_and_has_a_name_of_its_own() {
        let program =
            || Program::new("voxel", "1.2.3").hidden("voxel-helper", |_| ExitCode::from(7));
        let run = |program, words: &[&str]| {
            let args = words.iter().map(Into::into).collect();
            format!("{:?}", main(program, args))
        };
        let code = |code| format!("{:?}", ExitCode::from(code));
        assert_eq!(
            run(program(), &["voxel", "voxel-helper", "--no", "\n"]),
            code(7)
        );
        assert_eq!(run(program(), &["voxel", "voxel-helpers"]), code(2));
        let help = definition(&program()).render_help().to_string();
        assert!(!help.contains("voxel-helper"), "{help}");
        for taken in ["status", "help", "voxel-helper", "--x", "a b", ""] {
            let clumsy = program().hidden(taken, |_| ExitCode::SUCCESS);
            assert_eq!(run(clumsy, &["voxel", "voxel-helper"]), code(2), "{taken}");
        }
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
        assert_eq!(cli.shared.state_dir, Some("/s".into()));
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
