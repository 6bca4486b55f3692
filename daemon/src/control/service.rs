//! The methods of the daemon's owner: status, listings, devices, pairing (`docs/protocol.md` §8).

use std::{path::PathBuf, sync::Arc, time::Duration};

use bowline_protocol::{
    DeviceId, ServerId,
    error::RpcError,
    limits::PAIRING_TTL,
    methods::{Empty, name},
    model::UnixMillis,
};
use serde::{Deserialize, Serialize};

use super::offer::OfferMaker;
use crate::{
    clock::Clock,
    connection::{ConnectionInfo, LOCAL_METHODS, Registry},
    ledger::{DeviceInfo, LedgerCounters, SessionInfo},
    service::{Answer, AnswerFuture, Request, Service, answer},
};

/// Longest life of a pairing token; a longer wish is −32602.
const MAX_PAIRING_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

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
}

/// The service of the local socket.
#[derive(Debug)]
pub struct ControlService {
    about: About,
    offers: OfferMaker,
    registry: Arc<Registry>,
    clock: Clock,
    started: bowline_machines::Moment,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    #[serde(flatten)]
    about: &'a About,
    uptime_ms: u64,
    sessions: usize,
    connections: usize,
    connections_total: u64,
    devices: usize,
    ledger: LedgerCounters,
}

#[derive(Serialize)]
struct Connections {
    connections: Vec<ConnectionInfo>,
}

#[derive(Serialize)]
struct Sessions {
    sessions: Vec<SessionInfo>,
}

#[derive(Serialize)]
struct Devices {
    devices: Vec<DeviceInfo>,
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
    pub fn new(about: About, offers: OfferMaker, registry: Arc<Registry>, clock: Clock) -> Self {
        let started = clock.now();
        Self {
            about,
            offers,
            registry,
            clock,
            started,
        }
    }
}

impl Service for Arc<ControlService> {
    fn methods(&self) -> &'static [&'static str] {
        LOCAL_METHODS
    }

    fn call(&self, request: Request) -> AnswerFuture {
        let control = Arc::clone(self);
        Box::pin(async move { control.respond(request).await })
    }
}

impl ControlService {
    async fn respond(&self, request: Request) -> Answer {
        let ledger = &request.context.ledger;
        match &*request.method {
            name::DAEMON_STATUS => {
                let uptime = self.clock.now().since(self.started);
                let (connections, connections_total) = self.registry.counts();
                answer(&Status {
                    about: &self.about,
                    uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
                    sessions: ledger.sessions().await?.len(),
                    connections,
                    connections_total,
                    devices: ledger
                        .devices()
                        .await?
                        .iter()
                        .filter(|device| !device.revoked)
                        .count(),
                    ledger: ledger.counters(),
                })
            }
            name::CONNECTIONS_LIST => answer(&Connections {
                connections: self.registry.list(self.clock.now()),
            }),
            name::SESSIONS_LIST => answer(&Sessions {
                sessions: ledger.sessions().await?,
            }),
            name::DEVICES_LIST => answer(&Devices {
                devices: ledger.devices().await?,
            }),
            name::DEVICES_REVOKE => {
                let revoke: Revoke = request.params()?;
                ledger.revoke(revoke.device_id).await?;
                answer(&Empty {})
            }
            name::PAIRING_CREATE => {
                let wish: CreatePairing = request.params()?;
                let ttl = wish.ttl_seconds.map_or(PAIRING_TTL, Duration::from_secs);
                if ttl.is_zero() || ttl > MAX_PAIRING_TTL {
                    return Err(RpcError::invalid_params(format!(
                        "`ttlSeconds` must be from 1 to {}",
                        MAX_PAIRING_TTL.as_secs()
                    )));
                }
                let pairing = ledger.create_pairing(ttl).await?;
                answer(&Pairing {
                    offer: self.offers.offer(&pairing).to_string(),
                    expires_at: pairing.expires_at,
                })
            }
            other => Err(RpcError::method_not_found(other)),
        }
    }
}
