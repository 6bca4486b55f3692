//! The owner's side of pairing: offers, and the answer to a device that asks.

use std::time::Duration;

use bowline_protocol::{
    DeviceId,
    error::RpcError,
    identity::{OfferId, PresharedKey, random_bytes},
    offer::PairingToken,
};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use crate::{
    ledger::{
        Ledger, NewPairing, OfferedGrant, OpenOffer, PairingRequest, pairing::OFFER_LOOK,
        queue::Job,
    },
    store::{self, fault, offers::NewOffer},
};

impl Ledger {
    /// Creates a pairing offer for one device. With `approve` the owner is asked before the device
    /// is paired (TR-3).
    ///
    /// # Errors
    /// As [`Ledger::write`].
    pub async fn create_pairing(
        &self,
        ttl: Duration,
        approve: bool,
        grant: OfferedGrant,
    ) -> Result<NewPairing, RpcError> {
        let bytes = random_bytes().map_err(|error| RpcError::internal(error.to_string()))?;
        let token = PairingToken::from_bytes(bytes);
        let id = OfferId::of_token(&token);
        let mut offer = NewOffer {
            id: id.clone(),
            key: PresharedKey::of_offer(&token),
            approve,
            grant: grant.grant,
            device_ttl: grant
                .ttl
                .map(|ttl| i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX)),
            expires_at: 0,
            lived_until: 0,
        };
        let expires_at = self
            .write(move |tx| {
                let ttl = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
                offer.expires_at = tx.now().saturating_add(ttl);
                // The store's own clock decides the expiry; the wall-clock time is for people.
                offer.lived_until = tx.lived.saturating_add(ttl);
                store::offers::add(tx.conn(), &offer, tx.now(), tx.lived).map_err(fault)?;
                let detail = json!({
                    "offerId": offer.id, "approve": offer.approve, "grant": offer.grant,
                });
                tx.audit("offer_made", &detail)?;
                Ok(offer.expires_at)
            })
            .await?;
        Ok(NewPairing {
            id,
            token,
            expires_at,
        })
    }

    /// The open offers, oldest first.
    ///
    /// # Errors
    /// As [`Ledger::read`].
    pub async fn offers(&self) -> Result<Vec<OpenOffer>, RpcError> {
        self.ask(Job::Now, |core| core.open_offers()).await
    }

    /// Withdraws an open offer.
    ///
    /// # Errors
    /// `not_found`; as [`Ledger::write`].
    pub async fn cancel_offer(&self, offer: OfferId) -> Result<(), RpcError> {
        self.ask(Job::Solo, move |core| core.cancel_offer(&offer))
            .await
    }

    /// Waits at most this long until a device asks to pair with this offer.
    ///
    /// # Errors
    /// `not_found` once the offer is over.
    pub async fn wait_for_device(
        &self,
        offer: OfferId,
        longest: Duration,
    ) -> Result<Option<PairingRequest>, RpcError> {
        let mut changed = self.0.pairings.subscribe();
        let until = Instant::now() + longest;
        loop {
            changed.mark_unchanged();
            let looked = offer.clone();
            let asking = self.ask(Job::Now, move |core| core.asking(&looked)).await?;
            if asking.is_some() || Instant::now() >= until {
                return Ok(asking);
            }
            // An offer expires without a change of the list.
            let _ = timeout_at(until.min(Instant::now() + OFFER_LOOK), changed.changed()).await;
        }
    }

    /// Pairs the device that asks with this offer, and tells it. The code is the one that the owner
    /// has compared.
    ///
    /// # Errors
    /// `not_found` unless this device asks with this code; as [`Ledger::write`].
    pub async fn approve(
        &self,
        offer: OfferId,
        device: DeviceId,
        code: String,
    ) -> Result<PairingRequest, RpcError> {
        self.ask(Job::Solo, move |core| core.approve(&offer, &device, &code))
            .await
    }

    /// Refuses the device that asks with this offer, and ends the offer.
    ///
    /// # Errors
    /// `not_found` if the offer is over; as [`Ledger::write`].
    pub async fn refuse_pairing(&self, offer: OfferId) -> Result<(), RpcError> {
        self.ask(Job::Solo, move |core| core.refuse_pairing(&offer))
            .await
    }
}
