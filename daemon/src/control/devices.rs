//! The owner's methods for devices: what each may do, revocation, the audit log, the lock (TR-4,
//! TR-5, TR-15; `docs/protocol.md` §8).

use std::sync::Arc;

use bowline_protocol::{
    DeviceId, Grant, Reason,
    error::RpcError,
    methods::{Empty, name},
    model::UnixMillis,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::service::{ControlService, max};
use crate::{
    ledger::{self, DeviceInfo, Tx},
    rpc::{Bounded, ListParams, Listed, page_bytes, page_rows},
    service::{Methods, Request, RevokedDevice},
};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Revoke {
    device_id: DeviceId,
    #[serde(default)]
    keep_turns: bool,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Revoked {
    turns_ended: u64,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Set {
    device_id: DeviceId,
    grant: Grant,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AuditWanted {
    after: Option<u64>,
    limit: Option<u32>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct AuditPage {
    #[schemars(with = "Vec<crate::store::audit::AuditEntry>")]
    entries: Vec<Box<RawValue>>,
    has_more: bool,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Lock {
    #[serde(skip_serializing_if = "Option::is_none")]
    locked_at: Option<UnixMillis>,
    changed: bool,
}

/// Adds the methods.
pub(super) fn methods(methods: &mut Methods<ControlService>) {
    methods
        .method(name::DEVICES_LIST, ControlService::devices)
        .owner_only();
    methods
        .method(name::DEVICES_REVOKE, ControlService::revoke)
        .owner_only();
    methods
        .method(name::DEVICES_SET, ControlService::set)
        .owner_only();
    methods
        .method(name::AUDIT_LIST, ControlService::audit)
        .owner_only();
    methods
        .method(name::DAEMON_LOCK, ControlService::lock)
        .owner_only();
    methods
        .method(name::DAEMON_UNLOCK, ControlService::unlock)
        .owner_only();
}

/// A grant with bounded lists, whose folders can be compared.
pub(super) fn checked(grant: &Grant) -> Result<(), RpcError> {
    grant
        .check()
        .map_err(|error| RpcError::invalid_params(error.to_string()))?;
    let mut roots = grant.roots.iter().flatten();
    match roots.find(|root| !std::path::Path::new(root).is_absolute()) {
        Some(root) => Err(RpcError::invalid_params(format!(
            "a folder of a grant must be an absolute path on the daemon's machine; `{root}` is not"
        ))),
        None => Ok(()),
    }
}

/// What the owner is told of a revocation. Whatever went wrong, the device is out.
fn told(revoked: &ledger::Revoked, ended: Result<u64, RpcError>) -> Result<u64, RpcError> {
    let mut wrong = Vec::new();
    if let Some(error) = &revoked.not_stored {
        let what = "that could not be stored and holds until the daemon ends, so revoke the device again once there is space";
        wrong.push((what, error));
    }
    if let Some(error) = &revoked.not_kept {
        wrong.push(("what it asked for could not be kept", error));
    }
    if let Err(error) = &ended {
        wrong.push(("not all that it asked for has ended", error));
    }
    let Some((_, first)) = wrong.first() else {
        return ended;
    };
    let mut text = "the device is revoked, but".to_owned();
    for (n, (what, error)) in wrong.iter().enumerate() {
        let and = if n == 0 { "" } else { "; and" };
        text.push_str(&format!("{and} {what} ({})", error.message));
    }
    if let Ok(ended @ 1..) = ended {
        text.push_str(&format!("; its {ended} turns are ended"));
    }
    Err(RpcError {
        message: text,
        ..RpcError::clone(first)
    })
}

impl ControlService {
    async fn devices(
        self: Arc<Self>,
        request: Request,
        wanted: ListParams,
    ) -> Result<Listed<DeviceInfo>, RpcError> {
        let rows = request.ledger().devices().await?;
        wanted.page(
            "devices",
            rows,
            |row| (row.paired_at.cast_unsigned(), row.device_id.as_str()),
            max(&request),
        )
    }

    async fn revoke(
        self: Arc<Self>,
        request: Request,
        revoke: Revoke,
    ) -> Result<Revoked, RpcError> {
        let Revoke {
            device_id,
            keep_turns,
        } = revoke;
        let ledger = request.ledger().clone();
        // To its end, even if nobody waits for the answer any more.
        let revoking = tokio::spawn(async move {
            let revoked = if keep_turns {
                let (hooks, of) = (self.hooks.clone(), device_id.clone());
                let keep = move |tx: &mut Tx<'_>| hooks.keep_work_of(tx, &of);
                ledger.revoke_keeping(device_id.clone(), keep).await?
            } else {
                ledger.revoke(device_id.clone()).await?
            };
            // Probes and pairings belong to no session.
            self.registry
                .close_device(&device_id, Reason::DeviceRevoked);
            let device = RevokedDevice {
                device_id,
                key: revoked.device,
            };
            // What could not be kept ends, so that nothing goes on that no device stands for.
            let is_kept = keep_turns && revoked.not_kept.is_none();
            let ended = match is_kept {
                true => Ok(0),
                false => self.hooks.end_work_of(&device).await,
            };
            told(&revoked, ended)
        });
        let turns_ended = revoking
            .await
            .map_err(|error| RpcError::internal(error.to_string()))??;
        Ok(Revoked { turns_ended })
    }

    async fn set(self: Arc<Self>, request: Request, set: Set) -> Result<Empty, RpcError> {
        checked(&set.grant)?;
        request.ledger().set_grant(set.device_id, set.grant).await?;
        Ok(Empty {})
    }

    async fn audit(
        self: Arc<Self>,
        request: Request,
        wanted: AuditWanted,
    ) -> Result<AuditPage, RpcError> {
        let limit = page_rows(wanted.limit);
        // One row more than the page shows whether there are more.
        let most = u32::try_from(limit.saturating_add(1)).unwrap_or(u32::MAX);
        let mut rows = request.ledger().audit_log(wanted.after, most).await?;
        let newest = wanted.after.is_none();
        if newest {
            rows.reverse();
        }
        let mut page = Bounded::new(limit, page_bytes(max(&request)));
        let shown = rows.iter().take_while(|row| page.add(row)).count();
        let mut entries = page.finish()?;
        if newest {
            entries.reverse();
        }
        Ok(AuditPage {
            entries,
            has_more: shown < rows.len(),
        })
    }

    async fn lock(self: Arc<Self>, request: Request, _: Empty) -> Result<Lock, RpcError> {
        let changed = request.ledger().lock().await;
        // Also if the lock could not be stored.
        if request.ledger().locked_at().is_some() {
            self.registry.close_devices(Reason::DaemonLocked);
        }
        let changed = changed?;
        Ok(Lock {
            locked_at: request.ledger().locked_at(),
            changed,
        })
    }

    async fn unlock(self: Arc<Self>, request: Request, _: Empty) -> Result<Lock, RpcError> {
        let changed = request.ledger().unlock().await?;
        Ok(Lock {
            locked_at: request.ledger().locked_at(),
            changed,
        })
    }
}
