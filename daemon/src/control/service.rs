//! The methods of the daemon's owner: status, listings, devices, pairing (`docs/protocol.md` §8).

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use bowline_machines::MonotonicTime;
use bowline_protocol::{
    Reason, ServerId,
    error::RpcError,
    methods::{Empty, name},
    model::UnixMillis,
};
use schemars::JsonSchema;
use serde::Serialize;

use super::offer::OfferMaker;
use crate::{
    clock::Clock,
    connection::{ConnectionInfo, ConnectionRegistry},
    ledger::{LedgerCounters, SessionInfo},
    relay::{RelayInfo, RelayStatus},
    rpc::{ListParams, Listed, RequestStats},
    service::{Hooks, Methods, Request, Service},
};

/// Constants of a running daemon.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// `serverId`.
    pub server_id: ServerId,
    /// Name for people.
    pub name: String,
    /// Version of the program.
    pub version: &'static str,
    /// Id of the process.
    pub pid: u32,
    /// Its state directory.
    pub state_dir: PathBuf,
    /// Session listeners, as bound.
    pub listen: Vec<std::net::SocketAddr>,
    /// The local socket.
    pub socket: PathBuf,
    /// Address of `GET /metrics`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<std::net::SocketAddr>,
}

/// The service of the local socket.
pub struct ControlService {
    pub(crate) about: About,
    pub(crate) offers: OfferMaker,
    pub(crate) registry: Arc<ConnectionRegistry>,
    pub(crate) relays: RelayStatus,
    pub(crate) stats: RequestStats,
    pub(crate) clock: Clock,
    pub(crate) hooks: Hooks,
    /// When the daemon started.
    pub(crate) started: MonotonicTime,
}

#[derive(Serialize, JsonSchema)]
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
    locked_at: Option<UnixMillis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_failing_since: Option<UnixMillis>,
    ledger: LedgerCounters,
}

/// Requests since the start of the process.
#[derive(Serialize, JsonSchema)]
struct RequestTotals {
    /// Answered with a result.
    ok: u64,
    /// Answered with an error, or closed before the response.
    failed: u64,
    /// In progress.
    pending: u64,
}

impl Service for ControlService {
    fn methods(methods: &mut Methods<Self>) {
        methods.method(name::DAEMON_STATUS, Self::status);
        methods.method(name::CONNECTIONS_LIST, Self::connections);
        methods.method(name::SESSIONS_LIST, Self::sessions);
        super::devices::methods(methods);
        super::pairing::methods(methods);
        methods.local_only();
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
            locked_at: ledger.locked_at(),
            storage_failing_since: ledger.failing_since(),
            ledger: ledger.counters(),
        })
    }

    async fn connections(
        self: Arc<Self>,
        request: Request,
        wanted: ListParams,
    ) -> Result<Listed<ConnectionInfo>, RpcError> {
        let rows = self.registry.list(self.clock.now());
        wanted.page("connections", rows, |row| (row.id, ""), max(&request))
    }

    async fn sessions(
        self: Arc<Self>,
        request: Request,
        wanted: ListParams,
    ) -> Result<Listed<SessionInfo>, RpcError> {
        let rows = request.ledger().sessions().await?;
        wanted.page("sessions", rows, |row| (row.number, ""), max(&request))
    }
}

/// The caller's limit of a message.
pub(super) const fn max(request: &Request) -> usize {
    request.context().max_message_bytes as usize
}
