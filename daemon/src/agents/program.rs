//! Selects the program that starts turns: this one by its hidden command, or none.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use bowline_program::{FileLimit, Umask};

use crate::files::identity;

/// How the programs of turns start.
#[derive(Clone, Debug, Default)]
pub enum Launcher {
    /// As children of this process. They share its terminal, its session and its limits; processes
    /// that leave their process group are not ended with them; and a folder that does not respond
    /// blocks the thread that starts them. For programs that embed the daemon as a plain library,
    /// and for systems without Unix processes.
    #[default]
    None,
    /// Each under a launcher process that this program starts: see [`Launcher::this_program`].
    Program(LauncherProgram),
}

impl Launcher {
    /// The program of this process, whose `main` must be [`crate::run`], since only that handles
    /// the launcher's command. `files` and `umask` are the limit of open files and the mask at its
    /// start, which agents' programs get. On Windows this is [`Launcher::None`].
    pub fn this_program(files: FileLimit, umask: Umask) -> Self {
        if !cfg!(unix) {
            return Self::None;
        }
        match std::env::current_exe() {
            Ok(path) => Self::Program(LauncherProgram {
                stamp: identity(&path).ok(),
                path,
                files,
                umask,
            }),
            Err(error) => {
                tracing::warn!(%error, "cannot find this program's own file: turns start without a launcher");
                Self::None
            }
        }
    }
}

/// A program with the launcher's hidden command.
#[derive(Clone, Debug)]
pub struct LauncherProgram {
    path: PathBuf,
    /// Identity of its file when the daemon started.
    stamp: Option<(u64, u64)>,
    files: FileLimit,
    umask: Umask,
}

#[cfg_attr(not(unix), allow(dead_code))]
impl LauncherProgram {
    /// The file to execute: the program's path or, once an update replaced the file, Linux's handle
    /// to the running one.
    pub(super) fn path(&self) -> &Path {
        let replaced = self.stamp != identity(&self.path).ok();
        if replaced && cfg!(any(target_os = "linux", target_os = "android")) {
            Path::new("/proc/self/exe")
        } else {
            &self.path
        }
    }

    /// The process's name in process lists.
    pub(super) fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or(self.path.as_os_str())
    }

    pub(super) const fn files(&self) -> Option<u64> {
        self.files.soft()
    }

    pub(super) const fn umask(&self) -> Option<u32> {
        self.umask.bits()
    }
}
