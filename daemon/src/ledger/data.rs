//! Durable storage for services: values by key, written in the transaction of the job.

use std::marker::PhantomData;

use bowline_protocol::{BlobHash, RpcReason, error::RpcError, limits};
use rusqlite::Connection;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Reader, Tx,
    follow::Rows,
    owner::Owner,
    usage::{Accounts, Fund, Holding, Usage},
};
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
    pub(super) accounts: &'a Accounts,
}

impl Stored for Reader<'_> {
    fn connection(&self) -> Source<'_> {
        Source {
            conn: self.conn,
            page_bytes: self.page_bytes(),
            accounts: &self.live.accounts,
        }
    }
}

impl Stored for Tx<'_> {
    fn connection(&self) -> Source<'_> {
        Source {
            conn: self.conn,
            page_bytes: self.page_bytes(),
            accounts: &self.live.accounts,
        }
    }
}

/// A durable map of bytes by key. The name is permanent; it should begin with the name of the
/// service.
#[derive(Clone, Copy, Debug)]
pub struct ByteTable {
    name: &'static str,
    fund: Fund,
    /// Whether a row stays charged to whoever stored it first.
    is_creators: bool,
}

impl ByteTable {
    /// The map with that name.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            fund: Fund::Shared,
            is_creators: false,
        }
    }

    /// The same, whose rows do not count towards the quotas of services' data: the service bounds
    /// them by itself, for each device by [`ByteTable::held`]. Rows that were stored before it was
    /// said so count there once they are stored again.
    #[must_use]
    pub const fn apart(mut self) -> Self {
        self.fund = Fund::Apart(self.name);
        self
    }

    /// The same, whose rows stay charged to whoever stored them first, whoever writes them
    /// afterwards: another device, or a job of the daemon itself.
    #[must_use]
    pub const fn charged_to_creator(mut self) -> Self {
        self.is_creators = true;
        self
    }

    /// The value under a key.
    ///
    /// # Errors
    /// When the store fails.
    pub fn get(&self, from: &impl Stored, key: &str) -> Result<Option<Vec<u8>>, RpcError> {
        data::get(from.connection().conn, self.name, key).map_err(fault)
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
        let was = self.credit(tx, key)?;
        let owner = was.filter(|_| self.is_creators).unwrap_or(tx.owner());
        let row = Usage::row(key.len() + value.len());
        if self.fund == Fund::Shared {
            tx.charge_creator((owner, "the device that stored the row"), row)?;
        } else {
            tx.charge(owner, self.fund, row);
        }
        let apart = self.fund.is_apart();
        data::put(tx.conn(), self.name, key, value, (owner.0, apart)).map_err(fault)
    }

    /// Gives the bytes of a value that goes back to its account; returns that.
    fn credit(&self, tx: &mut Tx<'_>, key: &str) -> Result<Option<Owner>, RpcError> {
        let Some(cost) = data::cost(tx.conn(), self.name, key).map_err(fault)? else {
            return Ok(None);
        };
        let bytes = usize::try_from(cost.bytes).unwrap_or(0);
        let fund = Fund::of(self.name, cost.apart);
        tx.charge(Owner(cost.owner), fund, -Usage::row(bytes));
        Ok(Some(Owner(cost.owner)))
    }

    /// Whom the row of a key is charged to.
    ///
    /// # Errors
    /// When the store fails.
    pub fn owner(&self, from: &impl Stored, key: &str) -> Result<Option<Owner>, RpcError> {
        let cost = data::cost(from.connection().conn, self.name, key).map_err(fault)?;
        Ok(cost.map(|cost| Owner(cost.owner)))
    }

    /// What an account has in a table that is [`apart`](Self::apart); of others nothing. Costs no
    /// look into the database.
    pub fn held(&self, from: &impl Stored, owner: Owner) -> Holding {
        from.connection().accounts.held(owner, self.fund)
    }

    /// Removes a value; returns whether it existed.
    ///
    /// # Errors
    /// When the store fails.
    pub fn remove(&self, tx: &mut Tx<'_>, key: &str) -> Result<bool, RpcError> {
        self.credit(tx, key)?;
        data::remove(tx.conn(), self.name, key).map_err(fault)
    }

    /// Number of entries. Scans all keys.
    ///
    /// # Errors
    /// When the store fails.
    pub fn count(&self, from: &impl Stored) -> Result<u64, RpcError> {
        data::count(from.connection().conn, self.name).map_err(fault)
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
        let mut page = BytePage::new(from, limit);
        if limit > 0 {
            let conn = from.connection().conn;
            let add = |key, value: &[u8]| page.add(key, value);
            data::scan(conn, self.name, after, add).map_err(fault)?;
        }
        Ok(page.rows)
    }

    /// The entries with keys below `before`, or all, in the opposite order: the last one first.
    /// Bounded as [`ByteTable::page`].
    ///
    /// # Errors
    /// When the store fails.
    pub fn page_back(
        &self,
        from: &impl Stored,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, RpcError> {
        let mut page = BytePage::new(from, limit);
        if limit > 0 {
            let conn = from.connection().conn;
            let add = |key, value: &[u8]| page.add(key, value);
            data::scan_back(conn, self.name, before, add).map_err(fault)?;
        }
        Ok(page.rows)
    }
}

