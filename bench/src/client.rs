//! Clients built from the app's own parts: the runtime's dialer, links and `ClientHandle`.

use std::{future::poll_fn, net::SocketAddr, sync::Arc, time::Instant};

use bowline_protocol::{
    ClientSessionKey, DeviceKey, Offer, Purpose, Reason, Resume, RouteKey,
    handshake::{Accepted, ClientInfo},
    identity::{PresharedKey, random_bytes},
    methods::{Empty, Pong, name},
    rpc::{self, Incoming, Text},
};
use bowline_runtime::{
    client::{ClientEvent, ClientHandle, Cursor, Dialer},
    machines::{
        Generation, Path,
        client::connection::{ClientConfig, State},
    },
    pair_with,
    transport::{
        Address, Connector, Target, WebSocketConnector,
        link::{Credentials, Link},
    },
};
use bowline_testkit::world::DaemonProcess;
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    Outcome,
    process::{DEADLINE, control, offer},
    stats::{calls, per_second, share},
};

/// Inbox capacity of a client whose reports are not read during a measurement.
const INBOX: usize = 65_536;

/// Creates devices that dial one daemon.
pub(super) struct Devices {
    connector: Arc<dyn Connector>,
    address: SocketAddr,
}

impl Devices {
    /// Devices of this daemon.
    ///
    /// # Errors
    /// No connector can be created.
    pub(super) fn of(daemon: &DaemonProcess) -> Outcome<Self> {
        Ok(Self {
            connector: Arc::new(WebSocketConnector::new(&[])?),
            address: daemon.address(),
        })
    }

    /// Pairs a new device with a new session, then closes the connection.
    ///
    /// # Errors
    /// The daemon refuses.
    pub(super) async fn pair(&self, offer: Offer) -> Outcome<Dialer> {
        let client_session_key = ClientSessionKey::from_random(random_bytes()?);
        let device_key = DeviceKey::from_private(random_bytes()?);
        let mut dialer = Dialer {
            connector: Arc::clone(&self.connector),
            target: Target {
                address: Address {
                    path: Path::Direct,
                    address: self.address.to_string(),
                },
                route_key: RouteKey::of_device(&device_key.public(), &offer.server_id),
                server_id: offer.server_id.clone(),
            },
            credentials: Credentials {
                device_key,
                transport_key: offer.transport_key,
                psk: PresharedKey::NONE,
            },
            client_session_key,
            client: ClientInfo {
                name: "bowline-bench".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                platform: std::env::consts::OS.to_owned(),
            },
            cursor: Cursor::default(),
            pairing: None,
        };
        dialer.credentials.psk = pair_with(&offer, &dialer).await?;
        let (link, _) = attach(&dialer).await?;
        link.close(Reason::ClosedLocally).await;
        Ok(dialer)
    }
}

/// Pairs a new device with a daemon.
///
/// # Errors
/// As [`Devices::pair`].
pub(super) async fn paired(daemon: &DaemonProcess) -> Outcome<Dialer> {
    let offer = offer(&control(daemon).await?).await?;
    Devices::of(daemon)?.pair(offer).await
}

/// Attaches to the device's session and waits for the daemon's first answer.
///
/// # Errors
/// The daemon closes instead of answering.
pub(super) async fn attach(dialer: &Dialer) -> Outcome<(Link, Accepted)> {
    let (mut link, accepted) = dialer.dial(Purpose::Session).await?;
    ready(&mut link).await?;
    Ok((link, accepted))
}

/// A dialer that resumes the session of this welcome, with everything up to it applied.
///
/// # Errors
/// The welcome belongs to a probe.
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

/// Sends `session.ready` and waits for the answer to a first request.
///
/// # Errors
/// The daemon closes instead of answering.
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

/// The same device and session through a relay.
pub(super) fn through(dialer: &Dialer, relay: &str) -> Dialer {
    let mut dialer = dialer.clone();
    dialer.target.address = Address {
        path: Path::Relay,
        address: relay.to_owned(),
    };
    dialer
}

/// A connected [`ClientHandle`] and its events.
pub(super) struct Connected {
    pub(super) client: ClientHandle,
    pub(super) inbox: mpsc::Receiver<ClientEvent>,
    pub(super) accepted: Arc<Accepted>,
}

impl Connected {
    /// Starts a client on the current tokio runtime and waits until it is connected.
    ///
    /// # Errors
    /// The client does not connect.
    pub(super) async fn open(dialer: Dialer) -> Outcome<Self> {
        let (owner, mut inbox) = mpsc::channel(INBOX);
        let config = ClientConfig::new(dialer.target.address.path, 1);
        let client = ClientHandle::spawn(dialer, config, Generation::ZERO, owner);
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
                ClientEvent::State { .. } | ClientEvent::Events(_) | ClientEvent::Suspected(_) => {}
            }
        }
    }

    /// Makes `count` calls of `system.ping` by `window` tasks. Returns the time of each in
    /// microseconds.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub(super) async fn pings(&self, count: usize, window: usize) -> Outcome<Vec<f64>> {
        let client = self.client.clone();
        let ping = move || {
            let client = client.clone();
            async move {
                let _: Pong = client.call(name::SYSTEM_PING, &Empty {}).await?;
                Ok(())
            }
        };
        calls(count, window, ping).await
    }

    /// Makes `count` calls of `system.ping` by `window` tasks. Returns the calls per second. No
    /// clock is read for a single call, as none is read for a bare peer's message.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub(super) async fn ping_rate(&self, count: usize, window: usize) -> Outcome<f64> {
        let mut tasks = JoinSet::new();
        let start = Instant::now();
        for n in 0..window {
            let client = self.client.clone();
            let share = share(count, window, n);
            tasks.spawn(async move {
                for _ in 0..share {
                    let _: Pong = client.call(name::SYSTEM_PING, &Empty {}).await?;
                }
                Outcome::Ok(())
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(per_second(count, start.elapsed()))
    }
}
