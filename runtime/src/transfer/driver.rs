//! The task of one transfer: it reads and writes, asks the daemon, and reports to the machine.

use std::{future::pending, sync::Arc, time::Duration};

use bowline_machines::{
    MonotonicTime,
    client::transfers::{Attempt, Effect, GiveUp, Part, Refusal, Transfer as Machine},
};
use bowline_protocol::{
    BlobHash,
    blob::{BlobOf, BlobPut},
    error::{RpcError, code},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesOrdered};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    task::spawn_blocking,
    time::{Instant, sleep_until},
};

use super::{
    Blob, BlobSink, BlobSource, Cancel, Ended, TransferError, TransferProgress, TransferState,
    Work,
    files::{Origin, Target},
    requests::{Answered, Asking, FIRST_BYTE, Failed, came},
};
use crate::{clock::Clock, error::CallError, host::Host, settings::BLOB_IN_MEMORY};

/// The task.
pub(crate) struct Driver {
    pub(super) host: Host,
    progress: watch::Sender<TransferProgress>,
    cancel: Arc<Cancel>,
    clock: Clock,
}

/// What moves.
pub(super) enum Moved {
    /// To the daemon: the bytes, and how many.
    Put(Origin, u64),
    /// From the daemon. The place is out while it is written to.
    Get(Option<Box<Target>>, Option<BlobOf>),
}

impl Moved {
    /// Takes the place of what is got, to write to it.
    fn take(&mut self) -> Result<Box<Target>, TransferError> {
        match self {
            Self::Get(place, _) => place.take().ok_or(TransferError::Defect),
            Self::Put(..) => Err(TransferError::Defect),
        }
    }

    fn put_back(&mut self, target: Box<Target>) {
        if let Self::Get(place, _) = self {
            *place = Some(target);
        }
    }
}

impl Driver {
    pub(super) fn new(
        host: Host,
        progress: watch::Sender<TransferProgress>,
        cancel: Arc<Cancel>,
    ) -> Self {
        Self {
            host,
            progress,
            cancel,
            clock: Clock::start(),
        }
    }

    pub(super) async fn run(self, work: Work, ended: watch::Sender<Ended>) {
        let cancel = Arc::clone(&self.cancel);
        let mut stopped = self.host.stopped();
        let outcome = tokio::select! {
            outcome = self.transfer(work) => outcome,
            () = cancel.wait() => Err(TransferError::Cancelled),
            _ = async { stopped.wait_for(|stopped| *stopped).await.map(drop) } => {
                // Whatever reads a file ends too.
                cancel.set();
                Err(match self.host.is_forgotten() {
                    true => TransferError::UnknownHost,
                    false => TransferError::Closed,
                })
            }
        };
        self.progress.send_modify(|progress| match &outcome {
            Ok(blob) => {
                progress.state = TransferState::Done;
                (progress.done, progress.total) = (blob.size, Some(blob.size));
            }
            Err(_) => progress.state = TransferState::Failed,
        });
        ended.send_replace(Some(outcome));
    }

    fn tell(&self, state: TransferState, (done, total): (u64, Option<u64>)) {
        self.progress.send_if_modified(|progress| {
            let total = total.or(progress.total);
            let newer = TransferProgress {
                state,
                done,
                total,
                ..*progress
            };
            std::mem::replace(progress, newer) != newer
        });
    }

    async fn transfer(&self, work: Work) -> Result<Blob, TransferError> {
        let (hash, bytes, here) = match work {
            Work::Put(source) => {
                let (origin, hash, size) = self.open_source(source).await?;
                self.progress.send_modify(|progress| {
                    (progress.hash, progress.total) = (Some(hash), Some(size));
                });
                (hash, Moved::Put(origin, size), 0)
            }
            Work::Get { hash, of, sink } => {
                let target = self.open_sink(sink, hash).await?;
                let here = target.have();
                (hash, Moved::Get(Some(Box::new(target)), of), here)
            }
        };
        self.tell(TransferState::Waiting, (here, None));
        self.move_bytes(hash, bytes).await
    }

