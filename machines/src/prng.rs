//! SplitMix64, a small deterministic generator for jitter.
//!
//! The seed is an argument, so that runs can be repeated. Not for secrets.

use std::time::Duration;

/// A deterministic stream of numbers, for spreading retries only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// The stream for a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, uniform over all of `u64`.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A duration in whole milliseconds, uniform from `least` to `most` inclusive; `least` if the
    /// range is empty.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let least_ms = millis(least);
        let span = millis(most).saturating_sub(least_ms);
        // The bias of the remainder is far below a millisecond in 2^64.
        let drawn = match span.checked_add(1) {
            Some(values) => self.next_u64() % values,
            None => self.next_u64(),
        };
        Duration::from_millis(least_ms.saturating_add(drawn))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_the_published_one() {
        let mut prng = SplitMix64::new(1_234_567);
        assert_eq!(prng.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(prng.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn durations_stay_in_their_range_and_reach_both_ends() {
        let mut prng = SplitMix64::new(7);
        let (least, most) = (Duration::from_millis(3), Duration::from_millis(5));
        let mut seen = [false; 3];
        for _ in 0..200 {
            let drawn = prng.between(least, most).as_millis() as usize;
            seen[drawn - 3] = true;
        }
        assert_eq!(seen, [true; 3]);
        assert_eq!(
            prng.between(most, least),
            most,
            "an empty range is its start"
        );
        prng.between(Duration::ZERO, Duration::MAX);
    }
}
