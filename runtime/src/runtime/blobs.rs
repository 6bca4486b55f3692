//! Blobs of a host (LD-8).

use bowline_protocol::{BlobHash, ServerId, blob::BlobOf};

use super::Runtime;
use crate::{
    host::Host,
    transfer::{BlobSink, BlobSource, Transfer, TransferError, Work},
};

impl Runtime {
    /// Puts a blob, so that an intent may name it. Returns at once: progress and outcome come
    /// through the handle. It continues after lost connections and switches of path, and where an
    /// earlier call stopped, also one of an earlier process. It is `Done` once the daemon has
    /// verified and stored it; it keeps it for a day (`blob_grace`) until something refers to it.
    ///
    /// # Errors
    /// [`TransferError::UnknownHost`], [`TransferError::Closed`], [`TransferError::Busy`]; later
    /// ones come through the handle.
    pub fn put_blob(
        &self,
        server_id: &ServerId,
        source: BlobSource,
    ) -> Result<Transfer, TransferError> {
        let host = self.transfer_host(server_id)?;
        Transfer::start(&self.inner.executor, host, Work::Put(source))
    }

    /// Gets a blob and verifies it. `of` names the table or log through which this device may see
    /// it; without it, it must have put it. Otherwise as [`Runtime::put_blob`].
    ///
    /// # Errors
    /// As [`Runtime::put_blob`].
    pub fn get_blob(
        &self,
        server_id: &ServerId,
        hash: BlobHash,
        of: Option<BlobOf>,
        sink: BlobSink,
    ) -> Result<Transfer, TransferError> {
        let host = self.transfer_host(server_id)?;
        Transfer::start(&self.inner.executor, host, Work::Get { hash, of, sink })
    }

    fn transfer_host(&self, server_id: &ServerId) -> Result<Host, TransferError> {
        let unknown = || TransferError::UnknownHost;
        self.host(server_id, TransferError::Closed, unknown)
    }
}
