//! The known hosts: added only after the daemon has proved its identity (LS-10).

use bowline_machines::Path;
use bowline_protocol::{Offer, PublicKey, ServerId, identity::PresharedKey};
use serde::{Deserialize, Serialize};

use crate::{
    storage::{Storage, StorageError, refuse_newer},
    transport::Address,
};

pub(crate) const FILE: &str = "hosts.json";
/// Version 2 added the pre-shared keys.
const VERSION: u32 = 2;

/// One known host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostRecord {
    /// Stable identity of the daemon.
    pub server_id: ServerId,
    /// Display name.
    pub name: String,
    /// Its pinned transport key.
    pub transport_key: PublicKey,
    /// The key shared with the daemon since the pairing. `None`: paired before there were any, to
    /// be paired again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psk: Option<PresharedKey>,
    /// Every configured address.
    pub addresses: Vec<Address>,
}

impl HostRecord {
    /// The host of an offer, with every address of the offer.
    pub fn from_offer(offer: &Offer) -> Self {
        let direct = offer.direct.iter().map(|address| (Path::Direct, address));
        let relays = offer.relays.iter().map(|address| (Path::Relay, address));
        Self {
            server_id: offer.server_id.clone(),
            name: offer.name.clone(),
            transport_key: offer.transport_key,
            psk: None,
            addresses: direct
                .chain(relays)
                .map(|(path, address)| Address {
                    path,
                    address: address.clone(),
                })
                .collect(),
        }
    }
}

/// The stored form. A frozen format: a change needs a new `version`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    hosts: Vec<HostRecord>,
}

/// Reads the hosts.
///
/// # Errors
/// [`StorageError::Corrupt`] names the file, which stays unchanged.
pub(crate) fn load(storage: &dyn Storage) -> Result<Vec<HostRecord>, StorageError> {
    Ok(stored(storage)?.unwrap_or_default())
}

/// Like [`load`], but distinguishes a missing registry from an empty one.
///
/// # Errors
/// As [`load`].
pub(crate) fn stored(storage: &dyn Storage) -> Result<Option<Vec<HostRecord>>, StorageError> {
    let bytes = storage.read(FILE)?;
    bytes.map(|bytes| parse(storage, bytes)).transpose()
}

/// Name of the registry in messages.
pub(crate) fn location(storage: &dyn Storage) -> std::path::PathBuf {
    storage.location(FILE)
}

fn parse(storage: &dyn Storage, bytes: Vec<u8>) -> Result<Vec<HostRecord>, StorageError> {
    let corrupt = |problem: String| StorageError::Corrupt {
        path: storage.location(FILE),
        problem,
    };
    refuse_newer(|| storage.location(FILE), &bytes)?;
    let stored: Stored =
        serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))?;
    if !matches!(stored.version, 1 | VERSION) {
        return Err(corrupt(format!(
            "version {} is not known to this version",
            stored.version
        )));
    }
    Ok(stored.hosts)
}

/// Adds or replaces a host in the stored registry, which another process may have changed.
pub(crate) fn add(storage: &dyn Storage, host: &HostRecord) -> Result<(), StorageError> {
    change(storage, |hosts| {
        hosts.retain(|known| known.server_id != host.server_id);
        hosts.push(host.clone());
    })
}

/// Stores a host's new name, if the host is stored.
pub(crate) fn rename(
    storage: &dyn Storage,
    server_id: &ServerId,
    name: &str,
) -> Result<(), StorageError> {
    change(storage, |hosts| {
        for host in hosts.iter_mut().filter(|host| host.server_id == *server_id) {
            name.clone_into(&mut host.name);
        }
    })
}

/// Removes a host from the stored registry.
pub(crate) fn remove(storage: &dyn Storage, server_id: &ServerId) -> Result<(), StorageError> {
    change(storage, |hosts| {
        hosts.retain(|known| known.server_id != *server_id);
    })
}

fn change(
    storage: &dyn Storage,
    mut change: impl FnMut(&mut Vec<HostRecord>),
) -> Result<(), StorageError> {
    storage.update(FILE, &mut |bytes| {
        let before = bytes.map(|bytes| parse(storage, bytes)).transpose()?;
        let before = before.unwrap_or_default();
        let mut hosts = before.clone();
        change(&mut hosts);
        // A missing file stays missing: an empty list would say that the hosts were forgotten.
        if before == hosts {
            return Ok(None);
        }
        let version = VERSION;
        serde_json::to_vec_pretty(&Stored { version, hosts })
            .map(Some)
            .map_err(|error| StorageError::Corrupt {
                path: storage.location(FILE),
                problem: error.to_string(),
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::FileStorage;

    fn host(n: u8) -> HostRecord {
        HostRecord {
            server_id: ServerId::of_public_key(&[n; 32]),
            name: format!("host {n}"),
            transport_key: PublicKey::from_bytes([n; 32]),
            psk: Some(PresharedKey::from_bytes([n; 32])),
            addresses: vec![Address {
                path: Path::Direct,
                address: "127.0.0.1:4717".into(),
            }],
        }
    }

    #[test]
    fn hosts_are_added_replaced_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        add(&storage, &host(1)).unwrap();
        add(&storage, &host(2)).unwrap();
        let renamed = HostRecord {
            name: "new".into(),
            ..host(1)
        };
        add(&storage, &renamed).unwrap();
        assert_eq!(load(&storage).unwrap(), [host(2), renamed]);
        rename(&storage, &host(1).server_id, "newer").unwrap();
        rename(&storage, &host(3).server_id, "nobody").unwrap();
        assert_eq!(load(&storage).unwrap()[1].name, "newer");
        remove(&storage, &host(2).server_id).unwrap();
        assert_eq!(load(&storage).unwrap().len(), 1);
    }

    #[test]
    fn inv_9_a_change_of_nothing_makes_no_empty_list_of_a_missing_one() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        rename(&storage, &host(1).server_id, "new").unwrap();
        remove(&storage, &host(1).server_id).unwrap();
        assert_eq!(stored(&storage).unwrap(), None);
    }

    #[test]
    fn a_corrupt_registry_is_an_error_and_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        storage.write(FILE, b"[]").unwrap();
        let error = add(&storage, &host(1)).unwrap_err().to_string();
        assert!(error.contains("hosts.json"), "{error}");
        assert_eq!(storage.read(FILE).unwrap().unwrap(), b"[]");
    }

    #[test]
    fn case_c10_a_registry_of_a_newer_version_is_said_to_be_one() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        let newer = br#"{"version":99,"hosts":{"of":"another form"}}"#;
        storage.write(FILE, newer).unwrap();
        for error in [
            load(&storage).unwrap_err(),
            add(&storage, &host(1)).unwrap_err(),
        ] {
            assert!(
                matches!(
                    error,
                    StorageError::TooNew {
                        found: 99,
                        known: 2,
                        ..
                    }
                ),
                "{error}"
            );
        }
        assert_eq!(storage.read(FILE).unwrap().unwrap(), newer);
    }
}
