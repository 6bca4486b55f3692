//! Sockets that have not proved who they are: few, and dropped at random before they crowd out
//! somebody who would (TR-10).
//!
//! As `MaxStartups` of OpenSSH, with one difference: it is not the newcomer that is dropped, but
//! any of the sockets of the most crowded prefix. A flood thus competes with itself, and somebody
//! who comes from elsewhere, or is done within milliseconds, gets through.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{AddressPrefix, prefixes::Region};

/// How many strangers there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrangerLimits {
    /// From here on one may be dropped for each newcomer.
    pub start: usize,
    /// Percentage of newcomers for which one is dropped, at `start`; it grows to 100 at `full`.
    pub rate: u64,
    /// Most strangers.
    pub full: usize,
    /// Most of one address (of IPv6, of one /64).
    pub per_address: usize,
    /// Most of one region (/16 of IPv4, /32 of IPv6).
    pub per_region: usize,
}

/// The strangers at a listener.
#[derive(Debug)]
pub struct Strangers {
    limits: StrangerLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    present: HashMap<u64, Present>,
    addresses: HashMap<AddressPrefix, usize>,
    regions: HashMap<Region, usize>,
}

#[derive(Debug)]
struct Present {
    place: Option<(AddressPrefix, Region)>,
    dropped: Arc<Notify>,
}

/// One socket among the strangers, until this is dropped: because it ends, or is none any more.
#[derive(Debug)]
pub struct Stranger {
    strangers: Arc<Strangers>,
    id: u64,
    dropped: Arc<Notify>,
}

impl Stranger {
    /// Waits until the socket has to be dropped for others. Cancel-safe.
    pub async fn dropped(&self) {
        self.dropped.notified().await;
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.strangers.lock().remove(self.id);
    }
}

impl Strangers {
    /// Nobody, within these limits.
    pub fn new(limits: StrangerLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            state: Mutex::default(),
        })
    }

    /// Takes in a new socket, and drops another one if there are too many; it may be the new one.
    /// Without an address, which a proxy hides, only the total counts. `random`: any number,
    /// equally likely.
    pub fn enter(self: &Arc<Self>, address: Option<IpAddr>, random: u64) -> Stranger {
        let mut state = self.lock();
        let place = address.map(|address| (address.into(), address.into()));
        let dropped = Arc::new(Notify::new());
        let id = state.add(place, Arc::clone(&dropped));
        if let Some(victim) = state.victim(&self.limits, place, random)
            && let Some(present) = state.remove(victim)
        {
            present.dropped.notify_one();
        }
        drop(state);
        Stranger {
            strangers: Arc::clone(self),
            id,
            dropped,
        }
    }

    /// Number of strangers.
    pub fn count(&self) -> usize {
        self.lock().present.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, place: Option<(AddressPrefix, Region)>, dropped: Arc<Notify>) -> u64 {
        self.next += 1;
        if let Some((address, region)) = place {
            *self.addresses.entry(address).or_default() += 1;
            *self.regions.entry(region).or_default() += 1;
        }
        self.present.insert(self.next, Present { place, dropped });
        self.next
    }

    fn remove(&mut self, id: u64) -> Option<Present> {
        let present = self.present.remove(&id)?;
        if let Some((address, region)) = present.place {
            less(&mut self.addresses, address);
            less(&mut self.regions, region);
        }
        Some(present)
    }

    fn of(&self, place: Option<(AddressPrefix, Region)>) -> (usize, usize) {
        let Some((address, region)) = place else {
            return (0, 0);
        };
        let count = |count: Option<&usize>| count.copied().unwrap_or_default();
        (
            count(self.regions.get(&region)),
            count(self.addresses.get(&address)),
        )
    }

    /// The stranger to drop after a newcomer at `place`, if any.
    fn victim(
        &self,
        limits: &StrangerLimits,
        place: Option<(AddressPrefix, Region)>,
        random: u64,
    ) -> Option<u64> {
        let (of_region, of_address) = self.of(place);
        let pick = random / 100;
        if of_address > limits.per_address {
            return self.pick(pick, |other| other.map(|it| it.0) == place.map(|it| it.0));
        }
        if of_region > limits.per_region {
            return self.pick(pick, |other| other.map(|it| it.1) == place.map(|it| it.1));
        }
        let total = self.present.len();
        if total <= limits.start || random % 100 >= self.chance(limits, total) {
            return None;
        }
        let crowds = self.present.values().map(|present| self.of(present.place));
        let crowd = crowds.max()?;
        self.pick(pick, |other| self.of(other) == crowd)
    }

    /// Percentage of newcomers for which one is dropped.
    fn chance(&self, limits: &StrangerLimits, total: usize) -> u64 {
        if total > limits.full {
            return 100;
        }
        let span = limits.full.saturating_sub(limits.start).max(1) as u64;
        let beyond = total.saturating_sub(limits.start) as u64;
        limits.rate + (100_u64.saturating_sub(limits.rate)) * beyond / span
    }

    fn pick(
        &self,
        random: u64,
        among: impl Fn(Option<(AddressPrefix, Region)>) -> bool,
    ) -> Option<u64> {
        let candidates = || {
            let present = self.present.iter();
            present.filter(|(_, present)| among(present.place))
        };
        let count = candidates().count().max(1) as u64;
        let index = usize::try_from(random % count).unwrap_or_default();
        candidates().nth(index).map(|(id, _)| *id)
    }
}

