//! Clients made of the same parts as in an app: the runtime's dialer, links and `DaemonClient`.

use std::{future::poll_fn, net::SocketAddr, sync::Arc};

use bowline_protocol::{
    ClientSessionKey, DeviceKey, Offer, Purpose, Reason, Resume,
    handshake::{Accepted, ClientInfo},
    identity::random_bytes,
    methods::{Empty, name},
    rpc::{self, Incoming, Text},
};
use bowline_runtime::{
    client::{ClientEvent, Cursor, DaemonClient, Dialer},
    machines::{
        Generation, Path,
        client::{ClientConfig, State},
    },
    transport::{
        Address, Connector, Target, WebSocketConnector,
        link::{Credentials, Link},
    },
};
use tokio::sync::mpsc;

use super::{
    Outcome,
    process::{DEADLINE, control, offer},
};
use crate::world::DaemonProcess;

/// Room for reports of a client that nobody reads while it is measured.
const INBOX: usize = 65_536;

/// Makes devices that dial one daemon.
pub(super) struct Devices {
    connector: Arc<dyn Connector>,
    address: SocketAddr,
}

impl Devices {
    /// For that daemon.
    ///
    /// # Errors
    /// When no connector can be made.
    pub(super) fn of(daemon: &DaemonProcess) -> Outcome<Self> {
        Ok(Self {
            connector: Arc::new(WebSocketConnector::new(&[])?),
            address: daemon.address(),
        })
    }

    /// Pairs a new device with a new session, and hangs up.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub(super) async fn pair(&self, offer: Offer) -> Outcome<Dialer> {
        let client_session_key = ClientSessionKey::from_random(random_bytes()?);
        let mut dialer = Dialer {
            connector: Arc::clone(&self.connector),
            target: Target {
                address: Address {
                    path: Path::Direct,
                    address: self.address.to_string(),
                },
                route_key: client_session_key.route_key(&offer.server_id),
                server_id: offer.server_id,
            },
            credentials: Credentials {
                device_key: DeviceKey::from_private(random_bytes()?),
                transport_key: offer.transport_key,
            },
            client_session_key,
            client: ClientInfo {
                name: "bowline-bench".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                platform: std::env::consts::OS.to_owned(),
            },
            cursor: Cursor::default(),
            pairing_token: Some(offer.token.to_string()),
        };
        let (link, _) = attach(&dialer).await?;
        link.close(Reason::ClosedLocally).await;
        dialer.pairing_token = None;
        Ok(dialer)
    }
}

/// A paired device of a daemon.
///
/// # Errors
/// As [`Devices::pair`].
pub(super) async fn paired(daemon: &DaemonProcess) -> Outcome<Dialer> {
    let offer = offer(&mut control(daemon)?)?;
    Devices::of(daemon)?.pair(offer).await
}

/// Attaches to the device's session, until the daemon has answered a request on it.
///
/// # Errors
/// When it does not.
pub(super) async fn attach(dialer: &Dialer) -> Outcome<(Link, Accepted)> {
    let (mut link, accepted) = dialer.dial(Purpose::Session).await?;
    ready(&mut link).await?;
    Ok((link, accepted))
}

/// The same dialer, for a client that has applied everything up to this welcome: it resumes its session.
///
/// # Errors
/// When the welcome is a probe's.
pub(super) fn resuming(dialer: &Dialer, welcome: &Accepted) -> Outcome<Dialer> {
    let session = welcome.session.as_ref();
    let session = session.ok_or("a welcome without a session")?;
    let cursor = Cursor::at(Resume {
        epoch: session.epoch.clone(),
        last_seq: session.next_seq.saturating_sub(1),
        stamp: session.stamp.clone(),
    });
    Ok(Dialer {
        cursor,
        ..dialer.clone()
    })
}

/// Says `session.ready` and waits for the answer to a first request.
///
/// # Errors
/// When the daemon closes instead.
pub(super) async fn ready(link: &mut Link) -> Outcome<()> {
    let mut text = Vec::new();
    rpc::write_notification(&mut text, name::SESSION_READY, &Empty {})?;
    link.queue(&text)
        .map_err(|closed| closed.reason().as_str())?;
    text.clear();
    rpc::write_request(&mut text, 1, name::SYSTEM_PING, &Empty {})?;
    link.queue(&text)
        .map_err(|closed| closed.reason().as_str())?;
    poll_fn(|cx| link.poll_flush(cx))
        .await
        .map_err(|closed| closed.reason().as_str())?;
    let mut buffer = Vec::new();
    loop {
        let text = poll_fn(|cx| link.poll_recv(cx, &mut buffer).map_ok(<[u8]>::to_vec))
            .await
            .map_err(|closed| closed.reason().as_str())?;
        if let Ok(Text::Single(Incoming::Response(_))) = rpc::parse(&text) {
            return Ok(());
        }
    }
}

/// The same device and session by way of a relay.
pub(super) fn through(dialer: &Dialer, relay: &str) -> Dialer {
    let mut dialer = dialer.clone();
    dialer.target.address = Address {
        path: Path::Relay,
        address: relay.to_owned(),
    };
    dialer
}

/// A connected [`DaemonClient`] and what it reports.
pub(super) struct Connected {
    pub(super) client: DaemonClient,
    pub(super) inbox: mpsc::Receiver<ClientEvent>,
    pub(super) accepted: Arc<Accepted>,
}

impl Connected {
    /// Starts a client on the current tokio runtime and waits until it is connected.
    ///
    /// # Errors
    /// When it does not.
    pub(super) async fn open(dialer: Dialer) -> Outcome<Self> {
        let (owner, mut inbox) = mpsc::channel(INBOX);
        let config = ClientConfig::new(dialer.target.address.path, 1);
        let client = DaemonClient::spawn(dialer, config, Generation::ZERO, owner);
        client.ensure_connected();
        loop {
            let event = tokio::time::timeout(DEADLINE, inbox.recv()).await?;
            match event.ok_or("the client ended")? {
                ClientEvent::State {
                    state: State::Connected { .. },
                    accepted: Some(accepted),
                    ..
                } => {
                    return Ok(Self {
                        client,
                        inbox,
                        accepted,
                    });
                }
                ClientEvent::State {
                    failure: Some(failure),
                    ..
                } => return Err(failure.into()),
                ClientEvent::State { .. } | ClientEvent::Events(_) => {}
            }
        }
    }
}
