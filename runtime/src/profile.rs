//! Who this install is: its session key and its device key, made once and kept (INV-1, INV-9).

use bowline_protocol::{ClientSessionKey, DeviceKey, identity::random_bytes};
use serde::{Deserialize, Serialize};

use crate::{
    error::OpenError,
    storage::{Storage, StorageError},
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
    /// Loads the profile, or makes and stores a new one if there never was any.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] when the file does not read: it is never replaced by a new identity.
    pub fn load_or_create(storage: &dyn Storage) -> Result<Self, OpenError> {
        match storage.read(FILE)? {
            Some(bytes) => Ok(
                Self::parse(&bytes).map_err(|problem| StorageError::Corrupt {
                    path: storage.location(FILE),
                    problem,
                })?,
            ),
            None => {
                let profile = Self {
                    client_session_key: ClientSessionKey::from_random(random_bytes()?),
                    device_key: DeviceKey::from_private(random_bytes()?),
                };
                storage.write(FILE, &profile.to_json()?)?;
                Ok(profile)
            }
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
}
