//! How many files a process may open.

/// The soft limit of open files that a process was started with: what the programs it starts should get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileLimit(Option<u64>);

impl FileLimit {
    /// The limit; none is no limit, or a system without one.
    pub const fn soft(self) -> Option<u64> {
        self.0
    }
}

/// Raises the limit of open files as far as the system lets us, and tells what it was. A socket is a file: the soft limit of
/// many systems (1024) is below what our programs take. Other systems than Unix have no such limit.
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
