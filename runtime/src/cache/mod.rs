//! What is kept on disk of the tables and logs that were open, for the next cold start (LD-5). What
//! is written and when, and what is done with what is read, is decided in
//! `machines/src/data/cache/`.
//!
//! **Never trusted.** Files are encrypted under a key of the install and the host, so one that was
//! cut, changed, exchanged or made by another install does not decrypt. Such a file, and one of
//! another version, is deleted with a warning. No failure here is an error of anything else.
//!
//! **One process.** The folder belongs to the process that locks it. Another one that runs at the
//! same time keeps and shows nothing; it takes the folder over when it is free.
//!
//! Everything here blocks and is called on threads for that.

mod folder;

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bowline_machines::data::{
    cache::{Checkpoint, Damaged, Manifest, Stored, StoredPage, read_list},
    target::LiveTarget,
};
use bowline_protocol::{
    Resume, ServerId,
    identity::{CacheKey, KeyId, PresharedKey, random_bytes},
    live::LiveKind,
};

use self::folder::{Folder, list_name, manifest_name};
use crate::{
    registry,
    storage::{Storage, StorageError},
};

/// What is kept of all hosts.
pub(crate) struct Cache {
    /// `None`: nothing is kept.
    folder: Option<PathBuf>,
    limit: u64,
    storage: Arc<dyn Storage>,
    place: Mutex<Place>,
    /// Whether no file is to be touched from now on, which those who would are told before the
    /// folder is released.
    is_paused: AtomicBool,
}

/// State of the folder.
enum Place {
    /// Not open: taken when it is needed, if no other process owns it.
    Free,
    Open(Box<Folder>),
    /// The app is suspended or about to be, or has ended: no file is touched.
    Paused,
    /// It could not be opened, which was logged.
    Failed,
}

impl Cache {
    /// The cache of a runtime, of at most `limit` bytes; with 0 it is off, and what was kept before
    /// is deleted.
    pub(crate) fn open(storage: Arc<dyn Storage>, limit: u64) -> Self {
        let folder = storage.cache_folder();
        if limit == 0 {
            discard(folder.as_deref());
        }
        Self {
            folder: folder.filter(|_| limit > 0),
            limit,
            storage,
            place: Mutex::new(Place::Free),
            is_paused: AtomicBool::default(),
        }
    }

    /// Whether anything is kept.
    pub(crate) const fn is_on(&self) -> bool {
        self.folder.is_some()
    }

    /// Waits for the file that is being read or written, and releases every file. Of a checkpoint
    /// that is on its way, what follows is not written.
    pub(crate) fn pause(&self) {
        self.is_paused.store(true, Ordering::Release);
        *self.lock() = Place::Paused;
    }

