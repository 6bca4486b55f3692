//! Value types of the configuration: each parses once, with an error that says what would be right.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `host:port` as an offer lists it; IPv6 hosts stand in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvertisedAddress(String);

impl AdvertisedAddress {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AdvertisedAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let valid = text.rsplit_once(':').is_some_and(|(host, port)| {
            let host_ok = match host.strip_prefix('[') {
                Some(rest) => rest
                    .strip_suffix(']')
                    .is_some_and(|v6| v6.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6())),
                None => {
                    !host.is_empty()
                        && host
                            .bytes()
                            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
                }
            };
            host_ok && port.parse::<u16>().is_ok_and(|port| port != 0)
        });
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "`{text}` is no address to advertise; write HOST:PORT, for example laptop.local:4717 or [fd00::1]:4717"
            ))
        }
    }
}

/// Base URL of a relay: `wss://…` or `https://…`, or the unencrypted forms for tests and own networks
/// (what is carried is end-to-end encrypted either way). `wss://TOKEN@relay.example.org` says in addition what a private
/// relay asks daemons for; the token is shown nowhere and is no part of offers.
#[derive(Clone, PartialEq, Eq)]
pub struct RelayUrl {
    /// Without the token.
    text: String,
    token: Option<String>,
    secure: bool,
    host: String,
    port: u16,
    base: String,
}

impl RelayUrl {
    /// The text, without the token.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What a private relay asks for.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Whether TLS is spoken.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// Name or address, an IPv6 one without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a WebSocket at the relay; `path` begins with a slash.
    pub fn socket(&self, path: &str) -> String {
        let scheme = if self.secure { "wss" } else { "ws" };
        let v6 = self.host.contains(':');
        let (open, close) = if v6 { ("[", "]") } else { ("", "") };
        let (host, port, base) = (&self.host, self.port, &self.base);
        format!("{scheme}://{open}{host}{close}:{port}{base}{path}")
    }

    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let secure = match scheme {
            "wss" | "https" => true,
            "ws" | "http" => false,
            _ => return None,
        };
        let usable = |b: u8| b.is_ascii_graphic() && !b"?#\"<>\\".contains(&b);
        if !rest.bytes().all(usable) {
            return None;
        }
        let slash = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(slash)?;
        let (token, authority) = match authority.rsplit_once('@') {
            Some(("", _)) => return None,
            Some((token, authority)) => (Some(token.to_owned()), authority),
            None => (None, authority),
        };
        let (host, port) = match authority.strip_prefix('[') {
            Some(v6) => {
                let (host, port) = v6.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                (host, port.strip_prefix(':'))
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0)?,
            None if secure => 443,
            None => 80,
        };
        (!host.is_empty()).then(|| Self {
            text: format!("{scheme}://{authority}{path}"),
            token,
            secure,
            host: host.to_owned(),
            port,
            base: path.trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Debug for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelayUrl({})", self.text)
    }
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for RelayUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // What was written may hold a token, so it is not repeated.
        Self::parse(text).ok_or_else(|| {
            "that is no relay URL; write for example wss://relay.example.org, or wss://TOKEN@relay.example.org for a private relay"
                .to_owned()
        })
    }
}

macro_rules! text_setting {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

macro_rules! text_display {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_setting!(AdvertisedAddress);
text_setting!(RelayUrl);
text_display!(AdvertisedAddress);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_relays_are_checked() {
        for right in ["laptop.local:4717", "192.168.1.2:1", "[fd00::1]:4717"] {
            assert!(right.parse::<AdvertisedAddress>().is_ok(), "{right}");
        }
        for wrong in [
            "laptop",
            ":4717",
            "laptop:0",
            "fd00::1:4717",
            "[nonsense]:1",
            "a b:1",
        ] {
            assert!(wrong.parse::<AdvertisedAddress>().is_err(), "{wrong}");
        }
        assert!("wss://relay.example.org/base".parse::<RelayUrl>().is_ok());
        for wrong in [
            "relay.example.org",
            "wss://",
            "ftp://x",
            "wss://@x",
            "wss://x:0",
            "wss://x:y",
            "wss://[x]",
            "wss://x?y",
            "wss://x y",
        ] {
            assert!(wrong.parse::<RelayUrl>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_relay_url_is_taken_apart() {
        let url: RelayUrl = "https://relay.example.org/base/".parse().unwrap();
        assert_eq!(
            url.socket("/v1/daemon"),
            "wss://relay.example.org:443/base/v1/daemon"
        );
        let url: RelayUrl = "ws://[::1]:4718".parse().unwrap();
        assert_eq!((url.host(), url.port()), ("::1", 4718));
        assert_eq!(url.socket("/x"), "ws://[::1]:4718/x");
    }

    #[test]
    fn the_token_of_a_private_relay_is_shown_nowhere() {
        let url: RelayUrl = "wss://s3cret@relay.example.org".parse().unwrap();
        assert_eq!(url.token(), Some("s3cret"));
        assert_eq!(url.as_str(), "wss://relay.example.org");
        assert!(!format!("{url:?} {url} {}", url.socket("/")).contains("s3cret"));
        let error = "wss://s3cret@".parse::<RelayUrl>().unwrap_err();
        assert!(!error.contains("s3cret"), "{error}");
    }
}