    /// One of the places for transfers that move; waits for one.
    async fn place(&self) -> Result<OwnedSemaphorePermit, TransferError> {
        let moving = Arc::clone(&self.host.transfers().moving).acquire_owned();
        moving.await.map_err(|_| TransferError::Closed)
    }

    async fn open_source(
        &self,
        source: BlobSource,
    ) -> Result<(Origin, BlobHash, u64), TransferError> {
        let (cancel, progress) = (Arc::clone(&self.cancel), self.progress.clone());
        let tell = move |done| progress.send_modify(|progress| progress.done = done);
        blocking(move || Origin::open(source, &cancel, tell)).await
    }

    async fn open_sink(&self, sink: BlobSink, hash: BlobHash) -> Result<Target, TransferError> {
        let (cancel, progress) = (Arc::clone(&self.cancel), self.progress.clone());
        let tell = move |done| progress.send_modify(|progress| progress.done = done);
        blocking(move || Target::open(sink, &hash, &cancel, tell)).await
    }

    async fn move_bytes(&self, hash: BlobHash, mut bytes: Moved) -> Result<Blob, TransferError> {
        let now = self.clock.now();
        let mut machine = match &bytes {
            Moved::Put(_, size) => Machine::put(now, *size),
            Moved::Get(target, _) => {
                Machine::get(now, target.as_ref().map_or(0, |target| target.have()))
            }
        };
        let mut asking: FuturesOrdered<Asking> = FuturesOrdered::new();
        let mut refusal = None;
        let mut place = None;
        loop {
            if place.is_none() && machine.poll_timeout().is_none() {
                place = Some(self.place().await?);
            }
            while let Some(effect) = machine.poll_effect() {
                match effect {
                    Effect::Abandon => asking = FuturesOrdered::new(),
                    Effect::Ask(attempt) => {
                        asking.push_back(self.put(attempt, hash, &bytes, None)?)
                    }
                    Effect::Put(attempt, part) => {
                        let piece = self.read(&bytes, part).await?;
                        let piece = Some((part.offset, piece));
                        asking.push_back(self.put(attempt, hash, &bytes, piece)?);
                    }
                    Effect::Get(attempt, part) => {
                        asking.push_back(self.get(attempt, hash, &bytes, part, came)?);
                    }
                    Effect::Size(attempt) => {
                        let size = |_, size| Answered::Size(size);
                        asking.push_back(self.get(attempt, hash, &bytes, FIRST_BYTE, size)?);
                    }
                    Effect::Clear => {
                        let mut target = bytes.take()?;
                        let cleared = blocking(move || target.clear().map(|()| target));
                        bytes.put_back(cleared.await?);
                    }
                    Effect::Finish => match self.finish(hash, &mut bytes).await? {
                        Some(blob) => return Ok(blob),
                        None => machine.corrupt(self.clock.now()),
                    },
                    Effect::GiveUp(why) => return Err(given_up(why, &bytes, refusal)),
                }
            }
            let state = match machine.is_moving() {
                true => TransferState::Moving,
                false => TransferState::Waiting,
            };
            self.tell(state, machine.progress());
            let due = machine.poll_timeout().map(|at| {
                let wait = at.since(self.clock.now());
                // The clock counts whole milliseconds.
                Instant::now() + wait + Duration::from_millis(1)
            });
            let due = async move {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                Some((attempt, answer)) = asking.next() => match answer {
                    Ok(answered) => {
                        self.answered(&mut machine, &mut bytes, (attempt, answered)).await?;
                    }
                    Err(error) => {
                        let now = self.clock.now();
                        refusal = failed(&mut machine, now, (attempt, error))?.or(refusal);
                        if machine.is_parked() {
                            place = None;
                        }
                    }
                },
                () = due => {
                    if place.is_none() {
                        place = Some(self.place().await?);
                    }
                    machine.handle_timeout(self.clock.now());
                }
            }
        }
    }

