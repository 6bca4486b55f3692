//! How often an address may register daemons and open sockets (RL-4).

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};

use crate::places::{Neighbourhood, Region};

/// Addresses remembered by one limiter. When so many are, those of one region share a rate, so that whoever has thousands
/// of addresses uses up that of its own region and others do not notice.
const MAX_REMEMBERED: usize = 64 * 1024;
/// How many times the rate of an address a region has.
const REGION: u32 = 64;
/// What an address is told that came when too many regions were remembered as well.
const CROWDED: Duration = Duration::from_secs(10);

/// A rate for each address, with bursts up to a minute's worth.
#[derive(Debug)]
pub(crate) struct Rate {
    limiter: Option<DefaultKeyedRateLimiter<Neighbourhood>>,
    regions: Option<DefaultKeyedRateLimiter<Region>>,
    most: usize,
    clock: DefaultClock,
}

impl Rate {
    /// So many a minute; 0: as many as they like.
    pub(crate) fn per_minute(times: u32) -> Self {
        Self::remembering(MAX_REMEMBERED, times)
    }

    fn remembering(most: usize, times: u32) -> Self {
        let of_region = NonZeroU32::new(times.saturating_mul(REGION));
        Self {
            limiter: NonZeroU32::new(times)
                .map(|times| RateLimiter::keyed(Quota::per_minute(times))),
            regions: of_region.map(|times| RateLimiter::keyed(Quota::per_minute(times))),
            most,
            clock: DefaultClock::default(),
        }
    }

    /// Counts one more.
    ///
    /// # Errors
    /// How long the address has to wait, when it was one too many.
    pub(crate) fn admit(&self, address: IpAddr) -> Result<(), Duration> {
        let (Some(limiter), Some(regions)) = (&self.limiter, &self.regions) else {
            return Ok(());
        };
        let checked = if limiter.len() < self.most {
            limiter.check_key(&address.into())
        } else if regions.len() < self.most {
            regions.check_key(&address.into())
        } else {
            return Err(CROWDED);
        };
        checked.map_err(|until| until.wait_time_from(self.clock.now()))
    }

    /// Forgets addresses that have their whole burst again.
    pub(crate) fn sweep(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
        if let Some(regions) = &self.regions {
            regions.retain_recent();
            regions.shrink_to_fit();
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
    fn rl_4_a_flood_from_thousands_of_addresses_uses_up_its_own_region() {
        let rate = Rate::remembering(100, 5);
        let of_flood = |n: u32| format!("2001:db8:0:{n:x}::1").parse().unwrap();
        let admitted = (0..2_000).filter(|n| rate.admit(of_flood(*n)).is_ok());
        assert_eq!(admitted.count(), 100 + 5 * 64);
        for other in ["192.0.2.1", "2001:1234::1"] {
            assert_eq!(rate.admit(other.parse().unwrap()), Ok(()), "{other}");
        }
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
