//! Logs of services: durable items by index. Each can be replaced, and the last ones can grow by
//! text.

use std::{marker::PhantomData, ops::Range};

use bowline_protocol::{BlobHash, RpcReason, error::RpcError, limits, live::Json};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{
    MAX_KEY, Tx,
    data::{Source, Stored, parsed},
    follow::Items,
    owner::Owner,
    usage::{Fund, Holding, Usage},
};
use crate::{
    rpc::answer,
    store::{
        fault,
        logs::{self, Head},
    },
};

/// Largest item of a log in bytes; the daemon answers `unsupported` to a larger one.
pub const MAX_ITEM: usize = limits::LOG_ITEM_BYTES;
/// Items that one change drops at most, so that a transaction stays short when the bounds of a log
/// have become smaller.
const MOST_DROPPED: u32 = 256;
/// Whom a refusal names to others than the device that a log is charged to.
const CREATOR: &str = "the device that began the log";

/// Durable logs of items, each log under a key: items are added at the end, under indexes without
/// gaps, and change by [`Log::grow`] and [`Log::replace`] alone. The name is permanent; it should
/// begin with the name of the service. A field added later to `T` needs `#[serde(default)]`.
///
/// Each log keeps [`Log::ITEMS`] items and [`Log::BYTES`] unless [`Log::keeping`] says otherwise.
/// What is over that is dropped by the transaction that adds, the oldest items first; the newest
/// item stays, whatever its size. No index is used twice, even if a log is removed.
#[derive(Debug)]
pub struct Log<T> {
    name: &'static str,
    field: &'static str,
    items: u64,
    bytes: u64,
    largest: usize,
    fund: Fund,
    counts: Option<fn(&T) -> u64>,
    values: PhantomData<fn() -> T>,
}

/// What is stored of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogState {
    /// The indexes of the kept items; it ends at the index of the next item.
    pub bounds: Range<u64>,
    /// Bytes of the kept items, as JSON.
    pub bytes: u64,
    /// What they count as, of a log that is [`Log::apart`].
    pub counted: u64,
    /// Whom it is charged to.
    pub owner: Owner,
}

impl<T> Log<T> {
    /// Items that a log keeps by default.
    pub const ITEMS: u64 = 10_000;
    /// Bytes of items, as JSON, that a log keeps by default.
    pub const BYTES: u64 = 16 << 20;

    /// The logs with that name, whose items grow at their member `text`.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            field: "text",
            items: Self::ITEMS,
            bytes: Self::BYTES,
            largest: MAX_ITEM,
            fund: Fund::Shared,
            counts: None,
            values: PhantomData,
        }
    }

    /// The same, whose items grow at another member of their JSON, which is a text.
    #[must_use]
    pub const fn growing(mut self, field: &'static str) -> Self {
        self.field = field;
        self
    }

    /// The same, with that many items and bytes kept of each log; at least one item.
    #[must_use]
    pub const fn keeping(mut self, items: u64, bytes: u64) -> Self {
        self.items = if items == 0 { 1 } else { items };
        self.bytes = bytes;
        self
    }

    /// The same, without bounds: nothing is dropped, and the service sees to it that a log does not
    /// grow for ever, for instance by [`Log::replace`] of old items.
    #[must_use]
    pub const fn keeping_all(self) -> Self {
        self.keeping(u64::MAX, u64::MAX)
    }

    /// The same, whose items do not count towards the quotas of services' data: the service bounds
    /// them by itself, for each device by [`Log::held`]. A log that was begun before it was said so
    /// stays where it counts.
    #[must_use]
    pub const fn apart(mut self) -> Self {
        self.fund = Fund::Apart(self.name);
        self
    }

    /// The same, apart, where an item counts as this says and not with the bytes of its JSON. Text
    /// by which an item grows counts with its bytes.
    #[must_use]
    pub const fn counting(mut self, counts: fn(&T) -> u64) -> Self {
        self.counts = Some(counts);
        self.apart()
    }

    /// The same, with items of at most that many bytes as JSON in place of [`MAX_ITEM`]. Clients
    /// get what is over [`MAX_ITEM`] without its value.
    #[must_use]
    pub const fn with_items_of(mut self, bytes: usize) -> Self {
        self.largest = bytes;
        self
    }

    /// What an account has in the logs of this name that are [`apart`](Self::apart): each log and
    /// each item is a row, the bytes are what the items count as. Costs no look into the database.
    pub fn held(&self, from: &impl Stored, owner: Owner) -> Holding {
        from.connection().accounts.held(owner, self.fund)
    }

    /// How clients see its items.
    pub(crate) const fn source(&self) -> Items
    where
        T: Serialize + DeserializeOwned,
    {
        Items {
            log: self.name,
            json: |log, bytes| Ok(answer(&parsed::<T>(log, bytes)?)?.into()),
        }
    }
}

