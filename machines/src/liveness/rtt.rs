//! Round-trip times of a path, and the deadline after which a missing answer is significant.
//!
//! The smoothed mean is that of RFC 6298. The deviation is held at its peaks and decays with each
//! sample, because the consequence of silence here is a switch of path, which costs more than the
//! retransmission in the RFC.

use std::time::Duration;

/// Weight of a new sample in the mean, as a shift: an eighth.
const MEAN_SHIFT: u32 = 3;
/// Decay of the deviation per sample, as a shift: an eighth.
const FADE_SHIFT: u32 = 3;
/// Deviations above the mean allowed for an answer.
const DEVIATIONS: u32 = 6;
/// Least deadline: shorter silences can be scheduling delays of the two machines.
const LEAST: Duration = Duration::from_millis(250);
/// Longest deadline, also used before the first sample.
const MOST: Duration = Duration::from_secs(2);

/// The round trips of one connection. In milliseconds, for a small size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RoundTrips {
    /// The mean; `None` before the first sample.
    mean: Option<u32>,
    deviation: u32,
}

impl RoundTrips {
    /// Adds the round trip of a ping, which the peer answers at once.
    pub fn record(&mut self, sample: Duration) {
        let sample = u32::try_from(sample.as_millis()).unwrap_or(u32::MAX);
        let Some(mean) = self.mean else {
            self.mean = Some(sample);
            self.deviation = sample / 2;
            return;
        };
        let error = sample.abs_diff(mean);
        let faded = self.deviation - (self.deviation >> FADE_SHIFT).max(1).min(self.deviation);
        self.deviation = error.max(faded);
        let step = error >> MEAN_SHIFT;
        self.mean = Some(if sample > mean {
            mean.saturating_add(step)
        } else {
            mean.saturating_sub(step)
        });
    }

    /// Adds the round trip of a request, which may include the daemon's work; one longer than the
    /// deadline is ignored.
    pub fn record_request(&mut self, sample: Duration) {
        if sample <= self.deadline() {
            self.record(sample);
        }
    }

    /// Time within which a working path answers: the mean plus six deviations, from 250 ms to 2 s.
    pub fn deadline(&self) -> Duration {
        let Some(mean) = self.mean else {
            return MOST;
        };
        let millis = mean.saturating_add(self.deviation.saturating_mul(DEVIATIONS));
        Duration::from_millis(u64::from(millis)).clamp(LEAST, MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn sp_1_a_steady_path_has_the_least_deadline_and_an_unknown_one_the_most() {
        let mut path = RoundTrips::default();
        assert_eq!(path.deadline(), MOST);
        path.record(ms(40));
        assert_eq!(path.deadline(), LEAST);
        path.record(ms(100));
        for _ in 0..40 {
            path.record(ms(100));
        }
        assert_eq!(path.deadline(), LEAST, "its rise is forgotten");
    }

    #[test]
    fn sp_1_jitter_extends_the_deadline_and_does_not_fade_while_it_lasts() {
        let mut path = RoundTrips::default();
        path.record(ms(300));
        for round in 0..200 {
            path.record(ms(if round % 5 == 0 { 500 } else { 250 }));
            assert!(path.deadline() > ms(900), "{round}: {:?}", path.deadline());
        }
        path.record(ms(2_300));
        assert_eq!(path.deadline(), MOST, "a stall that passed is remembered");
    }

    #[test]
    fn sp_1_a_request_that_the_daemon_works_on_says_nothing_of_the_path() {
        let mut path = RoundTrips::default();
        path.record(ms(20));
        path.record_request(ms(1_500));
        assert_eq!(path.deadline(), LEAST);
        path.record_request(ms(200));
        assert!(path.deadline() > LEAST);
    }
}
