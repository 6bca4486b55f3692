//! Bytes of blobs on this side: in memory and in files.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bowline_machines::client::transfers::Part;
use bowline_protocol::{BlobHash, blob::BlobHasher};
use bytes::{Bytes, BytesMut};

use super::{BlobSink, BlobSource, Cancel, TransferError};
use crate::settings::FILE_BLOCK;

fn failed<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl Fn(io::Error) -> TransferError + Copy + 'a {
    move |error| TransferError::File {
        action,
        path: path.to_owned(),
        problem: error.to_string(),
    }
}

/// Reads to the end and computes the hash; gives the bytes read so far to `tell`.
fn hash_of(
    file: &mut File,
    hasher: &mut BlobHasher,
    cancel: &Cancel,
    mut tell: impl FnMut(u64),
) -> io::Result<Option<u64>> {
    let (mut block, mut length) = (vec![0; FILE_BLOCK], 0);
    loop {
        let read = file.read(&mut block)?;
        let bytes = block.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(Some(length));
        }
        if cancel.is_set() {
            return Ok(None);
        }
        hasher.update(bytes);
        length += read as u64;
        tell(length);
    }
}

/// The bytes of a blob that is put.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    Bytes(Bytes),
    File(Arc<File>, PathBuf),
}

impl Origin {
    /// Opens a source; computes its hash and size. Blocks.
    pub(super) fn open(
        source: BlobSource,
        cancel: &Cancel,
        tell: impl FnMut(u64),
    ) -> Result<(Self, BlobHash, u64), TransferError> {
        match source {
            BlobSource::Bytes(bytes) => {
                let (hash, size) = (BlobHash::of(&bytes), bytes.len() as u64);
                Ok((Self::Bytes(bytes), hash, size))
            }
            BlobSource::File(path) => {
                let failed = failed("read", &path);
                let mut file = File::open(&path).map_err(failed)?;
                let mut hasher = BlobHasher::new();
                let size = hash_of(&mut file, &mut hasher, cancel, tell).map_err(failed)?;
                let size = size.ok_or(TransferError::Cancelled)?;
                Ok((Self::File(Arc::new(file), path), hasher.finish(), size))
            }
        }
    }

    /// Some of the bytes. Blocks.
    pub(super) fn read(&self, part: Part) -> Result<Bytes, TransferError> {
        let length = usize::try_from(part.length).unwrap_or(usize::MAX);
        match self {
            Self::Bytes(bytes) => {
                let start = usize::try_from(part.offset).unwrap_or(usize::MAX);
                let end = start.saturating_add(length).min(bytes.len());
                Ok(bytes.slice(start.min(end)..end))
            }
            Self::File(file, path) => {
                let mut bytes = vec![0; length];
                let mut file: &File = file;
                // One task reads, one part after the other.
                file.seek(SeekFrom::Start(part.offset))
                    .and_then(|_| file.read_exact(&mut bytes))
                    .map_err(failed("read", path))?;
                Ok(bytes.into())
            }
        }
    }
}

/// Files that blobs are got into now, of all runtimes of the process: two transfers that write to
/// one would spoil it for each other.
static IN_USE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
/// How long a transfer waits for a file that an ended one may still be leaving.
const LEAVING: Duration = Duration::from_secs(1);

/// A file in use, until it is dropped.
#[derive(Debug)]
struct InUse(PathBuf);

