//! Which program starts the turns' programs: this one, by its hidden command, or none.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use bowline_program::FileLimit;

/// How the programs of turns are started.
#[derive(Clone, Debug, Default)]
pub enum Launcher {
    /// As children of this process. They share its terminal, its session and its limits, what leaves their process
    /// group cannot be ended with them, and a folder that hangs holds the thread that starts them. For programs that use the
    /// daemon as a plain library, and for systems without Unix processes.
    #[default]
    None,
    /// Each below a process of its own that this program starts: see [`Launcher::this_program`].
    Program(LauncherProgram),
}

impl Launcher {
    /// The program of this process, whose `main` is [`crate::run`] (or [`crate::run_bowline`]): only such a program
    /// knows the command that starts a turn. `files` is the limit of open files that it was started with, which
    /// programs of agents get. On Windows this is [`Launcher::None`].
    pub fn this_program(files: FileLimit) -> Self {
        if !cfg!(unix) {
            return Self::None;
        }
        match std::env::current_exe() {
            Ok(path) => Self::Program(LauncherProgram {
                stamp: stamp(&path),
                path,
                files,
            }),
            Err(error) => {
                tracing::warn!(%error, "this program does not find itself: turns start without a launcher");
                Self::None
            }
        }
    }
}

/// A program with the hidden command of a launcher.
#[derive(Clone, Debug)]
pub struct LauncherProgram {
    path: PathBuf,
    /// Which file it was when the daemon started.
    stamp: Option<(u64, u64)>,
    files: FileLimit,
}

#[cfg_attr(not(unix), allow(dead_code))]
impl LauncherProgram {
    /// What to execute: the program by its path or, once an update has put another file there, by what Linux keeps of
    /// the one that runs.
    pub(super) fn path(&self) -> &Path {
        let replaced = self.stamp != stamp(&self.path);
        if replaced && cfg!(any(target_os = "linux", target_os = "android")) {
            Path::new("/proc/self/exe")
        } else {
            &self.path
        }
    }

    /// What the process is called in lists.
    pub(super) fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or(self.path.as_os_str())
    }

    pub(super) const fn files(&self) -> Option<u64> {
        self.files.soft()
    }
}

/// Which file is at a path.
#[cfg(unix)]
fn stamp(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let file = std::fs::metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn stamp(_path: &Path) -> Option<(u64, u64)> {
    None
}
