//! Blobs on their way to and from a host's daemon (LD-8): the handle that an app holds, and the
//! task that moves the bytes as the machine says.

mod driver;
mod files;
mod requests;

use std::{path::PathBuf, sync::Arc};

use bowline_protocol::{BlobHash, blob::BlobOf, error::RpcError};
use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};

pub(crate) use self::driver::Driver;
use crate::{error::CallError, host::Host};

/// Where a blob's bytes come from.
#[derive(Clone, Debug)]
pub enum BlobSource {
    /// Memory.
    Bytes(Bytes),
    /// A file, which must not change while it is put. It is read twice: for its hash, and to be
    /// sent.
    File(PathBuf),
}

/// Where a blob's bytes go.
#[derive(Clone, Debug)]
pub enum BlobSink {
    /// Memory, for at most 64 MiB.
    Bytes,
    /// A file, which appears, or is replaced, once it is whole. Until then the bytes are in a file
    /// beside it whose name ends with `.part`, from which another call goes on, also after a
    /// restart of the app.
    File(PathBuf),
}

/// How far a blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransferState {
    /// The bytes here are read for their hash: of a file to put, or of what is there of one to get.
    Reading,
    /// Waits: for a connection, for other blobs, or after a refusal that passes.
    Waiting,
    /// Bytes move.
    Moving,
    /// It is whole, verified and stored.
    Done,
    /// It ended without being whole: see [`Transfer::outcome`]. What moved is kept, so that another
    /// call goes on there.
    Failed,
}

/// Progress of a blob, newest only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferProgress {
    /// How far it is.
    pub state: TransferState,
    /// Its name, once it is known.
    pub hash: Option<BlobHash>,
    /// Bytes that are there: at the daemon, or here.
    pub done: u64,
    /// All its bytes, once that is known.
    pub total: Option<u64>,
}

/// A blob that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its name.
    pub hash: BlobHash,
    /// Its size in bytes.
    pub size: u64,
    /// Its bytes, if it was got with [`BlobSink::Bytes`].
    pub bytes: Option<Bytes>,
}

/// Why a blob is not whole.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransferError {
    /// No such host.
    #[error("this host is not known")]
    UnknownHost,
    /// The runtime is closed.
    #[error("the runtime is closed")]
    Closed,
    /// The host has as many blobs on their way as it may.
    #[error("64 blobs are on their way to and from this host: wait for some")]
    Busy,
    /// [`Transfer::cancel`] was called.
    #[error("the transfer was cancelled; another call goes on where it stopped")]
    Cancelled,
    /// The daemon refused, for good.
    #[error(transparent)]
    Refused(RpcError),
    /// The answers do not match the protocol.
    #[error("{0}")]
    Malformed(CallError),
    /// A file cannot be read or written.
    #[error("cannot {action} {path}: {problem}", path = path.display())]
    File {
        /// The attempted action: `read`, `write`, …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        problem: String,
    },
    /// The blob is too large to be got into memory.
    #[error(
        "the blob has {size} bytes, over the 64 MiB that are got into memory: get it into a file"
    )]
    TooLarge {
        /// Its bytes.
        size: u64,
    },
    /// The bytes that came are not those of the hash, twice.
    #[error("what the daemon has under this name is not the blob: have its owner check the disk")]
    Corrupt,
    /// A defect of the runtime ended the transfer.
    #[error("a defect ended the transfer")]
    Defect,
}

type Ended = Option<Result<Blob, TransferError>>;

/// A blob on its way. It survives lost connections and switches of path, and waits as long as there
/// is no connection. Dropping the handle cancels it.
#[derive(Debug)]
pub struct Transfer {
    progress: watch::Receiver<TransferProgress>,
    ended: watch::Receiver<Ended>,
    cancel: Arc<Cancel>,
}

/// The request to end a transfer.
#[derive(Debug, Default)]
struct Cancel {
    is_set: std::sync::atomic::AtomicBool,
    changed: Notify,
}

impl Cancel {
    fn set(&self) {
        self.is_set
            .store(true, std::sync::atomic::Ordering::Release);
        self.changed.notify_one();
    }

    fn is_set(&self) -> bool {
        self.is_set.load(std::sync::atomic::Ordering::Acquire)
    }

    async fn wait(&self) {
        while !self.is_set() {
            self.changed.notified().await;
        }
    }
}

impl Transfer {
    /// Starts a transfer on the executor.
    pub(crate) fn start(
        executor: &tokio::runtime::Handle,
        host: Host,
        work: Work,
    ) -> Result<Self, TransferError> {
        let place = Arc::clone(&host.transfers().all).try_acquire_owned();
        let place: OwnedSemaphorePermit = place.map_err(|_| TransferError::Busy)?;
        let first = TransferProgress {
            state: TransferState::Reading,
            hash: work.hash(),
            done: 0,
            total: None,
        };
        let (progress_out, progress) = watch::channel(first);
        let (ended_out, ended) = watch::channel(None);
        let cancel = Arc::<Cancel>::default();
        let driver = Driver::new(host, progress_out, Arc::clone(&cancel));
        executor.spawn(async move {
            let _place = place;
            // A panic shows as a defect: the sender goes without an outcome.
            driver.run(work, ended_out).await;
        });
        Ok(Self {
            progress,
            ended,
            cancel,
        })
    }

    /// Progress, newest only. The last one is [`TransferState::Done`] or
    /// [`TransferState::Failed`]; then the channel closes.
    pub fn progress(&self) -> watch::Receiver<TransferProgress> {
        self.progress.clone()
    }

    /// Waits until it is whole, or why it is not. May be called again.
    ///
    /// # Errors
    /// [`TransferError`].
    pub async fn outcome(&self) -> Result<Blob, TransferError> {
        let mut ended = self.ended.clone();
        let ended = ended.wait_for(Option::is_some).await;
        match ended.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            Ok(None) | Err(_) => Err(TransferError::Defect),
        }
    }

    /// Ends it. What moved is kept: another call goes on there.
    pub fn cancel(&self) {
        self.cancel.set();
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.cancel.set();
    }
}

/// What a transfer does.
#[derive(Debug)]
pub(crate) enum Work {
    Put(BlobSource),
    Get {
        hash: BlobHash,
        of: Option<BlobOf>,
        sink: BlobSink,
    },
}

impl Work {
    const fn hash(&self) -> Option<BlobHash> {
        match self {
            Self::Put(_) => None,
            Self::Get { hash, .. } => Some(*hash),
        }
    }
}
