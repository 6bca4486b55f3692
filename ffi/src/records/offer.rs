//! The content of a pairing offer.

use bowline_runtime::{self as runtime, protocol};

use super::{Path, mirror};

/// The content of an offer, for a person to confirm before pairing (TR-14).
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct OfferInfo {
    /// The daemon's stable identity.
    pub server_id: String,
    /// The daemon's name, as the offer says it; anyone can write any name into an offer.
    pub name: String,
    /// Every address that pairing dials.
    pub addresses: Vec<OfferAddress>,
    /// Whether the daemon is a known host.
    pub host: OfferHost,
}

/// An address of an offer.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct OfferAddress {
    /// Kind of the path.
    pub path: Path,
    /// `host:port`, or the URL of a relay.
    pub address: String,
    /// From where it can be reached.
    pub reach: Reach,
}

mirror! {
    /// From where an address can be reached, judged by its text; names are not looked up.
    Reach of protocol::Reach {
        /// From this device only.
        Loopback,
        /// From the network that the device is in.
        Private,
        /// From everywhere.
        Public,
    }
}

/// An offer's daemon among the known hosts.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum OfferHost {
    /// It is not known.
    Unknown,
    /// It is known; pairing again adds the addresses of the offer.
    Known {
        /// The host's name here.
        name: String,
    },
    /// A host with this identity is known with another key: the offer is forged, or the daemon lost
    /// its keys.
    OtherKey {
        /// The host's name here.
        name: String,
    },
}

impl From<runtime::OfferInfo> for OfferInfo {
    fn from(offer: runtime::OfferInfo) -> Self {
        let addresses = offer.addresses.into_iter().map(|offered| OfferAddress {
            path: offered.address.path.into(),
            address: offered.address.address,
            reach: offered.reach.into(),
        });
        Self {
            server_id: offer.server_id.to_string(),
            name: offer.name,
            addresses: addresses.collect(),
            host: match offer.host {
                runtime::OfferHost::Unknown => OfferHost::Unknown,
                runtime::OfferHost::Known { name } => OfferHost::Known { name },
                runtime::OfferHost::OtherKey { name } => OfferHost::OtherKey { name },
            },
        }
    }
}
