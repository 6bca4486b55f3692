//! Running other programs: the cargo that runs us, in the workspace root.

use std::{
    env,
    ffi::OsString,
    process::{Command, Stdio},
};

use crate::tree;

/// What a task comes to, or a sentence for people.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// How much of a step was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// All of it.
    Whole,
    /// Nothing: what is missing, and how to get it.
    Skipped(String),
}

impl Done {
    /// Says what was skipped, for a task that is run by itself.
    pub(crate) fn tell(self) {
        if let Self::Skipped(why) = self {
            say!("skipped: {why}");
        }
    }
}

/// Something is missing that a test needs.
///
/// # Errors
/// In CI: nothing that tests is skipped there.
pub(crate) fn missing(what: String) -> Outcome<Done> {
    if is_ci() {
        Err(format!("{what}; with CI set that is a failure"))
    } else {
        Ok(Done::Skipped(what))
    }
}

/// Whether this is CI, where nothing is left out in silence.
pub(crate) fn is_ci() -> bool {
    env::var_os("CI").is_some()
}

/// Whether there is such a program.
pub(crate) fn exists(program: &str) -> bool {
    let mut command = Command::new(program);
    command
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok()
}

/// The target that this machine builds for by itself.
///
/// # Errors
/// When there is no compiler.
pub(crate) fn host() -> Outcome<String> {
    let output = Command::new("rustc")
        .arg("-vV")
        .current_dir(tree::root())
        .output();
    let output = output.map_err(|error| format!("`rustc` could not be started: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .ok_or_else(|| "`rustc -vV` names no host".to_owned())
}

/// `cargo`, in the workspace root. It is the cargo that runs us, so that the toolchain is the same.
pub(crate) fn cargo<const N: usize>(arguments: [&str; N]) -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.args(arguments).current_dir(tree::root());
    // Set for us by the cargo that runs us; a cargo of our own must not inherit them, or it builds anew what looks at them.
    for (variable, _) in env::vars_os() {
        let name = variable.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&variable);
        }
    }
    command
}

/// Runs a command to its end, with our own input and output.
///
/// # Errors
/// When it cannot be started or does not end well.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let shown = show(command);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{shown}` ended with {status}")),
        Err(error) => Err(format!("`{shown}` could not be started: {error}")),
    }
}

/// Runs a command to its end, quietly.
///
/// # Errors
/// All that it wrote, when it does not end well; why, when it cannot be started.
pub(crate) fn said(command: &mut Command) -> Result<(), String> {
    let shown = show(command);
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            Err(String::from_utf8_lossy(&text).into_owned())
        }
        Err(error) => Err(format!("`{shown}` could not be started: {error}")),
    }
}

/// Runs a command to its end and returns the JSON lines among those that it wrote.
///
/// # Errors
/// When it cannot be started or does not end well; then also what it wrote.
pub(crate) fn json_lines(command: &mut Command) -> Outcome<Vec<String>> {
    let shown = show(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("`{shown}` could not be started: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("`{shown}` ended with {}: {said}", output.status));
    }
    // Tools around a program have something to say now and then as well.
    let lines = said.lines().filter(|line| line.starts_with('{'));
    Ok(lines.map(str::to_owned).collect())
}

/// A command as one would type it.
pub(crate) fn show(command: &Command) -> String {
    let name = std::path::Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let mut text = name.to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_named_in_the_error() {
        let error = run(cargo(["no-such-subcommand-of-cargo"]).stderr(std::process::Stdio::null()))
            .unwrap_err();
        assert!(error.contains("no-such-subcommand-of-cargo"), "{error}");
    }
}
