//! Blobs that are being put: how much of each is there.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Write,
    path::PathBuf,
    time::SystemTime,
};

use bowline_protocol::{BlobHash, blob::BlobHasher, error::RpcError, limits};

use super::folder::{Folder, open_hashed, unavailable};
use crate::ledger::Owner;

/// Files that are open at once; the hash of any other is computed again when it goes on.
const OPEN: usize = 32;

/// One that is being put.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) path: PathBuf,
    pub(super) size: u64,
    pub(super) have: u64,
    /// Grows with each use of any of them.
    used: u64,
    open: Option<(File, BlobHasher)>,
}

impl Begun {
    fn opened(&mut self) -> Result<&mut (File, BlobHasher), RpcError> {
        if self.open.is_none() {
            let (file, hasher, have) = open_hashed(&self.path).map_err(unavailable)?;
            self.have = have;
            self.open = Some((file, hasher));
        }
        // Just opened.
        self.open
            .as_mut()
            .ok_or_else(|| RpcError::internal("a file that was just opened"))
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
            self.open = None;
            return Err(unavailable(error));
        }
        hasher.update(bytes);
        self.have += bytes.len() as u64;
        Ok(())
    }

    /// Makes all bytes durable, closes the file and returns their hash.
    pub(super) fn sealed(&mut self) -> Result<BlobHash, RpcError> {
        self.opened()?.0.sync_all().map_err(unavailable)?;
        let hash = self.open.take().map(|(_, hasher)| hasher.finish());
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
            open: None,
        };
        self.all.insert(key, begun);
    }

    /// The one of a device, if it has begun that blob with that size.
    pub(super) fn get(&mut self, key: (Owner, BlobHash), size: u64) -> Option<&mut Begun> {
        if self.all.get(&key)?.size != size {
            self.remove(key);
            return None;
        }
        self.close_some();
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

    /// Bytes that they will take: of a device, and of everybody.
    pub(super) fn bytes(&self, owner: Owner) -> (u64, u64) {
        let mut bytes = (0_u64, 0_u64);
        for ((of, _), begun) in &self.all {
            bytes.1 = bytes.1.saturating_add(begun.size);
            if *of == owner {
                bytes.0 = bytes.0.saturating_add(begun.size);
            }
        }
        bytes
    }

    fn close_some(&mut self) {
        let open = self.all.values_mut().filter(|begun| begun.open.is_some());
        let mut open: Vec<_> = open.collect();
        if open.len() >= OPEN
            && let Some(oldest) = open.iter_mut().min_by_key(|begun| begun.used)
        {
            oldest.open = None;
        }
    }

    /// Removes those whose files were not written to for too long.
    pub(super) fn expire(&mut self) {
        let is_old = |begun: &Begun| {
            let written = fs::metadata(&begun.path).and_then(|file| file.modified());
            let age = written.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
            age.is_ok_and(|age| age > limits::BLOB_BEGUN_AGE)
        };
        let old = self.all.iter().filter(|(_, begun)| is_old(begun));
        let old: Vec<_> = old.map(|(key, _)| *key).collect();
        old.into_iter().for_each(|key| self.remove(key));
    }
}
