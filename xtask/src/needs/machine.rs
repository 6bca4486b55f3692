//! Questions to the machine.

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// Whether a program says that it is of that major version or a later one.
pub(super) fn is_at_least(program: &str, argument: &str, wanted: u32) -> bool {
    let Ok(output) = Command::new(program).arg(argument).output() else {
        return false;
    };
    // Java before 9 writes it to standard error.
    let text = [output.stdout, output.stderr].concat();
    major(&String::from_utf8_lossy(&text)).is_some_and(|major| major >= wanted)
}

/// The major version in a text such as `v20.11.1` or `javac 17.0.9`. Java calls its versions before 9 `1.8` and the like.
fn major(text: &str) -> Option<u32> {
    let at = text.find(|c: char| c.is_ascii_digit())?;
    let mut parts = text.get(at..)?.split(|c: char| !c.is_ascii_digit());
    let first = parts.next()?.parse().ok()?;
    match first {
        1 => parts.next()?.parse().ok(),
        first => Some(first),
    }
}

/// Whether cargo has these subcommands.
pub(super) fn has_components(names: &[&str]) -> bool {
    names.iter().all(|name| {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        runs(command.args([name, "--version"]))
    })
}

/// Whether the toolchain of this checkout has the standard library for a target. It is asked where it would be: what `rustup`
/// lists is that of another toolchain at times.
pub(crate) fn has_target(target: &str) -> bool {
    let mut rustc = Command::new("rustc");
    rustc
        .args(["--print", "target-libdir", "--target", target])
        .current_dir(crate::tree::root());
    let printed = rustc.stderr(Stdio::null()).output();
    printed.is_ok_and(|output| {
        let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        !folder.is_empty() && Path::new(&folder).is_dir()
    })
}

/// Whether this is root, who needs no `sudo`.
pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Whether a command ends well.
pub(crate) fn runs(command: &mut Command) -> bool {
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_programs_say_them() {
        assert_eq!(major("v20.11.1\n"), Some(20));
        assert_eq!(major("javac 17.0.9\n"), Some(17));
        assert_eq!(major("javac 1.8.0_392\n"), Some(8));
        assert_eq!(major("openjdk 21 2023-09-19"), Some(21));
        assert_eq!(major("no version"), None);
    }
}
