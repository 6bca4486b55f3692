//! The owner's methods of pairing: offers, the device that asks, the answer (TR-3,
//! `docs/protocol.md` §8).

use std::{sync::Arc, time::Duration};

use bowline_protocol::{
    DeviceId, Grant,
    error::RpcError,
    identity::OfferId,
    limits::PAIRING_TTL,
    methods::{Empty, name},
    model::UnixMillis,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    devices::checked,
    service::{ControlService, max},
};
use crate::{
    ledger::{OfferedGrant, OpenOffer, PairingRequest},
    rpc::{ListParams, Listed},
    service::{Methods, Request},
};

/// Longest life of an offer; a longer one is refused with −32602.
pub(crate) const MAX_PAIRING_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

/// Longest wait of `pairing.wait`, and the one without `waitMs`.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Create {
    ttl_seconds: Option<u64>,
    #[serde(default)]
    approve: bool,
    #[serde(default)]
    grant: Grant,
    device_ttl_seconds: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Created {
    offer_id: OfferId,
    offer: String,
    expires_at: UnixMillis,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OneOffer {
    offer_id: OfferId,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wait {
    offer_id: OfferId,
    wait_ms: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
struct Waited {
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<PairingRequest>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Approve {
    offer_id: OfferId,
    device_id: DeviceId,
    code: String,
}

/// Adds the methods.
pub(super) fn methods(methods: &mut Methods<ControlService>) {
    methods
        .method(name::PAIRING_CREATE, ControlService::create_offer)
        .owner_only();
    methods
        .method(name::PAIRING_LIST, ControlService::offers)
        .owner_only();
    methods
        .method(name::PAIRING_CANCEL, ControlService::cancel_offer)
        .owner_only();
    methods
        .method(name::PAIRING_WAIT, ControlService::wait_for_device)
        .owner_only();
    methods
        .method(name::PAIRING_APPROVE, ControlService::approve)
        .owner_only();
    methods
        .method(name::PAIRING_REFUSE, ControlService::refuse_device)
        .owner_only();
}

impl ControlService {
    async fn create_offer(
        self: Arc<Self>,
        request: Request,
        wish: Create,
    ) -> Result<Created, RpcError> {
        let ttl = wish.ttl_seconds.map_or(PAIRING_TTL, Duration::from_secs);
        if ttl.is_zero() || ttl > MAX_PAIRING_TTL {
            return Err(RpcError::invalid_params(format!(
                "`ttlSeconds` must be from 1 to {}",
                MAX_PAIRING_TTL.as_secs()
            )));
        }
        checked(&wish.grant)?;
        if wish.grant.expires_at.is_some() {
            return Err(RpcError::invalid_params(
                "an offer's grant has no `expiresAt`: `deviceTtlSeconds` counts from the pairing on",
            ));
        }
        let grant = OfferedGrant {
            grant: wish.grant,
            ttl: wish.device_ttl_seconds.map(Duration::from_secs),
        };
        let ledger = request.ledger();
        let pairing = ledger.create_pairing(ttl, wish.approve, grant).await?;
        Ok(Created {
            offer: self.offers.offer(&pairing).to_string(),
            offer_id: pairing.id,
            expires_at: pairing.expires_at,
        })
    }

    async fn offers(
        self: Arc<Self>,
        request: Request,
        wanted: ListParams,
    ) -> Result<Listed<OpenOffer>, RpcError> {
        let rows = request.ledger().offers().await?;
        wanted.page(
            "offers",
            rows,
            |row| {
                (
                    row.offer.created_at.cast_unsigned(),
                    row.offer.offer_id.as_str(),
                )
            },
            max(&request),
        )
    }

    async fn cancel_offer(
        self: Arc<Self>,
        request: Request,
        which: OneOffer,
    ) -> Result<Empty, RpcError> {
        request.ledger().cancel_offer(which.offer_id).await?;
        Ok(Empty {})
    }

    async fn wait_for_device(
        self: Arc<Self>,
        request: Request,
        wait: Wait,
    ) -> Result<Waited, RpcError> {
        let longest = wait.wait_ms.map_or(LONGEST_WAIT, Duration::from_millis);
        let asking = request
            .ledger()
            .wait_for_device(wait.offer_id, longest.min(LONGEST_WAIT))
            .await?;
        Ok(Waited { request: asking })
    }

    async fn approve(
        self: Arc<Self>,
        request: Request,
        yes: Approve,
    ) -> Result<PairingRequest, RpcError> {
        request
            .ledger()
            .approve(yes.offer_id, yes.device_id, yes.code)
            .await
    }

    async fn refuse_device(
        self: Arc<Self>,
        request: Request,
        which: OneOffer,
    ) -> Result<Empty, RpcError> {
        request.ledger().refuse_pairing(which.offer_id).await?;
        Ok(Empty {})
    }
}