    async fn answered(
        &self,
        machine: &mut Machine,
        bytes: &mut Moved,
        (attempt, answered): (Attempt, Answered),
    ) -> Result<(), TransferError> {
        match answered {
            Answered::Taken(BlobPut { have, done }) => {
                machine.taken(self.clock.now(), attempt, have, done);
            }
            Answered::Size(size) => machine.sized(self.clock.now(), attempt, size),
            Answered::Came(piece, size) => {
                let mut target = bytes.take()?;
                if target.is_memory() && size > BLOB_IN_MEMORY {
                    return Err(TransferError::TooLarge { size });
                }
                let length = piece.len() as u64;
                let target = match target.is_memory() {
                    true => {
                        target.write(&piece)?;
                        target
                    }
                    false => blocking(move || target.write(&piece).map(|()| target)).await?,
                };
                bytes.put_back(target);
                machine.came(self.clock.now(), attempt, length, size);
            }
        }
        Ok(())
    }

    async fn read(&self, bytes: &Moved, part: Part) -> Result<Bytes, TransferError> {
        match bytes {
            Moved::Put(origin @ Origin::Bytes(_), _) => origin.read(part),
            Moved::Put(origin, _) => {
                let origin = origin.clone();
                blocking(move || origin.read(part)).await
            }
            Moved::Get(..) => Err(TransferError::Defect),
        }
    }

    /// The whole blob; `None` if what was got is not it.
    async fn finish(
        &self,
        hash: BlobHash,
        bytes: &mut Moved,
    ) -> Result<Option<Blob>, TransferError> {
        if let Moved::Put(_, size) = bytes {
            let (size, bytes) = (*size, None);
            return Ok(Some(Blob { hash, size, bytes }));
        }
        let mut target = bytes.take()?;
        let (target, blob) = blocking(move || {
            if !target.is(&hash) {
                target.clear()?;
                return Ok((target, None));
            }
            let size = target.have();
            let bytes = target.finish()?;
            Ok((target, Some(Blob { hash, size, bytes })))
        })
        .await?;
        bytes.put_back(target);
        Ok(blob)
    }
}

/// Reports a request that failed; returns the daemon's refusal.
fn failed(
    machine: &mut Machine,
    now: MonotonicTime,
    (attempt, error): Failed,
) -> Result<Option<RpcError>, TransferError> {
    match error {
        CallError::TooLarge => machine.too_large(now, attempt),
        CallError::Rpc(error) => {
            let refusal = match error.code {
                code::INVALID_PARAMS => Refusal::Params,
                code::INTERNAL_ERROR => Refusal::Broken,
                _ if error.is_final() => Refusal::Final,
                _ => Refusal::Later(error.retry_after()),
            };
            machine.refused(now, attempt, refusal);
            return Ok(Some(error));
        }
        CallError::Disconnected(_) | CallError::NotConnected | CallError::Timeout => {
            machine.failed(now, attempt, None);
        }
        CallError::Closed => return Err(TransferError::Closed),
        CallError::Malformed(_) => return Err(TransferError::Malformed(error)),
    }
    Ok(None)
}

/// Why a transfer ended, with what the daemon refused last.
fn given_up(why: GiveUp, bytes: &Moved, refusal: Option<RpcError>) -> TransferError {
    match (why, bytes, refusal) {
        (GiveUp::Refused, _, Some(error)) => TransferError::Refused(error),
        (GiveUp::Refused, _, None) => TransferError::Defect,
        (GiveUp::TooLarge, ..) => TransferError::Malformed(CallError::TooLarge),
        (GiveUp::Stalled, Moved::Put(..), _) => {
            let text = "the daemon has all bytes of the blob and does not say that it is done";
            TransferError::Malformed(CallError::Malformed(text.to_owned()))
        }
        (GiveUp::Corrupt, ..) | (GiveUp::Stalled, Moved::Get(..), _) => TransferError::Corrupt,
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TransferError> + Send + 'static,
) -> Result<T, TransferError> {
    let done = spawn_blocking(work).await;
    done.unwrap_or(Err(TransferError::Defect))
}