/// Entries for a service, bounded in number and bytes.
struct BytePage {
    rows: Vec<(String, Vec<u8>)>,
    limit: usize,
    bytes: usize,
    most: usize,
}

impl BytePage {
    fn new(from: &impl Stored, limit: usize) -> Self {
        Self {
            rows: Vec::new(),
            limit,
            bytes: 0,
            most: from.connection().page_bytes,
        }
    }

    /// Adds an entry; returns whether there may be room for another.
    fn add(&mut self, key: String, value: &[u8]) -> bool {
        self.bytes += key.len() + value.len();
        if self.bytes > self.most && !self.rows.is_empty() {
            return false;
        }
        self.rows.push((key, value.to_vec()));
        self.rows.len() < self.limit
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

    /// The same, apart from the quotas of services' data, as [`ByteTable::apart`].
    #[must_use]
    pub const fn apart(mut self) -> Self {
        self.bytes = self.bytes.apart();
        self
    }

    /// The same, whose rows stay charged to whoever stored them first, as
    /// [`ByteTable::charged_to_creator`].
    #[must_use]
    pub const fn charged_to_creator(mut self) -> Self {
        self.bytes = self.bytes.charged_to_creator();
        self
    }

    /// Whom the row of a key is charged to.
    ///
    /// # Errors
    /// When the store fails.
    pub fn owner(&self, from: &impl Stored, key: &str) -> Result<Option<Owner>, RpcError> {
        self.bytes.owner(from, key)
    }

    /// What an account has in it, as [`ByteTable::held`].
    pub fn held(&self, from: &impl Stored, owner: Owner) -> Holding {
        self.bytes.held(from, owner)
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
                format!("no entry `{shown}` in {}", self.bytes.name),
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
        tx.note_change(self.bytes.name, key, Some(&json));
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
        tx.keep_blobs((self.bytes.name, key, store::blobs::ROW), blobs, true)
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
        tx.keep_blobs((self.bytes.name, key, store::blobs::ROW), blobs, false)
    }

    fn check_row(&self, tx: &Tx<'_>, key: &str) -> Result<(), RpcError> {
        match data::cost(tx.conn(), self.bytes.name, key).map_err(fault)? {
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
            tx.release_blobs_of_row(self.bytes.name, key)?;
            tx.note_change(self.bytes.name, key, None);
        }
        Ok(was)
    }

    /// How clients see its rows.
    pub(crate) const fn rows(&self) -> Rows {
        Rows {
            table: self.bytes.name,
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
        self.read_all(self.bytes.page(from, after, limit)?)
    }

    /// As [`Table::page`], each value by itself: one that does not parse does not keep the caller
    /// from the others.
    ///
    /// # Errors
    /// When the store fails.
    pub fn entries(
        &self,
        from: &impl Stored,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Entry<V>>, RpcError> {
        let page = self.bytes.page(from, after, limit)?.into_iter();
        Ok(page.map(|(key, bytes)| (key, self.read(&bytes))).collect())
    }

    /// A page of entries in the opposite order, as [`ByteTable::page_back`].
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn page_back(
        &self,
        from: &impl Stored,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, V)>, RpcError> {
        self.read_all(self.bytes.page_back(from, before, limit)?)
    }

    fn read_all(&self, page: Vec<(String, Vec<u8>)>) -> Result<Vec<(String, V)>, RpcError> {
        page.into_iter()
            .map(|(key, bytes)| Ok((key, self.read(&bytes)?)))
            .collect()
    }

    fn read(&self, bytes: &[u8]) -> Result<V, RpcError> {
        parsed(self.bytes.name, bytes)
    }
}

/// A key, and its value or why that does not parse.
pub type Entry<V> = (String, Result<V, RpcError>);

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
