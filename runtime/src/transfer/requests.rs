//! The requests of a transfer, and what their answers are read as.

use std::{future::Future, pin::Pin};

use bowline_machines::client::transfers::{Attempt, Part};
use bowline_protocol::{
    BlobHash,
    blob::{BlobPiece, BlobPut, GetBlob, PutBlob},
    methods::name,
};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::timeout;

use super::{
    TransferError,
    driver::{Driver, Moved},
};
use crate::{
    client::{Reply, to_raw},
    error::CallError,
    settings::REQUEST_TIMEOUT,
};

/// An answer, with the attempt that it is of.
pub(super) type Answer = (Attempt, Result<Answered, CallError>);
pub(super) type Failed = (Attempt, CallError);
pub(super) type Asking = Pin<Box<dyn Future<Output = Answer> + Send>>;

pub(super) enum Answered {
    Taken(BlobPut),
    /// Bytes, and the size of the blob.
    Came(Bytes, u64),
    /// The size of the blob.
    Size(u64),
}

/// What is asked for to learn the size of a blob.
pub(super) const FIRST_BYTE: Part = Part {
    offset: 0,
    length: 1,
};

impl Driver {
    pub(super) fn put(
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

    pub(super) fn get(
        &self,
        attempt: Attempt,
        hash: BlobHash,
        bytes: &Moved,
        part: Part,
        answered: fn(Bytes, u64) -> Answered,
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
                Ok(answered(bytes, size))
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
}

pub(super) const fn came(bytes: Bytes, size: u64) -> Answered {
    Answered::Came(bytes, size)
}

fn parsed<T: DeserializeOwned>(reply: &Reply) -> Result<T, CallError> {
    serde_json::from_str(reply.result.get())
        .map_err(|error| CallError::Malformed(error.to_string()))
}