impl<T: Serialize + DeserializeOwned> Log<T> {
    /// Adds an item at the end of the log of a key, and returns its index. Sessions that follow the
    /// log are told in the same transaction (LD-2).
    ///
    /// # Errors
    /// `unsupported` for an empty key, one that ends with an asterisk or is over
    /// [`MAX_KEY`] bytes, and an item over [`MAX_ITEM`]; `quota_exceeded`
    /// over what the device that began the log may store; when the store fails. The caller must
    /// pass the error on, so that the job is undone.
    pub fn append(&self, tx: &mut Tx<'_>, key: &str, item: &T) -> Result<u64, RpcError> {
        check_key(key)?;
        let json = answer(item)?;
        let value = json.get().as_bytes();
        self.check_size(value.len())?;
        let counted = self.count(item, value.len());
        let mut head = match logs::head(tx.conn(), self.name, key).map_err(fault)? {
            Some(head) => head,
            None => self.insert(tx, key)?,
        };
        self.charge(tx, &head, value.len(), signed(counted))?;
        let index = head.next;
        logs::put(tx.conn(), head.n, index, value).map_err(fault)?;
        head.next = head.next.saturating_add(1);
        head.bytes = head.bytes.saturating_add(value.len() as u64);
        head.counted = head.counted.saturating_add(counted);
        self.trim(tx, key, &mut head)?;
        logs::update(tx.conn(), &head).map_err(fault)?;
        tx.note_appended(self.name, key, index);
        Ok(index)
    }