impl InUse {
    /// Takes a file. Blocks for up to [`LEAVING`]; `None` if another transfer keeps it.
    fn take(path: &Path, cancel: &Cancel) -> Option<Self> {
        // The same file by another path: its folder is known, the file itself may not be there yet.
        let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
        let path = folder
            .zip(path.file_name())
            .map_or_else(|| path.to_owned(), |(folder, name)| folder.join(name));
        let until = Instant::now() + LEAVING;
        loop {
            let mut all = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
            if all.insert(path.clone()) {
                return Some(Self(path));
            }
            drop(all);
            if cancel.is_set() || Instant::now() >= until {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut all = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&self.0);
    }
}

/// Where the bytes of a blob go that is got.
#[derive(Debug)]
pub(super) struct Target {
    hasher: BlobHasher,
    have: u64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Bytes(BytesMut),
    File {
        /// Open while bytes come.
        file: Option<File>,
        part: PathBuf,
        path: PathBuf,
        _in_use: InUse,
    },
}

impl Target {
    /// Opens a sink; what is there of the blob already counts. Blocks.
    pub(super) fn open(
        sink: BlobSink,
        hash: &BlobHash,
        cancel: &Cancel,
        tell: impl FnMut(u64),
    ) -> Result<Self, TransferError> {
        let mut hasher = BlobHasher::new();
        let (have, place) = match sink {
            BlobSink::Bytes => (0, Place::Bytes(BytesMut::new())),
            BlobSink::File(path) => {
                // The hash in the name: another blob for the same path begins anew.
                let mut name = path.file_name().unwrap_or_default().to_owned();
                let short: String = hash.to_string().chars().take(16).collect();
                name.push(format!(".{short}.part"));
                let part = path.with_file_name(name);
                let failed = failed("write", &part);
                let in_use = InUse::take(&part, cancel).ok_or_else(|| TransferError::File {
                    action: "write",
                    path: part.clone(),
                    problem: "another transfer gets this blob into it: wait for that one"
                        .to_owned(),
                })?;
                let mut options = OpenOptions::new();
                let options = options.read(true).write(true).create(true).truncate(false);
                #[cfg(unix)]
                std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
                let mut file = options.open(&part).map_err(failed)?;
                let have = hash_of(&mut file, &mut hasher, cancel, tell).map_err(failed)?;
                let have = have.ok_or(TransferError::Cancelled)?;
                let file = Some(file);
                let place = Place::File {
                    file,
                    part,
                    path,
                    _in_use: in_use,
                };
                (have, place)
            }
        };
        Ok(Self {
            hasher,
            have,
            place,
        })
    }

    pub(super) const fn have(&self) -> u64 {
        self.have
    }

    pub(super) const fn is_memory(&self) -> bool {
        matches!(self.place, Place::Bytes(_))
    }

    /// Adds bytes at the end. Blocks.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), TransferError> {
        match &mut self.place {
            Place::Bytes(all) => all.extend_from_slice(bytes),
            Place::File { file, part, .. } => {
                let file = file.as_mut().ok_or(TransferError::Defect)?;
                file.write_all(bytes).map_err(failed("write", part))?;
            }
        }
        self.hasher.update(bytes);
        self.have += bytes.len() as u64;
        Ok(())
    }

    /// Forgets all bytes: they are wrong. Blocks.
    pub(super) fn clear(&mut self) -> Result<(), TransferError> {
        (self.hasher, self.have) = (BlobHasher::new(), 0);
        match &mut self.place {
            Place::Bytes(all) => all.clear(),
            Place::File { file, part, .. } => {
                let file = file.as_mut().ok_or(TransferError::Defect)?;
                file.set_len(0)
                    .and_then(|()| file.seek(SeekFrom::Start(0)))
                    .map_err(failed("write", part))?;
            }
        }
        Ok(())
    }

    /// Whether the bytes are those of the hash.
    pub(super) fn is(&self, hash: &BlobHash) -> bool {
        self.hasher.clone().finish() == *hash
    }

    /// Makes the whole durable, under its name. Blocks.
    pub(super) fn finish(&mut self) -> Result<Option<Bytes>, TransferError> {
        match &mut self.place {
            Place::Bytes(all) => Ok(Some(std::mem::take(all).freeze())),
            Place::File {
                file, part, path, ..
            } => {
                let open = file.take().ok_or(TransferError::Defect)?;
                open.sync_all().map_err(failed("write", part))?;
                // Closed first, for systems where an open file keeps its name.
                drop(open);
                fs::rename(&*part, &*path).map_err(failed("write", path))?;
                Ok(None)
            }
        }
    }
}
