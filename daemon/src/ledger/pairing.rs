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

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bowline_machines::MonotonicTime;
use bowline_protocol::{
    DeviceId, Grant, PublicKey, Reason, Refusal, RpcReason, SessionEvent,
    error::RpcError,
    handshake::PairingHello,
    identity::{OfferId, PairingNonce, PairingSecret, PresharedKey, pairing_code, random_bytes},
    methods::{Empty, PairingAsked, name},
    model::UnixMillis,
    offer::PairingToken,
    rpc,
    session_event::PairedDevice,
    text,
};
use serde::Serialize;
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{
    Ledger, NewPairing, OfferInfo,
    admission::{LOCKED, refused},
    core::Core,
    queue::Job,
    types::{Admission, Audience, Promise},
};
use crate::{
    outbound::{ConnectionHandle, Frame},
    store::{
        self,
        audit::Class,
        devices::NewDevice,
        fault,
        offers::{NewOffer, OfferState},
    },
};

/// Longest time until a waiting caller notices that its offer has expired.
const OFFER_LOOK: Duration = Duration::from_secs(1);

/// Connections of one asking device that hear the answer; a further one replaces the oldest.
const LINKS: usize = 8;
/// Longest name and platform of a device in lists, in characters.
const MAX_NAME: usize = 64;

/// A device that asks to pair, for its owner.
#[derive(Clone, Debug, Serialize)]
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
#[derive(Clone, Debug, Serialize)]
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

/// What storing a pairing has changed.
enum Paired {
    /// Nothing: it had this key.
    Known,
    /// The key of a device that is paired, and maybe its grant.
    Again(Grant),
    /// The device is paired now.
    New(Grant),
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
pub(super) struct Checked {
    pub(super) psk: PresharedKey,
    pub(super) outcome: Result<bool, Refusal>,
}

impl Core {
    /// Checks a device that wants to pair. Only reads.
    pub(super) fn check_pairing(&self, device: &PublicKey, hello: &PairingHello) -> Checked {
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
    pub(super) fn ask_to_pair(
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

    /// Tells the devices whose offers have expired.
    pub(super) fn end_expired_pairings(&mut self, now: MonotonicTime) {
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
    fn open_offers(&self) -> Result<Vec<OpenOffer>, RpcError> {
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
    pub(super) fn asking(&self, offer: &OfferId) -> Result<Option<PairingRequest>, RpcError> {
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
    pub(super) fn approve(
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
    pub(super) fn refuse_pairing(&mut self, offer: &OfferId) -> Result<(), RpcError> {
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
    pub(super) fn cancel_offer(&mut self, offer: &OfferId) -> Result<(), RpcError> {
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
    pub(super) fn end_pairings_of(&mut self, device: &PublicKey) {
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
    pub(super) fn end_all_pairings(&mut self, reason: Reason) {
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

    fn store_pairing(&mut self, asking: &Asking) -> Result<(), RpcError> {
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

/// The client's description of itself, shortened for listings.
fn bounded(described: &str) -> String {
    described
        .chars()
        .filter(|c| !text::is_harmful(*c))
        .take(MAX_NAME)
        .collect()
}
