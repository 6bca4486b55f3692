//! Which rows and items refer to blobs, who may get one, and which go: the part of blobs that is in
//! the database (LD-8). Their bytes are in files, which [`crate::blobs`] owns.

use bowline_protocol::{BlobHash, RpcReason, error::RpcError, live::LiveKind};

use super::{
    FindScope, Ledger, Reader, SessionRef, Tx,
    owner::{Account, Owner},
};
use crate::store::{blobs, fault};

/// Most blobs that one row or item refers to.
pub const MAX_BLOBS: usize = 256;

/// What is known of a blob that a device wants to put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// The size, if the device has put this one already.
    pub(crate) held: Option<u64>,
    /// The size, if anybody has.
    pub(crate) stored: Option<u64>,
}

/// What a blob that was put changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Added {
    /// Nobody had put it.
    pub(crate) is_new: bool,
    /// Its device had not.
    pub(crate) is_new_of_owner: bool,
}

/// What a blob of that size is charged as.
pub(crate) fn blob_charge(size: u64) -> u64 {
    size.max(blobs::LEAST_CHARGE)
}

/// The rows or log through which a device may see a blob.
pub(crate) struct Via {
    pub(crate) source: (LiveKind, &'static str),
    pub(crate) find: FindScope,
}

impl SessionRef {
    /// The account that a request of this session is charged to.
    pub(crate) fn owner(&self) -> Owner {
        self.name.account.owner
    }

    /// The refusal of a request over a quota of this session's device.
    pub(crate) fn over(&self, setting: &'static str, limit: u64, what: &str) -> RpcError {
        let account = &self.name.account;
        account.over(RpcReason::QuotaExceeded, setting, limit, what)
    }
}

/// The refusal of a request over a quota of the daemon.
pub(crate) fn over_all(setting: &'static str, limit: u64, what: &str) -> RpcError {
    let account = Account::unnamed(Owner::DAEMON, "the daemon");
    account.over(RpcReason::QuotaExceeded, setting, limit, what)
}

/// The refusal of a blob that is not there, or not for this device; the two are not told apart.
fn no_blob(hash: &BlobHash) -> RpcError {
    RpcError::new(
        RpcReason::NotFound,
        format!(
            "no blob {hash} for this device: it must have put it, or name in `of` a table or log \
             of which it may see a row or an item that refers to it"
        ),
    )
}

impl Tx<'_> {
    /// Has a row or item refer to exactly these blobs. With `own`, those that it does not refer to
    /// yet must be put by the caller.
    pub(super) fn keep_blobs(
        &mut self,
        place: (&str, &str, i64),
        wanted: &[BlobHash],
        own: bool,
    ) -> Result<(), RpcError> {
        if wanted.len() > MAX_BLOBS {
            let text = format!("a row or an item refers to at most {MAX_BLOBS} blobs");
            return Err(RpcError::new(RpcReason::Unsupported, text));
        }
        let has = blobs::of_place(self.conn(), place).map_err(fault)?;
        for hash in wanted.iter().filter(|hash| !has.contains(hash)) {
            let is_there = blobs::size(self.conn(), hash).map_err(fault)?.is_some();
            if !is_there || (own && !self.may_name(hash)?) {
                return Err(RpcError::new(
                    RpcReason::NotFound,
                    format!("this device has put no blob {hash}: put it first"),
                ));
            }
            blobs::refer(self.conn(), place, hash).map_err(fault)?;
        }
        let now = self.lived();
        for hash in has.iter().filter(|hash| !wanted.contains(hash)) {
            blobs::release(self.conn(), place, hash, now).map_err(fault)?;
        }
        Ok(())
    }

    fn may_name(&self, hash: &BlobHash) -> Result<bool, RpcError> {
        let Some(session) = &self.caller.session else {
            return Ok(true);
        };
        if session.device_id().is_none() {
            return Ok(true);
        }
        blobs::holds(self.conn(), hash, session.owner().0).map_err(fault)
    }

    /// Ends the references of a row that was removed.
    pub(super) fn release_blobs_of_row(&self, space: &str, key: &str) -> Result<(), RpcError> {
        let row = (blobs::ROW, blobs::ROW + 1);
        blobs::release_range(self.conn(), (space, key), row, self.lived()).map_err(fault)
    }

    /// Ends the references of a log's items before an index, which were dropped.
    pub(super) fn release_blobs_of_items(
        &self,
        space: &str,
        key: &str,
        before: u64,
    ) -> Result<(), RpcError> {
        let items = (0, i64::try_from(before).unwrap_or(i64::MAX));
        blobs::release_range(self.conn(), (space, key), items, self.lived()).map_err(fault)
    }
}

