//! The task of one transfer: it reads and writes, asks the daemon, and reports to the machine.

use std::{
    future::{Future, pending},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bowline_machines::client::transfers::{Attempt, Effect, Part, Transfer as Machine};
use bowline_protocol::{
    BlobHash,
    blob::{BlobOf, BlobPiece, BlobPut, GetBlob, PutBlob},
    error::{RpcError, code},
    methods::name,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesOrdered};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    task::spawn_blocking,
    time::{Instant, sleep_until, timeout},
};

use super::{
    Blob, BlobSink, BlobSource, Cancel, Ended, TransferError, TransferProgress, TransferState,
    Work,
    files::{Origin, Target},
};
use crate::{
    client::{Reply, to_raw},
    clock::Clock,
    error::CallError,
    host::Host,
    settings::{BLOB_IN_MEMORY, REQUEST_TIMEOUT},
};

/// An answer, with the attempt that it is of.
type Answer = (Attempt, Result<Answered, CallError>);
type Asking = Pin<Box<dyn Future<Output = Answer> + Send>>;

enum Answered {
    Taken(BlobPut),
    /// Bytes, and the size of the blob.
    Came(Bytes, u64),
}

/// The task.
pub(crate) struct Driver {
    host: Host,
    progress: watch::Sender<TransferProgress>,
    cancel: Arc<Cancel>,
    clock: Clock,
}

/// Whether bytes that were there before may be the wrong ones, as after a power loss.
#[derive(Default)]
struct Old {
    /// The other side, or the file here, had some.
    are_there: bool,
    /// All were moved again once; another time it would be no use.
    were_dropped: bool,
    /// The last that the daemon refused for now.
    refused: Option<RpcError>,
}

impl Old {
    /// Whether all bytes are to be moved again.
    const fn drop_once(&mut self) -> bool {
        let is_first = !self.were_dropped;
        self.were_dropped = true;
        is_first
    }
}

