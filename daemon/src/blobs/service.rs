//! The methods of blobs.

use std::{future::Future, pin::Pin, sync::Arc};

use bowline_protocol::{
    Role,
    blob::{BlobPiece, BlobPut, GetBlob, PutBlob, of_text, to_text},
    error::RpcError,
    limits,
    methods::name,
};

use super::{
    BlobStore, stopped,
    worker::{Piece, Wanted},
};
use crate::{
    ledger::Via,
    rpc::{Done, Reply, no_session, reply},
    service::{Call, Kind, LiveData, Methods, Origin, Service, Types, params},
};

/// `blobs.put` and `blobs.get`.
pub(crate) struct BlobService {
    pub(crate) store: BlobStore,
    pub(crate) live: LiveData,
}

type Replying = Pin<Box<dyn Future<Output = Reply> + Send>>;

impl BlobService {
    /// Queues the piece before it returns, so that pieces keep their order.
    fn put(&self, call: Call<'_>, put: PutBlob) -> Replying {
        let queued = self.queue_put(&call, put);
        Box::pin(async move {
            let result = queued?.await.map_err(|_| stopped())?;
            reply(&result?)
        })
    }

    fn queue_put(&self, call: &Call<'_>, put: PutBlob) -> Result<super::PutResult, RpcError> {
        let session = call.context.session.as_ref().ok_or_else(no_session)?;
        let PutBlob {
            hash,
            size,
            offset,
            data,
        } = put;
        let bytes = match (call.bytes, data) {
            (Some(_), Some(_)) => {
                let text = "either `data` or bytes of the request";
                return Err(RpcError::invalid_params(text));
            }
            (Some(bytes), None) => Some(bytes.to_vec()),
            (None, Some(data)) => Some(of_text(&data)?),
            (None, None) => None,
        };
        if bytes
            .as_ref()
            .is_some_and(|bytes| bytes.len() > limits::BLOB_PIECE_BYTES)
        {
            let most = limits::BLOB_PIECE_BYTES;
            let text = format!("a piece has at most {most} bytes");
            return Err(RpcError::invalid_params(text));
        }
        let piece = Piece {
            hash,
            size,
            offset,
            bytes,
        };
        self.store.queue_put(session, piece)
    }

    fn get(self: Arc<Self>, call: Call<'_>, get: GetBlob) -> Replying {
        let context = call.context.clone();
        Box::pin(async move {
            let via = match &get.of {
                Some(of) => {
                    let params = of.params.as_ref();
                    let (_, source, find) =
                        self.live.wanted(&context, of.kind, &of.name, params)?;
                    let source = source.name();
                    Some(Via { source, find })
                }
                None => None,
            };
            let session = context.session.clone().ok_or_else(no_session)?;
            let owner = session.owner();
            let ledger = self.store.ledger();
            let size = ledger.find_blob(Some(session), get.hash, via).await?;
            if get.offset > size {
                let text = format!("the blob has {size} bytes");
                return Err(RpcError::invalid_params(text));
            }
            let is_local = context.origin == Origin::Local;
            let max = context.max_message_bytes as usize;
            // With the smallest messages that may be set, half of one.
            let room = max.saturating_sub(limits::BLOB_PIECE_FRAMING).max(max / 2);
            // base64 makes four characters of three bytes.
            let room = if is_local { room / 4 * 3 } else { room };
            let wanted = get.limit.map_or(usize::MAX, |limit| limit as usize);
            let wanted = Wanted {
                hash: get.hash,
                offset: get.offset,
                limit: wanted.min(limits::BLOB_PIECE_BYTES).min(room),
                size,
            };
            let read = self.store.queue_read(owner, wanted)?;
            let bytes = read.await.map_err(|_| stopped())??;
            if is_local {
                let data = Some(to_text(&bytes));
                return reply(&BlobPiece { size, data });
            }
            let done = reply(&BlobPiece { size, data: None })?;
            Ok(Done {
                bytes: Some(bytes),
                ..done
            })
        })
    }
}

impl Service for BlobService {
    fn methods(methods: &mut Methods<Self>) {
        methods
            .waiting(
                name::BLOBS_PUT,
                Role::Operator,
                Types::of::<PutBlob, BlobPut>(Kind::Call),
                params::plain,
                |service, call, put| service.put(call, put),
            )
            .taking_bytes();
        let types = Types::of::<GetBlob, BlobPiece>(Kind::Query);
        methods.waiting(
            name::BLOBS_GET,
            Role::Viewer,
            types,
            params::plain,
            Self::get,
        );
    }
}