    /// Begins the log of a key without an item, unless there is one: it is charged to whoever the
    /// job runs for, and not to whoever appends first. Returns whether it is new.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn begin(&self, tx: &mut Tx<'_>, key: &str) -> Result<bool, RpcError> {
        check_key(key)?;
        if logs::head(tx.conn(), self.name, key)
            .map_err(fault)?
            .is_some()
        {
            return Ok(false);
        }
        self.insert(tx, key).map(|_| true)
    }

    fn insert(&self, tx: &mut Tx<'_>, key: &str) -> Result<Head, RpcError> {
        let (owner, apart) = (tx.owner(), self.fund.is_apart());
        if apart {
            tx.charge(owner, self.fund, Usage::row(0));
        } else {
            tx.charge_creator((owner, CREATOR), Usage::row(key.len()))?;
        }
        logs::insert(tx.conn(), self.name, key, (owner.0, apart)).map_err(fault)
    }

    /// Charges whoever began the log for another item.
    fn charge(
        &self,
        tx: &mut Tx<'_>,
        head: &Head,
        bytes: usize,
        counted: i64,
    ) -> Result<(), RpcError> {
        if head.apart {
            let mut usage = Usage::row(0);
            usage += Usage::bytes(counted);
            tx.charge(Owner(head.owner), Fund::of(self.name, true), usage);
            return Ok(());
        }
        tx.charge_creator((Owner(head.owner), CREATOR), Usage::row(bytes))
    }

    /// Charges whoever began the log for an item that has changed.
    fn charge_more(
        &self,
        tx: &mut Tx<'_>,
        head: &Head,
        more: i64,
        counted: i64,
    ) -> Result<(), RpcError> {
        if head.apart {
            let fund = Fund::of(self.name, true);
            tx.charge(Owner(head.owner), fund, Usage::bytes(counted));
            return Ok(());
        }
        tx.charge_creator((Owner(head.owner), CREATOR), Usage::bytes(more))
    }

    /// What an item of that many bytes as JSON counts as, in a log that is apart.
    fn count(&self, item: &T, bytes: usize) -> u64 {
        self.counts.map_or(bytes as u64, |counts| counts(item))
    }

    fn check_size(&self, bytes: usize) -> Result<(), RpcError> {
        if bytes > self.largest {
            let most = self.largest;
            let text = format!("an item of {bytes} bytes cannot be stored; at most {most}");
            return Err(RpcError::new(RpcReason::Unsupported, text));
        }
        Ok(())
    }

    /// Has an item refer to these blobs and to no others, as
    /// [`Table::keep_blobs`](super::Table::keep_blobs), until it is dropped.
    ///
    /// # Errors
    /// As there.
    pub fn keep_blobs(
        &self,
        tx: &mut Tx<'_>,
        key: &str,
        index: u64,
        blobs: &[BlobHash],
    ) -> Result<(), RpcError> {
        let head = logs::head(tx.conn(), self.name, key).map_err(fault)?;
        let is_kept = head.is_some_and(|head| (head.first..head.next).contains(&index));
        let Some(item) = i64::try_from(index).ok().filter(|_| is_kept) else {
            return Err(self.keeps_no(index));
        };
        tx.keep_blobs((self.name, key, item), blobs, true)
    }

    /// Appends text to an item: to its member `text`, or that of [`Log::growing`]. Only the newest
    /// [`LOG_GROWING`](limits::LOG_GROWING) items of a log grow. Sessions that follow the log are
    /// told of the text alone.
    ///
    /// # Errors
    /// `not_found` if there is no such item, or it was dropped; `unsupported` for an older item,
    /// and for one that would be over [`MAX_ITEM`]; −32603 if the member is no text; as
    /// [`Log::append`].
    pub fn grow(&self, tx: &mut Tx<'_>, key: &str, index: u64, text: &str) -> Result<(), RpcError> {
        let (head, old) = self.kept(tx, key, index)?;
        if head.next.saturating_sub(index) > limits::LOG_GROWING {
            let most = limits::LOG_GROWING;
            let text = format!("only the last {most} items of a log can grow; add another item");
            return Err(RpcError::new(RpcReason::Unsupported, text));
        }
        if text.is_empty() {
            return Ok(());
        }
        let value = self.grown(&old, text)?;
        let more = match self.counts {
            Some(_) => text.len(),
            None => value.len().saturating_sub(old.len()),
        };
        let more = signed(more as u64);
        self.rewrite(tx, key, head, (index, old.len(), &value), more)?;
        tx.note_grown(self.name, key, index, self.field, text);
        Ok(())
    }

    /// Gives an item another value, whatever its age. Sessions that follow the log are told the new
    /// value in the same transaction (LD-2). The blobs of the item stay those of the last
    /// [`Log::keep_blobs`].
    ///
    /// # Errors
    /// `not_found` if there is no such item, or it was dropped; `unsupported` for a value over
    /// [`MAX_ITEM`]; as [`Log::append`].
    pub fn replace(
        &self,
        tx: &mut Tx<'_>,
        key: &str,
        index: u64,
        item: &T,
    ) -> Result<(), RpcError> {
        let (head, old) = self.kept(tx, key, index)?;
        let json = answer(item)?;
        let value = json.get().as_bytes();
        let was = self.count_stored(&old);
        let more = signed(self.count(item, value.len())).saturating_sub(signed(was));
        self.rewrite(tx, key, head, (index, old.len(), value), more)?;
        tx.note_replaced(self.name, key, index);
        Ok(())
    }

    /// The log of a key and an item of it.
    fn kept(&self, tx: &Tx<'_>, key: &str, index: u64) -> Result<(Head, Vec<u8>), RpcError> {
        let head = logs::head(tx.conn(), self.name, key).map_err(fault)?;
        let found = head.map(|head| Ok((head, logs::get(tx.conn(), head.n, index)?)));
        match found.transpose().map_err(fault)? {
            Some((head, Some(item))) => Ok((head, item)),
            Some((_, None)) | None => Err(self.keeps_no(index)),
        }
    }

    fn keeps_no(&self, index: u64) -> RpcError {
        let text = format!("{} keeps no item {index} of this log", self.name);
        RpcError::new(RpcReason::NotFound, text)
    }

    /// Stores an item of a log instead of one of `old` bytes. The device that began the log is
    /// charged the difference; what is over the log's bounds then is dropped.
    fn rewrite(
        &self,
        tx: &mut Tx<'_>,
        key: &str,
        mut head: Head,
        (index, old, value): (u64, usize, &[u8]),
        counted: i64,
    ) -> Result<(), RpcError> {
        self.check_size(value.len())?;
        let more = signed(value.len() as u64).saturating_sub(signed(old as u64));
        self.charge_more(tx, &head, more, counted)?;
        head.counted = head.counted.saturating_add_signed(counted);
        logs::set(tx.conn(), head.n, index, value).map_err(fault)?;
        head.bytes = head.bytes.saturating_add_signed(more);
        let first = head.first;
        self.trim(tx, key, &mut head)?;
        logs::update(tx.conn(), &head).map_err(fault)?;
        if head.first > first {
            tx.note_dropped(self.name, key);
        }
        Ok(())
    }

    /// The JSON of an item with more text.
    fn grown(&self, item: &[u8], text: &str) -> Result<Vec<u8>, RpcError> {
        let defect = |problem: &dyn std::fmt::Display| {
            let (name, field) = (self.name, self.field);
            RpcError::internal(format!(
                "the text `{field}` of {name} cannot grow: {problem}"
            ))
        };
        let item = serde_json::from_slice::<Box<RawValue>>(item);
        let grown = item.and_then(|item| Json::from(item).with_text(self.field, text));
        let grown = grown.map_err(|error| defect(&error))?;
        Ok(grown.get().as_bytes().to_vec())
    }

    /// Drops the oldest items of a log that is over its bounds.
    fn trim(&self, tx: &mut Tx<'_>, key: &str, head: &mut Head) -> Result<(), RpcError> {
        let is_over = |head: &Head| {
            head.items() > 1 && (head.items() > self.items || head.bytes > self.bytes)
        };
        if !is_over(head) {
            return Ok(());
        }
        let was = head.first;
        let mut dropped = Usage::default();
        // An append to a full log drops one item, and reads no more than that.
        logs::oldest(tx.conn(), head.n, MOST_DROPPED, |index, bytes| {
            head.first = index.saturating_add(1);
            head.bytes = head.bytes.saturating_sub(bytes);
            dropped += Usage::row(usize::try_from(bytes).unwrap_or(usize::MAX));
            is_over(head)
        })
        .map_err(fault)?;
        if head.apart {
            dropped.data_bytes = signed(self.count_range(tx, head, was..head.first)?);
            head.counted = head.counted.saturating_add_signed(-dropped.data_bytes);
        }
        logs::drop_before(tx.conn(), head.n, head.first).map_err(fault)?;
        tx.release_blobs_of_items(self.name, key, head.first)?;
        tx.charge(Owner(head.owner), Fund::of(self.name, head.apart), -dropped);
        Ok(())
    }

    /// What a stored item counts as. One that does not parse counts with its bytes, so that it can
    /// be replaced.
    fn count_stored(&self, value: &[u8]) -> u64 {
        let bytes = value.len() as u64;
        match self.counts {
            Some(counts) => parsed(self.name, value).map_or(bytes, |item| counts(&item)),
            None => bytes,
        }
    }

    /// What the items of a range count as.
    fn count_range(&self, tx: &Tx<'_>, head: &Head, range: Range<u64>) -> Result<u64, RpcError> {
        let mut sum = 0_u64;
        logs::scan(tx.conn(), head.n, &range, |_, value| {
            sum = sum.saturating_add(self.count_stored(value));
            true
        })
        .map_err(fault)?;
        Ok(sum)
    }

    /// An item of the log of a key.
    ///
    /// # Errors
    /// When the store fails, or the stored item does not parse as a `T`.
    pub fn get(&self, from: &impl Stored, key: &str, index: u64) -> Result<Option<T>, RpcError> {
        let conn = from.connection().conn;
        let Some(head) = logs::head(conn, self.name, key).map_err(fault)? else {
            return Ok(None);
        };
        let value = logs::get(conn, head.n, index).map_err(fault)?;
        value.map(|value| parsed(self.name, &value)).transpose()
    }

    /// The kept items of a range with their indexes, oldest first: at most `limit`, and at most
    /// [`Reader::page_bytes`](super::Reader::page_bytes) bytes, but at least one if there is any.
    ///
    /// # Errors
    /// As [`Log::get`].
    pub fn range(
        &self,
        from: &impl Stored,
        key: &str,
        range: Range<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, T)>, RpcError> {
        let source = from.connection();
        let head = logs::head(source.conn, self.name, key).map_err(fault)?;
        let (Some(head), 1..) = (head, limit) else {
            return Ok(Vec::new());
        };
        let mut page = ItemPage::new(self.name, &source, limit);
        let add = |index, value: &[u8]| page.add(index, value);
        logs::scan(source.conn, head.n, &range, add).map_err(fault)?;
        page.finish()
    }

    /// The kept items of a range in the opposite order: the newest first. Bounded as
    /// [`Log::range`].
    ///
    /// # Errors
    /// As [`Log::get`].
    pub fn range_back(
        &self,
        from: &impl Stored,
        key: &str,
        range: Range<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, T)>, RpcError> {
        let source = from.connection();
        let head = logs::head(source.conn, self.name, key).map_err(fault)?;
        let (Some(head), 1..) = (head, limit) else {
            return Ok(Vec::new());
        };
        let mut page = ItemPage::new(self.name, &source, limit);
        let add = |index, value: &[u8]| page.add(index, value);
        logs::scan_back(source.conn, head.n, &range, add).map_err(fault)?;
        page.finish()
    }

    /// What is stored of the log of a key, if it was begun.
    ///
    /// # Errors
    /// When the store fails.
    pub fn state(&self, from: &impl Stored, key: &str) -> Result<Option<LogState>, RpcError> {
        let head = logs::head(from.connection().conn, self.name, key).map_err(fault)?;
        Ok(head.map(|head| LogState {
            bounds: head.first..head.next,
            bytes: head.bytes,
            counted: head.counted,
            owner: Owner(head.owner),
        }))
    }

    /// The indexes of the items that are kept of the log of a key. It ends at the index of the next
    /// item.
    ///
    /// # Errors
    /// When the store fails.
    pub fn bounds(&self, from: &impl Stored, key: &str) -> Result<Range<u64>, RpcError> {
        logs::bounds(from.connection().conn, self.name, key).map_err(fault)
    }

    /// Removes the log of a key with all its items; returns whether there was one. Sessions that
    /// follow it are told. It takes time in proportion to what is kept.
    ///
    /// # Errors
    /// When the store fails.
    pub fn remove(&self, tx: &mut Tx<'_>, key: &str) -> Result<bool, RpcError> {
        let Some(head) = logs::head(tx.conn(), self.name, key).map_err(fault)? else {
            return Ok(false);
        };
        logs::remove(tx.conn(), self.name, &head).map_err(fault)?;
        tx.release_blobs_of_items(self.name, key, head.next)?;
        let usage = if head.apart {
            Usage::log(head.items(), head.counted, "")
        } else {
            Usage::log(head.items(), head.bytes, key)
        };
        let fund = Fund::of(self.name, head.apart);
        tx.charge(Owner(head.owner), fund, -usage);
        tx.note_dropped(self.name, key);
        Ok(true)
    }
}

