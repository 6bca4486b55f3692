//! What becomes of a device that asks: the owner's answer, and the end of its offer.

use bowline_machines::MonotonicTime;
use bowline_protocol::{
    DeviceId, PublicKey, Reason, RpcReason,
    error::RpcError,
    identity::OfferId,
    methods::{Empty, name},
};
use serde_json::json;

use super::{OFFER_LOOK, OpenOffer, PairingRequest, gone, notification};
use crate::{
    ledger::core::Core,
    store::{self, fault, offers::OfferState},
};

impl Core {
    /// Tells the devices whose offers have expired.
    pub(in crate::ledger) fn end_expired_pairings(&mut self, now: MonotonicTime) {
        let asking = self.pairings.asking.keys().cloned();
        let over: Vec<OfferId> = asking
            .filter(|offer| self.open_offer(offer).is_ok_and(|open| !open))
            .collect();
        for offer in over {
            self.end_pairing(&offer, Reason::PairingTokenInvalid);
        }
        let is_any = !self.pairings.asking.is_empty();
        self.pairings.due = is_any.then(|| now + OFFER_LOOK);
    }

    /// Whether a device may still pair with this offer.
    fn open_offer(&self, offer: &OfferId) -> Result<bool, RpcError> {
        let row = store::offers::get(&self.conn, offer, self.lived.now()).map_err(fault)?;
        Ok(row.is_some_and(|row| row.state == OfferState::Open && !row.is_expired))
    }

    /// The open offers, each with the device that asks.
    pub(in crate::ledger) fn open_offers(&self) -> Result<Vec<OpenOffer>, RpcError> {
        let open = store::offers::list(&self.conn, self.lived.now()).map_err(fault)?;
        let rows = open.into_iter().map(|offer| OpenOffer {
            request: self
                .pairings
                .asking
                .get(&offer.offer_id)
                .map(|asking| asking.request.clone()),
            offer,
        });
        Ok(rows.collect())
    }

    /// The device that asks with this offer. An error when the offer is over.
    pub(in crate::ledger) fn asking(
        &self,
        offer: &OfferId,
    ) -> Result<Option<PairingRequest>, RpcError> {
        if let Some(asking) = self.pairings.asking.get(offer) {
            return Ok(Some(asking.request.clone()));
        }
        if self.open_offer(offer)? {
            Ok(None)
        } else {
            Err(gone(offer))
        }
    }

    /// Pairs the device that asks with this offer and shows this code.
    pub(in crate::ledger) fn approve(
        &mut self,
        offer: &OfferId,
        device: &DeviceId,
        code: &str,
    ) -> Result<PairingRequest, RpcError> {
        if !self.open_offer(offer)? {
            return Err(gone(offer));
        }
        let asking = self.pairings.asking.get(offer);
        let is_it = asking.is_some_and(|asking| {
            asking.request.device_id == *device && asking.request.code == code
        });
        let Some(asking) = is_it.then(|| self.pairings.asking.remove(offer)).flatten() else {
            return Err(RpcError::new(
                RpcReason::NotFound,
                format!(
                    "device `{device}` does not ask to pair with offer `{offer}` and this code"
                ),
            ));
        };
        if let Err(error) = self.store_pairing(&asking) {
            self.pairings.asking.insert(offer.clone(), asking);
            return Err(error);
        }
        let approved = notification(name::PAIRING_APPROVED, &Empty {});
        for link in &asking.links {
            link.outbound.push(approved.clone());
        }
        self.pairings.changed.send_replace(());
        Ok(asking.request)
    }

    /// Refuses the device that asks with this offer, and ends the offer.
    pub(in crate::ledger) fn refuse_pairing(&mut self, offer: &OfferId) -> Result<(), RpcError> {
        let device = self.pairings.asking.get(offer);
        let device = device.map(|asking| asking.request.device_id.clone());
        let known = self.transact(|core| {
            let known = store::offers::refuse(&core.conn, offer)?;
            if known {
                let detail = json!({"offerId": offer});
                core.audit("pairing_refused", device.as_ref(), &detail)?;
            }
            Ok(known)
        })?;
        self.end_pairing(offer, Reason::PairingRefused);
        if known { Ok(()) } else { Err(gone(offer)) }
    }

    /// Withdraws an offer; a device that asks with it is told that it is no longer valid.
    pub(in crate::ledger) fn cancel_offer(&mut self, offer: &OfferId) -> Result<(), RpcError> {
        let known = self.transact(|core| {
            let known = store::offers::cancel(&core.conn, offer)?;
            if known {
                core.audit("offer_withdrawn", None, &json!({"offerId": offer}))?;
            }
            Ok(known)
        })?;
        self.end_pairing(offer, Reason::PairingTokenInvalid);
        if known { Ok(()) } else { Err(gone(offer)) }
    }

    /// Ends what a device asks for with offers, and withdraws them (TR-5).
    pub(in crate::ledger) fn end_pairings_of(&mut self, device: &PublicKey) {
        let asking = self.pairings.asking.iter();
        let theirs: Vec<_> = asking
            .filter(|(_, asking)| asking.device == *device)
            .map(|(offer, _)| offer.clone())
            .collect();
        for offer in theirs {
            // If the disk is full the offer stays open; the device has to be approved all the same.
            let _ = self.transact(|core| store::offers::cancel(&core.conn, &offer));
            self.end_pairing(&offer, Reason::PairingTokenInvalid);
        }
    }

    /// Ends the connections of all devices that ask; their offers stay open.
    pub(in crate::ledger) fn end_all_pairings(&mut self, reason: Reason) {
        let asking: Vec<_> = self.pairings.asking.keys().cloned().collect();
        for offer in asking {
            self.end_pairing(&offer, reason);
        }
    }

    fn end_pairing(&mut self, offer: &OfferId, reason: Reason) {
        if let Some(asking) = self.pairings.asking.remove(offer) {
            for link in &asking.links {
                link.outbound.close(reason);
            }
        }
        self.pairings.changed.send_replace(());
    }
}
