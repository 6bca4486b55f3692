//! What each account has stored, and the quotas that bound it (TR-12).

use std::{
    collections::HashMap,
    ops::{AddAssign, Neg},
};

use bowline_protocol::{RpcReason, error::RpcError, methods::name};
use rusqlite::Connection;

use super::{
    owner::{Account, Owner},
    tx::Tx,
};
use crate::store;

/// Most that is kept for one device; zero = unbounded. The local socket counts as one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Intents whose outcome is remembered; over it a new one is answered with `rate_limited`, and
    /// a cancel only a sixteenth later.
    pub intents: u64,
    /// Bytes of their parameters and outcomes, in the same way.
    pub intent_bytes: u64,
    /// Jobs that wait for the ledger; over it a request is answered with `rate_limited`.
    pub waiting: usize,
    /// Sessions; over it the one detached longest is removed, or the new one refused with
    /// `session_capacity`.
    pub sessions: usize,
    /// Rows of services' data; over it a new one is answered with `quota_exceeded`.
    pub data_rows: u64,
    /// Bytes of services' data, keys included, in the same way.
    pub data_bytes: u64,
}

impl Quotas {
    /// The defaults.
    pub const DEFAULT: Self = Self {
        intents: 200_000,
        intent_bytes: 256 << 20,
        waiting: 1_024,
        sessions: 32,
        data_rows: 100_000,
        data_bytes: 256 << 20,
    };
}

impl Default for Quotas {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What an account has, or a change of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) intents: i64,
    pub(crate) intent_bytes: i64,
    pub(crate) data_rows: i64,
    pub(crate) data_bytes: i64,
}

/// What a change of an account counts towards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fund {
    /// The quotas of intents and of services' data.
    Shared,
    /// A table, or the logs of a name, that its service bounds by itself.
    Apart(&'static str),
}

impl Fund {
    /// Of a table or log that is stored as apart, or is not.
    pub(super) const fn of(name: &'static str, apart: bool) -> Self {
        if apart {
            Self::Apart(name)
        } else {
            Self::Shared
        }
    }

    pub(super) const fn is_apart(self) -> bool {
        matches!(self, Self::Apart(_))
    }
}

/// What an account has in a table, or in the logs of a name, that is apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Rows; of logs, the logs and their items.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

impl Usage {
    /// One intent of that size.
    pub(crate) fn intent(bytes: usize) -> Self {
        Self {
            intents: 1,
            intent_bytes: signed(bytes),
            ..Self::default()
        }
    }

    /// A log with that many items and bytes of them.
    pub(crate) fn log(items: u64, bytes: u64, key: &str) -> Self {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        Self {
            data_rows: signed(items.saturating_add(1)),
            data_bytes: signed(bytes.saturating_add(key.len() as u64)),
            ..Self::default()
        }
    }

    /// That many bytes of a row more.
    pub(crate) fn bytes(more: i64) -> Self {
        Self {
            data_bytes: more,
            ..Self::default()
        }
    }

    /// One row of a service of that size.
    pub(crate) fn row(bytes: usize) -> Self {
        Self {
            data_rows: 1,
            data_bytes: signed(bytes),
            ..Self::default()
        }
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.intents += other.intents;
        self.intent_bytes += other.intent_bytes;
        self.data_rows += other.data_rows;
        self.data_bytes += other.data_bytes;
    }
}

impl Neg for Usage {
    type Output = Self;

    fn neg(self) -> Self {
        Self {
            intents: -self.intents,
            intent_bytes: -self.intent_bytes,
            data_rows: -self.data_rows,
            data_bytes: -self.data_bytes,
        }
    }
}

/// The accounts of everyone who has stored something.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    by_owner: HashMap<Owner, Usage>,
    /// What is apart, by the names of tables and logs.
    apart: HashMap<String, HashMap<Owner, Usage>>,
    /// Of all accounts together.
    intents: i64,
}

