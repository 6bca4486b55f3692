//! What a pairing offer says, for a person to confirm before anything is dialled (TR-14).

use bowline_protocol::{Offer, Reach, ServerId, offer::reach};

use crate::{registry::HostRecord, transport::Address};

/// The content of an offer, compared with the known hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferInfo {
    /// The daemon's identity.
    pub server_id: ServerId,
    /// The daemon's name, as the offer says it; anyone can write any name into an offer.
    pub name: String,
    /// Every address that pairing dials, at most 16 direct ones and 16 relays.
    pub addresses: Vec<OfferAddress>,
    /// Whether the daemon is a known host.
    pub host: OfferHost,
}

/// An address of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferAddress {
    /// The address.
    pub address: Address,
    /// From where it can be reached, judged by its text.
    pub reach: Reach,
}

/// An offer's daemon among the known hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfferHost {
    /// It is not known.
    Unknown,
    /// It is known; pairing again adds the addresses of the offer.
    Known {
        /// The host's name here.
        name: String,
    },
    /// A host with this identity is known with another transport key: the offer is forged, or the
    /// daemon lost its keys.
    OtherKey {
        /// The host's name here.
        name: String,
    },
}

impl OfferInfo {
    /// Describes an offer; `known` is the stored host of its daemon.
    pub(crate) fn new(offer: &Offer, known: Option<&HostRecord>) -> Self {
        let offered = HostRecord::from_offer(offer);
        let host = match known {
            None => OfferHost::Unknown,
            Some(known) => {
                let name = known.name.clone();
                match known.transport_key == offered.transport_key {
                    true => OfferHost::Known { name },
                    false => OfferHost::OtherKey { name },
                }
            }
        };
        let addresses = offered.addresses.into_iter().map(|address| OfferAddress {
            reach: reach(&address.address),
            address,
        });
        Self {
            server_id: offered.server_id,
            name: offered.name,
            addresses: addresses.collect(),
            host,
        }
    }
}
