//! Pairing offers: the addresses of this machine that they list.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use bowline_protocol::{Offer, PublicKey, ServerId};

use crate::{config::AdvertisedAddress, ledger::NewPairing};

/// Most addresses listed, as the offer's format allows.
const MAX_ADDRESSES: usize = 16;

/// The contents common to every offer of this daemon.
#[derive(Clone, Debug)]
pub struct OfferMaker {
    /// Id of the daemon.
    pub server_id: ServerId,
    /// The public key, which clients pin.
    pub transport_key: PublicKey,
    /// Its name for people.
    pub name: String,
    /// Configured addresses; they replace the bound ones.
    pub advertise: Vec<AdvertisedAddress>,
    /// Bound addresses.
    pub bound: Vec<SocketAddr>,
    /// Base URLs of the relays, reachable or not.
    pub relays: Vec<String>,
}

impl OfferMaker {
    /// The offer with a token.
    pub fn offer(&self, pairing: &NewPairing) -> Offer {
        Offer {
            server_id: self.server_id.clone(),
            transport_key: self.transport_key,
            token: pairing.token.clone(),
            name: self.name.clone(),
            direct: self.addresses(&primary_address),
            relays: self.relays.clone(),
        }
    }

    /// The advertised addresses, else the bound ones. A wildcard address is replaced by the address
    /// this machine uses for outside connections, or by loopback if it has none.
    fn addresses(&self, primary: &dyn Fn(bool) -> Option<IpAddr>) -> Vec<String> {
        let mut all: Vec<String> = if self.advertise.is_empty() {
            let concrete = self.bound.iter().flat_map(|address| match address.ip() {
                ip if !ip.is_unspecified() => vec![*address],
                IpAddr::V4(_) => {
                    let ip = primary(false).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
                    vec![SocketAddr::new(ip, address.port())]
                }
                IpAddr::V6(_) => {
                    // An IPv6 wildcard accepts IPv4 too on the supported platforms.
                    let both = [primary(true), primary(false)];
                    let mut found: Vec<_> = both.into_iter().flatten().collect();
                    if found.is_empty() {
                        found.push(IpAddr::V6(Ipv6Addr::LOCALHOST));
                    }
                    let port = address.port();
                    found
                        .into_iter()
                        .map(|ip| SocketAddr::new(ip, port))
                        .collect()
                }
            });
            concrete.map(|address| address.to_string()).collect()
        } else {
            self.advertise.iter().map(ToString::to_string).collect()
        };
        let mut seen = std::collections::HashSet::new();
        all.retain(|address| seen.insert(address.clone()));
        all.truncate(MAX_ADDRESSES);
        all
    }
}

/// The address this machine uses for outside connections. Connecting a UDP socket only queries the
/// routing table and sends nothing. The targets are in ranges reserved for documentation.
fn primary_address(v6: bool) -> Option<IpAddr> {
    let (from, to): (SocketAddr, SocketAddr) = if v6 {
        (
            (Ipv6Addr::UNSPECIFIED, 0).into(),
            (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9).into(),
        )
    } else {
        (
            (Ipv4Addr::UNSPECIFIED, 0).into(),
            (Ipv4Addr::new(192, 0, 2, 1), 9).into(),
        )
    };
    let socket = UdpSocket::bind(from).ok()?;
    socket.connect(to).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified() && !ip.is_loopback()).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maker(bound: &[&str], advertise: &[&str]) -> OfferMaker {
        OfferMaker {
            server_id: ServerId::of_public_key(&[1; 32]),
            transport_key: PublicKey::from_bytes([2; 32]),
            name: "test".to_owned(),
            advertise: advertise.iter().map(|a| a.parse().unwrap()).collect(),
            bound: bound.iter().map(|a| a.parse().unwrap()).collect(),
            relays: vec!["wss://relay.example.org".to_owned()],
        }
    }

    fn lan(v6: bool) -> Option<IpAddr> {
        (!v6).then(|| "192.168.1.5".parse().unwrap())
    }

    #[test]
    fn offers_list_what_can_be_reached() {
        let list = |maker: &OfferMaker| maker.addresses(&lan);
        assert_eq!(list(&maker(&["127.0.0.1:4717"], &[])), ["127.0.0.1:4717"]);
        assert_eq!(list(&maker(&["0.0.0.0:4717"], &[])), ["192.168.1.5:4717"]);
        assert_eq!(
            list(&maker(&["[::]:4717", "0.0.0.0:4717"], &[])),
            ["192.168.1.5:4717"],
            "the same address once"
        );
        assert_eq!(
            list(&maker(&["0.0.0.0:4717"], &["laptop.local:4717"])),
            ["laptop.local:4717"],
            "what is advertised stands alone"
        );
        assert_eq!(
            maker(&["0.0.0.0:1"], &[]).addresses(&|_| None),
            ["127.0.0.1:1"],
            "a machine without a network"
        );
    }

    #[test]
    fn an_offer_reads_back() {
        let token = bowline_protocol::offer::PairingToken::from_bytes([5; 16]);
        let pairing = NewPairing {
            id: bowline_protocol::identity::OfferId::of_token(&token),
            token,
            expires_at: 0,
        };
        let offer = maker(&["127.0.0.1:4717"], &[]).offer(&pairing);
        assert_eq!(offer.to_string().parse::<Offer>().unwrap(), offer);
    }
}
