//! The identity of this install: its session key and device key, created once and stored (INV-1,
//! INV-9).

use bowline_protocol::{
    ClientSessionKey, DeviceKey, ServerId,
    identity::{CacheKey, InstallSecret, random_bytes},
};
use serde::{Deserialize, Serialize};

use crate::{
    error::OpenError,
    storage::{Storage, StorageError, refuse_newer},
};

const FILE: &str = "profile.json";

/// The identity of one app install or profile.
#[derive(Clone, Debug)]
pub struct Profile(InstallSecret);

/// The stored form. A frozen format: a change needs a new `version`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    secret: String,
}

/// Version 1 had keys of its own, the same for all daemons. The private key is its secret now.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredV1 {
    device_key: String,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl Profile {
    /// Identifies this client's session at a daemon (INV-1).
    pub fn client_session_key(&self, server: &ServerId) -> ClientSessionKey {
        self.0.client_session_key(server)
    }

    /// Authenticates this device at a daemon.
    pub fn device_key(&self, server: &ServerId) -> DeviceKey {
        self.0.device_key(server)
    }

    /// Encrypts what is kept on disk of a daemon's data (LD-5).
    pub(crate) fn cache_key(&self, server: &ServerId) -> CacheKey {
        self.0.cache_key(server)
    }

    /// Loads the profile, or creates and stores one if none ever existed. Processes that start
    /// concurrently end up with the same profile.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if the file cannot be parsed: it is never replaced by a new
    /// identity.
    pub fn load_or_create(storage: &dyn Storage) -> Result<Self, OpenError> {
        let corrupt = |problem| StorageError::Corrupt {
            path: storage.location(FILE),
            problem,
        };
        let newer = |bytes: &[u8]| refuse_newer(|| storage.location(FILE), bytes);
        if let Some(bytes) = storage.read(FILE)? {
            newer(&bytes)?;
            return Ok(Self::parse(&bytes).map_err(corrupt)?);
        }
        let mut profile = Self(InstallSecret::from_bytes(random_bytes()?));
        let json = profile.to_json()?;
        storage.update(FILE, &mut |stored| match stored {
            Some(theirs) => {
                newer(&theirs)?;
                profile = Self::parse(&theirs).map_err(corrupt)?;
                Ok(None)
            }
            None => Ok(Some(json.clone())),
        })?;
        Ok(profile)
    }

    /// Checks that there is a profile.
    ///
    /// # Errors
    /// [`OpenError::IdentityMissing`] if there is none.
    pub(crate) fn require(storage: &dyn Storage) -> Result<(), OpenError> {
        match storage.read(FILE)? {
            Some(_) => Ok(()),
            None => Err(OpenError::IdentityMissing {
                path: storage.location(FILE),
            }),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
            serde_json::from_slice(bytes).map_err(|error| error.to_string())
        }
        let secret = match read::<Version>(bytes)?.version {
            1 => read::<StoredV1>(bytes)?.device_key,
            2 => read::<Stored>(bytes)?.secret,
            other => return Err(format!("version {other} is not known to this version")),
        };
        let secret = secret
            .parse::<InstallSecret>()
            .map_err(|error| error.to_string())?;
        Ok(Self(secret))
    }

    fn to_json(&self) -> Result<Vec<u8>, OpenError> {
        let stored = Stored {
            version: 2,
            secret: self.0.to_string(),
        };
        serde_json::to_vec_pretty(&stored).map_err(|error| OpenError::Internal(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::FileStorage;

    #[test]
    fn inv_1_the_profile_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        let first = Profile::load_or_create(&storage).unwrap();
        let second = Profile::load_or_create(&storage).unwrap();
        assert_eq!(first.0, second.0);
    }

    #[test]
    fn inv_9_processes_that_begin_at_once_have_one_identity() {
        let folder = tempfile::tempdir().unwrap();
        let begin = std::sync::Barrier::new(8);
        let keys: std::collections::BTreeSet<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let storage = FileStorage::open(folder.path()).unwrap();
                        begin.wait();
                        let profile = Profile::load_or_create(&storage).unwrap();
                        profile.0.to_string()
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(keys.len(), 1);
    }

    #[test]
    fn inv_9_a_corrupt_profile_is_an_error_that_names_it_and_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        for content in [
            &b""[..],
            b"{}",
            b"{\"version\":1",
            b"{\"version\":1,\"clientSessionKey\":\"csk_\",\"deviceKey\":\"\"}",
        ] {
            storage.write(FILE, content).unwrap();
            let error = Profile::load_or_create(&storage).unwrap_err().to_string();
            assert!(
                error.contains("profile.json") && error.contains("corrupt"),
                "{error}"
            );
            assert_eq!(storage.read(FILE).unwrap().unwrap(), content);
        }
    }

    #[test]
    fn case_c10_a_profile_of_a_newer_version_is_said_to_be_one() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        let newer = br#"{"version":99,"keys":[]}"#;
        storage.write(FILE, newer).unwrap();
        let error = Profile::load_or_create(&storage).unwrap_err().to_string();
        assert!(
            error.contains("newer") && error.contains("up to 2"),
            "{error}"
        );
        assert_eq!(storage.read(FILE).unwrap().unwrap(), newer);
    }
}
