//! Pairing a device with an offer: who may, who asks, and the owner's answer (TR-3, LS-18).
//!
//! ```text
//!              session.ready          yes
//!  offer open ───────────────► asks ───────► paired
//!      │                        │ no
//!      │ offer without approval └─────────► refused
//!      └──────────────────────────────────► paired
//! ```
//!
//! An offer is for one device: the first that proves the token. A device that asks is kept in
//! memory, bounded by the number of offers, and asks again after a restart of the daemon.

mod answers;
mod asking;
mod stored;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bowline_machines::MonotonicTime;
use bowline_protocol::{
    DeviceId, Grant, PublicKey, RpcReason,
    error::RpcError,
    identity::{OfferId, PairingNonce, PairingSecret, PresharedKey},
    model::UnixMillis,
    rpc,
};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::watch;

pub(super) use self::asking::Checked;
use super::OfferInfo;
use crate::outbound::{ConnectionHandle, Frame};

/// Longest time until a waiting caller notices that its offer has expired.
pub(super) const OFFER_LOOK: Duration = Duration::from_secs(1);

/// A device that asks to pair, for its owner.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PairingRequest {
    /// Its offer.
    pub offer_id: OfferId,
    /// The device.
    pub device_id: DeviceId,
    /// Name of the client program, as sent.
    pub name: String,
    /// Its platform, as sent.
    pub platform: String,
    /// The six digits that the device shows too.
    pub code: String,
    /// When it asked first.
    pub asked_at: UnixMillis,
}

/// What an offer grants to the device that pairs with it.
#[derive(Clone, Debug, Default)]
pub struct OfferedGrant {
    /// What the device may do; it has no end of its own.
    pub grant: Grant,
    /// For how long from the pairing on; `None` for ever.
    pub ttl: Option<Duration>,
}

/// One row of `pairing.list`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct OpenOffer {
    /// The offer.
    #[serde(flatten)]
    pub offer: OfferInfo,
    /// The device that asks with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<PairingRequest>,
}

/// A device that asks, with what pairing it needs.
struct Asking {
    request: PairingRequest,
    /// Drawn when the device asked with this secret; neither side can choose the code.
    nonce: PairingNonce,
    secret: PairingSecret,
    device: PublicKey,
    psk: PresharedKey,
    links: Vec<ConnectionHandle>,
}

/// The devices that ask, at most one an offer.
pub(super) struct Pairings {
    asking: BTreeMap<OfferId, Asking>,
    /// When their offers are next checked for expiry, while there are any.
    due: Option<MonotonicTime>,
    /// Tells waiting callers that the list changed.
    changed: Arc<watch::Sender<()>>,
}

impl Pairings {
    pub(super) const fn new(changed: Arc<watch::Sender<()>>) -> Self {
        Self {
            asking: BTreeMap::new(),
            due: None,
            changed,
        }
    }

    pub(super) const fn due(&self) -> Option<MonotonicTime> {
        self.due
    }
}

/// A notification of the daemon.
fn notification(method: &str, params: &impl Serialize) -> Frame {
    let mut text = Vec::new();
    // A method name and a flat object always serialise.
    let _ = rpc::write_notification(&mut text, method, params);
    text.into()
}

fn gone(offer: &OfferId) -> RpcError {
    RpcError::new(
        RpcReason::NotFound,
        format!("offer `{offer}` was used, withdrawn, has expired or never existed"),
    )
}
