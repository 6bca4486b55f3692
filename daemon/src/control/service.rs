//! The methods of the daemon's owner: status, listings, devices, pairing (`docs/protocol.md` §8).

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use bowline_protocol::{
    DeviceId, Reason, ServerId,
    error::RpcError,
    limits::PAIRING_TTL,
    methods::{Empty, name},
    model::UnixMillis,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::offer::OfferMaker;
use crate::{
    clock::Clock,
    connection::Registry,
    ledger::LedgerCounters,
    metrics::RequestStats,
    relay::{RelayBoard, RelayInfo},
    service::{ListParams, Listed, Methods, Request, Service},
};

/// Longest life of a pairing token; a longer wish is −32602.
pub(crate) const MAX_PAIRING_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

/// What does not change while the daemon runs.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// `serverId`.
    pub server_id: ServerId,
    /// For people.
    pub name: String,
    /// Of the program.
    pub version: &'static str,
    /// Of the process.
    pub pid: u32,
    /// Where its files are.
    pub state_dir: PathBuf,
    /// Session listeners, as bound.
    pub listen: Vec<std::net::SocketAddr>,
    /// The local socket.
    pub socket: PathBuf,
    /// Where `GET /metrics` is answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<std::net::SocketAddr>,
}

/// The service of the local socket.
#[derive(Debug)]
pub struct ControlService {
    about: About,
    offers: OfferMaker,
    registry: Arc<Registry>,
    relays: RelayBoard,
    stats: RequestStats,
    clock: Clock,
    started: bowline_machines::Moment,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(flatten)]
    about: About,
    uptime_ms: u64,
    sessions: usize,
    sessions_attached: usize,
    connections: usize,
    connections_total: u64,
    devices: usize,
    requests: RequestTotals,
    bytes_in: u64,
    bytes_out: u64,
    closed: BTreeMap<Reason, u64>,
    relays: Vec<RelayInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_failing_since: Option<UnixMillis>,
    ledger: LedgerCounters,
}

/// Requests since the start of the process.
#[derive(Serialize)]
struct RequestTotals {
    /// With a result.
    ok: u64,
    /// With an error, or whose connection ended first.
    failed: u64,
    /// Being worked on.
    pending: u64,
}

/// A page of `connections.list`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Connections {
    connections: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// A page of `sessions.list`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sessions {
    sessions: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// A page of `devices.list`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Devices {
    devices: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Revoke {
    device_id: DeviceId,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CreatePairing {
    ttl_seconds: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pairing {
    offer: String,
    expires_at: UnixMillis,
}

impl ControlService {
    /// The service of a daemon that has just started.
    pub fn new(
        about: About,
        offers: OfferMaker,
        registry: Arc<Registry>,
        relays: RelayBoard,
        stats: RequestStats,
        clock: Clock,
    ) -> Self {
        let started = clock.now();
        Self {
            about,
            offers,
            registry,
            relays,
            stats,
            clock,
            started,
        }
    }
}

impl Service for ControlService {
    fn methods(methods: &mut Methods<Self>) {
        methods
            .method(name::DAEMON_STATUS, Self::status)
            .local_only();
        methods
            .method(name::CONNECTIONS_LIST, Self::connections)
            .local_only();
        methods
            .method(name::SESSIONS_LIST, Self::sessions)
            .local_only();
        methods
            .method(name::DEVICES_LIST, Self::devices)
            .local_only();
        methods
            .method(name::DEVICES_REVOKE, Self::revoke)
            .local_only();
        methods
            .method(name::PAIRING_CREATE, Self::pair)
            .local_only();
    }
}

impl ControlService {
    async fn status(self: Arc<Self>, request: Request, _: Empty) -> Result<Status, RpcError> {
        let ledger = request.ledger();
        let now = self.clock.now();
        let uptime = now.since(self.started);
        let (connections, connections_total) = self.registry.counts();
        let moved = self.registry.totals();
        let (ok, failed) = self.stats.totals();
        let rows = self.registry.list(now);
        let devices = ledger.devices().await?;
        let sessions = ledger.session_counts().await?;
        Ok(Status {
            about: self.about.clone(),
            uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
            sessions: sessions.attached + sessions.detached,
            sessions_attached: sessions.attached,
            connections,
            connections_total,
            devices: devices.iter().filter(|device| !device.revoked).count(),
            requests: RequestTotals {
                ok,
                failed,
                pending: rows.iter().map(|row| u64::from(row.pending)).sum(),
            },
            bytes_in: moved.values().map(|total| total.bytes_in).sum(),
            bytes_out: moved.values().map(|total| total.bytes_out).sum(),
            closed: self.registry.closed(),
            relays: self.relays.list(),
            storage_failing_since: ledger.failing_since(),
            ledger: ledger.counters(),
        })
    }

    async fn connections(
        self: Arc<Self>,
        request: Request,
        wanted: ListParams,
    ) -> Result<Connections, RpcError> {
        let rows = self.registry.list(self.clock.now());
        let Listed { rows, next_cursor } = wanted.page(rows, |row| (row.id, ""), max(&request))?;
        Ok(Connections {
            connections: rows,
            next_cursor,
        })
    }

    async fn sessions(
        self: Arc<Self>,
        request: Request,
        wanted: ListParams,
    ) -> Result<Sessions, RpcError> {
        let rows = request.ledger().sessions().await?;
        let Listed { rows, next_cursor } =
            wanted.page(rows, |row| (row.number, ""), max(&request))?;
        Ok(Sessions {
            sessions: rows,
            next_cursor,
        })
    }

    async fn devices(
        self: Arc<Self>,
        request: Request,
        wanted: ListParams,
    ) -> Result<Devices, RpcError> {
        let rows = request.ledger().devices().await?;
        let Listed { rows, next_cursor } = wanted.page(
            rows,
            |row| (row.paired_at.cast_unsigned(), row.device_id.as_str()),
            max(&request),
        )?;
        Ok(Devices {
            devices: rows,
            next_cursor,
        })
    }

    async fn revoke(self: Arc<Self>, request: Request, revoke: Revoke) -> Result<Empty, RpcError> {
        request.ledger().revoke(revoke.device_id).await?;
        Ok(Empty {})
    }

    async fn pair(
        self: Arc<Self>,
        request: Request,
        wish: CreatePairing,
    ) -> Result<Pairing, RpcError> {
        let ttl = wish.ttl_seconds.map_or(PAIRING_TTL, Duration::from_secs);
        if ttl.is_zero() || ttl > MAX_PAIRING_TTL {
            return Err(RpcError::invalid_params(format!(
                "`ttlSeconds` must be from 1 to {}",
                MAX_PAIRING_TTL.as_secs()
            )));
        }
        let pairing = request.ledger().create_pairing(ttl).await?;
        Ok(Pairing {
            offer: self.offers.offer(&pairing).to_string(),
            expires_at: pairing.expires_at,
        })
    }
}

/// The largest message of whoever asks.
const fn max(request: &Request) -> usize {
    request.context().max_message_bytes as usize
}
