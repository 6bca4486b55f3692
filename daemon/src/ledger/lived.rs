//! The clock that outcomes, offers and the grace of sessions age by: the time that the store has lived.
//!
//! It goes on by the monotonic clock while a daemon runs, and by the machine's time since its boot while none does, as
//! far as that is known: over a reboot nothing is added. The wall clock, which anybody may set, has no part in it.
//! What it counts is therefore at most the time that has passed, and nothing is forgotten too early.

use bowline_machines::Moment;
use rusqlite::Connection;

use crate::{
    clock::Clock,
    store::{self, facts},
};

const LIVED: &str = "lived";
const MACHINE: &str = "machine";
const MACHINE_TIME: &str = "machineTime";

/// How long the store has lived.
#[derive(Clone, Debug)]
pub(super) struct Lived {
    clock: Clock,
    /// Milliseconds at `since`.
    base: i64,
    since: Moment,
}

impl Lived {
    /// Goes on where the last daemon on this store left. Within a transaction.
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
                // How long nobody ran is not known; an offer is better dead than valid for weeks.
                store::devices::drop_pairings(conn, clock.unix_millis())?;
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

    /// Milliseconds lived so far.
    pub(super) fn now(&self) -> i64 {
        let run = self.clock.now().since(self.since);
        self.base.saturating_add(millis(run))
    }

    /// Stores it, so that a crash loses no more than what comes after, and nothing at all without a reboot.
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
