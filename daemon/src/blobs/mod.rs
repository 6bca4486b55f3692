//! Blobs: bytes named by their hash, in files of the state directory (LD-8,
//! `docs/adr/0028-blobs.md`).
//!
//! ```text
//! blobs/ab/ab12…            a complete blob
//! blobs/begun/OWNER-HASH-SIZE    one that is being put
//! ```
//!
//! One thread owns the files: pieces are taken in the order of their requests, and a blob is never
//! removed while it is put again. What is known of complete blobs is in the database: who has put
//! them and what refers to them ([`crate::ledger`]).

mod begun;
mod charges;
mod folder;
mod service;
mod worker;

use std::{
    collections::HashMap,
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bowline_program::Vital;
use bowline_protocol::{BlobHash, RpcReason, blob::BlobPut, error::RpcError, limits};
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::service::BlobService;
use self::{
    folder::Folder,
    worker::{Command, Worker},
};
use crate::{
    files::FileError,
    ledger::{Ledger, Owner, SessionRef, blob_charge, over_all},
};

/// Requests that wait for the thread, each with at most one piece.
const WAITING: usize = 64;
/// Those of one device among them.
const WAITING_OF_ONE: usize = 16;
/// Pause that a client is asked for while too many wait.
const PAUSE: Duration = Duration::from_millis(100);

/// Bounds of what is stored; zero is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobLimits {
    /// Bytes that one device has put, complete or not; each blob counts as 4,096 at least, as does
    /// each of all.
    pub bytes_per_device: u64,
    /// Bytes of all blobs.
    pub bytes: u64,
    /// Bytes of one blob.
    pub blob: u64,
    /// Time for which a blob is kept that nothing refers to.
    pub grace: Duration,
}

impl BlobLimits {
    /// The defaults.
    pub const DEFAULT: Self = Self {
        bytes_per_device: 4 << 30,
        bytes: 32 << 30,
        blob: limits::MAX_BLOB_BYTES,
        grace: limits::BLOB_GRACE,
    };

    /// Refuses a blob that is too large.
    fn check_size(&self, size: u64) -> Result<(), RpcError> {
        if is_over(self.blob, 0, size) {
            let what = "takes no larger blob: put a smaller one, or have the limit raised";
            return Err(over_all("max_blob_bytes", self.blob, what));
        }
        Ok(())
    }

    /// Refuses a blob that everybody's do not leave room for.
    fn check_all(&self, has: u64, size: u64) -> Result<(), RpcError> {
        if is_over(self.bytes, has, blob_charge(size)) {
            let what = "has as many bytes of blobs as it may: remove what refers to some, or have the limit raised";
            return Err(over_all("blob_bytes", self.bytes, what));
        }
        Ok(())
    }

    /// Refuses a blob that a device's others do not leave room for.
    fn check_own(&self, session: &SessionRef, has: u64, size: u64) -> Result<(), RpcError> {
        let limit = self.bytes_per_device;
        if is_over(limit, has, blob_charge(size)) {
            let what = "has put as many bytes of blobs as it may: remove what refers to some, or have the limit raised";
            return Err(session.over("blob_bytes_per_device", limit, what));
        }
        Ok(())
    }
}

/// Whether an increase goes over a limit; zero is none.
const fn is_over(limit: u64, has: u64, more: u64) -> bool {
    limit > 0 && has.saturating_add(more) > limit
}

/// The blobs of a daemon. Clones share them; the thread ends with the last one.
#[derive(Clone)]
pub struct BlobStore {
    commands: mpsc::Sender<Command>,
    waiting: Arc<Mutex<HashMap<Owner, usize>>>,
    ledger: Ledger,
    folder: Arc<Folder>,
    limits: BlobLimits,
}

/// A place among the waiting requests of a device, until it is dropped.
struct Waiting {
    owner: Owner,
    waiting: Arc<Mutex<HashMap<Owner, usize>>>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut all = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.owner) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                all.remove(&self.owner);
            }
        }
    }
}

impl BlobStore {
    /// Opens the folder and starts the thread. Needs a current tokio runtime.
    pub(crate) async fn open(
        state_dir: &Path,
        ledger: Ledger,
        limits: BlobLimits,
        vital: &Vital,
    ) -> Result<Self, FileError> {
        let path = state_dir.join(folder::NAME);
        let failed = FileError::of(&path);
        let folder = Arc::new(Folder::open(path.clone()).map_err(failed)?);
        let strays = folder.remove_strays(&ledger, limits.grace);
        strays.await.map_err(failed)?;
        let (commands, inbox) = mpsc::channel(WAITING);
        let runtime = tokio::runtime::Handle::current();
        let worker = Worker::new(Arc::clone(&folder), ledger.clone(), limits, runtime);
        let worker = worker.map_err(failed)?;
        let thread = vital.thread("blobs", move || worker.run(inbox));
        thread.map_err(failed)?;
        Ok(Self {
            commands,
            waiting: Arc::default(),
            ledger,
            folder,
            limits,
        })
    }

