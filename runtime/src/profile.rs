//! Who this install is: its session key and its device key, made once and kept (INV-1, INV-9).

use bowline_protocol::{ClientSessionKey, DeviceKey, identity::random_bytes};
use serde::{Deserialize, Serialize};

use crate::{
    error::OpenError,
    storage::{Storage, StorageError, refuse_newer},
};

const FILE: &str = "profile.json";

/// The identity of one app install or profile.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Names this client's session at every daemon.
    pub client_session_key: ClientSessionKey,
    /// Authenticates this device.
    pub device_key: DeviceKey,
}

/// What is stored. A frozen format: a change needs a new `version`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stored {
    version: u32,
    client_session_key: ClientSessionKey,
    device_key: String,
}

impl Profile {
    /// Loads the profile, or makes and stores a new one if there never was any. Processes that begin at the same
    /// time end up with the same one.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] when the file does not read: it is never replaced by a new identity.
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
        let mut profile = Self {
            client_session_key: ClientSessionKey::from_random(random_bytes()?),
            device_key: DeviceKey::from_private(random_bytes()?),
        };
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
    /// [`OpenError::IdentityMissing`] when there is none.
    pub(crate) fn require(storage: &dyn Storage) -> Result<(), OpenError> {
        match storage.read(FILE)? {
            Some(_) => Ok(()),
            None => Err(OpenError::IdentityMissing {
                path: storage.location(FILE),
            }),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let stored: Stored = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if stored.version != 1 {
            return Err(format!(
                "version {} is not known to this version",
                stored.version
            ));
        }
        let device_key =
            DeviceKey::from_base64(&stored.device_key).map_err(|error| error.to_string())?;
        Ok(Self {
            client_session_key: stored.client_session_key,
            device_key,
        })
    }

    fn to_json(&self) -> Result<Vec<u8>, OpenError> {
        let stored = Stored {
            version: 1,
            client_session_key: self.client_session_key.clone(),
            device_key: self.device_key.to_base64(),
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
        assert_eq!(first.client_session_key, second.client_session_key);
        assert_eq!(first.device_key.public(), second.device_key.public());
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
                        profile.client_session_key.as_str().to_owned()
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
            error.contains("newer") && error.contains("up to 1"),
            "{error}"
        );
        assert_eq!(storage.read(FILE).unwrap().unwrap(), newer);
    }
}
