//! Whether the files of a state directory belong together: `identity.json` (who the daemon is), `bowline.db` (whom it knows)
//! and `store.json`, which says that this identity has a database. Looked at before anything is made or written, so that
//! a file which was lost, emptied or mixed up is an error and never a new daemon that nobody asked for (INV-9).

use std::{
    fs::{self, Metadata, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use bowline_protocol::ServerId;
use serde::{Deserialize, Serialize};

use crate::{identity, store};

/// File that is written once the database of an identity is there.
pub(crate) const MARK: &str = "store.json";
/// The only version of its form.
const VERSION: u64 = 1;
/// No mark is longer.
const MAX_BYTES: u64 = 4 * 1024;

/// Why the files do not belong together. All of them are as they were.
#[derive(Debug, thiserror::Error)]
pub enum BelongingError {
    /// There is a database, and nobody whose it is.
    #[error(
        "{} is missing, and {} beside it is in use: without its identity no device would know this daemon again. Restore the identity from a backup, or move both files (and {MARK}) away to start as a new daemon that every device must pair with again",
        identity.display(), database.display()
    )]
    IdentityMissing {
        /// The file that is missing.
        identity: PathBuf,
        /// The file that is there.
        database: PathBuf,
    },
    /// There is an identity that had a database, and the database is gone.
    #[error(
        "{} is {how}, although the identity {} has had a database: its paired devices and agents are in it. Restore the database from a backup, or move {MARK} and what is left of the database away to start with an empty one, with which every device must pair again",
        database.display(), identity.display()
    )]
    DatabaseMissing {
        /// `missing` or `empty`.
        how: &'static str,
        /// The file that is missing.
        database: PathBuf,
        /// The file that is there.
        identity: PathBuf,
    },
    /// The identity is not the one that the database was made for.
    #[error(
        "{} is the identity of {found}, but {} beside it says that the database is that of {expected}. Put back the files that belong together, or move identity.json, bowline.db and {MARK} away to start as a new daemon that every device must pair with again",
        identity.display(), mark.display()
    )]
    Mixed {
        /// The identity's file.
        identity: PathBuf,
        /// Who it says.
        found: ServerId,
        /// The mark.
        mark: PathBuf,
        /// Who it says.
        expected: ServerId,
    },
    /// The mark was written by a newer version.
    #[error("{} was made by a newer version of this program (file version {found}; this program knows up to {VERSION}). Update this program, or choose another --state-dir", path.display())]
    TooNew {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// One of them cannot be looked at.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// The form of the mark. Frozen: a new form is a new version.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mark {
    version: u64,
    #[serde(default)]
    server_id: Option<ServerId>,
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Missing,
    Empty,
    Something,
}

/// What a look at the directory has found.
#[derive(Debug)]
pub struct Belonging {
    mark: PathBuf,
    identity: PathBuf,
    marked: bool,
    owner: Option<ServerId>,
}

impl Belonging {
    /// Looks at the files before any of them is made.
    ///
    /// # Errors
    /// [`BelongingError`] names the files and says what to do.
    pub fn check(state_dir: &Path) -> Result<Self, BelongingError> {
        let identity = state_dir.join(identity::FILE);
        let database = state_dir.join(store::FILE);
        let log = state_dir.join(format!("{}-wal", store::FILE));
        let path = state_dir.join(MARK);
        let mark = read(&path)?;
        let (has_identity, stored, logged) = (look(&identity)?, look(&database)?, look(&log)?);
        // A log holds what the database does not have yet; beside none or an empty one it would be thrown away.
        let holds_something = stored == Found::Something || logged == Found::Something;
        match (has_identity, stored) {
            (Found::Missing, _) if holds_something || mark.is_some() => {
                return Err(BelongingError::IdentityMissing { identity, database });
            }
            (Found::Empty | Found::Something, Found::Missing | Found::Empty)
                if mark.is_some() || logged == Found::Something =>
            {
                let how = match stored {
                    Found::Missing => "missing",
                    Found::Empty | Found::Something => "empty",
                };
                return Err(BelongingError::DatabaseMissing {
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

    /// Checks that the identity is the one that the mark names.
    ///
    /// # Errors
    /// [`BelongingError::Mixed`].
    pub fn confirm(&self, server_id: &ServerId) -> Result<(), BelongingError> {
        match &self.owner {
            Some(owner) if owner != server_id => Err(BelongingError::Mixed {
                identity: self.identity.clone(),
                found: server_id.clone(),
                mark: self.mark.clone(),
                expected: owner.clone(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Notes that the identity has a database from now on. Failing, it is noted at the next start.
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
            tracing::warn!(file = %self.mark.display(), %error, "a lost database will not be noticed");
        }
    }
}

/// A link that leads nowhere is an error: what it should lead to is not mounted, say.
fn look(path: &Path) -> Result<Found, BelongingError> {
    let failed = |error| BelongingError::Io {
        path: path.to_owned(),
        error,
    };
    let found = |metadata: Metadata| match metadata.len() {
        0 if metadata.is_file() => Found::Empty,
        _ => Found::Something,
    };
    match fs::metadata(path) {
        // Opening a pipe would wait for somebody who writes to it.
        Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => Err(failed(io::Error::other(
            "it is a pipe, a socket or a device, and no file",
        ))),
        Ok(metadata) => Ok(found(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
            Err(failed(io::Error::new(
                error.kind(),
                "a link that leads nowhere; is its disk mounted?",
            )))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Missing),
        Err(error) => Err(failed(error)),
    }
}

/// The mark; one that does not read, after a power cut say, still is one.
fn read(path: &Path) -> Result<Option<Mark>, BelongingError> {
    if look(path)? == Found::Missing {
        return Ok(None);
    }
    let failed = |error| BelongingError::Io {
        path: path.to_owned(),
        error,
    };
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
        return Err(BelongingError::TooNew {
            path: path.to_owned(),
            found: mark.version,
        });
    }
    Ok(Some(mark))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
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

    /// A directory as a daemon leaves it.
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
        // Started for the first time, and killed before there was a database.
        let fresh = tempfile::tempdir().unwrap();
        fs::write(fresh.path().join("identity.json"), "{}").unwrap();
        Belonging::check(fresh.path()).unwrap();
        fs::write(fresh.path().join("bowline.db"), "").unwrap();
        Belonging::check(fresh.path()).unwrap();
    }

    /// C9: people restored one of the files, or emptied one, and the program began anew without a word.
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
                    // From before there was a mark, and killed: what there is stands in the log.
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
        assert!(error.contains("leads nowhere"), "{error}");
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
