//! Checks that the files of a state directory belong together: `identity.json` (the daemon's keys),
//! `bowline.db` (its devices and state) and `store.json`, the mark that this identity has a
//! database. The check runs before any file is created or written, so that a lost, emptied or
//! exchanged file is an error and never a new daemon by accident (INV-9).

use std::{
    fs::{self, Metadata},
    io::{self, Write},
    path::{Path, PathBuf},
};

use bowline_protocol::ServerId;
use serde::{Deserialize, Serialize};

use crate::{
    files::{FileError, private},
    identity, store,
};

/// Name of the mark, written once the database of an identity exists.
pub(crate) const MARK: &str = "store.json";
/// The only version of the mark's format.
const VERSION: u64 = 1;
/// Largest size of a mark in bytes.
const MAX_BYTES: u64 = 4 * 1024;

/// The format of the mark. Frozen: a new format is a new version.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mark {
    version: u64,
    #[serde(default)]
    server_id: Option<ServerId>,
}

/// The kind of file at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Missing,
    Empty,
    Something,
}

/// The files found in the directory.
#[derive(Debug)]
pub struct Belonging {
    mark: PathBuf,
    identity: PathBuf,
    marked: bool,
    owner: Option<ServerId>,
}

impl Belonging {
    /// Examines the files before any of them is created.
    ///
    /// # Errors
    /// [`FileError`] names the files and says what to do.
    pub fn check(state_dir: &Path) -> Result<Self, FileError> {
        let identity = state_dir.join(identity::FILE);
        let database = state_dir.join(store::FILE);
        let log = state_dir.join(format!("{}-wal", store::FILE));
        let path = state_dir.join(MARK);
        let mark = read(&path)?;
        let (has_identity, stored, logged) = (look(&identity)?, look(&database)?, look(&log)?);
        // A write-ahead log holds content that the database does not have yet; SQLite would discard
        // it beside a missing or empty database.
        let holds_something = stored == Found::Something || logged == Found::Something;
        match (has_identity, stored) {
            (Found::Missing, _) if holds_something || mark.is_some() => {
                return Err(FileError::IdentityMissing { identity, database });
            }
            (Found::Empty | Found::Something, Found::Missing | Found::Empty)
                if mark.is_some() || logged == Found::Something =>
            {
                let how = match stored {
                    Found::Missing => "missing",
                    Found::Empty | Found::Something => "empty",
                };
                return Err(FileError::DatabaseMissing {
                    how,
                    database,
                    identity,
                });
            }
            _ => {}
        }
        Ok(Self {
            mark: path,
            identity,
            marked: mark.is_some(),
            owner: mark.and_then(|mark| mark.server_id),
        })
    }

