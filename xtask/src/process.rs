//! Runs other programs and reaches files, from the workspace root.

use std::{
    env, fmt,
    ops::Deref,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Result, bail};
use xshell::{Cmd, Shell};

use crate::tree;

/// Prints a line on standard output; errors are ignored, so that `| head` ends quietly.
macro_rules! say {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($text)*)));
    }};
}

/// Prints a line on standard error; errors are ignored.
macro_rules! complain {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{}\n", format_args!($($text)*)));
    }};
}

/// A shell in the workspace root, for `xshell::cmd!`; its relative paths are from there.
#[derive(Debug)]
pub(crate) struct Workspace(Shell);

impl Workspace {
    /// Opens the workspace.
    ///
    /// # Errors
    /// The current folder does not exist.
    pub(crate) fn open() -> Result<Self> {
        let shell = Shell::new()?;
        shell.change_dir(tree::root());
        Ok(Self(shell))
    }

    /// A command without the variables that the outer cargo set: a nested cargo would rebuild
    /// crates that read them.
    pub(crate) fn cmd(&self, program: impl AsRef<Path>) -> Cmd<'_> {
        let inherited = env::vars_os().map(|(name, _)| name).filter(|name| {
            let name = name.to_string_lossy();
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        inherited.fold(self.0.cmd(program), Cmd::env_remove).quiet()
    }

    /// Copies a file, or a folder with its contents, and creates the folders above it.
    ///
    /// # Errors
    /// Something cannot be read or written.
    pub(crate) fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        if self.current_dir().join(from).is_dir() {
            for entry in self.read_dir(from)? {
                self.copy(&entry, &to.join(entry.file_name().unwrap_or_default()))?;
            }
            return Ok(());
        }
        self.create_dir(to.parent().unwrap_or(to))?;
        Ok(self.copy_file(from, to)?)
    }

    /// Creates a folder, or removes what is in it.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub(crate) fn empty(&self, folder: impl AsRef<Path>) -> Result<PathBuf> {
        self.remove_path(&folder)?;
        Ok(self.create_dir(&folder)?)
    }

    /// The default target of this machine.
    ///
    /// # Errors
    /// There is no compiler.
    pub(crate) fn host(&self) -> Result<String> {
        Ok(self.cmd("rustc").args(["--print", "host-tuple"]).read()?)
    }
}

impl Deref for Workspace {
    type Target = Shell;

    fn deref(&self) -> &Shell {
        &self.0
    }
}

/// Why a step did not run.
#[derive(Debug)]
pub(crate) struct Skipped(pub(crate) String);

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Ends a step that cannot run on this machine.
///
/// # Errors
/// Always: [`Skipped`], and in CI, where no test may be skipped, a failure.
pub(crate) fn skip(why: String) -> Result<()> {
    if in_ci() {
        bail!("{why}; with CI set that is a failure");
    }
    skip_everywhere(why)
}

/// Ends a step that cannot run on this machine and need not run in CI either.
///
/// # Errors
/// Always: [`Skipped`].
pub(crate) fn skip_everywhere(why: impl Into<String>) -> Result<()> {
    Err(anyhow::Error::msg(Skipped(why.into())))
}

/// Prints why a task was skipped, which is no failure of a task that runs alone.
///
/// # Errors
/// The task failed.
pub(crate) fn tell_skipped(done: Result<()>) -> Result<()> {
    match done {
        Err(error) if error.is::<Skipped>() => {
            say!("skipped: {error}");
            Ok(())
        }
        done => done,
    }
}

/// Whether this runs in CI, where nothing is skipped silently.
pub(crate) fn in_ci() -> bool {
    env::var_os("CI").is_some()
}

/// Whether a program is in `PATH`.
pub(crate) fn exists(program: &str) -> bool {
    status(program, &["--version"]).is_some()
}

/// Whether a command succeeds.
pub(crate) fn succeeds(program: &str, arguments: &[&str]) -> bool {
    status(program, arguments) == Some(true)
}

/// Whether a command succeeds, without its output; `None` if it cannot be started.
fn status(program: &str, arguments: &[&str]) -> Option<bool> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(tree::root());
    let [input, output, errors] = [Stdio::null(), Stdio::null(), Stdio::null()];
    let status = command.stdin(input).stdout(output).stderr(errors).status();
    Some(status.ok()?.success())
}

/// Cargo's target folder. Builds with other flags use subfolders, so that they do not invalidate
/// its contents.
pub(crate) fn target_dir() -> PathBuf {
    let named = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    tree::root().join(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_named_in_the_error() {
        let sh = Workspace::open().unwrap();
        let command = sh.cmd("cargo").arg("no-such-subcommand-of-cargo");
        let error = command.ignore_stderr().run().unwrap_err().to_string();
        assert!(error.contains("no-such-subcommand-of-cargo"), "{error}");
    }
}
