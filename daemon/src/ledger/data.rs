//! Durable storage for services: values by key, in the transaction of whatever else a job does.

use std::marker::PhantomData;

use bowline_protocol::{RpcReason, error::RpcError};
use rusqlite::Connection;
use serde::{Serialize, de::DeserializeOwned};

use super::{Reader, Tx};
use crate::store::{data, fault};

/// Longest key in bytes; the daemon answers `unsupported` to a longer one.
pub const MAX_KEY: usize = 512;
/// Largest value in bytes; the daemon answers `unsupported` to a larger one.
pub const MAX_VALUE: usize = 4 << 20;

/// What can be read from: a [`Reader`], or a [`Tx`], which also sees its own changes.
pub trait Stored {
    #[doc(hidden)]
    fn connection(&self) -> Source<'_>;
}

/// Where a [`Stored`] reads.
#[doc(hidden)]
#[derive(Debug)]
pub struct Source<'a> {
    conn: &'a Connection,
    page_bytes: usize,
}

impl Stored for Reader<'_> {
    fn connection(&self) -> Source<'_> {
        Source {
            conn: self.conn,
            page_bytes: self.page_bytes(),
        }
    }
}

impl Stored for Tx<'_> {
    fn connection(&self) -> Source<'_> {
        Source {
            conn: self.conn,
            page_bytes: self.page_bytes(),
        }
    }
}

/// A durable map of bytes by key. The name is the map's for ever: it should begin with the service's own.
#[derive(Clone, Copy, Debug)]
pub struct Blobs(&'static str);

impl Blobs {
    /// The map of that name.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// The value under a key.
    ///
    /// # Errors
    /// When the store fails.
    pub fn get(&self, from: &impl Stored, key: &str) -> Result<Option<Vec<u8>>, RpcError> {
        data::get(from.connection().conn, self.0, key).map_err(fault)
    }

    /// Stores a value, in the place of an earlier one.
    ///
    /// # Errors
    /// `unsupported` over [`MAX_KEY`] or [`MAX_VALUE`]; when the store fails. Pass it on, so that the job is undone.
    pub fn put(&self, tx: &mut Tx<'_>, key: &str, value: &[u8]) -> Result<(), RpcError> {
        let over = |what, bytes, limit| {
            let text = format!("a {what} of {bytes} bytes cannot be stored; at most {limit}");
            Err(RpcError::new(RpcReason::Unsupported, text))
        };
        if key.len() > MAX_KEY {
            return over("key", key.len(), MAX_KEY);
        }
        if value.len() > MAX_VALUE {
            return over("value", value.len(), MAX_VALUE);
        }
        data::put(tx.conn(), self.0, key, value).map_err(fault)
    }

    /// Removes a value; tells whether there was one.
    ///
    /// # Errors
    /// When the store fails.
    pub fn remove(&self, tx: &mut Tx<'_>, key: &str) -> Result<bool, RpcError> {
        data::remove(tx.conn(), self.0, key).map_err(fault)
    }

    /// How many entries there are. Walks over their keys.
    ///
    /// # Errors
    /// When the store fails.
    pub fn count(&self, from: &impl Stored) -> Result<u64, RpcError> {
        data::count(from.connection().conn, self.0).map_err(fault)
    }

    /// The entries above the key `after`, in order of their keys: at most `limit`, and no more than a page may have
    /// bytes ([`Reader::page_bytes`]), but one at least if there is one.
    ///
    /// # Errors
    /// When the store fails.
    pub fn page(
        &self,
        from: &impl Stored,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, RpcError> {
        let (mut page, mut bytes) = (Vec::new(), 0);
        if limit == 0 {
            return Ok(page);
        }
        let source = from.connection();
        data::scan(source.conn, self.0, after, |key, value| {
            bytes += key.len() + value.len();
            if bytes > source.page_bytes && !page.is_empty() {
                return false;
            }
            page.push((key, value.to_vec()));
            page.len() < limit
        })
        .map_err(fault)?;
        Ok(page)
    }
}

/// A durable map of values by key, as JSON: [`Blobs`] for a type. A field added later needs `#[serde(default)]`.
#[derive(Debug)]
pub struct Table<V> {
    blobs: Blobs,
    values: PhantomData<fn() -> V>,
}

impl<V: Serialize + DeserializeOwned> Table<V> {
    /// The map of that name.
    pub const fn new(name: &'static str) -> Self {
        Self {
            blobs: Blobs::new(name),
            values: PhantomData,
        }
    }

    /// The value under a key.
    ///
    /// # Errors
    /// When the store fails, or what it holds is no `V`.
    pub fn get(&self, from: &impl Stored, key: &str) -> Result<Option<V>, RpcError> {
        let bytes = self.blobs.get(from, key)?;
        bytes.map(|bytes| self.read(&bytes)).transpose()
    }

    /// The value under a key that a client has named.
    ///
    /// # Errors
    /// `not_found`; as [`Table::get`].
    pub fn need(&self, from: &impl Stored, key: &str) -> Result<V, RpcError> {
        self.get(from, key)?.ok_or_else(|| {
            let shown: String = key.chars().take(64).collect();
            RpcError::new(
                RpcReason::NotFound,
                format!("nothing is named `{shown}` in {}", self.blobs.0),
            )
        })
    }

    /// Stores a value, in the place of an earlier one.
    ///
    /// # Errors
    /// As [`Blobs::put`].
    pub fn put(&self, tx: &mut Tx<'_>, key: &str, value: &V) -> Result<(), RpcError> {
        let bytes =
            serde_json::to_vec(value).map_err(|error| RpcError::internal(error.to_string()))?;
        self.blobs.put(tx, key, &bytes)
    }

    /// Removes a value; tells whether there was one.
    ///
    /// # Errors
    /// When the store fails.
    pub fn remove(&self, tx: &mut Tx<'_>, key: &str) -> Result<bool, RpcError> {
        self.blobs.remove(tx, key)
    }

    /// How many entries there are, as [`Blobs::count`].
    ///
    /// # Errors
    /// When the store fails.
    pub fn count(&self, from: &impl Stored) -> Result<u64, RpcError> {
        self.blobs.count(from)
    }

    /// A page of entries, as [`Blobs::page`].
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn page(
        &self,
        from: &impl Stored,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(String, V)>, RpcError> {
        let page = self.blobs.page(from, after, limit)?;
        page.into_iter()
            .map(|(key, bytes)| Ok((key, self.read(&bytes)?)))
            .collect()
    }

    fn read(&self, bytes: &[u8]) -> Result<V, RpcError> {
        serde_json::from_slice(bytes).map_err(|error| {
            RpcError::internal(format!(
                "a value in {} does not read: {error}",
                self.blobs.0
            ))
        })
    }
}
