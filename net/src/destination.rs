//! The target of a connection.

use std::net::Ipv6Addr;

use bowline_protocol::relay::RelayUrl;

/// The text is not `host:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not host:port, as in 192.168.1.5:4717, laptop.local:4717 or [fd00::1]:4717")]
pub struct AddressError;

/// Host, port and path of a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    pub(crate) secure: bool,
    /// Host; IPv6 addresses without their brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Path and query.
    path: String,
    /// Whether it is a relay; daemons have other proxy rules.
    pub(crate) is_relay: bool,
}

impl Destination {
    /// A path at a relay; it begins with a slash and may have a query.
    pub fn relay(url: &RelayUrl, path: &str) -> Self {
        Self {
            secure: url.is_secure(),
            host: url.host().to_owned(),
            port: url.port(),
            path: format!("{}{path}", url.base()),
            is_relay: true,
        }
    }

    /// A path at a daemon's direct address, `host:port`, without TLS: the content is sealed end to
    /// end.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn direct(address: &str, path: &str) -> Result<Self, AddressError> {
        let (host, port) = address.rsplit_once(':').ok_or(AddressError)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let host = rest.strip_suffix(']').ok_or(AddressError)?;
                let _: Ipv6Addr = host.parse().map_err(|_| AddressError)?;
                host
            }
            None => host,
        };
        let usable = |b: u8| b.is_ascii_alphanumeric() || b"-._:".contains(&b);
        let port = port.parse().ok().filter(|port| *port != 0);
        if host.is_empty() || !host.bytes().all(usable) {
            return Err(AddressError);
        }
        Ok(Self {
            secure: false,
            host: host.to_owned(),
            port: port.ok_or(AddressError)?,
            path: path.to_owned(),
            is_relay: false,
        })
    }

    /// `host:port`, for messages and for proxies.
    pub fn place(&self) -> String {
        place(&self.host, self.port)
    }

    /// The WebSocket's URL.
    pub(crate) fn uri(&self) -> String {
        let scheme = if self.secure { "wss" } else { "ws" };
        format!("{scheme}://{}{}", self.place(), self.path)
    }
}

/// `host:port`, with an IPv6 host in brackets.
pub(crate) fn place(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_kinds_become_urls() {
        let relay: RelayUrl = "wss://s3cret@relay.example.org/base".parse().unwrap();
        let relay = Destination::relay(&relay, "/v1/daemon");
        assert_eq!(relay.uri(), "wss://relay.example.org:443/base/v1/daemon");
        let direct = Destination::direct("[fd00::1]:4717", "/v1/session").unwrap();
        assert_eq!(direct.uri(), "ws://[fd00::1]:4717/v1/session");
        assert_eq!(direct.host, "fd00::1");
        for wrong in [
            "", "host", ":1", "host:0", "host:x", "a b:1", "[x]:1", "[::1:1", "a@b:1", "a/b:1",
        ] {
            assert!(Destination::direct(wrong, "/").is_err(), "{wrong}");
        }
    }
}
