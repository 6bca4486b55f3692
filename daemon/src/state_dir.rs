//! The state directory: private to its owner, and locked by one daemon at a time.

use std::{
    fs::{File, TryLockError},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
};

use bowline_local::{PrivacyError, check_private_file, make_private_folder};

use crate::{
    belonging,
    files::{FileError, private},
    identity, store,
};

/// The locked file; its content, the holder's process id, is for people only.
pub(crate) const LOCK: &str = "daemon.lock";

/// A locked state directory. The lock ends when this is dropped or the process ends in any way.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Creates the directory if it is missing (mode 0700), checks that it and its files are
    /// private to this user, and takes its lock.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let failed = FileError::of(path);
        make_private_folder(path).map_err(refused)?;
        for file in files() {
            check_private_file(&path.join(file)).map_err(refused)?;
        }
        let mut options = private();
        options.read(true).create(true).truncate(false);
        let mut lock = options.open(path.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(FileError::Taken {
                    path: path.to_owned(),
                    holder: holder(&mut lock),
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        lock.set_len(0)
            .and_then(|()| lock.write_all(std::process::id().to_string().as_bytes()))
            .map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The names of all files of a state directory, except its socket, which checks its peers.
fn files() -> impl Iterator<Item = String> {
    let database = store::FILE;
    [LOCK, identity::FILE, belonging::MARK, database]
        .map(str::to_owned)
        .into_iter()
        .chain(["-wal", "-shm"].map(|end| format!("{database}{end}")))
}

fn refused(error: PrivacyError) -> FileError {
    match error {
        PrivacyError::Io { path, error } => FileError::Io { path, error },
        error => FileError::NotPrivate(error),
    }
}

fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    let read = lock
        .rewind()
        .and_then(|()| lock.take(20).read_to_string(&mut text));
    match read.ok().and_then(|_| text.trim().parse::<u32>().ok()) {
        Some(pid) => format!(" (process {pid})"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_a_second_daemon_names_the_holder() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("deep/state");
        let first = StateDir::open(&path).unwrap();
        let error = StateDir::open(&path).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        assert!(
            error.contains(&format!("process {}", std::process::id())),
            "{error}"
        );
        drop(first);
        StateDir::open(&path).unwrap();
    }
}
