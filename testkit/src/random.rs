//! A small seeded generator with the same numbers on every machine, for repeatable tests.

use std::time::Duration;

/// SplitMix64. Not for cryptography.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 if `bound` is 0. The bias is below one in 2⁴⁰ for the bounds of
    /// tests.
    pub const fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        self.next_u64() % bound
    }

    /// A duration from `least` to `most` inclusive, in whole milliseconds.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = most.saturating_sub(least).as_millis();
        let span = u64::try_from(span).unwrap_or(u64::MAX - 1);
        least + Duration::from_millis(self.below(span + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_and_the_bounds_hold() {
        let (mut a, mut b) = (Random::new(7), Random::new(7));
        let (least, most) = (Duration::from_millis(50), Duration::from_millis(52));
        let mut seen = [false; 3];
        for _ in 0..200 {
            assert_eq!(a.next_u64(), b.next_u64());
            let between = a.between(least, most);
            assert_eq!(between, b.between(least, most));
            seen[usize::try_from((between - least).as_millis()).unwrap()] = true;
        }
        assert_eq!(seen, [true; 3], "both ends are reached");
    }
}
