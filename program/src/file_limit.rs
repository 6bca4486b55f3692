//! How many files a process may open.

/// Raises the limit of open files as far as the system lets us. A socket is a file: the soft limit of many systems (1024)
/// is below what our programs take. Other systems than Unix have no such limit.
pub fn raise_file_limit() {
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
    }
}
