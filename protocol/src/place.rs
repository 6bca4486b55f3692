//! Hosts and ports in addresses: which texts are valid, and how far a host reaches.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest name of a host in bytes, and longest label of one (RFC 1035).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// Why a text is not `host` or `host:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlaceError {
    /// The host is neither a name nor an address; IPv6 addresses are in brackets.
    Host,
    /// The port is not a number from 1 to 65535.
    Port,
}

/// Splits `host` or `host:port`. The host is a name of letters, digits, `-`, `_` and `.`, an IPv4
/// address of four decimal numbers, or an IPv6 address in brackets, which are removed.
///
/// Other spellings of IPv4 addresses (`127.1`, `0x7f000001`) are refused: systems resolve them, but
/// they look like names.
pub(crate) fn host_and_port(place: &str) -> Result<(&str, Option<u16>), PlaceError> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(PlaceError::Host)?;
            let _: Ipv6Addr = host.parse().map_err(|_| PlaceError::Host)?;
            let port = match port {
                "" => None,
                port => Some(port.strip_prefix(':').ok_or(PlaceError::Port)?),
            };
            (host, port)
        }
        None => {
            let (host, port) = match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            };
            if !is_name_or_v4(host) {
                return Err(PlaceError::Host);
            }
            (host, port)
        }
    };
    let number = |port: &str| {
        let digits = port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse().ok().filter(|port| digits && *port != 0);
        port.ok_or(PlaceError::Port)
    };
    Ok((host, port.map(number).transpose()?))
}

fn is_name_or_v4(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= MAX_LABEL
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    let is_number = |label: &str| {
        let hex = label.strip_prefix("0x").or(label.strip_prefix("0X"));
        label.bytes().all(|b| b.is_ascii_digit())
            || hex.is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    if name.rsplit('.').next().is_some_and(is_number) {
        return host.parse::<Ipv4Addr>().is_ok();
    }
    name.len() <= MAX_NAME && name.split('.').all(is_label)
}

/// From where a host can be reached, judged by its text alone. Names are not looked up: a public
/// one may have a private address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// This machine only.
    Loopback,
    /// The network that the machine is in: private, link-local and shared (RFC 6598) addresses,
    /// names of one label and those under `.local`, `.internal` and `.home.arpa`.
    Private,
    /// Everywhere.
    Public,
}

impl Reach {
    /// The reach of a host: a name or an address, an IPv6 one with or without brackets.
    pub fn of_host(host: &str) -> Self {
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        match bare.unwrap_or(host).parse::<IpAddr>() {
            Ok(ip) => Self::of_ip(ip),
            Err(_) => Self::of_name(host),
        }
    }

    /// The reach of an address.
    pub fn of_ip(ip: IpAddr) -> Self {
        let (is_loopback, is_private) = match ip.to_canonical() {
            IpAddr::V4(v4) => {
                let [a, b, ..] = v4.octets();
                let is_shared = a == 100 && (64..128).contains(&b);
                (
                    v4.is_loopback(),
                    v4.is_private() || v4.is_link_local() || is_shared,
                )
            }
            IpAddr::V6(v6) => (
                v6.is_loopback(),
                v6.is_unique_local() || v6.is_unicast_link_local(),
            ),
        };
        // A connection to the unspecified address ends at this machine.
        match (
            is_loopback || ip.to_canonical().is_unspecified(),
            is_private,
        ) {
            (true, _) => Self::Loopback,
            (false, true) => Self::Private,
            (false, false) => Self::Public,
        }
    }

    fn of_name(name: &str) -> Self {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let is_under = |parent: &str| {
            name.strip_suffix(parent)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        if is_under("localhost") {
            Self::Loopback
        } else if !name.contains('.')
            || ["local", "internal", "home.arpa"].into_iter().any(is_under)
        {
            Self::Private
        } else {
            Self::Public
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_host_with_or_without_a_port() {
        for (text, host, port) in [
            ("laptop.local:4717", "laptop.local", Some(4717)),
            ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
            ("a_b-c.:1", "a_b-c.", Some(1)),
            ("127.0.0.1:65535", "127.0.0.1", Some(65_535)),
            ("[fd00::1]:4717", "fd00::1", Some(4717)),
            ("[::1]", "::1", None),
        ] {
            assert_eq!(host_and_port(text), Ok((host, port)), "{text}");
        }
        let long = "x".repeat(64);
        for text in [
            "",
            ":1",
            "a b",
            "a@b",
            "a?b",
            "a#b",
            "a/b",
            "a%41",
            "a..b",
            ".",
            ".a",
            "b\u{fc}cher",
            "a\u{1b}b",
            "127.1",
            "127.0.0.1.",
            "0x7f000001",
            "a.0x7f",
            "2130706433",
            "1.2.3.4.5",
            "127.0.0.01",
            "[::1",
            "[x]",
            "[fe80::1%eth0]:1",
            "::1",
            &long,
        ] {
            assert!(host_and_port(text).is_err(), "{text}");
        }
        for text in [
            "h:", "h:0", "h:65536", "h:+1", "h:x", "[::1]x", "[::1]:", "h:1:2",
        ] {
            assert_eq!(host_and_port(text), Err(PlaceError::Port), "{text}");
        }
    }

    #[test]
    fn tr_14_the_reach_of_a_host_is_told_from_its_text() {
        for host in [
            "127.0.0.1",
            "127.8.9.1",
            "[::1]",
            "::1",
            "0.0.0.0",
            "::",
            "::ffff:127.0.0.1",
            "localhost",
            "LocalHost.",
            "a.localhost",
        ] {
            assert_eq!(Reach::of_host(host), Reach::Loopback, "{host}");
        }
        for host in [
            "10.0.0.1",
            "192.168.1.5",
            "172.16.0.1",
            "169.254.1.1",
            "100.64.0.1",
            "[fd00::1]",
            "fe80::1",
            "::ffff:10.0.0.1",
            "workshop",
            "laptop.local",
            "db.internal",
            "a.home.arpa.",
        ] {
            assert_eq!(Reach::of_host(host), Reach::Private, "{host}");
        }
        for host in [
            "1.1.1.1",
            "100.128.0.1",
            "172.32.0.1",
            "2606:4700::1",
            "relay.example.org",
            "notlocal.example",
            "mylocalhost.example",
        ] {
            assert_eq!(Reach::of_host(host), Reach::Public, "{host}");
        }
    }
}
