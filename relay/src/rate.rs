//! Limits the rate at which an address may register daemons and open sockets (RL-4).

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use bowline_program::{AddressPrefix, Region};
use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};

/// Addresses remembered by one limiter. Beyond it, the addresses of one region share a rate, so
/// that a flood from thousands of addresses exhausts the rate of its own region only.
const MAX_REMEMBERED: usize = 64 * 1024;
/// Rate of a region, in multiples of the rate of one address.
const REGION: NonZeroU32 = NonZeroU32::MIN.saturating_add(63);
/// Wait for an address when the limit of regions is reached.
const CROWDED: Duration = Duration::from_secs(10);

/// A rate for each address, with bursts up to a minute's worth.
#[derive(Debug)]
pub(crate) struct Rate {
    /// `None`: no limit.
    limiters: Option<Limiters>,
    most: usize,
    clock: DefaultClock,
}

#[derive(Debug)]
struct Limiters {
    addresses: DefaultKeyedRateLimiter<AddressPrefix>,
    regions: DefaultKeyedRateLimiter<Region>,
}

impl Rate {
    /// `times` per minute; 0: no limit.
    pub(crate) fn per_minute(times: u32) -> Self {
        Self::remembering(MAX_REMEMBERED, times)
    }

    fn remembering(most: usize, times: u32) -> Self {
        let limiters = NonZeroU32::new(times).map(|times| Limiters {
            addresses: RateLimiter::keyed(Quota::per_minute(times)),
            regions: RateLimiter::keyed(Quota::per_minute(times.saturating_mul(REGION))),
        });
        Self {
            limiters,
            most,
            clock: DefaultClock::default(),
        }
    }

    /// Counts one attempt.
    ///
    /// # Errors
    /// The time until the next attempt is allowed, if this one is over the rate.
    pub(crate) fn admit(&self, address: IpAddr) -> Result<(), Duration> {
        let Some(Limiters { addresses, regions }) = &self.limiters else {
            return Ok(());
        };
        let checked = if addresses.len() < self.most {
            addresses.check_key(&address.into())
        } else if regions.len() < self.most {
            regions.check_key(&address.into())
        } else {
            return Err(CROWDED);
        };
        checked.map_err(|until| until.wait_time_from(self.clock.now()))
    }

    /// Removes addresses whose whole burst is available again.
    pub(crate) fn sweep(&self) {
        if let Some(Limiters { addresses, regions }) = &self.limiters {
            addresses.retain_recent();
            addresses.shrink_to_fit();
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
