//! What the log says of a relay that cannot be reached: once, and then more and more rarely while nothing changes.

use std::{collections::BTreeSet, time::Duration};

use bowline_machines::Moment;
use bowline_protocol::Reason;

/// Silence after the first line; it doubles with each further one.
const FIRST: Duration = Duration::from_secs(300);

/// Attempts that failed one after the other, as far as the log is concerned.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    run: Option<Run>,
}

#[derive(Clone, Debug)]
struct Run {
    /// Reasons that were told; two that take turns are told once each.
    told: BTreeSet<Reason>,
    since: Moment,
    tries: u32,
    next: Moment,
    silence: Duration,
}

/// A line that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The first of its kind.
    First,
    /// The same as before, so many times and for so long.
    Still { tries: u32, lasting: Duration },
}

impl Repeats {
    /// An attempt failed; what is to be logged of it.
    pub(super) fn failed(&mut self, now: Moment, reason: Reason) -> Option<Line> {
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

    /// Whether attempts fail one after the other.
    pub(super) const fn is_on(&self) -> bool {
        matches!(self.run, Some(Run { tries: 2.., .. }))
    }

    /// It worked.
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
        let mut repeats = Repeats::default();
        let mut lines = Vec::new();
        for second in 0..86_400_u64 {
            let now = Moment::from_millis(second * 1_000);
            lines.extend(repeats.failed(now, Reason::Unreachable));
        }
        assert_eq!(lines[0], Line::First);
        assert!(
            matches!(lines[1], Line::Still { tries: 301, .. }),
            "{lines:?}"
        );
        assert!(lines.len() < 12, "{lines:?}");
        let now = Moment::from_millis(86_400_000);
        assert_eq!(
            repeats.failed(now, Reason::TlsFailed),
            Some(Line::First),
            "a change is told"
        );
        assert!(repeats.is_on());
        repeats.over();
        assert_eq!(repeats.failed(now, Reason::TlsFailed), Some(Line::First));
        assert!(!repeats.is_on());
    }
}
