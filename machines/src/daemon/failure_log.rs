//! Limits the log lines about an unreachable relay: one at first, then at growing intervals while
//! the reason stays the same (C52).

use std::{collections::BTreeSet, time::Duration};

use bowline_protocol::Reason;

use crate::MonotonicTime;

/// Pause after the first line; it doubles with each further one.
const FIRST: Duration = Duration::from_secs(300);

/// The attempts that failed in a row.
#[derive(Debug, Default)]
pub struct FailureLog {
    run: Option<Run>,
}

#[derive(Clone, Debug)]
struct Run {
    /// Reasons logged so far; each is logged once, also when two alternate.
    told: BTreeSet<Reason>,
    since: MonotonicTime,
    tries: u32,
    next: MonotonicTime,
    silence: Duration,
}

/// A log line that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureLine {
    /// The first with this reason.
    First,
    /// A repetition.
    Still {
        /// Attempts so far.
        tries: u32,
        /// Time since the first.
        lasting: Duration,
    },
}

impl FailureLog {
    /// An attempt failed. Returns the line to log, if one is due.
    pub fn failed(&mut self, now: MonotonicTime, reason: Reason) -> Option<FailureLine> {
        let run = self.run.get_or_insert(Run {
            told: BTreeSet::new(),
            since: now,
            tries: 0,
            next: now,
            silence: FIRST,
        });
        run.tries = run.tries.saturating_add(1);
        if run.told.insert(reason) {
            return Some(FailureLine::First);
        }
        if now < run.next.max(run.since + run.silence) {
            return None;
        }
        run.silence = run.silence.saturating_mul(2);
        run.next = now + run.silence;
        Some(FailureLine::Still {
            tries: run.tries,
            lasting: now.since(run.since),
        })
    }

    /// Whether more than one attempt in a row has failed.
    pub const fn is_on(&self) -> bool {
        matches!(self.run, Some(Run { tries: 2.., .. }))
    }

    /// The registration succeeded.
    pub fn over(&mut self) {
        self.run = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C52: 21,849 lines in a quarter of an hour.
    #[test]
    fn case_c52_a_relay_that_stays_away_is_told_of_rarely_and_summed_up() {
        let mut failures = FailureLog::default();
        let mut lines = Vec::new();
        for second in 0..86_400_u64 {
            let now = MonotonicTime::from_millis(second * 1_000);
            lines.extend(failures.failed(now, Reason::Unreachable));
        }
        assert_eq!(lines[0], FailureLine::First);
        assert!(
            matches!(lines[1], FailureLine::Still { tries: 301, .. }),
            "{lines:?}"
        );
        assert!(lines.len() < 12, "{lines:?}");
        let now = MonotonicTime::from_millis(86_400_000);
        assert_eq!(
            failures.failed(now, Reason::TlsFailed),
            Some(FailureLine::First),
            "a change is told"
        );
        assert!(failures.is_on());
        failures.over();
        assert_eq!(
            failures.failed(now, Reason::TlsFailed),
            Some(FailureLine::First)
        );
        assert!(!failures.is_on());
    }
}
