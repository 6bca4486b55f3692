//! What blobs are charged as, in memory: the database would have to add up all of them for each
//! that is put.

use std::collections::HashMap;

use bowline_protocol::{BlobHash, error::RpcError};
use tokio::runtime::Handle;

use crate::ledger::{Ledger, Owner, SessionRef, blob_charge};

/// The sums, as far as they are known. The thread that has them is the only one that adds and
/// removes blobs.
#[derive(Default)]
pub(super) struct Charges {
    all: Option<u64>,
    own: HashMap<Owner, u64>,
}

impl Charges {
    /// The charges of an owner's blobs, and of everybody's.
    ///
    /// # Errors
    /// The store fails.
    pub(super) fn of(
        &mut self,
        owner: Owner,
        (ledger, runtime): (&Ledger, &Handle),
    ) -> Result<(u64, u64), RpcError> {
        if let (Some(own), Some(all)) = (self.own.get(&owner), self.all) {
            return Ok((*own, all));
        }
        let (own, all) = runtime.block_on(ledger.blob_charges(owner))?;
        self.all = Some(all);
        self.own.insert(owner, own);
        Ok((own, all))
    }

    /// Notes a complete blob in the database, as put by the session's device; by the daemon without
    /// one.
    ///
    /// # Errors
    /// The store fails.
    pub(super) fn add(
        &mut self,
        session: Option<&SessionRef>,
        (hash, size): (BlobHash, u64),
        (ledger, runtime): (&Ledger, &Handle),
    ) -> Result<(), RpcError> {
        let added = runtime.block_on(ledger.add_blob(session.cloned(), hash, size));
        let owner = session.map_or(Owner::DAEMON, SessionRef::owner);
        // Where it is not known whether it was added, the sums are not known any more.
        let added = added.inspect_err(|_| self.forget())?;
        let more = |sum: &mut u64| *sum = sum.saturating_add(blob_charge(size));
        if added.is_new {
            self.all.iter_mut().for_each(more);
        }
        if added.is_new_of_owner {
            self.own.get_mut(&owner).into_iter().for_each(more);
        }
        Ok(())
    }

    /// Blobs were removed.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}
