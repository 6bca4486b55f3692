//! How often an address may register daemons and open sockets (RL-4).

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};

use crate::places::Neighbourhood;

/// Addresses remembered by one limiter. When as many others are still remembered, a new address waits for the next sweep.
const MAX_REMEMBERED: usize = 64 * 1024;
/// What an address is told that came when too many were remembered.
const CROWDED: Duration = Duration::from_secs(10);

/// A rate for each address, with bursts up to a minute's worth.
#[derive(Debug)]
pub(crate) struct Rate {
    limiter: Option<DefaultKeyedRateLimiter<Neighbourhood>>,
    clock: DefaultClock,
}

impl Rate {
    /// So many a minute; 0: as many as they like.
    pub(crate) fn per_minute(times: u32) -> Self {
        Self {
            limiter: NonZeroU32::new(times)
                .map(|times| RateLimiter::keyed(Quota::per_minute(times))),
            clock: DefaultClock::default(),
        }
    }

    /// Counts one more.
    ///
    /// # Errors
    /// How long the address has to wait, when it was one too many.
    pub(crate) fn admit(&self, address: IpAddr) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        if limiter.len() >= MAX_REMEMBERED {
            return Err(CROWDED);
        }
        limiter
            .check_key(&address.into())
            .map_err(|until| until.wait_time_from(self.clock.now()))
    }

    /// Forgets addresses that have their whole burst again.
    pub(crate) fn sweep(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rl_4_a_flood_is_told_when_to_come_back_and_others_do_not_notice() {
        let rate = Rate::per_minute(5);
        let flood = "192.0.2.1".parse().unwrap();
        for _ in 0..5 {
            assert_eq!(rate.admit(flood), Ok(()));
        }
        let wait = rate.admit(flood).unwrap_err();
        assert!(
            wait > Duration::ZERO && wait <= Duration::from_secs(12),
            "{wait:?}"
        );
        assert_eq!(rate.admit("192.0.2.2".parse().unwrap()), Ok(()));
        rate.sweep();
        assert!(rate.admit(flood).is_err(), "a sweep forgives nothing");
    }

    #[test]
    fn no_limit_is_no_limit() {
        let rate = Rate::per_minute(0);
        for _ in 0..10_000 {
            assert_eq!(rate.admit("192.0.2.1".parse().unwrap()), Ok(()));
        }
        rate.sweep();
    }
}
