//! Blobs: where they come from and go to, and how far they are (LD-8).

use bowline_runtime::{self as runtime, protocol::live::LiveKind};

use super::mirror;

/// Where a blob's bytes come from.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum BlobSource {
    /// Memory.
    Bytes {
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A file, which must not change while it is put. It is read twice: for its hash, and to be
    /// sent.
    File {
        /// Its path.
        path: String,
    },
}

impl From<BlobSource> for runtime::BlobSource {
    fn from(source: BlobSource) -> Self {
        match source {
            BlobSource::Bytes { bytes } => Self::Bytes(bytes.into()),
            BlobSource::File { path } => Self::File(path.into()),
        }
    }
}

/// Where a blob's bytes go.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum BlobSink {
    /// Memory, for at most 64 MiB.
    Bytes,
    /// A file, which appears, or is replaced, once it is whole. Until then the bytes are in a file
    /// beside it whose name ends with `.part`, from which another call goes on, also after a
    /// restart of the app.
    File {
        /// Its path.
        path: String,
    },
}

impl From<BlobSink> for runtime::BlobSink {
    fn from(sink: BlobSink) -> Self {
        match sink {
            BlobSink::Bytes => Self::Bytes,
            BlobSink::File { path } => Self::File(path.into()),
        }
    }
}

/// What refers to a blob, as an app follows it.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum BlobOf {
    /// Rows of a table.
    Table {
        /// Its name.
        name: String,
        /// Its parameters, a JSON object.
        params_json: String,
    },
    /// Items of a log.
    Log {
        /// Its name.
        name: String,
        /// Its parameters, a JSON object.
        params_json: String,
    },
}

impl BlobOf {
    /// Its kind, name and parameters.
    pub(crate) fn parts(self) -> (LiveKind, String, String) {
        match self {
            Self::Table { name, params_json } => (LiveKind::Table, name, params_json),
            Self::Log { name, params_json } => (LiveKind::Log, name, params_json),
        }
    }
}

mirror! {
    /// How far a blob is.
    TransferState of runtime::TransferState {
        /// The bytes here are read for their hash: of a file to put, or of what is there of one to
        /// get.
        Reading,
        /// Waits: for a connection, for other blobs, or after a refusal that passes.
        Waiting,
        /// Bytes move.
        Moving,
        /// It is whole, verified and stored.
        Done,
        /// It ended without being whole. What moved is kept, so that another call goes on there.
        Failed,
    }
}

mirror! {
    /// Progress of a blob. Sizes have 64 bits: a blob may be larger than 4 GiB.
    TransferProgress of progress: &runtime::TransferProgress {
        /// How far it is.
        state: TransferState = progress.state.into(),
        /// Its name, once it is known.
        hash: Option<String> = progress.hash.map(|hash| hash.to_string()),
        /// Bytes that are there: at the daemon, or here.
        done: u64 = progress.done,
        /// All its bytes, once that is known.
        total: Option<u64> = progress.total,
    }
}

/// A blob that is whole.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct StoredBlob {
    /// Its name: the SHA-256 of its bytes, 64 characters of lower-case hexadecimal.
    pub hash: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its bytes, if it was got into memory.
    pub bytes: Option<Vec<u8>>,
}

impl From<runtime::Blob> for StoredBlob {
    fn from(blob: runtime::Blob) -> Self {
        Self {
            hash: blob.hash.to_string(),
            size: blob.size,
            bytes: blob.bytes.map(Into::into),
        }
    }
}