/// What moves.
enum Moved {
    /// To the daemon: the bytes, and how many.
    Put(Origin, u64),
    /// From the daemon. The place is out while it is written to.
    Get(Option<Box<Target>>, Option<BlobOf>),
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
                Err(TransferError::Closed)
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
        let (hash, bytes) = match work {
            Work::Put(source) => {
                let (origin, hash, size) = self.open_source(source).await?;
                self.progress.send_modify(|progress| {
                    (progress.hash, progress.total) = (Some(hash), Some(size));
                });
                (hash, Moved::Put(origin, size))
            }
            Work::Get { hash, of, sink } => {
                let target = self.open_sink(sink, hash).await?;
                (hash, Moved::Get(Some(Box::new(target)), of))
            }
        };
        self.tell(TransferState::Waiting, (0, None));
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
        let mut old = Old::default();
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
                        asking.push_back(self.get(attempt, hash, &bytes, part)?);
                    }
                    Effect::Finish => match self.finish(hash, &mut bytes).await? {
                        Some(blob) => return Ok(blob),
                        None if old.drop_once() => machine.start_over(self.clock.now()),
                        None => return Err(TransferError::Corrupt),
                    },
                    Effect::GiveUp => return Err(given_up(&bytes)),
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
                Some((attempt, answer)) = asking.next() => {
                    let is_refused = matches!(answer, Err(CallError::Rpc(_)));
                    self.answered(&mut machine, &mut bytes, &mut old, hash, (attempt, answer))
                        .await?;
                    if is_refused {
                        // What the daemon refuses for now does not keep others from moving.
                        place = None;
                    }
                }
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
        old: &mut Old,
        hash: BlobHash,
        (attempt, answer): Answer,
    ) -> Result<(), TransferError> {
        let now = self.clock.now();
        match answer {
            Ok(Answered::Taken(BlobPut { have, done })) => {
                // The answer to how much is there.
                if !machine.is_moving() {
                    old.are_there |= have > 0;
                    let is_lost = have < machine.progress().0;
                    if is_lost
                        && !old.drop_once()
                        && let Some(error) = old.refused.take()
                    {
                        return Err(TransferError::Refused(error));
                    }
                }
                machine.taken(now, attempt, have, done);
            }
            Ok(Answered::Came(piece, size)) => {
                let Moved::Get(place, _) = bytes else {
                    return Err(TransferError::Defect);
                };
                let mut target = place.take().ok_or(TransferError::Defect)?;
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
                *place = Some(target);
                machine.came(self.clock.now(), attempt, length, size);
            }
            Err(CallError::TooLarge) => {
                if !machine.too_large(now, attempt) {
                    return Err(TransferError::Malformed(CallError::TooLarge));
                }
            }
            // Of a put, what the daemon had is not of this blob, and is dropped there. Of a get,
            // more is here than the blob has.
            Err(CallError::Rpc(error)) if error.code == code::INVALID_PARAMS => {
                if matches!(bytes, Moved::Get(..)) {
                    old.are_there = self.is_too_long(attempt, hash, bytes).await?;
                }
                if !old.are_there || !old.drop_once() {
                    return Err(TransferError::Refused(error));
                }
                if let Moved::Get(place, _) = bytes {
                    let mut target = place.take().ok_or(TransferError::Defect)?;
                    *place = Some(blocking(move || target.clear().map(|()| target)).await?);
                }
                machine.start_over(self.clock.now());
            }
            Err(CallError::Rpc(error)) if error.is_final() => {
                return Err(TransferError::Refused(error));
            }
            Err(CallError::Rpc(error)) => {
                machine.failed(now, attempt, error.retry_after());
                old.refused = Some(error);
            }
            Err(CallError::Disconnected(_) | CallError::NotConnected | CallError::Timeout) => {
                machine.failed(now, attempt, None);
            }
            Err(CallError::Closed) => return Err(TransferError::Closed),
            Err(error @ CallError::Malformed(_)) => return Err(TransferError::Malformed(error)),
        }
        Ok(())
    }

    /// Whether more is here than the daemon's blob has. Asked before anything here is dropped: the
    /// daemon may have refused something else.
    async fn is_too_long(
        &self,
        attempt: Attempt,
        hash: BlobHash,
        bytes: &Moved,
    ) -> Result<bool, TransferError> {
        let Moved::Get(Some(target), _) = bytes else {
            return Ok(false);
        };
        let (offset, length) = (0, 1);
        let (_, answer) = self
            .get(attempt, hash, bytes, Part { offset, length })?
            .await;
        let size = match answer {
            Ok(Answered::Came(_, size)) => size,
            Ok(Answered::Taken(_)) | Err(_) => return Ok(false),
        };
        Ok(target.have() > size)
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

    fn put(
        &self,
        attempt: Attempt,
        hash: BlobHash,
        bytes: &Moved,
        piece: Option<(u64, Bytes)>,
    ) -> Result<Asking, TransferError> {
        let Moved::Put(_, size) = bytes else {
            return Err(TransferError::Defect);
        };
        let (offset, carried) = piece.map_or((0, None), |(offset, bytes)| (offset, Some(bytes)));
        let params = PutBlob {
            hash,
            size: *size,
            offset,
            data: None,
        };
        Ok(
            self.ask(attempt, name::BLOBS_PUT, params, carried, |reply| {
                Ok(Answered::Taken(parsed(&reply)?))
            }),
        )
    }

    fn get(
        &self,
        attempt: Attempt,
        hash: BlobHash,
        bytes: &Moved,
        part: Part,
    ) -> Result<Asking, TransferError> {
        let Moved::Get(_, of) = bytes else {
            return Err(TransferError::Defect);
        };
        let params = GetBlob {
            hash,
            offset: part.offset,
            limit: Some(u32::try_from(part.length).unwrap_or(u32::MAX)),
            of: of.clone(),
        };
        Ok(
            self.ask(attempt, name::BLOBS_GET, params, None, move |reply| {
                let BlobPiece { size, .. } = parsed(&reply)?;
                let malformed = |what: &str| CallError::Malformed(what.to_owned());
                let bytes = reply.bytes;
                let bytes = bytes.ok_or_else(|| malformed("a piece of a blob without bytes"))?;
                if bytes.len() as u64 > part.length {
                    return Err(malformed(
                        "a piece of a blob with more bytes than asked for",
                    ));
                }
                Ok(Answered::Came(bytes, size))
            }),
        )
    }

    fn ask<P: Serialize + Send + 'static>(
        &self,
        attempt: Attempt,
        method: &'static str,
        params: P,
        carried: Option<Bytes>,
        read: impl FnOnce(Reply) -> Result<Answered, CallError> + Send + 'static,
    ) -> Asking {
        // Queued now: requests keep the order of the effects.
        let queued = to_raw(&params).and_then(|params| {
            let host = &self.host;
            host.queue_query(method, params, carried)
        });
        Box::pin(async move {
            let answered = async { read(queued?.await.map_err(|_| CallError::NotConnected)??) };
            let answer = timeout(REQUEST_TIMEOUT, answered).await;
            (attempt, answer.unwrap_or(Err(CallError::Timeout)))
        })
    }

    /// The whole blob; `None` if what was got is not it.
    async fn finish(
        &self,
        hash: BlobHash,
        bytes: &mut Moved,
    ) -> Result<Option<Blob>, TransferError> {
        let place = match bytes {
            Moved::Put(_, size) => {
                let size = *size;
                let bytes = None;
                return Ok(Some(Blob { hash, size, bytes }));
            }
            Moved::Get(place, _) => place,
        };
        let mut target = place.take().ok_or(TransferError::Defect)?;
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
        *place = Some(target);
        Ok(blob)
    }
}

/// Why a transfer ends that the daemon answered again and again without moving anything.
fn given_up(bytes: &Moved) -> TransferError {
    match bytes {
        Moved::Put(..) => {
            let text = "the daemon has all bytes of the blob and does not say that it is done";
            TransferError::Malformed(CallError::Malformed(text.to_owned()))
        }
        Moved::Get(..) => TransferError::Corrupt,
    }
}

fn parsed<T: DeserializeOwned>(reply: &Reply) -> Result<T, CallError> {
    serde_json::from_str(reply.result.get())
        .map_err(|error| CallError::Malformed(error.to_string()))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TransferError> + Send + 'static,
) -> Result<T, TransferError> {
    let done = spawn_blocking(work).await;
    done.unwrap_or(Err(TransferError::Defect))
}
