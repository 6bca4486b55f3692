//! Which sockets are admitted: limits by number and by rate, per client address (RL-4).

use std::{net::IpAddr, sync::Arc};

use bowline_program::{Stranger, StrangerLimits, Strangers};
use bowline_protocol::{identity::random_bytes, relay::limits};

use crate::{
    config::Settings,
    connection_limits::{ConnectionLimits, ConnectionPermit, Denied},
    proxies::{Network, client_address, is_trusted},
    rate::Rate,
};

/// Kind of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A daemon registers.
    Registration,
    /// A client, or a daemon's data socket.
    Session,
}

/// The limits in force and their current use.
#[derive(Debug)]
pub(crate) struct Admission {
    connections: ConnectionLimits,
    registrations: Rate,
    opens: Rate,
    trusted_proxies: Vec<Network>,
    /// Sockets whose request, or registration, is not complete.
    strangers: Arc<Strangers>,
}

impl Admission {
    pub(crate) fn new(settings: &Settings) -> Self {
        let set = &settings.limits;
        Self {
            connections: ConnectionLimits::new(set.sockets, set.sockets_per_address),
            registrations: Rate::per_minute(set.registrations_per_minute),
            opens: Rate::per_minute(set.opens_per_minute),
            trusted_proxies: settings.trusted_proxy.clone(),
            strangers: Strangers::new(StrangerLimits {
                start: limits::STRANGERS_START,
                rate: limits::STRANGERS_RATE,
                full: limits::STRANGERS_FULL,
                per_address: limits::STRANGERS_PER_ADDRESS,
                per_region: limits::STRANGERS_PER_REGION,
            }),
        }
    }

    /// A permit for a newly accepted socket.
    pub(crate) fn accept(&self, peer: IpAddr) -> Result<ConnectionPermit, Denied> {
        let mut permit = self.connections.take()?;
        // Behind a proxy, only the request has the client's address. A socket over the limit is
        // closed with the reason after its request was read.
        if !self.is_proxy(peer) && self.connections.claim(&mut permit, peer) == Err(Denied::Dropped)
        {
            return Err(Denied::Dropped);
        }
        Ok(permit)
    }

    /// Counts an accepted socket as a stranger, until it has shown what it is for. Behind a proxy
    /// all have its address, which then does not count.
    pub(crate) fn welcome(&self, peer: IpAddr) -> Stranger {
        let address = (!self.is_proxy(peer)).then_some(peer);
        let random = random_bytes().map_or(0, u64::from_ne_bytes);
        self.strangers.enter(address, random)
    }

    /// Whether a peer is a trusted proxy.
    pub(crate) fn is_proxy(&self, peer: IpAddr) -> bool {
        is_trusted(&self.trusted_proxies, peer)
    }

    /// Checks number and rate for the client behind a request. `forwarded`: the values of
    /// `X-Forwarded-For`, which count only if they come from a trusted proxy.
    pub(crate) fn admit<'a>(
        &self,
        permit: &mut ConnectionPermit,
        peer: IpAddr,
        forwarded: impl DoubleEndedIterator<Item = &'a str>,
        purpose: Purpose,
    ) -> Result<(), Denied> {
        let address = client_address(&self.trusted_proxies, peer, forwarded);
        self.connections.claim(permit, address)?;
        let rate = match purpose {
            Purpose::Registration => &self.registrations,
            Purpose::Session => &self.opens,
        };
        rate.admit(address).map_err(Denied::Limited)
    }

    /// Number of admitted sockets.
    pub(crate) fn sockets(&self) -> usize {
        self.connections.taken()
    }

    /// Waits until all sockets have closed.
    pub(crate) async fn all_gone(&self) {
        self.connections.all_free().await;
    }

    /// Removes addresses whose rate has recovered.
    pub(crate) fn sweep(&self) {
        self.registrations.sweep();
        self.opens.sweep();
    }
}
