//! Selects the program that starts turns: this one by its hidden command, or none.

use std::{ffi::OsStr, path::Path};

use bowline_daemon::{config::Inherited, executable::Executable};
use bowline_program::{FileLimit, Umask};

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
    /// The program of this process, whose `main` must be [`bowline_daemon::run`], since only that
    /// handles the launcher's command and knows what was inherited, which agents' programs get. On
    /// Windows this is [`Launcher::None`].
    pub fn this_program(inherited: Inherited) -> Self {
        match inherited.program {
            Some(program) if cfg!(unix) => Self::Program(LauncherProgram {
                program,
                files: inherited.files,
                umask: inherited.umask,
            }),
            Some(_) | None => Self::None,
        }
    }
}

/// A program with the launcher's hidden command.
#[derive(Clone, Debug)]
pub struct LauncherProgram {
    program: Executable,
    files: FileLimit,
    umask: Umask,
}

#[cfg_attr(not(unix), allow(dead_code))]
impl LauncherProgram {
    /// The file to execute.
    pub(super) fn path(&self) -> &Path {
        self.program.path()
    }

    /// The process's name in process lists.
    pub(super) fn name(&self) -> &OsStr {
        self.program.name()
    }

    pub(super) const fn files(&self) -> Option<u64> {
        self.files.soft()
    }

    pub(super) const fn umask(&self) -> Option<u32> {
        self.umask.bits()
    }
}
