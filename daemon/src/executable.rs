//! The file of the running program, to start it again.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

use crate::files::identity;

/// This program's own file, as it was when the program started.
#[derive(Clone, Debug)]
pub struct Executable {
    path: PathBuf,
    /// Identity of the file then.
    stamp: Option<(u64, u64)>,
}

impl Executable {
    /// The file of this process.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn this() -> io::Result<Self> {
        let path = std::env::current_exe()?;
        Ok(Self {
            stamp: identity(&path).ok(),
            path,
        })
    }

    /// The file to execute: the program's path or, once an update has replaced the file, Linux's
    /// handle to the running one. On other systems it is the new file then.
    pub fn path(&self) -> &Path {
        let replaced = self.stamp != identity(&self.path).ok();
        if replaced && cfg!(any(target_os = "linux", target_os = "android")) {
            Path::new("/proc/self/exe")
        } else {
            &self.path
        }
    }

    /// The process's name in process lists.
    pub fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or(self.path.as_os_str())
    }
}