fn less<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: StrangerLimits = StrangerLimits {
        start: 20,
        rate: 30,
        full: 40,
        per_address: 10,
        per_region: 30,
    };

    /// Numbers without a pattern.
    fn random(n: u64) -> u64 {
        let n = (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (n ^ (n >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 1
    }

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn is_dropped(stranger: &Stranger) -> bool {
        use std::{future::Future, pin::pin, task};
        let mut context = task::Context::from_waker(task::Waker::noop());
        pin!(stranger.dropped()).poll(&mut context).is_ready()
    }

    #[test]
    fn tr_10_a_flood_of_one_address_competes_with_itself() {
        let strangers = Strangers::new(LIMITS);
        let friend = strangers.enter(address("198.51.100.7"), random(0));
        let flood: Vec<_> = (0..1_000)
            .map(|n| strangers.enter(address("192.0.2.1"), random(n)))
            .collect();
        assert_eq!(strangers.count(), LIMITS.per_address + 1);
        assert!(!is_dropped(&friend));
        let kept = flood
            .iter()
            .filter(|stranger| !is_dropped(stranger))
            .count();
        assert_eq!(kept, LIMITS.per_address);
        drop(flood);
        drop(friend);
        assert_eq!(strangers.count(), 0);
        assert!(strangers.lock().addresses.is_empty() && strangers.lock().regions.is_empty());
    }

    #[test]
    fn tr_10_a_flood_from_many_addresses_of_a_region_leaves_others_alone() {
        let strangers = Strangers::new(LIMITS);
        let friend = strangers.enter(address("2001:db8::7"), random(0));
        let _flood: Vec<_> = (0..1_000)
            .map(|n| {
                strangers.enter(
                    address(&format!("192.0.{}.{}", n % 200, n % 250)),
                    random(n),
                )
            })
            .collect();
        assert!(strangers.count() <= LIMITS.per_region + 1);
        assert!(!is_dropped(&friend));
    }

    #[test]
    fn tr_10_a_flood_from_everywhere_is_bounded_and_a_newcomer_has_a_chance() {
        let strangers = Strangers::new(LIMITS);
        let _flood: Vec<_> = (0..1_000)
            .map(|n| {
                strangers.enter(
                    address(&format!("{}.{}.2.1", 1 + n % 200, n % 250)),
                    random(n),
                )
            })
            .collect();
        assert!(strangers.count() <= LIMITS.full);
        let got_in = (0..100).filter(|n| {
            let newcomer = strangers.enter(address("198.51.100.7"), random(5_000 + n));
            !is_dropped(&newcomer)
        });
        assert!(got_in.count() > 90);
    }

    #[test]
    fn tr_10_few_strangers_are_left_in_peace() {
        let strangers = Strangers::new(LIMITS);
        let few: Vec<_> = (0..LIMITS.per_address as u64)
            .map(|n| strangers.enter(address("192.0.2.1"), random(n)))
            .collect();
        // A proxy hides the addresses of these.
        let more: Vec<_> = (0..10).map(|n| strangers.enter(None, random(n))).collect();
        assert!(!few.iter().chain(&more).any(is_dropped));
    }
}
