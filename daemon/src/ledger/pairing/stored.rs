//! A pairing is stored: the device's key and grant, the audit log, and who is told.

use bowline_protocol::{Grant, SessionEvent, error::RpcError, session_event::PairedDevice};
use serde_json::json;

use super::{Asking, gone};
use crate::{
    ledger::{core::Core, types::Audience},
    store::{self, audit::Class, devices::NewDevice, offers::OfferState},
};

/// What storing a pairing has changed.
enum Paired {
    /// Nothing: it had this key.
    Known,
    /// The key of a device that is paired, and maybe its grant.
    Again(Grant),
    /// The device is paired now.
    New(Grant),
}

impl Core {
    /// Pairs the device, unless its offer is over.
    pub(super) fn store_pairing(&mut self, asking: &Asking) -> Result<(), RpcError> {
        let now = self.options.clock.unix_millis();
        let offer = &asking.request.offer_id;
        let lived = self.lived.now();
        let paired = self.transact(|core| {
            let conn = &core.conn;
            let Some(row) = store::offers::get(conn, offer, lived)? else {
                return Ok(None);
            };
            if !store::offers::used(conn, offer, &asking.device)? {
                return Ok(None);
            }
            core.store_used_keys()?;
            let before = store::devices::standing(conn, &asking.device)?;
            // A device that pairs again with its offer gets a new key, and nothing else that was
            // decided about it since.
            let again = before.as_ref().filter(|_| row.state != OfferState::Open);
            if again.is_some_and(|known| known.keys.first() == Some(&asking.psk)) {
                return Ok(Some(Paired::Known));
            }
            let (grant, lived_until) = match again {
                Some(known) => (known.grant.clone(), known.lived_until),
                None => row.granted(now, lived),
            };
            let device = NewDevice {
                key: &asking.device,
                psk: &asking.psk,
                name: &asking.request.name,
                platform: &asking.request.platform,
                grant: &grant,
                lived_until,
            };
            store::devices::pair(conn, &device, now)?;
            let request = &asking.request;
            let detail = json!({
                "name": request.name, "platform": request.platform,
                "offerId": request.offer_id, "approved": row.approve, "grant": grant,
            });
            // Of its own will a device gets a new key as often as it likes.
            let class = if again.is_some() {
                Class::Other
            } else {
                Class::Security
            };
            core.audit_as(class, "device_paired", Some(&request.device_id), &detail)?;
            let is_new = before.is_none_or(|known| known.is_revoked);
            Ok(Some(if is_new {
                Paired::New(grant)
            } else {
                Paired::Again(grant)
            }))
        })?;
        let paired = paired.ok_or_else(|| gone(offer))?;
        let grant = match paired {
            Paired::Known => return Ok(()),
            Paired::Again(grant) => {
                tracing::info!(device = %asking.request.device_id, "paired again");
                self.apply_grant(&asking.device, &grant);
                return Ok(());
            }
            Paired::New(grant) => grant,
        };
        self.live.revoked.remove(&asking.device);
        tracing::info!(device = %asking.request.device_id, "paired");
        self.devices.send_replace(());
        let event = SessionEvent::DevicePaired {
            device: PairedDevice {
                device_id: asking.request.device_id.clone(),
                name: asking.request.name.clone(),
                platform: asking.request.platform.clone(),
                role: grant.role,
                paired_at: now,
            },
        };
        // The pairing holds all the same; the audit log has it.
        if let Err(error) = self.write_now(move |tx| tx.emit(Audience::Devices, &event)) {
            tracing::warn!(%error, "the other devices were not told of a pairing");
        }
        Ok(())
    }
}
