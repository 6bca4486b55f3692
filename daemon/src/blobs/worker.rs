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
    charges::Charges,
    folder::{Copied, Folder, lost, unavailable},
};
use crate::ledger::{Ledger, Owner, SessionRef};

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
    /// Of the whole blob.
    pub(super) size: u64,
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
    charges: Charges,
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
            charges: Charges::default(),
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
            // Here, and not only while nothing is asked: requests may never pause.
            if Instant::now() >= self.sweep_at {
                self.sweep();
            }
            let wait = self.sweep_at.saturating_duration_since(Instant::now());
            let next = self
                .runtime
                .block_on(async { timeout(wait, inbox.recv()).await });
            match next {
                // Time to sweep.
                Err(_) => {}
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
                let _ = reply.send(self.read(read));
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
            let ask = self.ledger.know_blob(Some(session.clone()), hash);
            let has = self.runtime.block_on(ask)?;
            // A database that was restored may know what the disk has not: then it is put again.
            if let Some(size) = has.held
                && self.folder.has(&hash, size)
            {
                return Ok(BlobPut {
                    have: size,
                    done: true,
                });
            }
            self.limits.check_size(size)?;
            if has.held != Some(size) {
                let (own, all) = self.charged(key.0)?;
                self.limits.check_own(session, own, size)?;
                // What is stored is counted already, whoever has put it.
                if has.stored != Some(size) {
                    self.limits.check_all(all, size)?;
                }
            }
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
        let path = begun.path.clone();
        let sealed = begun.sealed();
        if !sealed.as_ref().is_ok_and(|sealed| *sealed == hash) {
            // Also when the system could not write them: it may say so once only, and take them
            // for written the next time.
            self.begun.remove(key);
            sealed?;
            let text = format!("these bytes are not those of {hash}: all of them were dropped");
            return Err(RpcError::invalid_params(text));
        }
        self.reading = None;
        self.folder.complete(&path, &hash).map_err(unavailable)?;
        if let Err(error) = self.add(Some(session), hash, size) {
            // It goes back among those that are not complete, so that its client can try again,
            // unless somebody else has put it before.
            if self.is_unknown(hash)
                && let Err(error) = std::fs::rename(self.folder.of(&hash), &path)
            {
                tracing::warn!(%error, "a blob that could not be noted must be put again");
            }
            return Err(error);
        }
        self.begun.remove(key);
        Ok(BlobPut {
            have: size,
            done: true,
        })
    }

    /// What a device's blobs are charged as, and everybody's, with those that are not complete.
    fn charged(&mut self, owner: Owner) -> Result<(u64, u64), RpcError> {
        let (own, all) = self.charges.of(owner, (&self.ledger, &self.runtime))?;
        let (begun, all_begun) = self.begun.charges(owner);
        Ok((own.saturating_add(begun), all.saturating_add(all_begun)))
    }

    fn add(
        &mut self,
        session: Option<&SessionRef>,
        hash: BlobHash,
        size: u64,
    ) -> Result<(), RpcError> {
        let place = (&self.ledger, &self.runtime);
        self.charges.add(session, (hash, size), place)
    }

    fn is_unknown(&self, hash: BlobHash) -> bool {
        let unknown = self.ledger.unknown_blobs(vec![hash]);
        let unknown = self.runtime.block_on(unknown);
        unknown.is_ok_and(|unknown| !unknown.is_empty())
    }

    fn adopt(&mut self, copied: &Copied) -> Result<(), RpcError> {
        self.reading = None;
        let Copied { path, hash, size } = copied;
        let has = self.runtime.block_on(self.ledger.know_blob(None, *hash))?;
        if has.held.is_some() && self.folder.has(hash, *size) {
            return Ok(());
        }
        self.limits.check_size(*size)?;
        if has.stored != Some(*size) {
            let (_, all) = self.charged(Owner::DAEMON)?;
            self.limits.check_all(all, *size)?;
        }
        self.folder.complete(path, hash).map_err(unavailable)?;
        let added = self.add(None, *hash, *size);
        if added.is_err() && self.is_unknown(*hash) {
            self.folder.remove(hash);
        }
        added
    }

    fn read(&mut self, wanted: Wanted) -> Result<Vec<u8>, RpcError> {
        let Wanted {
            hash,
            offset,
            limit,
            size,
        } = wanted;
        let mut file = match self.reading.take() {
            Some((open, file)) if open == hash => file,
            _ => self.folder.read(&hash)?,
        };
        file.seek(SeekFrom::Start(offset)).map_err(unavailable)?;
        let mut bytes = Vec::with_capacity(limit);
        let mut part = file.take(limit as u64);
        part.read_to_end(&mut bytes).map_err(unavailable)?;
        if (bytes.len() as u64) < size.saturating_sub(offset).min(limit as u64) {
            return Err(lost(&hash));
        }
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
            self.charges.forget();
            Vec::new()
        });
        if !gone.is_empty() {
            self.charges.forget();
        }
        gone.iter().for_each(|hash| self.folder.remove(hash));
        let pause = if gone.len() >= BATCH as usize {
            SHORTEST_SWEEP
        } else {
            SWEEP.min(self.limits.grace.max(SHORTEST_SWEEP))
        };
        self.sweep_at = Instant::now() + pause;
    }
}
