//! The client's address: that of the socket, or the one a trusted proxy reports.

use std::{fmt, net::IpAddr, str::FromStr};

use bowline_program::as_text;
use ipnet::IpNet;

/// An address, or a network in CIDR form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Whether it contains an address.
    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let network = text.parse();
        let network = network.or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(Self).map_err(|_| {
            format!("`{text}` is no address or network; write for example 10.0.0.0/8 or ::1")
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

as_text!(Network);

/// Whether `X-Forwarded-For` of this peer counts.
pub(crate) fn is_trusted(trusted: &[Network], peer: IpAddr) -> bool {
    trusted.iter().any(|network| network.contains(peer))
}

/// The client's address, given the values of `X-Forwarded-For` in order of arrival.
///
/// Each proxy appends the address of its peer, so the list is read from its end while entries are
/// trusted proxies. Entries before the first untrusted one are that peer's own claims.
pub(crate) fn client_address<'a>(
    trusted: &[Network],
    peer: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'a str>,
) -> IpAddr {
    let mut speaker = peer;
    for entry in forwarded.flat_map(|value| value.split(',')).rev() {
        if !is_trusted(trusted, speaker) {
            break;
        }
        match parse(entry.trim()) {
            Some(address) => speaker = address,
            None => break,
        }
    }
    speaker.to_canonical()
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn parse(entry: &str) -> Option<IpAddr> {
    if let Ok(address) = entry.parse() {
        return Some(address);
    }
    if let Ok(socket) = entry.parse::<std::net::SocketAddr>() {
        return Some(socket.ip());
    }
    entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_hold_what_they_say() {
        assert!(network("10.0.0.0/8").contains(ip("10.255.1.2")));
        assert!(!network("10.0.0.0/8").contains(ip("11.0.0.0")));
        assert!(network("0.0.0.0/0").contains(ip("203.0.113.9")));
        assert!(network("127.0.0.1").contains(ip("::ffff:127.0.0.1")));
        assert!(!network("127.0.0.1").contains(ip("127.0.0.2")));
        assert!(network("2001:db8::/32").contains(ip("2001:db8:1::1")));
        assert!(network("::/0").contains(ip("2001:db8::1")));
        assert!(!network("::/0").contains(ip("192.0.2.1")));
        for wrong in [
            "",
            "proxy",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/x",
            "10.0.0.0/-1",
        ] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
        assert_eq!(network("::1").to_string(), "::1/128");
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted = [network("127.0.0.1"), network("10.0.0.0/8")];
        let address = |peer, forwarded: &[&str]| {
            client_address(&trusted, ip(peer), forwarded.iter().copied())
        };
        assert_eq!(address("127.0.0.1", &["192.0.2.7"]), ip("192.0.2.7"));
        assert_eq!(
            address("192.0.2.1", &["198.51.100.1"]),
            ip("192.0.2.1"),
            "a stranger claims"
        );
        // The client itself sent a list; the proxy appended the client's address.
        assert_eq!(
            address("127.0.0.1", &["1.2.3.4, 192.0.2.7"]),
            ip("192.0.2.7")
        );
        assert_eq!(
            address("127.0.0.1", &["1.2.3.4", "192.0.2.7, 10.1.1.1"]),
            ip("192.0.2.7")
        );
        assert_eq!(address("127.0.0.1", &[]), ip("127.0.0.1"));
        assert_eq!(address("127.0.0.1", &["garbage"]), ip("127.0.0.1"));
        assert_eq!(
            address("127.0.0.1", &["[2001:db8::1]:443"]),
            ip("2001:db8::1")
        );
        assert_eq!(address("127.0.0.1", &["192.0.2.7:8080"]), ip("192.0.2.7"));
    }
}
