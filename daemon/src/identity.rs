//! `identity.json`: who this daemon is. Made once, readable by its owner only, never replaced (INV-9).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use bowline_protocol::{
    DaemonIdentity, IdentityError, ServerId, TransportKey, identity::random_bytes,
};
use serde::{Deserialize, Serialize};

/// File name inside the state directory.
pub(crate) const FILE: &str = "identity.json";
/// The only version of the file's form.
const VERSION: u32 = 1;
/// No identity file is longer; a longer one is not read.
const MAX_BYTES: u64 = 16 * 1024;

/// The daemon's keys.
#[derive(Debug)]
pub struct Identity {
    /// Names the daemon and proves it to relays.
    pub identity: DaemonIdentity,
    /// What clients pin from the offer.
    pub transport: TransportKey,
}

/// Why there is no identity. The file is as it was in every case.
#[derive(Debug, thiserror::Error)]
pub enum IdentityFileError {
    /// The file cannot be read or made.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file is there but does not hold an identity.
    #[error(
        "the identity file {} is corrupt: {problem}; restore it from a backup, or move it, bowline.db and store.json away to start as a new daemon that every device must pair with again", path.display()
    )]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The file was written by a newer version.
    #[error("{} was made by a newer version of this program (file version {found}; this program knows up to {VERSION}). Update this program, or choose another --state-dir", path.display())]
    TooNew {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// The system has no randomness for a new one.
    #[error(transparent)]
    Randomness(IdentityError),
}

/// The form of the file. Frozen: a new form is a new version.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stored {
    version: u32,
    /// For people; checked against the key.
    server_id: ServerId,
    identity_key: String,
    transport_key: String,
}

impl Identity {
    /// Loads the identity of a state directory, making one if there is no file. The caller holds the lock
    /// of the state directory.
    ///
    /// # Errors
    /// [`IdentityFileError`]; a corrupt file is never replaced.
    pub fn load_or_create(state_dir: &Path) -> Result<Self, IdentityFileError> {
        let path = state_dir.join(FILE);
        match read(&path) {
            Ok(bytes) => match newer(&bytes) {
                Some(found) => Err(IdentityFileError::TooNew { path, found }),
                None => Self::parse(&bytes).map_err(|problem| IdentityFileError::Corrupt {
                    path: path.clone(),
                    problem,
                }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(&path),
            Err(error) => Err(IdentityFileError::Io { path, error }),
        }
    }

    /// `serverId`.
    pub const fn server_id(&self) -> &ServerId {
        self.identity.server_id()
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let stored: Stored = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if stored.version != VERSION {
            return Err(format!(
                "version {} is not known to this program",
                stored.version
            ));
        }
        let text = |error: IdentityError| error.to_string();
        let identity = DaemonIdentity::from_base64(&stored.identity_key).map_err(text)?;
        let transport = TransportKey::from_base64(&stored.transport_key).map_err(text)?;
        if *identity.server_id() != stored.server_id {
            return Err("`serverId` does not belong to `identityKey`".to_owned());
        }
        Ok(Self {
            identity,
            transport,
        })
    }

    fn create(path: &Path) -> Result<Self, IdentityFileError> {
        let made = || -> Result<Self, IdentityError> {
            Ok(Self {
                identity: DaemonIdentity::from_seed(random_bytes()?)?,
                transport: TransportKey::from_private(random_bytes()?),
            })
        };
        let made = made().map_err(IdentityFileError::Randomness)?;
        let stored = Stored {
            version: VERSION,
            server_id: made.server_id().clone(),
            identity_key: made.identity.to_base64(),
            transport_key: made.transport.to_base64(),
        };
        let mut text = serde_json::to_string_pretty(&stored).unwrap_or_default();
        text.push('\n');
        write_new(path, text.as_bytes()).map_err(|error| IdentityFileError::Io {
            path: path.to_owned(),
            error,
        })?;
        Ok(made)
    }
}

/// The version of a file that only a newer program can read. Looked at first, since the rest may have any form.
fn newer(bytes: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u64,
    }
    let found: Versioned = serde_json::from_slice(bytes).ok()?;
    (found.version > u64::from(VERSION)).then_some(found.version)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > MAX_BYTES {
        return Err(io::Error::other("far too long for an identity file"));
    }
    keep_private(path, &file);
    fs::read(path)
}

/// Keys that others can read are made unreadable again, and the owner is told.
#[cfg(unix)]
fn keep_private(path: &Path, file: &File) {
    use std::os::unix::fs::PermissionsExt;
    let Ok(metadata) = file.metadata() else {
        return;
    };
    if metadata.permissions().mode() & 0o077 != 0 {
        let fixed = file.set_permissions(fs::Permissions::from_mode(0o600));
        tracing::warn!(file = %path.display(), fixed = fixed.is_ok(), "the identity file was readable by others");
    }
}

#[cfg(not(unix))]
fn keep_private(_path: &Path, _file: &File) {
    // On Windows the state directory lies in the user's profile and inherits its access list.
}

/// Writes a file that must not exist yet: a private temporary one, synced, then put in its place whole.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(format!("tmp-{}", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let written = options.open(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        // Unlike a rename, a link never replaces what somebody else put there meanwhile.
        match fs::hard_link(&temporary, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            Err(_) if !path.exists() => fs::rename(&temporary, path), // a file system without links
            other => other,
        }
    });
    let _ = fs::remove_file(&temporary);
    written?;
    sync_directory(path)
}

