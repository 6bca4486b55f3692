//! Enters the folder and starts the program; each failure has its own text with what to do.

use std::{
    env, fs, io,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::roots::Roots;

/// Longest first line of a script that is examined.
const FIRST_LINE: usize = 256;

/// Makes the agent's folder the working directory, and checks that it is in the provider's roots.
pub(crate) fn enter(cwd: &str, roots: &Roots) -> Result<(), String> {
    env::set_current_dir(cwd).map_err(|error| folder_text(cwd, &error))?;
    roots
        .check_entered(Path::new(cwd))
        .map_err(|outside| outside.turn_text())
}

/// The error text for a folder that cannot be entered.
pub(crate) fn folder_text(cwd: &str, error: &io::Error) -> String {
    let cwd = shown(cwd);
    match error.kind() {
        io::ErrorKind::NotFound => format!(
            "The agent's folder `{cwd}` is not there any more: make it again, or create an agent in another folder."
        ),
        io::ErrorKind::NotADirectory => format!(
            "The agent's folder `{cwd}` is no folder any more: create an agent in another folder."
        ),
        io::ErrorKind::PermissionDenied => format!(
            "The agent's folder `{cwd}` may not be entered by the user that the daemon runs as: change its \
             permissions (chmod), or create an agent in another folder."
        ),
        _ => format!("The agent's folder `{cwd}` cannot be entered: {error}."),
    }
}

/// Starts the program as the leader of a process group, with the standard outputs of this process.
pub(crate) fn program(argv: &[String], cwd: &str, input: bool) -> Result<Child, String> {
    use std::os::unix::process::CommandExt;
    let (program, arguments) = argv.split_first().ok_or("The provider has no command.")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("PWD", cwd)
        .env_remove("OLDPWD")
        .stdin(if input { Stdio::piped() } else { Stdio::null() })
        .process_group(0);
    command
        .spawn()
        .map_err(|error| program_text(program, Path::new("."), &error))
}

/// The error text for a program that cannot be started. `folder` is its working directory.
pub(crate) fn program_text(program: &str, folder: &Path, error: &io::Error) -> String {
    let name = shown(program);
    match error.kind() {
        io::ErrorKind::NotFound => match find(program, folder) {
            None if program.contains('/') => format!(
                "The provider's program `{name}` is not there: install it, or correct `command` of the provider."
            ),
            None => format!(
                "The provider's program `{name}` is in no folder of the daemon's PATH ({}): install it, name it with \
                 its whole path in `command` of the provider, or start the daemon with another PATH.",
                shown(&env::var("PATH").unwrap_or_default())
            ),
            Some(file) => interpreter_text(&name, &file),
        },
        io::ErrorKind::PermissionDenied
            if program.contains('/') && folder.join(program).is_dir() =>
        {
            format!(
                "The provider's program `{name}` is a folder: correct `command` of the provider."
            )
        }
        io::ErrorKind::PermissionDenied => format!(
            "The provider's program `{name}` may not be executed by the user that the daemon runs as: make it \
             executable (chmod +x), or correct `command` of the provider."
        ),
        io::ErrorKind::ExecutableFileBusy => {
            format!(
                "The provider's program `{name}` is being written to: try again once it is there."
            )
        }
        io::ErrorKind::ArgumentListTooLong => format!(
            "The prompt is too long for an argument of `{name}`: send a shorter one, or have the provider take it \
             with `prompt = \"stdin\"`."
        ),
        io::ErrorKind::OutOfMemory | io::ErrorKind::WouldBlock => format!(
            "The system has no room for another process (`{name}`): {error}. End some, or raise its limits (ulimit -u)."
        ),
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => format!(
            "The provider's program `{name}` is none that this machine can run: a script needs a first line such as \
             `#!/bin/sh`, a program has to be built for this system."
        ),
        _ => format!("The provider's program `{name}` cannot be started: {error}."),
    }
}

/// The error text where the program exists but something it needs does not.
fn interpreter_text(name: &str, file: &Path) -> String {
    let mut start = Vec::new();
    let first =
        fs::File::open(file).and_then(|file| file.take(FIRST_LINE as u64).read_to_end(&mut start));
    let line = start
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    match (first, line.strip_prefix(b"#!")) {
        (Ok(_), Some(interpreter)) => format!(
            "The provider's program `{name}` is there, but the interpreter that its first line names, `{}`, is not: \
             install it, or correct that line.",
            shown(String::from_utf8_lossy(interpreter).trim())
        ),
        _ => format!(
            "The provider's program `{name}` is there, but the system's loader for it is not: it was built for \
             another system."
        ),
    }
}

/// The file of a program's name, resolved as the system does.
fn find(program: &str, folder: &Path) -> Option<PathBuf> {
    let there = |file: PathBuf| Some(file).filter(|file| file.is_file());
    if program.contains('/') {
        return there(folder.join(program));
    }
    env::split_paths(&env::var_os("PATH")?).find_map(|place| there(place.join(program)))
}

/// Text from outside, made safe for terminals.
pub(crate) fn shown(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn case_c24_each_reason_why_nothing_starts_has_a_text_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str, mode: u32| {
            let file = folder.path().join(name);
            fs::write(&file, content).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            file.to_str().unwrap().to_owned()
        };
        let start = |name: &str| {
            let mut command = Command::new(name);
            match command.spawn() {
                Ok(mut child) => {
                    let _ = child.wait();
                    panic!("{name} runs");
                }
                Err(error) => program_text(name, Path::new("/"), &error),
            }
        };
        for (program, says) in [
            (
                file("script", "#!/no/such/sh -e\n", 0o755),
                "`/no/such/sh -e`",
            ),
            (file("plain", "#!/bin/sh\n", 0o644), "chmod +x"),
            (file("odd", "\u{1}\u{2}", 0o755), "#!/bin/sh"),
            ("/no/such/program".to_owned(), "is not there"),
            (folder.path().to_str().unwrap().to_owned(), "is a folder"),
            ("no-such-program".to_owned(), "PATH"),
        ] {
            let text = start(&program);
            assert!(text.contains(says) && text.contains(&program), "{text}");
        }
        let text = |name: &str| folder_text(name, &fs::read_dir(name).unwrap_err());
        assert!(text("/no/such\u{1b}folder").contains("such\u{fffd}folder` is not there"));
        assert!(text(&file("a", "", 0o600)).contains("is no folder"));
    }
}
