//! The folder with what is kept of all hosts: files by name, bounded, the oldest unviewed dropped
//! first.

use std::{collections::BTreeMap, fs::File, path::Path};

use serde::{Deserialize, Serialize};

use crate::storage::{FileStorage, Storage, StorageError, try_lock};

/// Most bytes of one file that are read; a longer one is damaged.
const MAX_FILE: u64 = 16 << 20;
/// Most lists of all hosts.
const MAX_LISTS: usize = 1_024;
/// Ends of the names of files.
const LIST: &str = ".list";
const MANIFEST: &str = ".manifest";
const DRAFT: &str = ".draft";
/// The order in which lists were viewed.
const VIEWS: &str = "views.json";
const VERSION: u32 = 1;

/// The name of a host's list; `of` says which one.
pub(super) fn list_name(host: &str, of: &str) -> String {
    format!("{host}.{of}{LIST}")
}

/// The name of a host's manifest.
pub(super) fn manifest_name(host: &str) -> String {
    format!("{host}{MANIFEST}")
}

/// The host that a file is of.
fn host_of(name: &str) -> Option<&str> {
    let is_one = [LIST, MANIFEST].iter().any(|end| name.ends_with(end));
    name.split('.').next().filter(|_| is_one)
}

/// When each list was viewed last, as a count of views: no clock is asked.
#[derive(Default, Serialize, Deserialize)]
struct Views {
    version: u32,
    last: u64,
    lists: BTreeMap<String, u64>,
}

/// The folder, while this process owns it.
pub(super) struct Folder {
    files: FileStorage,
    /// Released by the system if the process dies.
    _lock: File,
    limit: u64,
    sizes: BTreeMap<String, u64>,
    views: Views,
}

impl Folder {
    /// Opens the folder; `None` while another process owns it. What a process that died left
    /// unfinished is deleted, and what is over the bound.
    ///
    /// # Errors
    /// [`StorageError`].
    pub(super) fn open(folder: &Path, limit: u64) -> Result<Option<Self>, StorageError> {
        let files = FileStorage::open(folder)?;
        let Some(lock) = try_lock(&files.location("cache.lock"))? else {
            return Ok(None);
        };
        let mut sizes = BTreeMap::new();
        for (name, bytes) in files.list()? {
            if name.ends_with(DRAFT) {
                files.delete(&name)?;
            } else if host_of(&name).is_some() {
                sizes.insert(name, bytes);
            }
        }
        // Without it the order is unknown, and nothing else.
        let views = files.read_bounded(VIEWS, MAX_FILE).ok().flatten();
        let views = views.and_then(|bytes| serde_json::from_slice::<Views>(&bytes).ok());
        let mut views = views.filter(|views| views.version == VERSION);
        if let Some(views) = &mut views {
            views.lists.retain(|name, _| sizes.contains_key(name));
        }
        let mut it = Self {
            files,
            _lock: lock,
            limit,
            sizes,
            views: views.unwrap_or_default(),
        };
        it.shrink()?;
        Ok(Some(it))
    }

    /// The content of a file, if there is one.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        match self.sizes.get(name) {
            None => return Ok(None),
            // Nobody wrote that, and nothing decrypts to it.
            Some(bytes) if *bytes > MAX_FILE => return Ok(Some(Vec::new())),
            Some(_) => {}
        }
        self.files.read_bounded(name, MAX_FILE)
    }

    /// Notes that a list is viewed: it is dropped after all that were viewed before.
    pub(super) fn view(&mut self, name: &str) {
        self.views.last += 1;
        self.views.lists.insert(name.to_owned(), self.views.last);
    }

    /// Writes the order of views.
    pub(super) fn write_views(&mut self) -> Result<(), StorageError> {
        self.views.version = VERSION;
        match serde_json::to_vec(&self.views) {
            Ok(bytes) => self.files.write_unsynced(VIEWS, &bytes),
            Err(_) => Ok(()),
        }
    }

    /// Replaces a file, and drops others if it is needed. A list over the whole bound is not kept.
    pub(super) fn write(&mut self, name: &str, content: &[u8]) -> Result<(), StorageError> {
        let bytes = content.len() as u64;
        if bytes > self.limit.min(MAX_FILE) {
            return self.delete(name);
        }
        self.files.write_unsynced(name, content)?;
        self.sizes.insert(name.to_owned(), bytes);
        // Only the first write of a list counts as a view: one that changes often is viewed no
        // later than one that does not.
        if name.ends_with(LIST) && !self.views.lists.contains_key(name) {
            self.view(name);
        }
        self.shrink()
    }

    /// Deletes a file, if there is one.
    pub(super) fn delete(&mut self, name: &str) -> Result<(), StorageError> {
        self.files.delete(name)?;
        self.sizes.remove(name);
        self.views.lists.remove(name);
        Ok(())
    }

    /// Deletes the files of hosts that are not wanted.
    pub(super) fn retain(&mut self, is_wanted: impl Fn(&str) -> bool) -> Result<(), StorageError> {
        let names = self.sizes.keys();
        let over = names.filter(|name| !host_of(name).is_some_and(&is_wanted));
        let over: Vec<String> = over.cloned().collect();
        over.iter().try_for_each(|name| self.delete(name))
    }

    fn shrink(&mut self) -> Result<(), StorageError> {
        loop {
            let bytes: u64 = self.sizes.values().sum();
            let lists = self.sizes.keys().filter(|name| name.ends_with(LIST));
            if bytes <= self.limit && lists.clone().count() <= MAX_LISTS {
                return Ok(());
            }
            let viewed = |name: &&String| self.views.lists.get(*name).copied();
            let Some(oldest) = lists.min_by_key(viewed).cloned() else {
                // The manifests alone are over a very small bound.
                return self.retain(|_| false);
            };
            self.delete(&oldest)?;
        }
    }
}
