//! The origin of a relay: what a registration is bound to (TR-9).

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use super::{RelayUrl, RelayUrlError};
use crate::identity::text_serde;

/// Scheme, host and port of a relay in one normal form: `wss://relay.example.org`. Names are in
/// lower case, addresses as their standards write them, and the usual port is left out.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RelayOrigin {
    text: String,
    secure: bool,
    host: String,
    port: u16,
}

/// Why a text is not the origin of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayOriginError {
    /// Not even a relay's URL.
    #[error(transparent)]
    Url(#[from] RelayUrlError),
    /// It has a token or a path.
    #[error("the origin of a relay has neither token nor path, as in wss://relay.example.org")]
    More,
}

impl RelayOrigin {
    /// The origin of a relay's URL.
    pub(super) fn of(secure: bool, host: &str, port: u16) -> Self {
        let host = match host.parse::<IpAddr>() {
            Ok(address) => address.to_string(),
            Err(_) => host.to_owned(),
        };
        let scheme = if secure { "wss" } else { "ws" };
        let default = if secure { 443 } else { 80 };
        let shown_host = match host.contains(':') {
            true => format!("[{host}]"),
            false => host.clone(),
        };
        let shown_port = match port == default {
            true => String::new(),
            false => format!(":{port}"),
        };
        Self {
            text: format!("{scheme}://{shown_host}{shown_port}"),
            secure,
            host,
            port,
        }
    }

    /// The text of the normal form, which a registration signs.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is spoken to with TLS.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// Whether it names this address literally, or as `localhost`.
    pub fn is_at(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let named = match self.host.parse::<IpAddr>() {
            Ok(host) => host.to_canonical() == ip,
            Err(_) => self.host == "localhost" && ip.is_loopback(),
        };
        named && self.port == address.port()
    }
}

impl FromStr for RelayOrigin {
    type Err = RelayOriginError;

    fn from_str(text: &str) -> Result<Self, RelayOriginError> {
        let url: RelayUrl = text.parse()?;
        if url.token().is_some() || !url.base().is_empty() {
            return Err(RelayOriginError::More);
        }
        Ok(url.origin().clone())
    }
}

impl fmt::Display for RelayOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RelayOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelayOrigin({})", self.text)
    }
}

text_serde!(RelayOrigin, |origin, to| to.serialize_str(&origin.text));

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> RelayOrigin {
        text.parse().unwrap()
    }

    #[test]
    fn tr_9_every_spelling_of_an_origin_is_one_text() {
        for (spelling, text) in [
            ("WSS://Relay.Example.org:443/", "wss://relay.example.org"),
            (
                "wss://relay.example.org:8443",
                "wss://relay.example.org:8443",
            ),
            ("ws://192.0.2.1:80", "ws://192.0.2.1"),
            ("ws://[2001:DB8:0:0::1]:4718", "ws://[2001:db8::1]:4718"),
        ] {
            assert_eq!(origin(spelling).as_str(), text, "{spelling}");
        }
        let url: RelayUrl = "wss://s3cret@Relay.example.org/base".parse().unwrap();
        assert_eq!(*url.origin(), origin("wss://relay.example.org"));
        for more in [
            "wss://token@relay.example.org",
            "wss://relay.example.org/base",
        ] {
            assert_eq!(more.parse::<RelayOrigin>(), Err(RelayOriginError::More));
        }
        assert!("relay.example.org".parse::<RelayOrigin>().is_err());
    }

    #[test]
    fn tr_9_an_origin_is_at_the_address_that_it_names_with_its_port() {
        let at = |text: &str, address: &str| origin(text).is_at(address.parse().unwrap());
        assert!(at("ws://127.0.0.1:4718", "127.0.0.1:4718"));
        assert!(at("ws://127.0.0.1:4718", "[::ffff:127.0.0.1]:4718"));
        assert!(at("ws://[::1]:4718", "[::1]:4718"));
        assert!(at("wss://192.0.2.1", "192.0.2.1:443"));
        assert!(at("ws://localhost:4718", "127.0.0.1:4718"));
        assert!(at("ws://localhost:4718", "[::1]:4718"));
        assert!(!at("ws://localhost:4718", "192.0.2.1:4718"));
        assert!(!at("ws://127.0.0.1:4719", "127.0.0.1:4718"));
        assert!(!at("ws://127.0.0.2:4718", "127.0.0.1:4718"));
        assert!(!at("ws://relay.example.org:4718", "192.0.2.1:4718"));
    }
}