/// Items for a service, bounded in number and bytes.
struct ItemPage<T> {
    log: &'static str,
    items: Vec<(u64, T)>,
    limit: usize,
    bytes: usize,
    most: usize,
    failed: Option<RpcError>,
}

impl<T: DeserializeOwned> ItemPage<T> {
    const fn new(log: &'static str, source: &Source<'_>, limit: usize) -> Self {
        Self {
            log,
            items: Vec::new(),
            limit,
            bytes: 0,
            most: source.page_bytes,
            failed: None,
        }
    }

    /// Adds an item; returns whether there may be room for another.
    fn add(&mut self, index: u64, value: &[u8]) -> bool {
        self.bytes += value.len();
        if self.bytes > self.most && !self.items.is_empty() {
            return false;
        }
        match parsed(self.log, value) {
            Ok(item) => self.items.push((index, item)),
            Err(error) => self.failed = Some(error),
        }
        self.failed.is_none() && self.items.len() < self.limit
    }

    fn finish(self) -> Result<Vec<(u64, T)>, RpcError> {
        self.failed.map_or(Ok(self.items), Err)
    }
}

fn check_key(key: &str) -> Result<(), RpcError> {
    if key.is_empty() || key.len() > MAX_KEY || key.ends_with('*') {
        let text = format!("the key of a log has 1 to {MAX_KEY} bytes and no asterisk at its end");
        return Err(RpcError::new(RpcReason::Unsupported, text));
    }
    Ok(())
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
