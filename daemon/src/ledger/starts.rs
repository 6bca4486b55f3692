//! Validates a client's stamp: up to which number the events that the client applied are those of
//! this store.

use bowline_protocol::Stamp;
use rusqlite::Connection;
use uuid::Uuid;

use super::replay::ReplayLog;
use crate::store::starts::{self, Start};

/// The starts on this store, the current one last.
#[derive(Debug)]
pub(super) struct Starts {
    known: Vec<Start>,
    stamp: Stamp,
}

impl Starts {
    /// Records a new start whose events begin with that id. Runs within a transaction.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) fn begin(conn: &Connection, next_event: i64) -> rusqlite::Result<Self> {
        let stamp = Stamp::from_uuid(Uuid::now_v7());
        let start = Start {
            stamp: stamp.as_str().to_owned(),
            first_event: next_event,
        };
        starts::add(conn, &start)?;
        Ok(Self {
            known: starts::all(conn)?,
            stamp,
        })
    }

    /// The lowest id for the next event, given the ids that earlier starts may have used.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) fn next_event(conn: &Connection) -> rusqlite::Result<i64> {
        let known = starts::all(conn)?;
        Ok(known.last().map_or(1, |start| start.first_event))
    }

    /// The stamp that clients get.
    pub(super) const fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// The number below which a session has the same events that a client with this stamp may have
    /// applied. Zero if the stamp is not from this store.
    pub(super) fn shared_to(&self, stamp: Option<&Stamp>, log: &ReplayLog) -> u64 {
        let Some(stamp) = stamp else {
            return 0;
        };
        let Some(at) = self
            .known
            .iter()
            .rposition(|start| start.stamp == stamp.as_str())
        else {
            return 0;
        };
        // The start after it may have used other numbers in the history that the client has seen.
        match self.known.get(at + 1) {
            Some(next) => log.first_of(next.first_event),
            None => log.next_seq(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{super::replay::Body, *};

    fn starts(first_events: &[i64]) -> Starts {
        let known: Vec<_> = first_events
            .iter()
            .enumerate()
            .map(|(n, first_event)| Start {
                stamp: stamp(n).as_str().to_owned(),
                first_event: *first_event,
            })
            .collect();
        let stamp = stamp(known.len() - 1);
        Starts { known, stamp }
    }

    fn stamp(n: usize) -> Stamp {
        format!("st_{n}").parse().unwrap()
    }

    /// A log whose events have these ids.
    fn log(first_seq: u64, before: i64, ids: &[i64]) -> ReplayLog {
        let mut log = ReplayLog::after(first_seq, before);
        for event in ids {
            log.push(Arc::new(Body {
                event: *event,
                json: "{}".into(),
            }));
        }
        log
    }

    #[test]
    fn case_c43_a_stamp_vouches_for_what_was_made_before_the_next_start() {
        let starts = starts(&[1, 10, 10, 20]);
        let log = log(1, 0, &[3, 7, 12, 25]);
        let shared = |n| starts.shared_to(Some(&stamp(n)), &log);
        assert_eq!(shared(0), 3, "events 3 and 7 are its own");
        assert_eq!(shared(1), 3, "it made none");
        assert_eq!(shared(2), 4);
        assert_eq!(shared(3), 5, "the start in force vouches for everything");
        assert_eq!(
            starts.shared_to(Some(&stamp(9)), &log),
            0,
            "another store's"
        );
        assert_eq!(starts.shared_to(None, &log), 0);
    }

    #[test]
    fn case_c43_what_was_acknowledged_and_left_the_log_counts() {
        let starts = starts(&[1, 10, 20]);
        // Events 1 to 4 are dropped from the log; the second start made event 4.
        let log = log(5, 11, &[25]);
        let shared = |n| starts.shared_to(Some(&stamp(n)), &log);
        assert_eq!(
            shared(0),
            4,
            "event 4 comes from another start; earlier events are unknown"
        );
        assert_eq!(shared(1), 5);
        assert_eq!(shared(2), 6);
    }
}
