//! Places for sockets: so many in all, so many for each address (RL-4).

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Sockets that an address may have above its limit, to be told so, before they are dropped unheard.
const GRACE_FACTOR: u32 = 2;

/// Whose places are counted together: an IPv4 address, or an IPv6 network of one subscriber (/64).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Neighbourhood(IpAddr);

impl From<IpAddr> for Neighbourhood {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let network = v6.to_bits() & !u128::from(u64::MAX);
                IpAddr::V6(network.into())
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// Where an address is from, roughly: what a provider has. /32 of IPv6, /16 of IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Region(IpAddr);

impl From<IpAddr> for Region {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 96 << 96).into()),
            IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() >> 16 << 16).into()),
        })
    }
}

/// All the places there are.
#[derive(Debug)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    total: u32,
    per_address: u32,
    taken: Arc<Taken>,
}

type Taken = Mutex<HashMap<Neighbourhood, u32>>;

/// One socket's place; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    address: Option<AddressPlace>,
}

#[derive(Debug)]
struct AddressPlace {
    who: Neighbourhood,
    /// Over its limit when it came.
    over: bool,
    taken: Arc<Taken>,
}

impl AddressPlace {
    const fn standing(&self) -> Standing {
        if self.over {
            Standing::Over
        } else {
            Standing::Welcome
        }
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.who) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.who);
            }
        }
    }
}

/// How an address stands after it took a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Within its limit.
    Welcome,
    /// Over its limit; to be told so.
    Over,
    /// So far over it that it is not worth a word; it got no place.
    Unheard,
}

impl Places {
    /// `per_address` 0: no limit for one address.
    pub(crate) fn new(total: u32, per_address: u32) -> Self {
        Self {
            all: Arc::new(Semaphore::new(total as usize)),
            total,
            per_address,
            taken: Arc::default(),
        }
    }

    /// A place of nobody yet; `None` when all are taken.
    pub(crate) fn take(&self) -> Option<Place> {
        Some(Place {
            _permit: Arc::clone(&self.all).try_acquire_owned().ok()?,
            address: None,
        })
    }

    /// Says whose place it is. Once said, it stays.
    pub(crate) fn claim(&self, place: &mut Place, address: IpAddr) -> Standing {
        if self.per_address == 0 {
            return Standing::Welcome;
        }
        if let Some(address) = &place.address {
            return address.standing();
        }
        let who = Neighbourhood::from(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(who).or_default();
        if *count >= self.per_address.saturating_mul(GRACE_FACTOR) {
            return Standing::Unheard;
        }
        *count += 1;
        let over = *count > self.per_address;
        drop(taken);
        let address = place.address.insert(AddressPlace {
            who,
            over,
            taken: Arc::clone(&self.taken),
        });
        address.standing()
    }

    /// Places taken now.
    pub(crate) fn taken(&self) -> usize {
        (self.total as usize).saturating_sub(self.all.available_permits())
    }

    /// Waits until every place is free.
    pub(crate) async fn all_free(&self) {
        let _ = self.all.acquire_many(self.total).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_over_its_limit_is_told_and_far_over_it_unheard() {
        let places = Places::new(100, 2);
        let here = "192.0.2.1".parse().unwrap();
        let take = |address| {
            let mut place = places.take().unwrap();
            (places.claim(&mut place, address), place)
        };
        let taken: Vec<_> = (0..5).map(|_| take(here)).collect();
        let standings: Vec<_> = taken.iter().map(|(standing, _)| *standing).collect();
        use Standing::{Over, Unheard, Welcome};
        assert_eq!(standings, [Welcome, Welcome, Over, Over, Unheard]);
        assert_eq!(
            take("192.0.2.2".parse().unwrap()).0,
            Welcome,
            "others do not notice"
        );
        drop(taken);
        assert_eq!(take(here).0, Welcome);
        assert!(
            places.taken.lock().unwrap().is_empty(),
            "nothing is remembered"
        );
        assert_eq!(places.taken(), 0);
    }

    #[test]
    fn subscribers_are_told_apart_and_their_addresses_are_not() {
        let who = |text: &str| Neighbourhood::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(who("2001:db8:0:1::1"), who("2001:db8:0:1:ffff::2"));
        assert_ne!(who("2001:db8:0:1::1"), who("2001:db8:0:2::1"));
        assert_eq!(who("::ffff:192.0.2.1"), who("192.0.2.1"));
        assert_ne!(who("192.0.2.1"), who("192.0.2.2"));
    }

    #[test]
    fn all_places_together_are_limited() {
        let places = Places::new(2, 0);
        let kept = [places.take().unwrap(), places.take().unwrap()];
        assert!(places.take().is_none());
        drop(kept);
        assert!(places.take().is_some());
    }
}
