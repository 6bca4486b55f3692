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
    /// Agents, archived ones included; over it a new one is answered with `quota_exceeded`.
    pub agents: u64,
    /// Rows of services' data; over it a new one is answered with `quota_exceeded`.
    pub data_rows: u64,
    /// Bytes of services' data, keys included, in the same way.
    pub data_bytes: u64,
    /// Bytes of the timelines of its agents; over it the oldest outputs are dropped, and prompts
    /// are answered with `rate_limited` while that has not caught up.
    pub timeline_bytes: u64,
}

impl Quotas {
    /// The defaults.
    pub const DEFAULT: Self = Self {
        intents: 200_000,
        intent_bytes: 256 << 20,
        waiting: 1_024,
        sessions: 32,
        agents: 10_000,
        data_rows: 100_000,
        data_bytes: 256 << 20,
        timeline_bytes: 2 << 30,
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
    pub(crate) agents: i64,
    pub(crate) data_rows: i64,
    pub(crate) data_bytes: i64,
    pub(crate) timeline_bytes: i64,
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

    /// One agent.
    pub(crate) fn agent() -> Self {
        Self {
            agents: 1,
            ..Self::default()
        }
    }

    /// That many bytes of a timeline more.
    pub(crate) fn timeline(bytes: i64) -> Self {
        Self {
            timeline_bytes: bytes,
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
        self.agents += other.agents;
        self.data_rows += other.data_rows;
        self.data_bytes += other.data_bytes;
        self.timeline_bytes += other.timeline_bytes;
    }
}

impl Neg for Usage {
    type Output = Self;

    fn neg(self) -> Self {
        Self {
            intents: -self.intents,
            intent_bytes: -self.intent_bytes,
            agents: -self.agents,
            data_rows: -self.data_rows,
            data_bytes: -self.data_bytes,
            timeline_bytes: -self.timeline_bytes,
        }
    }
}

/// The accounts of everyone who has stored something.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    by_owner: HashMap<Owner, Usage>,
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
        for (owner, agents, timeline_bytes) in store::agents::by_owner(conn)? {
            let of_agents = Usage {
                agents,
                timeline_bytes,
                ..Usage::default()
            };
            accounts.add(Owner(owner), of_agents);
        }
        let of_logs = store::logs::by_owner(conn)?;
        for (owner, data_rows, data_bytes) in
            store::data::by_owner(conn)?.into_iter().chain(of_logs)
        {
            let of_data = Usage {
                data_rows,
                data_bytes,
                ..Usage::default()
            };
            accounts.add(Owner(owner), of_data);
        }
        Ok(accounts)
    }

    pub(super) fn add(&mut self, owner: Owner, change: Usage) {
        let usage = self.by_owner.entry(owner).or_default();
        *usage += change;
        if *usage == Usage::default() {
            self.by_owner.remove(&owner);
        }
        self.intents += change.intents;
    }

    fn of(&self, owner: Owner) -> Usage {
        self.by_owner.get(&owner).copied().unwrap_or_default()
    }

    /// Bytes of the timelines of an owner's agents.
    pub(super) fn timeline_bytes(&self, owner: Owner) -> i64 {
        self.of(owner).timeline_bytes
    }

    /// The owners whose timelines take more than that.
    pub(super) fn over_timeline_bytes(&self, limit: i64) -> impl Iterator<Item = Owner> {
        let over = self.by_owner.iter();
        let over = over.filter(move |(owner, usage)| {
            owner.has_quota() && limit > 0 && usage.timeline_bytes > limit
        });
        over.map(|(owner, _)| *owner)
    }

    /// Stored intents of everyone.
    pub(super) fn intents(&self) -> u64 {
        u64::try_from(self.intents).unwrap_or(0)
    }
}

impl Tx<'_> {
    /// The account that this job's changes are charged to.
    pub(crate) fn owner(&self) -> Owner {
        let session = self.caller.session.as_ref();
        session.map_or(Owner::DAEMON, |session| session.name.account.owner)
    }

    pub(super) fn account(&self) -> Option<&Account> {
        let account = &self.caller.session.as_ref()?.name.account;
        account.owner.has_quota().then_some(account)
    }

    /// Charges an account, or gives back to it; undone with the job.
    pub(crate) fn charge(&mut self, owner: Owner, change: Usage) {
        self.live.charge(owner, change);
    }

    /// Charges the caller's account, if its quotas allow that.
    ///
    /// # Errors
    /// `quota_exceeded`, which names the account and the quota.
    pub(crate) fn charge_caller(&mut self, change: Usage) -> Result<(), RpcError> {
        if let Some(account) = self.account() {
            let (has, quotas) = (self.live.accounts.of(account.owner), &self.live.quotas);
            let refuse = |setting, limit, what: &str| {
                Err(account.over(RpcReason::QuotaExceeded, setting, limit, what))
            };
            if is_over(has.agents, change.agents, quotas.agents) {
                let what = "has as many agents as it may, archived ones included: the daemon's owner can raise the limit";
                return refuse("agents_per_device", quotas.agents, what);
            }
            self.check_data(account, change)?;
        }
        self.live.charge(self.owner(), change);
        Ok(())
    }

    /// Charges the account of whoever began what others add to. The daemon's own work is charged
    /// too, but never refused.
    ///
    /// # Errors
    /// As [`Tx::charge_caller`].
    pub(crate) fn charge_creator(&mut self, owner: Owner, change: Usage) -> Result<(), RpcError> {
        match self.account() {
            Some(caller) if caller.owner == owner => self.check_data(caller, change)?,
            // Devices do not see each other's use by name.
            Some(_) if owner.has_quota() => {
                let account = Account::unnamed(owner, "the device that began the log");
                self.check_data(&account, change)?;
            }
            Some(_) | None => {}
        }
        self.live.charge(owner, change);
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
        let spare = |limit: u64| match method {
            name::AGENTS_CANCEL => limit.saturating_add(limit / 16).saturating_add(1),
            _ => limit,
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
