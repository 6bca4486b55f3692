//! Value types of the configuration. Each is parsed once; its errors name a valid form.

use std::{fmt, str::FromStr};

use bowline_program::{FileLimit, Umask, as_text};
use bowline_protocol::{offer::is_direct, relay::RelayUrl};
use serde::{
    Deserializer,
    de::{self, SeqAccess, Visitor},
};

use crate::executable::Executable;

/// What a program had at its start and has changed for itself since; programs that a service starts
/// for a user should have it.
#[derive(Clone, Debug, Default)]
pub struct Inherited {
    /// The program's own file, to be started again with a hidden command; `None` if the system does
    /// not tell.
    pub program: Option<Executable>,
    /// The soft limit of open files.
    pub files: FileLimit,
    /// The permissions that new files do not get.
    pub umask: Umask,
}

/// `host:port` as offers list it; IPv6 hosts are in brackets.
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
        if is_direct(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "`{text}` is no address to advertise; write HOST:PORT, for example laptop.local:4717 or [fd00::1]:4717"
            ))
        }
    }
}

/// A list of relays in a file. Errors omit the value, because it may contain a token.
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

impl fmt::Display for AdvertisedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

as_text!(AdvertisedAddress);

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
