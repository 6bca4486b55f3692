//! Durable storage for services: values by key, written in the transaction of the job.

use std::marker::PhantomData;

use bowline_protocol::{BlobHash, RpcReason, error::RpcError, limits};
use rusqlite::Connection;
use serde::{Serialize, de::DeserializeOwned};

use super::{Reader, Tx, follow::Rows, owner::Owner, usage::Usage};
use crate::{
    rpc::answer,
    store::{self, data, fault},
};

/// Longest key in bytes; the daemon answers `unsupported` to a longer one.
pub const MAX_KEY: usize = limits::MAX_KEY;
/// Largest value in bytes; the daemon answers `unsupported` to a larger one.
pub const MAX_VALUE: usize = 4 << 20;

/// A source of reads: a [`Reader`], or a [`Tx`], which also sees its own changes.
pub trait Stored {
    #[doc(hidden)]
    fn connection(&self) -> Source<'_>;
}

/// The connection that a [`Stored`] reads from.
#[doc(hidden)]
#[derive(Debug)]
pub struct Source<'a> {
    pub(super) conn: &'a Connection,
    pub(super) page_bytes: usize,
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

/// A durable map of bytes by key. The name is permanent; it should begin with the name of the
/// service.
#[derive(Clone, Copy, Debug)]
pub struct ByteTable(&'static str);

impl ByteTable {
    /// The map with that name.
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

    /// Stores a value, replacing an earlier one.
    ///
    /// # Errors
    /// `unsupported` over [`MAX_KEY`] or [`MAX_VALUE`]; `quota_exceeded` over what the requesting
    /// device may store; when the store fails. The caller must pass
    /// the error on, so that the job is undone.
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
        self.credit(tx, key)?;
        tx.charge_caller(Usage::row(key.len() + value.len()))?;
        let owner = tx.owner();
        data::put(tx.conn(), self.0, key, value, owner.0).map_err(fault)
    }

    /// Gives the bytes of a value that goes back to the account of its writer.
    fn credit(&self, tx: &mut Tx<'_>, key: &str) -> Result<(), RpcError> {
        if let Some((owner, bytes)) = data::cost(tx.conn(), self.0, key).map_err(fault)? {
            let bytes = usize::try_from(bytes).unwrap_or(0);
            tx.charge(Owner(owner), -Usage::row(bytes));
        }
        Ok(())
    }

    /// Removes a value; returns whether it existed.
    ///
    /// # Errors
    /// When the store fails.
    pub fn remove(&self, tx: &mut Tx<'_>, key: &str) -> Result<bool, RpcError> {
        self.credit(tx, key)?;
        data::remove(tx.conn(), self.0, key).map_err(fault)
    }

    /// Number of entries. Scans all keys.
    ///
    /// # Errors
    /// When the store fails.
    pub fn count(&self, from: &impl Stored) -> Result<u64, RpcError> {
        data::count(from.connection().conn, self.0).map_err(fault)
    }

    /// The entries with keys above `after`, in key order: at most `limit` entries and at most
    /// [`Reader::page_bytes`] bytes, but at least one entry if any exists.
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

/// A durable map of JSON values by key: [`ByteTable`] for a type. A field added later needs
/// `#[serde(default)]`.
#[derive(Debug)]
pub struct Table<V> {
    bytes: ByteTable,
    values: PhantomData<fn() -> V>,
}

impl<V: Serialize + DeserializeOwned> Table<V> {
    /// The map with that name.
    pub const fn new(name: &'static str) -> Self {
        Self {
            bytes: ByteTable::new(name),
            values: PhantomData,
        }
    }

    /// The value under a key.
    ///
    /// # Errors
    /// When the store fails, or the stored value does not parse as a `V`.
    pub fn get(&self, from: &impl Stored, key: &str) -> Result<Option<V>, RpcError> {
        let bytes = self.bytes.get(from, key)?;
        bytes.map(|bytes| self.read(&bytes)).transpose()
    }

    /// The value under a key that a client sent.
    ///
    /// # Errors
    /// `not_found`; as [`Table::get`].
    pub fn need(&self, from: &impl Stored, key: &str) -> Result<V, RpcError> {
        self.get(from, key)?.ok_or_else(|| {
            let shown: String = key.chars().take(64).collect();
            RpcError::new(
                RpcReason::NotFound,
                format!("no entry `{shown}` in {}", self.bytes.0),
            )
        })
    }

    /// Stores a value, replacing an earlier one.
    ///
    /// Sessions that follow it are told in the same transaction (LD-2).
    ///
    /// # Errors
    /// As [`ByteTable::put`].
    pub fn put(&self, tx: &mut Tx<'_>, key: &str, value: &V) -> Result<(), RpcError> {
        let json = answer(value)?;
        self.bytes.put(tx, key, json.get().as_bytes())?;
        tx.note_change(self.bytes.0, key, Some(&json));
        Ok(())
    }

    /// Has the row of a key refer to these blobs and to no others, so that they are kept as long as
    /// the row is or until another call leaves them out, and may be got by whoever may follow the
    /// row (LD-8). After [`Table::put`], in the same job.
    ///
    /// # Errors
    /// `not_found` if there is no such row, and for a blob that does not exist or that the
    /// requesting device has not put (nobody gets at a blob by naming it): for those,
    /// [`Table::share_blobs`]. `unsupported` over [`MAX_BLOBS`](super::MAX_BLOBS); when the store
    /// fails.
    pub fn keep_blobs(
        &self,
        tx: &mut Tx<'_>,
        key: &str,
        blobs: &[BlobHash],
    ) -> Result<(), RpcError> {
        self.check_row(tx, key)?;
        tx.keep_blobs((self.bytes.0, key, store::blobs::ROW), blobs, true)
    }

    /// As [`Table::keep_blobs`], also for blobs that the requesting device has not put: the service
    /// has checked that whoever may follow the row may have them.
    ///
    /// # Errors
    /// As [`Table::keep_blobs`].
    pub fn share_blobs(
        &self,
        tx: &mut Tx<'_>,
        key: &str,
        blobs: &[BlobHash],
    ) -> Result<(), RpcError> {
        self.check_row(tx, key)?;
        tx.keep_blobs((self.bytes.0, key, store::blobs::ROW), blobs, false)
    }

    fn check_row(&self, tx: &Tx<'_>, key: &str) -> Result<(), RpcError> {
        match data::cost(tx.conn(), self.bytes.0, key).map_err(fault)? {
            Some(_) => Ok(()),
            None => Err(RpcError::new(
                RpcReason::NotFound,
                "there is no such row to refer to a blob: put it first",
            )),
        }
    }

    /// Removes a value; returns whether it existed. Sessions that follow it are told.
    ///
    /// # Errors
    /// When the store fails.
    pub fn remove(&self, tx: &mut Tx<'_>, key: &str) -> Result<bool, RpcError> {
        let was = self.bytes.remove(tx, key)?;
        if was {
            tx.release_blobs_of_row(self.bytes.0, key)?;
            tx.note_change(self.bytes.0, key, None);
        }
        Ok(was)
    }

    /// How clients see its rows.
    pub(crate) const fn rows(&self) -> Rows {
        Rows {
            table: self.bytes.0,
            json: |table, bytes| Ok(answer(&parsed::<V>(table, bytes)?)?.into()),
        }
    }

    /// Number of entries, as [`ByteTable::count`].
    ///
    /// # Errors
    /// When the store fails.
    pub fn count(&self, from: &impl Stored) -> Result<u64, RpcError> {
        self.bytes.count(from)
    }

    /// A page of entries, as [`ByteTable::page`].
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn page(
        &self,
        from: &impl Stored,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(String, V)>, RpcError> {
        let page = self.bytes.page(from, after, limit)?;
        page.into_iter()
            .map(|(key, bytes)| Ok((key, self.read(&bytes)?)))
            .collect()
    }

    fn read(&self, bytes: &[u8]) -> Result<V, RpcError> {
        parsed(self.bytes.0, bytes)
    }
}

/// Reads a stored value.
pub(super) fn parsed<V: DeserializeOwned>(table: &str, bytes: &[u8]) -> Result<V, RpcError> {
    serde_json::from_slice(bytes).map_err(|error| {
        // Where, and not what: the error's own text quotes the value.
        let (kind, line, column) = (error.classify(), error.line(), error.column());
        RpcError::internal(format!(
            "a value in {table} cannot be parsed: {kind:?} error at line {line}, column {column}"
        ))
    })
}