    /// Files may be used again.
    pub(crate) fn resume(&self) {
        let mut place = self.lock();
        if matches!(*place, Place::Paused) {
            *place = Place::Free;
        }
        self.is_paused.store(false, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the folder, if it is to be had. A failure is logged. Everybody else
    /// waits meanwhile, so it is about one file.
    fn with<T>(&self, work: impl FnOnce(&mut Folder) -> Result<T, StorageError>) -> Option<T> {
        if self.is_paused.load(Ordering::Acquire) {
            return None;
        }
        let mut place = self.lock();
        if matches!(*place, Place::Free) {
            *place = self.take();
        }
        let Place::Open(folder) = &mut *place else {
            return None;
        };
        match work(folder) {
            Ok(done) => Some(done),
            Err(error) => {
                tracing::warn!(%error, "the cache of tables and logs cannot be used as it should");
                None
            }
        }
    }

    fn take(&self) -> Place {
        let Some(path) = &self.folder else {
            return Place::Failed;
        };
        let opened = Folder::open(path, self.limit).and_then(|folder| {
            let Some(mut folder) = folder else {
                return Ok(None);
            };
            // Of hosts that were forgotten while nobody owned the folder.
            if let Ok(Some(hosts)) = registry::stored(self.storage.as_ref()) {
                folder.retain(|host| hosts.iter().any(|one| one.server_id.as_str() == host))?;
            }
            Ok(Some(folder))
        });
        match opened {
            Ok(Some(folder)) => Place::Open(Box::new(folder)),
            Ok(None) => {
                tracing::debug!("another process owns the cache of tables and logs");
                Place::Free
            }
            Err(error) => {
                tracing::warn!(%error, "there is no cache of tables and logs");
                Place::Failed
            }
        }
    }
}

/// Deletes what was kept before the cache was switched off.
fn discard(folder: Option<&std::path::Path>) {
    let Some(folder) = folder.filter(|folder| folder.exists()) else {
        return;
    };
    let opened = Folder::open(folder, u64::MAX);
    let discarded = opened.and_then(|folder| {
        let mut folder = folder.into_iter();
        folder.try_for_each(|mut folder| folder.retain(|_| false))
    });
    if let Err(error) = discarded {
        tracing::warn!(%error, "what was cached before cannot be deleted");
    }
}

/// What is kept of one host.
pub(crate) struct HostCache {
    cache: Arc<Cache>,
    host: String,
    key: CacheKey,
    /// The pairing that the files are of: those of another one do not decrypt.
    pairing: Mutex<KeyId>,
    /// Checkpoints to be written, in order.
    waiting: Mutex<VecDeque<Checkpoint>>,
    /// The manifest on the disk; `None` besides while the host is forgotten.
    manifest: Mutex<Option<Manifest>>,
    is_forgotten: Mutex<bool>,
    /// Whether what is on the disk is of an earlier pairing, and so to be deleted.
    is_old: AtomicBool,
}

impl HostCache {
    /// The cache of a host. Reads its manifest.
    pub(crate) fn open(
        cache: Arc<Cache>,
        server_id: &ServerId,
        (key, psk): (CacheKey, Option<&PresharedKey>),
    ) -> Self {
        let it = Self {
            cache,
            host: server_id.as_str().to_owned(),
            key,
            pairing: Mutex::new(pairing_of(psk)),
            waiting: Mutex::default(),
            manifest: Mutex::default(),
            is_forgotten: Mutex::default(),
            is_old: AtomicBool::default(),
        };
        if it.cache.is_on() {
            let name = manifest_name(&it.host);
            *lock(&it.manifest) = it.read_file(&name, Manifest::read);
        }
        it
    }

    /// Whether anything is kept.
    pub(crate) fn is_on(&self) -> bool {
        self.cache.is_on()
    }

    /// Where the session was when its lists were kept; `None` if there is nothing to continue.
    pub(crate) fn position(&self) -> Option<Resume> {
        let manifest = lock(&self.manifest);
        let manifest = manifest.as_ref().filter(|manifest| !manifest.is_empty());
        manifest.map(|manifest| manifest.position.clone())
    }

    /// The manifest on the disk.
    pub(crate) fn manifest(&self) -> Option<Manifest> {
        lock(&self.manifest).clone()
    }

    /// What is kept of a table or log that is about to be viewed.
    pub(crate) fn read<P: StoredPage>(&self, target: &LiveTarget) -> Option<Stored<P>> {
        if !self.drop_old() {
            return None;
        }
        let name = self.list(P::KIND, target);
        let list = self.read_file(&name, |bytes| read_list(bytes, target))?;
        self.cache.with(|folder| {
            folder.view(&name);
            Ok(())
        });
        Some(list)
    }

    /// Writes which lists were viewed last.
    pub(crate) fn write_views(&self) {
        self.cache.with(Folder::write_views);
    }

    /// Adds a checkpoint to those that [`HostCache::write_next`] writes.
    pub(crate) fn push(&self, checkpoint: Checkpoint) {
        lock(&self.waiting).push_back(checkpoint);
    }

    /// Writes the oldest checkpoint that waits; false if it could not be written.
    pub(crate) fn write_next(&self) -> bool {
        // One at a time and in order, and none once the host is forgotten.
        let is_forgotten = lock(&self.is_forgotten);
        let Some(checkpoint) = lock(&self.waiting).pop_front() else {
            return true;
        };
        if *is_forgotten {
            return true;
        }
        let written = self.drop_old().then(|| self.write(checkpoint)).flatten();
        if written.is_none() {
            // They would be out of date.
            lock(&self.waiting).clear();
        }
        written.unwrap_or(false)
    }

    /// Writes a checkpoint, one file after the other; `None` if the folder is not to be had, or
    /// fails. The folder is free in between, for a list that is opened and for a pause.
    fn write(&self, checkpoint: Checkpoint) -> Option<bool> {
        for (kind, target) in &checkpoint.refused {
            let name = self.list(*kind, target);
            self.cache.with(|folder| folder.delete(&name))?;
        }
        for list in &checkpoint.lists {
            let name = self.list(list.kind, &list.target);
            let Some(sealed) = self.seal(&name, list.to_bytes()) else {
                return Some(false);
            };
            self.cache.with(|folder| folder.write(&name, &sealed))?;
        }
        let name = manifest_name(&self.host);
        let Some(sealed) = self.seal(&name, checkpoint.manifest.to_bytes()) else {
            return Some(false);
        };
        self.cache.with(|folder| {
            folder.write(&name, &sealed)?;
            *lock(&self.manifest) = Some(checkpoint.manifest);
            folder.write_views()
        })?;
        Some(true)
    }

    /// The host was paired again, perhaps by another process that has forgotten it before and could
    /// not delete these files: nothing of the earlier pairing is shown any more.
    pub(crate) fn begin_anew(&self, psk: Option<&PresharedKey>) {
        *lock(&self.pairing) = pairing_of(psk);
        self.is_old.store(true, Ordering::Release);
        *lock(&self.manifest) = None;
    }

    /// Deletes what is of an earlier pairing. False if that cannot be done now.
    pub(crate) fn drop_old(&self) -> bool {
        if !self.is_old.load(Ordering::Acquire) {
            return true;
        }
        // Under the lock of the folder, so that whatever is written next stays.
        let dropped = self.cache.with(|folder| {
            if self.is_old.load(Ordering::Acquire) {
                folder.retain(|host| host != self.host)?;
                self.is_old.store(false, Ordering::Release);
            }
            Ok(())
        });
        dropped.is_some()
    }

    /// Deletes everything, for good.
    pub(crate) fn forget(&self) {
        *lock(&self.is_forgotten) = true;
        *lock(&self.manifest) = None;
        self.cache
            .with(|folder| folder.retain(|host| host != self.host));
    }

    fn list(&self, kind: LiveKind, target: &LiveTarget) -> String {
        let params = target.params.as_ref().map(|json| json.get());
        let of = format!("{kind:?}\n{}\n{params:?}", target.name);
        list_name(&self.host, &self.key.file_name(&of))
    }

    fn seal(&self, name: &str, content: Result<Vec<u8>, Damaged>) -> Option<Vec<u8>> {
        let nonce = random_bytes().ok()?;
        let bound = self.bound(name);
        self.key.seal(nonce, &bound, content.ok()?).ok()
    }

    /// What a file is bound to: its name and the pairing.
    fn bound(&self, name: &str) -> String {
        format!("{name} {}", lock(&self.pairing))
    }

    /// Reads a file; one that is not what it should be is deleted.
    fn read_file<T>(
        &self,
        name: &str,
        read: impl FnOnce(&[u8]) -> Result<T, Damaged>,
    ) -> Option<T> {
        let mut file = self.cache.with(|folder| folder.read(name)).flatten()?;
        let opened = self.key.open(&self.bound(name), &mut file);
        let opened = opened.map_err(|error| Damaged(error.to_string()));
        match opened.and_then(read) {
            Ok(content) => Some(content),
            Err(Damaged(problem)) => {
                tracing::warn!(file = name, problem, "a cached file is dropped");
                self.cache.with(|folder| folder.delete(name));
                None
            }
        }
    }
}

fn pairing_of(psk: Option<&PresharedKey>) -> KeyId {
    psk.unwrap_or(&PresharedKey::NONE).id()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