    /// Checks that the mark names this identity.
    ///
    /// # Errors
    /// [`FileError::Mixed`].
    pub fn confirm(&self, server_id: &ServerId) -> Result<(), FileError> {
        match &self.owner {
            Some(owner) if owner != server_id => Err(FileError::Mixed {
                identity: self.identity.clone(),
                found: server_id.clone(),
                mark: self.mark.clone(),
                expected: owner.clone(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Records that the identity has a database. A failure is retried at the next start.
    pub fn mark(&self, server_id: &ServerId) {
        if self.marked && self.owner.is_some() {
            return;
        }
        let mark = Mark {
            version: VERSION,
            server_id: Some(server_id.clone()),
        };
        let text = serde_json::to_string(&mark).unwrap_or_default();
        if let Err(error) = write(&self.mark, &text) {
            tracing::warn!(file = %self.mark.display(), %error, "cannot record that the identity has a database; its loss would not be detected");
        }
    }
}

/// A dangling link is an error: its target may be an unmounted disk.
fn look(path: &Path) -> Result<Found, FileError> {
    let failed = FileError::of(path);
    let found = |metadata: Metadata| match metadata.len() {
        0 if metadata.is_file() => Found::Empty,
        _ => Found::Something,
    };
    match fs::metadata(path) {
        // Opening a named pipe would block until it has a writer.
        Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => Err(failed(io::Error::other(
            "it is a pipe, a socket or a device, not a file",
        ))),
        Ok(metadata) => Ok(found(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => Err(failed(
            io::Error::new(error.kind(), "a dangling link; is its disk mounted?"),
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Missing),
        Err(error) => Err(failed(error)),
    }
}

/// The mark; an unreadable one, after a power cut for example, counts as present.
fn read(path: &Path) -> Result<Option<Mark>, FileError> {
    if look(path)? == Found::Missing {
        return Ok(None);
    }
    let failed = FileError::of(path);
    let length = fs::metadata(path).map_err(failed)?.len();
    let text = if length <= MAX_BYTES {
        fs::read(path).map_err(failed)?
    } else {
        Vec::new()
    };
    let mark = serde_json::from_slice(&text).unwrap_or(Mark {
        version: VERSION,
        server_id: None,
    });
    if mark.version > VERSION {
        return Err(FileError::TooNew {
            path: path.to_owned(),
            found: mark.version,
            known: VERSION,
        });
    }
    Ok(Some(mark))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = private().create(true).truncate(true).open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whose(n: u8) -> ServerId {
        ServerId::of_public_key(&[n])
    }

    /// A directory as a running daemon leaves it.
    fn used() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let belonging = Belonging::check(dir.path()).unwrap();
        fs::write(dir.path().join("identity.json"), "{}").unwrap();
        fs::write(dir.path().join("bowline.db"), "rows").unwrap();
        belonging.mark(&whose(1));
        dir
    }

    #[test]
    fn files_that_belong_together_and_a_new_directory_are_fine() {
        let dir = used();
        let belonging = Belonging::check(dir.path()).unwrap();
        belonging.confirm(&whose(1)).unwrap();
        // The first start, killed before the database existed.
        let fresh = tempfile::tempdir().unwrap();
        fs::write(fresh.path().join("identity.json"), "{}").unwrap();
        Belonging::check(fresh.path()).unwrap();
        fs::write(fresh.path().join("bowline.db"), "").unwrap();
        Belonging::check(fresh.path()).unwrap();
    }

    /// C9: after one file was restored or emptied, the program started as a new daemon without an
    /// error.
    #[test]
    fn case_c9_a_file_that_was_lost_or_emptied_is_an_error_that_names_both() {
        type Spoil = fn(&Path);
        let cases: [(Spoil, &str); 6] = [
            (
                |dir| fs::remove_file(dir.join("identity.json")).unwrap(),
                "identity.json is missing",
            ),
            (
                |dir| fs::remove_file(dir.join("bowline.db")).unwrap(),
                "bowline.db is missing",
            ),
            (
                |dir| fs::write(dir.join("bowline.db"), "").unwrap(),
                "bowline.db is empty",
            ),
            (
                |dir| {
                    // Before the mark existed, and killed: the content is in the write-ahead log.
                    fs::remove_file(dir.join(MARK)).unwrap();
                    fs::write(dir.join("bowline.db"), "").unwrap();
                    fs::write(dir.join("bowline.db-wal"), "frames").unwrap();
                },
                "bowline.db is empty",
            ),
            (
                |dir| {
                    fs::remove_file(dir.join(MARK)).unwrap();
                    fs::remove_file(dir.join("identity.json")).unwrap();
                },
                "identity.json is missing",
            ),
            (
                |dir| {
                    fs::remove_file(dir.join("bowline.db")).unwrap();
                    fs::remove_file(dir.join("identity.json")).unwrap();
                },
                "identity.json is missing",
            ),
        ];
        for (spoil, expected) in cases {
            let dir = used();
            spoil(dir.path());
            let before = content(dir.path());
            let error = Belonging::check(dir.path()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(
                error.contains("identity") && error.contains("bowline.db"),
                "{error}"
            );
            assert_eq!(content(dir.path()), before, "left as it was");
        }
    }

    #[test]
    fn case_c9_an_identity_beside_another_ones_mark_is_an_error() {
        let dir = used();
        let belonging = Belonging::check(dir.path()).unwrap();
        let error = belonging.confirm(&whose(2)).unwrap_err().to_string();
        assert!(
            error.contains(whose(1).as_str()) && error.contains(whose(2).as_str()),
            "{error}"
        );
    }

    #[test]
    fn case_c10_a_newer_mark_is_not_a_broken_one() {
        let dir = used();
        fs::write(dir.path().join(MARK), r#"{"version":99,"more":1}"#).unwrap();
        let error = Belonging::check(dir.path()).unwrap_err().to_string();
        assert!(error.contains("newer") && error.contains("99"), "{error}");
        fs::write(dir.path().join(MARK), "").unwrap();
        Belonging::check(dir.path()).unwrap().mark(&whose(1));
        Belonging::check(dir.path())
            .unwrap()
            .confirm(&whose(2))
            .unwrap_err();
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_nowhere_is_not_an_absent_file() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("not/mounted.db");
        std::os::unix::fs::symlink(target, dir.path().join("bowline.db")).unwrap();
        let error = Belonging::check(dir.path()).unwrap_err().to_string();
        assert!(error.contains("dangling link"), "{error}");
    }

    fn content(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = entries
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    }
}
