//! Blobs of a host (LD-8).

use std::sync::Arc;

use bowline_runtime::protocol::{BlobHash, blob};

use super::{
    BowlineRuntime,
    access::{json_params, server},
};
use crate::{
    error::{BowlineError, error},
    listeners::TransferListener,
    records::{BlobOf, BlobSink, BlobSource},
    transfer::Transfer,
};

#[uniffi::export]
impl BowlineRuntime {
    /// Puts a blob, so that an intent may name it. Returns at once: the listener gets progress, and
    /// the transfer has the outcome. It continues after lost connections and switches of path, and
    /// where an earlier call stopped, also one of an earlier process. It is done once the daemon
    /// has verified and stored it; it keeps it for a day unless set otherwise, until something
    /// refers to it. At most 64 blobs of a host are on their way; more fail with `TooMany`.
    pub fn put_blob(
        &self,
        server_id: String,
        source: BlobSource,
        listener: Box<dyn TransferListener>,
    ) -> Result<Arc<Transfer>, BowlineError> {
        let host = server(&server_id)?;
        let core = self.open_core()?;
        Transfer::start(listener, || Ok(core.put_blob(&host, source.into())?))
    }

    /// Gets a blob and verifies it. `of` names the table or log through which this device may see
    /// it; without it, it must have put it. Otherwise as `put_blob`.
    pub fn get_blob(
        &self,
        server_id: String,
        hash: String,
        of: Option<BlobOf>,
        sink: BlobSink,
        listener: Box<dyn TransferListener>,
    ) -> Result<Arc<Transfer>, BowlineError> {
        let host = server(&server_id)?;
        let hash: BlobHash = hash.parse().map_err(|problem| {
            error!(
                InvalidQuery,
                Report,
                format!("the hash of the blob: {problem}")
            )
        })?;
        let of = of.map(referring).transpose()?;
        let core = self.open_core()?;
        Transfer::start(listener, || {
            Ok(core.get_blob(&host, hash, of, sink.into())?)
        })
    }
}

fn referring(of: BlobOf) -> Result<blob::BlobOf, BowlineError> {
    let (kind, name, params) = of.parts();
    let params = Some(json_params(params)?.into());
    Ok(blob::BlobOf { kind, name, params })
}