impl Accounts {
    /// Counts what is stored; at the start.
    pub(super) fn count(conn: &Connection) -> rusqlite::Result<Self> {
        let mut accounts = Self::default();
        for (owner, intents, bytes) in store::intents::by_owner(conn)? {
            let of_intents = Usage {
                intents,
                intent_bytes: bytes,
                ..Usage::default()
            };
            accounts.add(Owner(owner), of_intents);
        }
        let of_logs = store::logs::by_owner(conn)?;
        for sum in store::data::by_owner(conn)?.into_iter().chain(of_logs) {
            let of_data = Usage {
                data_rows: sum.rows,
                data_bytes: sum.bytes,
                ..Usage::default()
            };
            match sum.apart {
                Some(name) => accounts.add_apart(Owner(sum.owner), &name, of_data),
                None => accounts.add(Owner(sum.owner), of_data),
            }
        }
        Ok(accounts)
    }

    pub(super) fn add(&mut self, owner: Owner, change: Usage) {
        add(&mut self.by_owner, owner, change);
        self.intents += change.intents;
    }

    fn add_apart(&mut self, owner: Owner, name: &str, change: Usage) {
        if let Some(of_name) = self.apart.get_mut(name) {
            add(of_name, owner, change);
        } else {
            let of_name = HashMap::from([(owner, change)]);
            self.apart.insert(name.to_owned(), of_name);
        }
    }

    /// Adds to what counts towards a fund.
    pub(super) fn add_to(&mut self, owner: Owner, fund: Fund, change: Usage) {
        match fund {
            Fund::Shared => self.add(owner, change),
            Fund::Apart(name) => self.add_apart(owner, name, change),
        }
    }

    fn of(&self, owner: Owner) -> Usage {
        self.by_owner.get(&owner).copied().unwrap_or_default()
    }

    /// What an account has of what is apart.
    pub(super) fn held(&self, owner: Owner, fund: Fund) -> Holding {
        let Fund::Apart(name) = fund else {
            return Holding::default();
        };
        let of_name = self.apart.get(name);
        let usage = of_name.and_then(|of_name| of_name.get(&owner));
        usage.map_or(Holding::default(), |usage| Holding {
            rows: u64::try_from(usage.data_rows).unwrap_or(0),
            bytes: u64::try_from(usage.data_bytes).unwrap_or(0),
        })
    }

    /// Stored intents of everyone.
    pub(super) fn intents(&self) -> u64 {
        u64::try_from(self.intents).unwrap_or(0)
    }
}

fn add(accounts: &mut HashMap<Owner, Usage>, owner: Owner, change: Usage) {
    let usage = accounts.entry(owner).or_default();
    *usage += change;
    if *usage == Usage::default() {
        accounts.remove(&owner);
    }
}

/// Whether requests of that method end what the device has asked for, and are taken where others
/// are held back.
pub(super) fn ends_work(method: &str) -> bool {
    method == name::AGENTS_CANCEL
}

