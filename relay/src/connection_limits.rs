//! Limits on the number of sockets: in total and per address (RL-4).

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bowline_program::AddressPrefix;
use bowline_protocol::relay::limits::HANDSHAKE;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// An address may open this many times its limit: those over the limit are closed with a reason,
/// further ones are dropped.
const GRACE_FACTOR: u32 = 2;

/// The limits and their current use.
#[derive(Debug)]
pub(crate) struct ConnectionLimits {
    all: Arc<Semaphore>,
    total: u32,
    per_address: u32,
    taken: Arc<Taken>,
}

type Taken = Mutex<HashMap<AddressPrefix, u32>>;

/// Counts one socket until dropped.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    _permit: OwnedSemaphorePermit,
    address: Option<AddressPermit>,
}

#[derive(Debug)]
struct AddressPermit {
    who: AddressPrefix,
    /// Whether the address was over its limit when the socket arrived.
    over: bool,
    taken: Arc<Taken>,
}

impl AddressPermit {
    const fn admitted(&self) -> Result<(), Denied> {
        if self.over {
            Err(Denied::Limited(HANDSHAKE))
        } else {
            Ok(())
        }
    }
}

impl Drop for AddressPermit {
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

/// Refusal of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The limit of all sockets is reached.
    Full,
    /// The address is over a limit and may try again after this time.
    Limited(Duration),
    /// The address is so far over its limit that the socket is dropped without an answer; it is not
    /// counted.
    Dropped,
}

impl ConnectionLimits {
    /// `per_address` 0: no limit per address.
    pub(crate) fn new(total: u32, per_address: u32) -> Self {
        Self {
            all: Arc::new(Semaphore::new(total as usize)),
            total,
            per_address,
            taken: Arc::default(),
        }
    }

    /// A permit without an address.
    pub(crate) fn take(&self) -> Result<ConnectionPermit, Denied> {
        let permit = Arc::clone(&self.all).try_acquire_owned();
        Ok(ConnectionPermit {
            _permit: permit.map_err(|_| Denied::Full)?,
            address: None,
        })
    }

    /// Counts the permit for `address`. Only the first call does.
    pub(crate) fn claim(
        &self,
        permit: &mut ConnectionPermit,
        address: IpAddr,
    ) -> Result<(), Denied> {
        if self.per_address == 0 {
            return Ok(());
        }
        if let Some(address) = &permit.address {
            return address.admitted();
        }
        let who = AddressPrefix::from(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(who).or_default();
        if *count >= self.per_address.saturating_mul(GRACE_FACTOR) {
            return Err(Denied::Dropped);
        }
        *count += 1;
        let over = *count > self.per_address;
        drop(taken);
        let address = permit.address.insert(AddressPermit {
            who,
            over,
            taken: Arc::clone(&self.taken),
        });
        address.admitted()
    }

    /// Number of counted sockets.
    pub(crate) fn taken(&self) -> usize {
        (self.total as usize).saturating_sub(self.all.available_permits())
    }

    /// Waits until no socket is counted.
    pub(crate) async fn all_free(&self) {
        let _ = self.all.acquire_many(self.total).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_over_its_limit_is_told_and_far_over_it_unheard() {
        let connections = ConnectionLimits::new(100, 2);
        let here = "192.0.2.1".parse().unwrap();
        let take = |address| {
            let mut permit = connections.take().unwrap();
            (connections.claim(&mut permit, address), permit)
        };
        let taken: Vec<_> = (0..5).map(|_| take(here)).collect();
        let standings: Vec<_> = taken.iter().map(|(status, _)| *status).collect();
        let over = Err(Denied::Limited(HANDSHAKE));
        let expected = [Ok(()), Ok(()), over, over, Err(Denied::Dropped)];
        assert_eq!(standings, expected);
        assert_eq!(
            take("192.0.2.2".parse().unwrap()).0,
            Ok(()),
            "others do not notice"
        );
        drop(taken);
        assert_eq!(take(here).0, Ok(()));
        assert!(
            connections.taken.lock().unwrap().is_empty(),
            "nothing is remembered"
        );
        assert_eq!(connections.taken(), 0);
    }

    #[test]
    fn all_places_together_are_limited() {
        let connections = ConnectionLimits::new(2, 0);
        let kept = [connections.take().unwrap(), connections.take().unwrap()];
        assert_eq!(connections.take().unwrap_err(), Denied::Full);
        drop(kept);
        assert!(connections.take().is_ok());
    }
}
