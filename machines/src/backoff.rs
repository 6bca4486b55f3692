//! Pauses between attempts: full jitter under a bound that doubles up to a cap.
//!
//! Shared by every machine that retries (a connection, a host, a registration with a relay). The
//! background slows attempts down and never ends them (LS-4).

use std::time::Duration;

use crate::prng::SplitMix64;

/// Failures at which the doubling stops; the cap is reached long before.
const MOST_FAILURES: u32 = 31;

/// Most failures counted for [`Pace::Soon`], so that retries stay close together without a tight
/// loop.
const SOON_FAILURES: u32 = 2;

/// The bounds of a [`Backoff`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BackoffConfig {
    /// Bound of the pause after the first failure; doubles with each further failure.
    pub base: Duration,
    /// Largest bound.
    pub cap: Duration,
    /// A success that lasted this long resets the count of failures.
    pub reset_after: Duration,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(250),
            cap: Duration::from_secs(30),
            reset_after: Duration::from_secs(10),
        }
    }
}

/// How the pause is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pace {
    /// Short pauses: the peer announced that it returns at once.
    Soon,
    /// Growing pauses.
    Usual,
    /// Growing pauses of at least half the bound, for attempts that many peers make at once or that
    /// rarely succeed.
    Steady,
    /// The longest pause: the app is in the background.
    Slowest,
}

/// Counts failures and draws the pause before the next attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Backoff {
    config: BackoffConfig,
    failures: u32,
    prng: SplitMix64,
}

impl Backoff {
    /// No failures yet; `seed` determines all jitter.
    pub const fn new(config: BackoffConfig, seed: u64) -> Self {
        Self {
            config,
            failures: 0,
            prng: SplitMix64::new(seed),
        }
    }

    /// Failures since the last lasting success.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Counts one failure and draws the pause that follows it.
    pub fn fail(&mut self, pace: Pace) -> Duration {
        let bound = match pace {
            Pace::Soon => self.bound(self.failures.min(SOON_FAILURES)),
            Pace::Usual | Pace::Steady => self.bound(self.failures),
            Pace::Slowest => self.config.cap,
        };
        self.failures = self.failures.saturating_add(1).min(MOST_FAILURES);
        let least = match pace {
            Pace::Soon | Pace::Usual => Duration::ZERO,
            // Full jitter could draw a pause near zero, which would not be the slowest step.
            Pace::Steady | Pace::Slowest => bound / 2,
        };
        self.prng.between(least, bound)
    }

    /// A random duration up to `most`, which spreads peers that received the same instruction. Does
    /// not count as a failure.
    pub fn jitter(&mut self, most: Duration) -> Duration {
        self.prng.between(Duration::ZERO, most)
    }

    /// Reports how long a success lasted. A lasting one resets the failures; a short one does not,
    /// so that a connection that opens and ends at once still backs off.
    pub fn succeeded_for(&mut self, lasted: Duration) {
        if lasted >= self.config.reset_after {
            self.reset();
        }
    }

    /// Resets the failures.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    fn bound(&self, failures: u32) -> Duration {
        let factor = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
        self.config.base.saturating_mul(factor).min(self.config.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn most_of(failures: u32, pace: Pace) -> Duration {
        (0..300)
            .map(|seed| {
                let mut backoff = Backoff::new(BackoffConfig::default(), seed);
                for _ in 0..failures {
                    backoff.fail(Pace::Usual);
                }
                backoff.fail(pace)
            })
            .max()
            .unwrap()
    }

    #[test]
    fn dc_2_the_bound_doubles_from_250_ms_to_30_s() {
        let bounds = [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000];
        for (failures, bound) in bounds.into_iter().enumerate() {
            let most = most_of(failures as u32, Pace::Usual);
            assert!(most <= Duration::from_millis(bound), "{failures}: {most:?}");
            assert!(
                most >= Duration::from_millis(bound * 9 / 10),
                "{failures}: {most:?}"
            );
        }
    }

    #[test]
    fn dc_2_only_a_lasting_success_forgets_failures() {
        let mut backoff = Backoff::new(BackoffConfig::default(), 1);
        for _ in 0..100 {
            backoff.fail(Pace::Usual);
        }
        backoff.succeeded_for(Duration::from_millis(9_999));
        assert_eq!(backoff.failures(), MOST_FAILURES);
        backoff.succeeded_for(Duration::from_secs(10));
        assert_eq!(backoff.failures(), 0);
    }

    #[test]
    fn ls_4_the_background_is_slow_and_never_off() {
        for seed in 0..300 {
            let pause = Backoff::new(BackoffConfig::default(), seed).fail(Pace::Slowest);
            assert!((Duration::from_secs(15)..=Duration::from_secs(30)).contains(&pause));
        }
    }

    #[test]
    fn back_soon_stays_within_a_second_yet_is_no_tight_loop() {
        let most = most_of(20, Pace::Soon);
        assert!(
            most <= Duration::from_secs(1) && most >= Duration::from_millis(900),
            "{most:?}"
        );
    }
}