impl Tx<'_> {
    /// The account that this job's changes are charged to.
    pub fn owner(&self) -> Owner {
        let session = self.caller.session.as_ref();
        session.map_or(Owner::DAEMON, |session| session.name.account.owner)
    }

    pub(super) fn account(&self) -> Option<&Account> {
        let account = &self.caller.session.as_ref()?.name.account;
        account.owner.has_quota().then_some(account)
    }

    /// Charges an account, or gives back to it, without a look at its quotas; undone with the job.
    pub(super) fn charge(&mut self, owner: Owner, fund: Fund, change: Usage) {
        self.live.charge(owner, fund, change);
    }

    /// The refusal of a request over a quota that the service keeps for an account: it names the
    /// account if that is the caller's own, else `whose`, for devices do not see each other's use
    /// by name. `what` says what it has and what helps. `None` if neither the job's caller nor the
    /// account has quotas: the daemon's own work is not refused.
    pub fn over_quota(
        &self,
        reason: RpcReason,
        (owner, whose): (Owner, &str),
        (setting, limit): (&'static str, u64),
        what: &str,
    ) -> Option<RpcError> {
        let caller = self.account()?;
        if caller.owner == owner {
            return Some(caller.over(reason, setting, limit, what));
        }
        let account = owner.has_quota().then(|| Account::unnamed(owner, whose))?;
        Some(account.over(reason, setting, limit, what))
    }

    /// Charges the account of whoever began what others add to. The daemon's own work is charged
    /// too, but never refused.
    ///
    /// # Errors
    /// `quota_exceeded`, which names the account and the quota.
    pub(super) fn charge_creator(
        &mut self,
        (owner, whose): (Owner, &str),
        change: Usage,
    ) -> Result<(), RpcError> {
        match self.account() {
            Some(caller) if caller.owner == owner => self.check_data(caller, change)?,
            // Devices do not see each other's use by name.
            Some(_) if owner.has_quota() => {
                let account = Account::unnamed(owner, whose);
                self.check_data(&account, change)?;
            }
            Some(_) | None => {}
        }
        self.live.charge(owner, Fund::Shared, change);
        Ok(())
    }

    fn check_data(&self, account: &Account, change: Usage) -> Result<(), RpcError> {
        let (has, quotas) = (self.live.accounts.of(account.owner), &self.live.quotas);
        let refuse = |setting, limit, what: &str| {
            Err(account.over(RpcReason::QuotaExceeded, setting, limit, what))
        };
        if is_over(has.data_rows, change.data_rows, quotas.data_rows) {
            let what = "has stored as many entries of services as it may: remove some, or have the limit raised";
            return refuse("data_rows_per_device", quotas.data_rows, what);
        }
        if is_over(has.data_bytes, change.data_bytes, quotas.data_bytes) {
            let what = "has stored as many bytes in services as it may: remove some, or have the limit raised";
            return refuse("data_bytes_per_device", quotas.data_bytes, what);
        }
        Ok(())
    }

    /// Refuses an intent of an account that has as many as it may until old ones are forgotten.
    pub(super) fn check_intents(&self, method: &str, bytes: usize) -> Result<(), RpcError> {
        let Some(account) = self.account() else {
            return Ok(());
        };
        let quotas = &self.live.quotas;
        // Whoever has used up its share can still end what it began.
        let spare = |limit: u64| match ends_work(method) {
            true => limit.saturating_add(limit / 16).saturating_add(1),
            false => limit,
        };
        let has = self.live.accounts.of(account.owner);
        let (setting, limit, what) = if is_over(has.intents, 1, spare(quotas.intents)) {
            let what = "has sent as many requests that change something as it may within a day; older ones make room as they expire";
            ("intents_per_device", quotas.intents, what)
        } else if is_over(has.intent_bytes, signed(bytes), spare(quotas.intent_bytes)) {
            let what = "has sent as many bytes as it may within a day; older requests make room as they expire";
            ("intent_bytes_per_device", quotas.intent_bytes, what)
        } else {
            return Ok(());
        };
        Err(account
            .over(RpcReason::RateLimited, setting, limit, what)
            .after(self.sweep_in))
    }
}

/// Whether an increase goes over a limit; zero is none. What is over already may shrink.
fn is_over(has: i64, more: i64, limit: u64) -> bool {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    limit > 0 && more > 0 && has.saturating_add(more) > limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tr_12_zero_is_no_limit_and_what_is_over_may_shrink() {
        assert!(is_over(3, 1, 3) && !is_over(2, 1, 3));
        assert!(!is_over(1 << 40, 1, 0));
        assert!(!is_over(9, -1, 3) && !is_over(9, 0, 3));
    }

    #[test]
    fn an_empty_account_takes_no_memory() {
        let mut accounts = Accounts::default();
        accounts.add(Owner::LOCAL, Usage::intent(10));
        assert_eq!(accounts.intents(), 1);
        accounts.add(Owner::LOCAL, -Usage::intent(10));
        assert!(accounts.by_owner.is_empty());
    }
}