impl Reader<'_> {
    /// The size of a blob that the caller may get.
    fn blob(&self, hash: &BlobHash, via: Option<Via>) -> Result<u64, RpcError> {
        let size = blobs::size(self.conn(), hash).map_err(fault)?;
        let size = size.ok_or_else(|| no_blob(hash))?;
        let Some(session) = self.session() else {
            return Ok(size);
        };
        if session.device_id().is_none() {
            return Ok(size);
        }
        if blobs::holds(self.conn(), hash, session.owner().0).map_err(fault)? {
            return Ok(size);
        }
        let Some(Via { source, find }) = via else {
            return Err(no_blob(hash));
        };
        let (kind, name) = source;
        let scope = find(self)?;
        let from = scope.as_prefix().unwrap_or(scope.as_str());
        let place = (name, kind == LiveKind::Log);
        let first = blobs::first_key(self.conn(), hash, place, from).map_err(fault)?;
        match first {
            Some(key) if scope.covers(&key) => Ok(size),
            Some(_) | None => Err(no_blob(hash)),
        }
    }
}

impl Ledger {
    /// What is known of a blob that a device wants to put. If it has put it, its time begins anew.
    ///
    /// # Errors
    /// As [`Ledger::write`].
    pub(crate) async fn know_blob(
        &self,
        session: Option<SessionRef>,
        hash: BlobHash,
    ) -> Result<Known, RpcError> {
        self.write_as(session, move |tx| {
            let holds = blobs::holds(tx.conn(), &hash, tx.owner().0).map_err(fault)?;
            let stored = blobs::size(tx.conn(), &hash).map_err(fault)?;
            let held = stored.filter(|_| holds);
            if held.is_some() {
                blobs::touch(tx.conn(), hash.as_bytes(), tx.lived()).map_err(fault)?;
            }
            Ok(Known { held, stored })
        })
        .await
    }

    /// What the blobs of an owner are charged as, and everybody's. Looks at all of them.
    ///
    /// # Errors
    /// As [`Ledger::read`].
    pub(crate) async fn blob_charges(&self, owner: Owner) -> Result<(u64, u64), RpcError> {
        self.read(move |reader| {
            let own = blobs::charge_of(reader.conn(), owner.0).map_err(fault)?;
            Ok((own, blobs::charge_of_all(reader.conn()).map_err(fault)?))
        })
        .await
    }

    /// Notes a blob whose bytes are on disk, and who has put it.
    ///
    /// # Errors
    /// As [`Ledger::write`].
    pub(crate) async fn add_blob(
        &self,
        session: Option<SessionRef>,
        hash: BlobHash,
        size: u64,
    ) -> Result<Added, RpcError> {
        self.write_as(session, move |tx| {
            let is_new = blobs::insert(tx.conn(), &hash, size, tx.lived()).map_err(fault)?;
            if !is_new {
                blobs::touch(tx.conn(), hash.as_bytes(), tx.lived()).map_err(fault)?;
            }
            let is_new_of_owner = blobs::hold(tx.conn(), &hash, tx.owner().0).map_err(fault)?;
            Ok(Added {
                is_new,
                is_new_of_owner,
            })
        })
        .await
    }

    /// The size of a blob that the session may get, perhaps through what refers to it.
    ///
    /// # Errors
    /// `not_found`; those of the service that decides about `via`; as [`Ledger::read`].
    pub(crate) async fn find_blob(
        &self,
        session: Option<SessionRef>,
        hash: BlobHash,
        via: Option<Via>,
    ) -> Result<u64, RpcError> {
        self.read_as(session, move |reader| reader.blob(&hash, via))
            .await
    }

    /// Those of these blobs that do not exist.
    ///
    /// # Errors
    /// As [`Ledger::read`].
    pub(crate) async fn unknown_blobs(
        &self,
        mut hashes: Vec<BlobHash>,
    ) -> Result<Vec<BlobHash>, RpcError> {
        self.read(move |reader| {
            let mut failed = None;
            hashes.retain(|hash| match blobs::size(reader.conn(), hash) {
                Ok(size) => size.is_none(),
                Err(error) => {
                    failed = Some(error);
                    false
                }
            });
            failed.map_or(Ok(hashes), |error| Err(fault(error)))
        })
        .await
    }

    /// Removes blobs that nothing refers to, of those untouched for `grace` milliseconds, at most
    /// `limit`. Their files are to be removed next.
    ///
    /// # Errors
    /// As [`Ledger::write`].
    pub(crate) async fn collect_blobs(
        &self,
        grace: i64,
        limit: u32,
    ) -> Result<Vec<BlobHash>, RpcError> {
        self.write(move |tx| {
            let before = tx.lived().saturating_sub(grace);
            let gone = blobs::unreferred(tx.conn(), before, limit).map_err(fault)?;
            for hash in &gone {
                blobs::remove(tx.conn(), hash).map_err(fault)?;
            }
            Ok(gone)
        })
        .await
    }
}
