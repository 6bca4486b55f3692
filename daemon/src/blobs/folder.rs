//! The folder of blobs: names, and what is done to files.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use bowline_local::{PrivacyError, make_private_folder};
use bowline_protocol::{BlobHash, RpcReason, blob::BlobHasher, error::RpcError};

use super::BlobLimits;
use crate::{
    files::private,
    ledger::{Ledger, Owner},
};

/// Its name in the state directory.
pub(super) const NAME: &str = "blobs";
/// The folder in it of blobs that are not complete.
const BEGUN: &str = "begun";
/// Bytes read at once to copy or to hash.
const BLOCK: usize = 256 * 1024;

/// The folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    copies: AtomicU64,
}

/// A copy of bytes of the daemon's own, in a file without a name.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) path: PathBuf,
    pub(super) hash: BlobHash,
    pub(super) size: u64,
}

impl Drop for Copied {
    fn drop(&mut self) {
        // It is gone once it has become a blob.
        let _ = fs::remove_file(&self.path);
    }
}

impl Folder {
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        make(&path)?;
        make(&path.join(BEGUN))?;
        Ok(Self {
            path,
            copies: AtomicU64::default(),
        })
    }

    /// The file of a complete blob.
    pub(super) fn of(&self, hash: &BlobHash) -> PathBuf {
        let name = hash.to_string();
        let (shelf, _) = name.split_at_checked(2).unwrap_or((&name, ""));
        self.path.join(shelf).join(&name)
    }

    /// The file of one that is not complete. Everything that is needed after a restart is its name.
    pub(super) fn of_begun(&self, owner: Owner, hash: &BlobHash, size: u64) -> PathBuf {
        let owner = owner.0.cast_unsigned();
        self.path
            .join(BEGUN)
            .join(format!("{owner:016x}-{hash}-{size}"))
    }

    /// Those that are not complete. Files of other names are removed: copies that were not
    /// finished.
    pub(super) fn begun(&self) -> io::Result<Vec<(Owner, BlobHash, u64)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.path.join(BEGUN))? {
            let entry = entry?;
            match entry.file_name().to_str().and_then(parse) {
                Some(begun) => found.push(begun),
                None => fs::remove_file(entry.path())?,
            }
        }
        Ok(found)
    }

    /// Makes a file the blob of its hash, durably. An equal one that is there stays.
    pub(super) fn complete(&self, from: &Path, hash: &BlobHash) -> io::Result<()> {
        let to = self.of(hash);
        let shelf = to.parent().unwrap_or(&self.path);
        if !shelf.exists() {
            make(shelf)?;
            sync_folder(&self.path)?;
        }
        fs::rename(from, &to)?;
        sync_folder(shelf)
    }

    /// Whether the bytes of a complete blob are there. They may not be after the database was
    /// restored without them.
    pub(super) fn has(&self, hash: &BlobHash, size: u64) -> bool {
        fs::metadata(self.of(hash)).is_ok_and(|file| file.len() == size)
    }

    /// Opens the file of a complete blob.
    pub(super) fn read(&self, hash: &BlobHash) -> Result<File, RpcError> {
        File::open(self.of(hash)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => lost(hash),
            _ => unavailable(error),
        })
    }

    /// Removes the file of a blob.
    pub(super) fn remove(&self, hash: &BlobHash) {
        if let Err(error) = fs::remove_file(self.of(hash))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, %hash, "the file of a blob cannot be removed");
        }
    }

    /// Removes files of blobs that the database does not know and that were written longer ago than
    /// `grace`: a crash came between the two. Younger ones stay until a later start, so that there
    /// is time to put an older database right.
    pub(super) async fn remove_strays(&self, ledger: &Ledger, grace: Duration) -> io::Result<()> {
        for shelf in fs::read_dir(&self.path)? {
            let shelf = shelf?.path();
            if !shelf.is_dir() || shelf.ends_with(BEGUN) {
                continue;
            }
            let mut found: Vec<BlobHash> = Vec::new();
            for file in fs::read_dir(&shelf)? {
                let file = file?;
                let written = file.metadata().and_then(|file| file.modified());
                let age = written.map(|at| SystemTime::now().duration_since(at));
                if !age.is_ok_and(|age| age.is_ok_and(|age| age >= grace)) {
                    continue;
                }
                let name = file.file_name();
                found.extend(name.to_str().and_then(|name| name.parse::<BlobHash>().ok()));
            }
            match ledger.unknown_blobs(found).await {
                Ok(strays) => strays.iter().for_each(|hash| self.remove(hash)),
                Err(error) => tracing::warn!(%error, "blobs that are not known stay"),
            }
        }
        Ok(())
    }

    /// Copies bytes into a file of its own. Over the limits it stops, and nothing stays.
    pub(super) fn copy(
        &self,
        from: &mut impl Read,
        limits: &BlobLimits,
    ) -> Result<Copied, RpcError> {
        let number = self.copies.fetch_add(1, Ordering::Relaxed);
        let path = self.path.join(BEGUN).join(format!("copy-{number}"));
        let mut options = private();
        let file = options.create(true).truncate(true).open(&path);
        let mut file = file.map_err(unavailable)?;
        let mut copied = Copied {
            path,
            hash: BlobHash::of(b""),
            size: 0,
        };
        let mut hasher = BlobHasher::new();
        let mut block = vec![0; BLOCK];
        loop {
            let read = from.read(&mut block).map_err(unavailable)?;
            let bytes = block.get(..read).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            copied.size += read as u64;
            limits.check_size(copied.size)?;
            limits.check_all(0, copied.size)?;
            hasher.update(bytes);
            file.write_all(bytes).map_err(unavailable)?;
        }
        file.sync_all().map_err(unavailable)?;
        copied.hash = hasher.finish();
        Ok(copied)
    }
}

