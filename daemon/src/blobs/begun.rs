//! Blobs that are being put: how much of each is there.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{ErrorKind, Write},
    path::PathBuf,
    time::SystemTime,
};

use bowline_protocol::{BlobHash, blob::BlobHasher, error::RpcError, limits};

use super::folder::{Folder, open_hashed, unavailable};
use crate::ledger::{Owner, blob_charge};

/// Files that are open at once. Of any other the hash so far stays, and its file is opened again
/// when it goes on.
const OPEN: usize = 32;

/// One that is being put.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) path: PathBuf,
    pub(super) size: u64,
    pub(super) have: u64,
    /// Grows with each use of any of them.
    used: u64,
    file: Option<File>,
    /// Of the `have` bytes; `None`: it is computed from the file.
    hasher: Option<BlobHasher>,
}

impl Begun {
    fn opened(&mut self) -> Result<(&mut File, &mut BlobHasher), RpcError> {
        if self.file.is_none() {
            let known = self.hasher.as_ref().map(|hasher| (hasher, self.have));
            let (file, hasher, have) = open_hashed(&self.path, known).map_err(unavailable)?;
            (self.have, self.file, self.hasher) = (have, Some(file), Some(hasher));
        }
        // Just opened.
        let open = self.file.as_mut().zip(self.hasher.as_mut());
        open.ok_or_else(|| RpcError::internal("a file that was just opened"))
    }

    /// Bytes that are there, as the file says.
    pub(super) fn check(&mut self) -> Result<u64, RpcError> {
        self.opened()?;
        Ok(self.have)
    }