    /// Stores bytes of the daemon's own. They are kept for `blob_grace`, and longer once a row or
    /// an item refers to them ([`Table::keep_blobs`](crate::ledger::Table::keep_blobs)).
    ///
    /// # Errors
    /// `quota_exceeded` over `blob_bytes` or `max_blob_bytes`; `storage_unavailable` when the disk
    /// does not take them; `overloaded`.
    pub async fn put(&self, bytes: Vec<u8>) -> Result<BlobHash, RpcError> {
        self.adopt(move |folder, limits| folder.copy(&mut bytes.as_slice(), limits))
            .await
    }

    /// [`BlobStore::put`] with the content of a file, which is copied.
    ///
    /// # Errors
    /// As there; `not_found` if the file cannot be read.
    pub async fn put_file(&self, path: PathBuf) -> Result<BlobHash, RpcError> {
        self.adopt(move |folder, limits| {
            let unreadable = |error| {
                let text = format!("cannot read {}: {error}", path.display());
                RpcError::new(RpcReason::NotFound, text)
            };
            folder.copy(&mut File::open(&path).map_err(unreadable)?, limits)
        })
        .await
    }

    async fn adopt(
        &self,
        copy: impl FnOnce(&Folder, &BlobLimits) -> Result<folder::Copied, RpcError> + Send + 'static,
    ) -> Result<BlobHash, RpcError> {
        let (folder, limits) = (Arc::clone(&self.folder), self.limits);
        let copied = tokio::task::spawn_blocking(move || copy(&folder, &limits));
        let copied = copied
            .await
            .map_err(|error| RpcError::internal(error.to_string()))??;
        let hash = copied.hash;
        let (reply, result) = oneshot::channel();
        let command = Command::Adopt { copied, reply };
        let sent = self.commands.send(command).await;
        sent.map_err(|_| stopped())?;
        result.await.map_err(|_| stopped())??;
        Ok(hash)
    }

    /// Opens a blob for reading, whoever may get it.
    ///
    /// # Errors
    /// `not_found`, also if its bytes were lost; as [`Ledger::read`].
    pub async fn open_blob(&self, hash: BlobHash) -> Result<File, RpcError> {
        self.ledger.find_blob(None, hash, None).await?;
        self.folder.read(&hash)
    }

    /// Queues a piece at once, so that pieces keep the order in which they came.
    fn queue_put(&self, session: &SessionRef, put: worker::Piece) -> Result<PutResult, RpcError> {
        let (reply, result) = oneshot::channel();
        self.queue(session.owner(), |place| Command::Put {
            session: session.clone(),
            put,
            reply,
            _place: place,
        })?;
        Ok(result)
    }

    fn queue_read(
        &self,
        owner: Owner,
        read: worker::Wanted,
    ) -> Result<oneshot::Receiver<Result<Vec<u8>, RpcError>>, RpcError> {
        let (reply, result) = oneshot::channel();
        self.queue(owner, |place| Command::Read {
            read,
            reply,
            _place: place,
        })?;
        Ok(result)
    }

    fn queue(
        &self,
        owner: Owner,
        command: impl FnOnce(Waiting) -> Command,
    ) -> Result<(), RpcError> {
        let busy = || {
            let text = "the daemon's disk is slower than these requests; send it again later";
            RpcError::new(RpcReason::Overloaded, text).after(PAUSE)
        };
        {
            let mut all = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let count = all.entry(owner).or_default();
            if *count >= WAITING_OF_ONE {
                return Err(busy());
            }
            *count += 1;
        }
        let place = Waiting {
            owner,
            waiting: Arc::clone(&self.waiting),
        };
        let sent = self.commands.try_send(command(place));
        sent.map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => busy(),
            mpsc::error::TrySendError::Closed(_) => stopped(),
        })
    }

    /// Ends the thread after what waits; what comes later fails.
    pub(crate) async fn shutdown(&self) {
        let (done, wait) = oneshot::channel();
        if self.commands.send(Command::Stop(done)).await.is_ok() {
            // An error means that the thread has ended already.
            let _ = wait.await;
        }
    }

    pub(crate) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

/// The outcome of a queued piece.
type PutResult = oneshot::Receiver<Result<BlobPut, RpcError>>;

/// The error of a request that the ended thread did not take.
fn stopped() -> RpcError {
    RpcError::new(RpcReason::Overloaded, "the daemon is shutting down")
}

impl std::fmt::Debug for BlobStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlobStore({:?})", self.folder)
    }
}
