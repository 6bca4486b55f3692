//! The thread that owns the files of blobs.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    sync::Arc,
    time::{Duration, Instant},
};

use bowline_protocol::{BlobHash, blob::BlobPut, error::RpcError};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    BlobLimits, Waiting,
    begun::AllBegun,
    folder::{Copied, Folder, unavailable},
};
use crate::ledger::{Ledger, SessionRef, over_all};

/// Pause between two looks for blobs that nothing refers to.
const SWEEP: Duration = Duration::from_secs(600);
/// The same with a shorter grace, for tests and for those who set it.
const SHORTEST_SWEEP: Duration = Duration::from_millis(200);
/// Blobs removed at once; the thread serves others between.
const BATCH: u32 = 64;

/// A piece of a blob.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) hash: BlobHash,
    pub(super) size: u64,
    pub(super) offset: u64,
    /// `None`: the request only asks how much is there.
    pub(super) bytes: Option<Vec<u8>>,
}

/// A part of a complete blob.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) hash: BlobHash,
    pub(super) offset: u64,
    pub(super) limit: usize,
}

/// What the thread is asked for.
pub(super) enum Command {
    Put {
        session: SessionRef,
        put: Piece,
        reply: oneshot::Sender<Result<BlobPut, RpcError>>,
        _place: Waiting,
    },
    Read {
        read: Wanted,
        reply: oneshot::Sender<Result<Vec<u8>, RpcError>>,
        _place: Waiting,
    },
    Adopt {
        copied: Copied,
        reply: oneshot::Sender<Result<(), RpcError>>,
    },
    Stop(oneshot::Sender<()>),
}

/// The state of the thread.
pub(super) struct Worker {
    folder: Arc<Folder>,
    ledger: Ledger,
    limits: BlobLimits,
    runtime: Handle,
    begun: AllBegun,
    /// The file read last.
    reading: Option<(BlobHash, File)>,
    sweep_at: Instant,
}

impl Worker {
    pub(super) fn new(
        folder: Arc<Folder>,
        ledger: Ledger,
        limits: BlobLimits,
        runtime: Handle,
    ) -> io::Result<Self> {
        Ok(Self {
            begun: AllBegun::of(&folder)?,
            folder,
            ledger,
            limits,
            runtime,
            reading: None,
            sweep_at: Instant::now(),
        })
    }

