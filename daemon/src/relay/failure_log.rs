//! Limits the log lines about an unreachable relay: one at first, then at growing intervals while
//! the reason stays the same.

use std::{collections::BTreeSet, time::Duration};

use bowline_machines::MonotonicTime;
use bowline_protocol::Reason;

/// Pause after the first line; it doubles with each further one.
const FIRST: Duration = Duration::from_secs(300);

/// Attempts that failed in a row.
#[derive(Debug, Default)]
pub(super) struct FailureLog {
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
pub(super) enum Line {
    /// The first with this reason.
    First,
    /// A repetition: attempts so far, and the time since the first.
    Still { tries: u32, lasting: Duration },
}

impl FailureLog {
    /// An attempt failed. Returns the line to log, if one is due.
    pub(super) fn failed(&mut self, now: MonotonicTime, reason: Reason) -> Option<Line> {
        let run = self.run.get_or_insert(Run {
            told: BTreeSet::new(),
            since: now,
            tries: 0,
            next: now,
            silence: FIRST,
        });
        run.tries = run.tries.saturating_add(1);
        if run.told.insert(reason) {
            return Some(Line::First);
        }
        if now < run.next.max(run.since + run.silence) {
            return None;
        }
        run.silence = run.silence.saturating_mul(2);
        run.next = now + run.silence;
        Some(Line::Still {
            tries: run.tries,
            lasting: now.since(run.since),
        })
    }

    /// Whether the last attempt failed.
    pub(super) const fn is_on(&self) -> bool {
        matches!(self.run, Some(Run { tries: 2.., .. }))
    }

    /// The registration succeeded.
    pub(super) fn over(&mut self) {
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
        assert_eq!(lines[0], Line::First);
        assert!(
            matches!(lines[1], Line::Still { tries: 301, .. }),
            "{lines:?}"
        );
        assert!(lines.len() < 12, "{lines:?}");
        let now = MonotonicTime::from_millis(86_400_000);
        assert_eq!(
            failures.failed(now, Reason::TlsFailed),
            Some(Line::First),
            "a change is told"
        );
        assert!(failures.is_on());
        failures.over();
        assert_eq!(failures.failed(now, Reason::TlsFailed), Some(Line::First));
        assert!(!failures.is_on());
    }
}
