//! Groups of addresses that count as one at a listener.

use std::net::IpAddr;

use ipnet::IpNet;

/// Addresses counted as one: an IPv4 address, or the IPv6 network of one subscriber (/64).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressPrefix(IpAddr);

impl From<IpAddr> for AddressPrefix {
    fn from(address: IpAddr) -> Self {
        Self(network(address, 32, 64))
    }
}

/// The addresses of roughly one provider: /32 of IPv6, /16 of IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Region(IpAddr);

impl From<IpAddr> for Region {
    fn from(address: IpAddr) -> Self {
        Self(network(address, 16, 32))
    }
}

/// The network of an address, whose prefix has this many bits by its family.
fn network(address: IpAddr, v4: u8, v6: u8) -> IpAddr {
    let address = address.to_canonical();
    let bits = if address.is_ipv4() { v4 } else { v6 };
    IpNet::new(address, bits).map_or(address, |network| network.network())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscribers_are_told_apart_and_their_addresses_are_not() {
        let who = |text: &str| AddressPrefix::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(who("2001:db8:0:1::1"), who("2001:db8:0:1:ffff::2"));
        assert_ne!(who("2001:db8:0:1::1"), who("2001:db8:0:2::1"));
        assert_eq!(who("::ffff:192.0.2.1"), who("192.0.2.1"));
        assert_ne!(who("192.0.2.1"), who("192.0.2.2"));
    }
}