    /// Adds bytes at the end.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), RpcError> {
        let (file, hasher) = self.opened()?;
        if let Err(error) = file.write_all(bytes) {
            // Perhaps some of them were written: the file says how many when it is used again.
            (self.file, self.hasher) = (None, None);
            return Err(unavailable(error));
        }
        hasher.update(bytes);
        self.have += bytes.len() as u64;
        Ok(())
    }

    /// Makes all bytes durable, closes the file and returns their hash. After an error nothing is
    /// known of the bytes: remove it.
    pub(super) fn sealed(&mut self) -> Result<BlobHash, RpcError> {
        self.opened()?.0.sync_all().map_err(unavailable)?;
        self.file = None;
        let hash = self.hasher.take().map(BlobHasher::finish);
        hash.ok_or_else(|| RpcError::internal("a file that was just opened"))
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct AllBegun {
    all: HashMap<(Owner, BlobHash), Begun>,
    uses: u64,
}

impl AllBegun {
    /// Those that an earlier process left.
    pub(super) fn of(folder: &Folder) -> std::io::Result<Self> {
        let mut begun = Self::default();
        for (owner, hash, size) in folder.begun()? {
            let path = folder.of_begun(owner, &hash, size);
            let have = fs::metadata(&path)?.len();
            begun.insert((owner, hash), path, size, have);
        }
        Ok(begun)
    }

    fn insert(&mut self, key: (Owner, BlobHash), path: PathBuf, size: u64, have: u64) {
        self.uses += 1;
        let begun = Begun {
            path,
            size,
            have,
            used: self.uses,
            file: None,
            hasher: None,
        };
        self.all.insert(key, begun);
    }

    /// The one of a device, if it has begun that blob with that size.
    pub(super) fn get(&mut self, key: (Owner, BlobHash), size: u64) -> Option<&mut Begun> {
        if self.all.get(&key)?.size != size {
            self.remove(key);
            return None;
        }
        self.make_room(key);
        self.uses += 1;
        let begun = self.all.get_mut(&key)?;
        begun.used = self.uses;
        Some(begun)
    }

    /// Begins one. Over the limit of a device, the one used longest ago is dropped.
    pub(super) fn begin(&mut self, folder: &Folder, key: (Owner, BlobHash), size: u64) {
        let (owner, hash) = key;
        let of_owner = self.all.iter().filter(|((of, _), _)| *of == owner);
        if of_owner.clone().count() >= limits::BLOBS_BEGUN
            && let Some(oldest) = of_owner.min_by_key(|(_, begun)| begun.used)
        {
            let oldest = *oldest.0;
            self.remove(oldest);
        }
        self.insert(key, folder.of_begun(owner, &hash, size), size, 0);
    }

    /// Removes one with its file, if that is still there.
    pub(super) fn remove(&mut self, key: (Owner, BlobHash)) {
        if let Some(begun) = self.all.remove(&key) {
            let path = begun.path.clone();
            // Closed first, for systems where an open file stays.
            drop(begun);
            let _ = fs::remove_file(path);
        }
    }

    /// What they will be charged as: those of a device, and everybody's.
    pub(super) fn charges(&self, owner: Owner) -> (u64, u64) {
        let mut bytes = (0_u64, 0_u64);
        for ((of, _), begun) in &self.all {
            bytes.1 = bytes.1.saturating_add(blob_charge(begun.size));
            if *of == owner {
                bytes.0 = bytes.0.saturating_add(blob_charge(begun.size));
            }
        }
        bytes
    }

    /// Closes the file used longest ago if another one could not be opened beside the open ones.
    fn make_room(&mut self, key: (Owner, BlobHash)) {
        if self.all.get(&key).is_some_and(|begun| begun.file.is_some()) {
            return;
        }
        let open = self.all.values_mut().filter(|begun| begun.file.is_some());
        let mut open: Vec<_> = open.collect();
        if open.len() >= OPEN
            && let Some(oldest) = open.iter_mut().min_by_key(|begun| begun.used)
        {
            oldest.file = None;
        }
    }

    /// Removes those whose files were not written to for too long, or are gone.
    pub(super) fn expire(&mut self) {
        let is_old = |begun: &Begun| {
            let written = fs::metadata(&begun.path).and_then(|file| file.modified());
            let age = written.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
            age.map_or_else(
                |error| error.kind() == ErrorKind::NotFound,
                |age| age > limits::BLOB_BEGUN_AGE,
            )
        };
        let old = self.all.iter().filter(|(_, begun)| is_old(begun));
        let old: Vec<_> = old.map(|(key, _)| *key).collect();
        old.into_iter().for_each(|key| self.remove(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ld_8_more_blobs_than_files_may_be_open_go_on_without_being_read_again() {
        let state = tempfile::tempdir().unwrap();
        let folder = Folder::open(state.path().join("blobs")).unwrap();
        let mut begun = AllBegun::default();
        let keys: Vec<_> = (0..40_u8)
            .map(|n| (Owner(i64::from(n)), BlobHash::of(&[n, n])))
            .collect();
        for round in 0..2 {
            for (n, key) in (0..).zip(&keys) {
                if round == 0 {
                    begun.begin(&folder, *key, 2);
                }
                let one = begun.get(*key, 2).unwrap();
                assert_eq!(one.check().unwrap(), round);
                one.append(&[n]).unwrap();
                let open = begun.all.values().filter(|one| one.file.is_some());
                assert!(open.count() <= OPEN);
            }
            assert!(begun.all.values().all(|one| one.hasher.is_some()));
        }
        for key in &keys {
            assert_eq!(begun.get(*key, 2).unwrap().sealed().unwrap(), key.1);
        }
    }

    #[test]
    fn ld_8_a_begun_blob_whose_file_is_gone_or_shorter_is_noticed() {
        let state = tempfile::tempdir().unwrap();
        let folder = Folder::open(state.path().join("blobs")).unwrap();
        let mut begun = AllBegun::default();
        let keys = [1, 2].map(|owner| (Owner(owner), BlobHash::of(b"abc")));
        for key in keys {
            begun.begin(&folder, key, 3);
            let one = begun.get(key, 3).unwrap();
            one.append(b"ab").unwrap();
            one.file = None;
        }
        fs::remove_file(&begun.all[&keys[0]].path).unwrap();
        fs::write(&begun.all[&keys[1]].path, b"a").unwrap();
        begun.expire();
        assert!(begun.get(keys[0], 3).is_none());
        let short = begun.get(keys[1], 3).unwrap();
        assert_eq!(short.check().unwrap(), 1);
        short.append(b"bc").unwrap();
        assert_eq!(short.sealed().unwrap(), keys[1].1);
    }
}