/// Owner, hash and size of a file's name.
fn parse(name: &str) -> Option<(Owner, BlobHash, u64)> {
    let mut parts = name.split('-');
    let owner = u64::from_str_radix(parts.next()?, 16).ok()?;
    let hash = parts.next()?.parse().ok()?;
    let size = parts.next()?.parse().ok()?;
    parts
        .next()
        .is_none()
        .then_some((Owner(owner.cast_signed()), hash, size))
}

/// Opens a file to append to it, and computes the hash of what is in it, unless it is as long as
/// one whose hash is known.
pub(super) fn open_hashed(
    path: &Path,
    known: Option<(&BlobHasher, u64)>,
) -> io::Result<(File, BlobHasher, u64)> {
    let mut options = private();
    let options = options.read(true).create(true).truncate(false);
    let mut file = options.open(path)?;
    if let Some((hasher, length)) = known
        && file.metadata()?.len() == length
    {
        file.seek(SeekFrom::Start(length))?;
        return Ok((file, hasher.clone(), length));
    }
    let (mut hasher, mut length) = (BlobHasher::new(), 0);
    let mut block = Vec::new();
    loop {
        block.resize(BLOCK, 0);
        let read = file.read(&mut block)?;
        block.truncate(read);
        if block.is_empty() {
            break;
        }
        hasher.update(&block);
        length += read as u64;
    }
    file.seek(SeekFrom::Start(length))?;
    Ok((file, hasher, length))
}

fn make(folder: &Path) -> io::Result<()> {
    make_private_folder(folder).map_err(|error| match error {
        PrivacyError::Io { error, .. } => error,
        refused => io::Error::other(refused),
    })
}

/// Makes a new name in a folder durable; Windows does so by itself.
fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// The error of a request for a blob whose bytes the daemon should have and has not.
pub(super) fn lost(hash: &BlobHash) -> RpcError {
    tracing::warn!(%hash, "the file of a blob is missing or too short");
    let text = format!("the daemon has lost the bytes of the blob {hash}: put it again");
    RpcError::new(RpcReason::NotFound, text)
}

/// The error of a request for which the disk failed.
pub(super) fn unavailable(error: io::Error) -> RpcError {
    let text = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the daemon's disk is full; free some space on its machine".to_owned()
        }
        _ => format!("the daemon cannot use its folder of blobs: {error}"),
    };
    tracing::debug!(%error, "a file of a blob");
    RpcError::new(RpcReason::StorageUnavailable, text)
}
