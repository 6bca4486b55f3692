//! The store's own clock: the time the store has been in use. Outcomes, pairing offers and the
//! grace period of sessions age by it.
//!
//! While a daemon runs, it advances with the monotonic clock. While none runs, it advances with the
//! machine's time since boot, where that is known; a reboot adds nothing. It ignores the wall
//! clock, which users can set. It never counts more time than has passed, so nothing expires too
//! early.

use bowline_machines::MonotonicTime;
use rusqlite::Connection;

use crate::{
    clock::Clock,
    store::{self, facts},
};

const LIVED: &str = "lived";
const MACHINE: &str = "machine";
const MACHINE_TIME: &str = "machineTime";

/// The clock of the time that the store has been in use.
#[derive(Clone, Debug)]
pub(super) struct Lived {
    clock: Clock,
    /// Milliseconds at `since`.
    base: i64,
    since: MonotonicTime,
}

impl Lived {
    /// Continues from the time stored by the previous daemon. Runs within a transaction.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) fn open(conn: &Connection, clock: &Clock) -> rusqlite::Result<Self> {
        let number = |name| -> rusqlite::Result<i64> {
            let text = facts::get(conn, name)?;
            Ok(text.and_then(|text| text.parse().ok()).unwrap_or(0))
        };
        let machine = clock.machine();
        let away = match (&machine, facts::get(conn, MACHINE)?) {
            (Some((boot, time)), Some(known)) if *boot == known => {
                millis(*time).saturating_sub(number(MACHINE_TIME)?).max(0)
            }
            _ => {
                // The time without a daemon is unknown, so pending offers are dropped: an offer
                // that stays valid for weeks would be worse.
                store::offers::drop_expired(conn, clock.unix_millis())?;
                0
            }
        };
        let lived = Self {
            clock: clock.clone(),
            base: number(LIVED)?.saturating_add(away),
            since: clock.now(),
        };
        lived.save(conn)?;
        Ok(lived)
    }

    /// Milliseconds counted so far.
    pub(super) fn now(&self) -> i64 {
        let run = self.clock.now().since(self.since);
        self.base.saturating_add(millis(run))
    }

    /// Stores the time. A crash loses only the time since the last save, and nothing if the machine
    /// did not reboot.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) fn save(&self, conn: &Connection) -> rusqlite::Result<()> {
        facts::put(conn, LIVED, &self.now().to_string())?;
        match self.clock.machine() {
            Some((boot, time)) => {
                facts::put(conn, MACHINE, &boot)?;
                facts::put(conn, MACHINE_TIME, &millis(time).to_string())
            }
            None => facts::remove(conn, MACHINE),
        }
    }
}

fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
