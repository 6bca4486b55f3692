//! `identity.json`: the daemon's keys. Created once, readable by its owner only, never replaced
//! (INV-9).

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use bowline_protocol::{
    DaemonIdentity, IdentityError, ServerId, TransportKey, identity::random_bytes,
};
use serde::{Deserialize, Serialize};

use crate::files::{FileError, private};

/// File name inside the state directory.
pub(crate) const FILE: &str = "identity.json";
/// The only version of the file's format.
const VERSION: u32 = 1;
/// Largest size of an identity file in bytes; a larger one is not read.
const MAX_BYTES: u64 = 16 * 1024;

/// The daemon's keys.
#[derive(Debug)]
pub struct Identity {
    /// Identifies the daemon and authenticates it to relays.
    pub identity: DaemonIdentity,
    /// The key that clients pin from the offer.
    pub transport: TransportKey,
}

/// The format of the file. Frozen: a new format is a new version.
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
    /// Loads the identity of a state directory, creating it if there is no file. The caller must
    /// hold the lock of the state directory.
    ///
    /// # Errors
    /// [`FileError`]; a corrupt file is never replaced.
    pub fn load_or_create(state_dir: &Path) -> Result<Self, FileError> {
        let path = state_dir.join(FILE);
        match read(&path) {
            Ok(bytes) => match newer(&bytes) {
                Some(found) => Err(FileError::TooNew {
                    path,
                    found,
                    known: VERSION.into(),
                }),
                None => Self::parse(&bytes).map_err(|problem| FileError::Corrupt {
                    path: path.clone(),
                    problem,
                }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(&path),
            Err(error) => Err(FileError::Io { path, error }),
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
                "version {} is not supported by this program",
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

    fn create(path: &Path) -> Result<Self, FileError> {
        let made = || -> Result<Self, IdentityError> {
            Ok(Self {
                identity: DaemonIdentity::from_seed(random_bytes()?)?,
                transport: TransportKey::from_private(random_bytes()?),
            })
        };
        let made = made().map_err(FileError::Randomness)?;
        let stored = Stored {
            version: VERSION,
            server_id: made.server_id().clone(),
            identity_key: made.identity.to_base64(),
            transport_key: made.transport.to_base64(),
        };
        let mut text = serde_json::to_string_pretty(&stored).unwrap_or_default();
        text.push('\n');
        write_new(path, text.as_bytes()).map_err(FileError::of(path))?;
        Ok(made)
    }
}

/// The version of a file, parsed first: a newer format may differ in everything else.
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
        return Err(io::Error::other("too large for an identity file"));
    }
    fs::read(path)
}

/// Writes a file that must not exist yet: a private temporary file, synced, then moved to its path.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(format!("tmp-{}", std::process::id()));
    let created = private().create_new(true).open(&temporary);
    let written = created.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        // Unlike a rename, a link never replaces a file created meanwhile.
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
    // Windows cannot sync a directory; the rename itself is journalled.
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
    fn tr_11_only_its_owner_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        Identity::load_or_create(dir.path()).unwrap();
        let metadata = fs::metadata(dir.path().join(FILE)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
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
            assert!(matches!(error, FileError::Corrupt { .. }), "{error}");
            assert!(
                error.to_string().contains(path.to_str().unwrap()),
                "{error}"
            );
            assert_eq!(fs::read_to_string(&path).unwrap(), bad, "left as it was");
        }
    }

    /// C10: after a downgrade the error called the identity corrupt, and people moved it away.
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
            assert!(matches!(error, FileError::TooNew { .. }), "{error}");
            assert!(error.to_string().contains("up to 1"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), newer, "left as it was");
        }
    }
}