    pub(super) fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        loop {
            let wait = self.sweep_at.saturating_duration_since(Instant::now());
            let next = self
                .runtime
                .block_on(async { timeout(wait, inbox.recv()).await });
            match next {
                Err(_) => self.sweep(),
                Ok(None) => return,
                Ok(Some(Command::Stop(done))) => {
                    drop(self);
                    let _ = done.send(());
                    return;
                }
                Ok(Some(command)) => self.execute(command),
            }
        }
    }

    fn execute(&mut self, command: Command) {
        // A requester may have stopped waiting.
        match command {
            Command::Put {
                session,
                put,
                reply,
                _place,
            } => {
                let _ = reply.send(self.put(&session, put));
            }
            Command::Read {
                read,
                reply,
                _place,
            } => {
                let _ = reply.send(self.read(read).map_err(unavailable));
            }
            Command::Adopt { copied, reply } => {
                let _ = reply.send(self.adopt(&copied));
            }
            Command::Stop(done) => drop(done),
        }
    }

    fn put(&mut self, session: &SessionRef, put: Piece) -> Result<BlobPut, RpcError> {
        let Piece {
            hash,
            size,
            offset,
            bytes,
        } = put;
        let key = (session.owner(), hash);
        if self.begun.get(key, size).is_none() {
            let ask = self.ledger.charge_blob(Some(session.clone()), hash);
            let has = self.runtime.block_on(ask)?;
            if let Some(size) = has.held {
                return Ok(BlobPut {
                    have: size,
                    done: true,
                });
            }
            self.check_size(size)?;
            let (own, all) = self.begun.bytes(key.0);
            let limit = self.limits.bytes_per_device;
            if is_over(limit, has.own.saturating_add(own), size) {
                let what = "has put as many bytes of blobs as it may: remove what refers to some, or have the limit raised";
                return Err(session.over("blob_bytes_per_device", limit, what));
            }
            self.check_all(has.all.saturating_add(all), size)?;
            self.begun.begin(&self.folder, key, size);
        }
        let Some(begun) = self.begun.get(key, size) else {
            return Err(RpcError::internal("a blob that was just begun"));
        };
        let have = begun.check()?;
        if let Some(bytes) = bytes.filter(|_| offset == have) {
            if have.saturating_add(bytes.len() as u64) > size {
                let text = format!("the piece goes beyond the {size} bytes of the blob");
                return Err(RpcError::invalid_params(text));
            }
            begun.append(&bytes)?;
        }
        if begun.have < size {
            return Ok(BlobPut {
                have: begun.have,
                done: false,
            });
        }
        if begun.sealed()? != hash {
            self.begun.remove(key);
            let text = format!("these bytes are not those of {hash}: all of them were dropped");
            return Err(RpcError::invalid_params(text));
        }
        let path = begun.path.clone();
        self.reading = None;
        self.folder.complete(&path, &hash).map_err(unavailable)?;
        let add = self.ledger.add_blob(Some(session.clone()), hash, size);
        if let Err(error) = self.runtime.block_on(add) {
            // It goes back among those that are not complete, so that its client can try again,
            // unless somebody else has put it before.
            let known = self.ledger.unknown_blobs(vec![hash]);
            if self
                .runtime
                .block_on(known)
                .is_ok_and(|unknown| !unknown.is_empty())
            {
                let _ = std::fs::rename(self.folder.of(&hash), &path);
            }
            return Err(error);
        }
        self.begun.remove(key);
        Ok(BlobPut {
            have: size,
            done: true,
        })
    }

    fn check_size(&self, size: u64) -> Result<(), RpcError> {
        let limit = self.limits.blob;
        if is_over(limit, 0, size) {
            let what = "takes no larger blob: put a smaller one, or have the limit raised";
            return Err(over_all("max_blob_bytes", limit, what));
        }
        Ok(())
    }

    fn check_all(&self, has: u64, size: u64) -> Result<(), RpcError> {
        let limit = self.limits.bytes;
        if is_over(limit, has, size) {
            let what = "has as many bytes of blobs as it may: remove what refers to some, or have the limit raised";
            return Err(over_all("blob_bytes", limit, what));
        }
        Ok(())
    }

    fn adopt(&mut self, copied: &Copied) -> Result<(), RpcError> {
        self.reading = None;
        let Copied { path, hash, size } = copied;
        let has = self
            .runtime
            .block_on(self.ledger.charge_blob(None, *hash))?;
        if has.held.is_some() {
            return Ok(());
        }
        self.check_size(*size)?;
        self.check_all(has.all, *size)?;
        self.folder.complete(path, hash).map_err(unavailable)?;
        self.runtime
            .block_on(self.ledger.add_blob(None, *hash, *size))
    }

    fn read(&mut self, wanted: Wanted) -> io::Result<Vec<u8>> {
        let Wanted {
            hash,
            offset,
            limit,
        } = wanted;
        let mut file = match self.reading.take() {
            Some((open, file)) if open == hash => file,
            _ => File::open(self.folder.of(&hash))?,
        };
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::with_capacity(limit);
        let mut part = file.take(limit as u64);
        part.read_to_end(&mut bytes)?;
        self.reading = Some((hash, part.into_inner()));
        Ok(bytes)
    }

    /// Removes blobs that nothing refers to, and old ones that were never completed.
    fn sweep(&mut self) {
        self.begun.expire();
        self.reading = None;
        let grace = i64::try_from(self.limits.grace.as_millis()).unwrap_or(i64::MAX);
        let collect = self.ledger.collect_blobs(grace, BATCH);
        let gone = self.runtime.block_on(collect).unwrap_or_else(|error| {
            tracing::debug!(%error, "no blobs are removed now");
            Vec::new()
        });
        gone.iter().for_each(|hash| self.folder.remove(hash));
        let pause = if gone.len() >= BATCH as usize {
            SHORTEST_SWEEP
        } else {
            SWEEP.min(self.limits.grace.max(SHORTEST_SWEEP))
        };
        self.sweep_at = Instant::now() + pause;
    }
}

/// Whether an increase goes over a limit; zero is none.
const fn is_over(limit: u64, has: u64, more: u64) -> bool {
    limit > 0 && has.saturating_add(more) > limit
}
