//! The command line as two layers: flags over variables.

use std::{ffi::OsString, mem::take};

use clap::{Command, Error, FromArgMatches};

use super::Source;

/// Parses a command line. `written` finds the settings in it, if its command has any.
///
/// `clap` lets a flag win over its own variable only. Here it also wins over the variables that set
/// the same thing under another name ([`Source::replace_in`]).
///
/// # Errors
/// Help, or a usage error.
pub fn parse_line<L: FromArgMatches, W: Source + Default>(
    definition: &Command,
    args: &[OsString],
    written: fn(&mut L) -> Option<&mut W>,
) -> Result<L, Error> {
    let read = |mut definition: Command| {
        let matches = definition.try_get_matches_from_mut(args)?;
        L::from_arg_matches(&matches).map_err(|error| error.format(&mut definition))
    };
    let mut line = read(definition.clone())?;
    let mut flags = read(without_variables(definition.clone()))?;
    if let (Some(all), Some(flags)) = (written(&mut line), written(&mut flags)) {
        *all = take(flags).merged(take(all));
    }
    Ok(line)
}

fn without_variables(definition: Command) -> Command {
    definition
        .mut_args(|arg| arg.env(None::<&str>))
        .mut_subcommands(without_variables)
}
