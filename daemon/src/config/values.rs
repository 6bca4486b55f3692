//! Value types of the configuration: each parses once, with an error that says what would be right.

use std::{fmt, net::IpAddr, str::FromStr};

use bowline_protocol::relay::RelayUrl;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, SeqAccess, Visitor},
};

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

/// A list of relays as a file writes it. What stands in place of a list may hold a token, so it is not repeated.
pub(super) fn relay_list<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<RelayUrl>>, D::Error> {
    struct List;

    impl<'de> Visitor<'de> for List {
        type Value = Vec<RelayUrl>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of URLs, as in relay = [\"wss://relay.example.org\"]")
        }

        fn visit_str<E: de::Error>(self, _text: &str) -> Result<Self::Value, E> {
            Err(E::custom(
                "`relay` must be a list of URLs, as in relay = [\"wss://relay.example.org\"]",
            ))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut relays = Vec::new();
            while let Some(relay) = list.next_element()? {
                relays.push(relay);
            }
            Ok(relays)
        }
    }

    deserializer.deserialize_any(List).map(Some)
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
text_display!(AdvertisedAddress);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
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
    }
}
