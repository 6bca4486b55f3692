//! The limit of open files of this process.

/// The soft limit of open files at the start of the process, which child processes should get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileLimit(Option<u64>);

impl FileLimit {
    /// The limit. `None`: unlimited, or a system without such a limit.
    pub const fn soft(self) -> Option<u64> {
        self.0
    }
}

/// Raises the soft limit of open files to the hard limit and returns the former one. Each socket
/// counts as a file, and the usual soft limit of 1024 is too low for the programs. Only Unix has
/// this limit.
pub fn raise_file_limit() -> FileLimit {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if setrlimit(Resource::Nofile, raised).is_err() {
            tracing::debug!("the limit of open files stays as it was");
        }
        FileLimit(limit.current)
    }
    #[cfg(not(unix))]
    FileLimit(None)
}
