//! A device asks to pair: whether it may, and what it is told at once.

use bowline_protocol::{
    DeviceId, PublicKey, Reason, Refusal,
    error::RpcError,
    handshake::PairingHello,
    identity::{PairingNonce, PresharedKey, pairing_code, random_bytes},
    methods::{Empty, PairingAsked, name},
    text,
};

use super::{Asking, OFFER_LOOK, PairingRequest, notification};
use crate::{
    ledger::{
        admission::{LOCKED, refused},
        core::Core,
        types::{Admission, Promise},
    },
    outbound::{ConnectionHandle, Frame},
    store::{self, fault, offers::OfferState},
};

/// Connections of one asking device that hear the answer; a further one replaces the oldest.
const LINKS: usize = 8;
/// Longest name and platform of a device in lists, in characters.
const MAX_NAME: usize = 64;

fn invalid() -> Refusal {
    Refusal::new(
        Reason::PairingTokenInvalid,
        "the offer was used, withdrawn, has expired or never existed",
    )
}

fn declined() -> Refusal {
    Refusal::new(
        Reason::PairingRefused,
        "the owner of this machine refused to pair with this device",
    )
}

/// The answer to a hello, with the key that it is sent under: whether the owner is asked.
pub(in crate::ledger) struct Checked {
    pub(in crate::ledger) psk: PresharedKey,
    pub(in crate::ledger) outcome: Result<bool, Refusal>,
}

impl Core {
    /// Checks a device that wants to pair. Only reads.
    pub(in crate::ledger) fn check_pairing(
        &self,
        device: &PublicKey,
        hello: &PairingHello,
    ) -> Checked {
        let none = |refusal| Checked {
            psk: PresharedKey::NONE,
            outcome: Err(refusal),
        };
        let offer = match store::offers::get(&self.conn, &hello.offer, self.lived.now()) {
            Ok(Some(offer)) => offer,
            Ok(None) => return none(invalid()),
            Err(error) => return none(refused(&fault(error))),
        };
        let taken = self
            .pairings
            .asking
            .get(&hello.offer)
            .is_some_and(|asking| asking.device != *device);
        let is_locked = self.live.locked_at.is_some();
        let outcome = match offer.state {
            _ if is_locked => Err(Refusal::new(LOCKED.0, LOCKED.1)),
            // A device that asks again did not get the answer to its first attempt.
            OfferState::Used(by) if by == *device && !offer.is_expired => {
                match self.is_paired(device) {
                    Ok(true) => Ok(false),
                    Ok(false) => Err(invalid()),
                    Err(error) => Err(refused(&error)),
                }
            }
            OfferState::Refused => Err(declined()),
            OfferState::Open if self.health.is_failing() => Err(Refusal::new(
                Reason::StorageUnavailable,
                "the daemon cannot write to its disk, and a pairing has to be stored",
            )),
            OfferState::Open if !offer.is_expired && !taken => Ok(offer.approve),
            OfferState::Open | OfferState::Used(_) => Err(invalid()),
        };
        Checked {
            psk: offer.key,
            outcome,
        }
    }

    fn is_paired(&self, device: &PublicKey) -> Result<bool, RpcError> {
        let known = store::devices::standing(&self.conn, device).map_err(fault)?;
        let (now, lived) = (self.options.clock.unix_millis(), self.lived.now());
        let is_revoked = self.live.revoked.contains(device);
        Ok(known.is_some_and(|device| {
            !is_revoked && !device.is_revoked && !device.is_expired(now, lived)
        }))
    }

    /// The device has proved the token. Pairs it, or asks the owner. Returns what is sent at once.
    pub(in crate::ledger) fn ask_to_pair(
        &mut self,
        admission: &Admission,
        connection: &ConnectionHandle,
    ) -> Result<Vec<Frame>, Refusal> {
        let (Promise::Pairing, Some(hello)) = (&admission.promise, &admission.hello.pairing) else {
            return Err(invalid());
        };
        let Checked { psk: key, outcome } = self.check_pairing(&admission.device, hello);
        let asks = outcome?;
        let (device, client) = (admission.device, &admission.hello.client);
        // The same secret again is the same question, on another path or after a lost connection.
        let known = self.pairings.asking.remove(&hello.offer);
        if let Some(older) = known.as_ref().filter(|known| known.secret != hello.secret) {
            for link in &older.links {
                link.outbound.close(Reason::PairingTokenInvalid);
            }
        }
        let known = known.filter(|known| known.secret == hello.secret);
        let nonce = match &known {
            Some(known) => known.nonce,
            None => PairingNonce::from_bytes(random_bytes().map_err(|error| {
                let error = RpcError::internal(error.to_string());
                refused(&error)
            })?),
        };
        let now = self.options.clock.unix_millis();
        let mut asking = Asking {
            request: PairingRequest {
                offer_id: hello.offer.clone(),
                device_id: DeviceId::of_public_key(&device),
                name: bounded(&client.name),
                platform: bounded(&client.platform),
                code: pairing_code(&key, &device, &hello.secret, &nonce),
                asked_at: known.as_ref().map_or(now, |known| known.request.asked_at),
            },
            nonce,
            secret: hello.secret.clone(),
            device,
            psk: PresharedKey::of_device(&key, &hello.secret),
            links: known.map(|known| known.links).unwrap_or_default(),
        };
        if !asks {
            self.store_pairing(&asking)
                .map_err(|error| refused(&error))?;
            return Ok(vec![notification(name::PAIRING_APPROVED, &Empty {})]);
        }
        let is_open = |link: &ConnectionHandle| link.outbound.close_reason().is_none();
        asking.links.retain(is_open);
        if asking.links.len() >= LINKS {
            // Its device is back on newer paths, or comes back.
            let oldest = asking.links.remove(0);
            oldest.outbound.close(Reason::SessionCapacity);
        }
        asking.links.push(connection.clone());
        tracing::info!(device = %asking.request.device_id, offer = %hello.offer, "a device asks to pair");
        self.pairings.asking.insert(hello.offer.clone(), asking);
        let look = self.options.clock.now() + OFFER_LOOK;
        self.pairings.due.get_or_insert(look);
        self.pairings.changed.send_replace(());
        Ok(vec![notification(
            name::PAIRING_ASKED,
            &PairingAsked { nonce },
        )])
    }
}

/// The client's description of itself, shortened for listings.
fn bounded(described: &str) -> String {
    described
        .chars()
        .filter(|c| !text::is_harmful(*c))
        .take(MAX_NAME)
        .collect()
}