#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(not(unix))]
fn sync_directory(_path: &Path) -> io::Result<()> {
    // Windows has no handle to sync a directory with; the rename itself is journalled.
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::load_or_create(dir.path()).unwrap();
        let again = Identity::load_or_create(dir.path()).unwrap();
        assert_eq!(first.server_id(), again.server_id());
        assert_eq!(first.transport.public(), again.transport.public());
        let names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, [FILE], "no temporary file stays behind");
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        Identity::load_or_create(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        Identity::load_or_create(dir.path()).unwrap();
        assert_eq!(mode(), 0o600, "made private again");
    }

    #[test]
    fn inv_9_a_corrupt_identity_is_an_error_that_names_it_and_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        Identity::load_or_create(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        let good = fs::read_to_string(&path).unwrap();
        let other = tempfile::tempdir().unwrap();
        let stranger = Identity::load_or_create(other.path()).unwrap();
        let mine: Stored = serde_json::from_str(&good).unwrap();
        for bad in [
            String::new(),
            "{".to_owned(),
            good.replace("\"version\": 1", "\"version\": 0"),
            good.replace(mine.server_id.as_str(), stranger.server_id().as_str()),
            good.replace(&mine.transport_key, "short"),
            good.replace(&mine.identity_key, ""),
        ] {
            fs::write(&path, &bad).unwrap();
            let error = Identity::load_or_create(dir.path()).unwrap_err();
            assert!(
                matches!(error, IdentityFileError::Corrupt { .. }),
                "{error}"
            );
            assert!(
                error.to_string().contains(path.to_str().unwrap()),
                "{error}"
            );
            assert_eq!(fs::read_to_string(&path).unwrap(), bad, "left as it was");
        }
    }

    /// C10: after a downgrade people were told that their identity is corrupt, and moved it away.
    #[test]
    fn case_c10_an_identity_of_a_newer_version_is_said_to_be_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        for newer in [
            r#"{"version":99}"#,
            r#"{"version":2,"keys":["of another form"]}"#,
        ] {
            fs::write(&path, newer).unwrap();
            let error = Identity::load_or_create(dir.path()).unwrap_err();
            assert!(matches!(error, IdentityFileError::TooNew { .. }), "{error}");
            assert!(error.to_string().contains("up to 1"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), newer, "left as it was");
        }
    }
}
