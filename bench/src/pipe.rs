//! A client socket and a daemon socket joined by a relay or the forwarder.
//!
//! Both ends are raw tungstenite sockets that speak the relay's wire protocol, so that the figure
//! covers the relay and neither daemon nor client. The same code loads relay and forwarder; they
//! differ only in the 5-byte lane header.

use std::net::SocketAddr;

use bowline_protocol::{
    DaemonIdentity, PublicKey, RouteKey, ServerId,
    identity::random_bytes,
    relay::{
        self, Binding, DaemonMessage, DataToken, Lane, LaneFrame, LaneHeader, LaneKind,
        Registration, RelayMessage, client_path, data_path, limits::CONTROL_QUEUE,
    },
};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio::{net::TcpStream, sync::mpsc, task::JoinHandle};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        http::{HeaderName, HeaderValue, header},
        protocol::WebSocketConfig,
    },
};

use super::{Outcome, peer::PeerProcess, stats::timed};
use bowline_testkit::world::{RelayOptions, RelayProcess};

/// One end.
pub(super) type Socket = WebSocketStream<TcpStream>;

/// Opens a WebSocket of the load, with small buffers to keep its own cost low.
///
/// # Errors
/// The connection is refused.
pub(super) async fn dial(
    address: SocketAddr,
    path: &str,
    headers: &[(HeaderName, &str)],
) -> Outcome<Socket> {
    let mut request = format!("ws://{address}{path}").into_client_request()?;
    for (name, value) in headers {
        let value = HeaderValue::from_str(value)?;
        request.headers_mut().insert(name, value);
    }
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default()
        .read_buffer_size(16 << 10)
        .write_buffer_size(16 << 10);
    Ok(client_async_with_config(request, stream, Some(config))
        .await?
        .0)
}

/// The next message, skipping pings and pongs.
///
/// # Errors
/// The socket ends.
pub(super) async fn next(socket: &mut Socket) -> Outcome<Bytes> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Binary(bytes))) => return Ok(bytes),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(other)) => return Err(format!("not binary: {other:?}").into()),
            Some(Err(error)) => return Err(error.into()),
            None => return Err("a socket ended".into()),
        }
    }
}

/// A real relay with a registered daemon.
pub(super) struct Relayed {
    pub(super) process: RelayProcess,
    server: ServerId,
    token: DataToken,
    /// Messages of the control socket.
    control: mpsc::Receiver<RelayMessage>,
    /// Reads the control socket continuously, as a daemon does; the relay needs the pongs.
    reading: JoinHandle<()>,
}

impl Drop for Relayed {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Relayed {
    /// Starts a relay without limits per address and registers a daemon.
    ///
    /// # Errors
    /// Either does not start.
    pub(super) async fn start() -> Outcome<Self> {
        let mut options = RelayOptions::default();
        options
            .args
            .extend(["--sockets-per-address=0", "--sockets-per-daemon=0"].map(str::to_owned));
        let process = RelayProcess::start(options).await?;
        let protocol = (header::SEC_WEBSOCKET_PROTOCOL, relay::SUBPROTOCOL);
        let mut control = dial(process.address(), relay::CONTROL_PATH, &[protocol]).await?;
        let identity = DaemonIdentity::from_seed(random_bytes()?)?;
        let RelayMessage::Challenge { nonce } = hear(&mut control).await? else {
            return Err("no challenge".into());
        };
        let binding = Binding {
            origin: process.url().parse()?,
            exporter: None,
        };
        let registration = Registration::answer(&identity, &nonce, binding, None);
        let answer = DaemonMessage::Register(Box::new(registration));
        control
            .send(Message::text(serde_json::to_string(&answer)?))
            .await?;
        let RelayMessage::Registered { data_token, .. } = hear(&mut control).await? else {
            return Err("not registered".into());
        };
        let RelayMessage::Sync { .. } = hear(&mut control).await? else {
            return Err("no sync".into());
        };
        let (heard, receiver) = mpsc::channel(CONTROL_QUEUE);
        let reading = tokio::spawn(async move {
            while let Ok(message) = hear(&mut control).await {
                if heard.send(message).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            process,
            server: identity.server_id().clone(),
            token: data_token,
            control: receiver,
            reading,
        })
    }

    /// The route key of a new session.
    ///
    /// # Errors
    /// No randomness is available.
    pub(super) fn route(&self) -> Outcome<RouteKey> {
        Ok(RouteKey::of_device(
            &PublicKey::from_bytes(random_bytes()?),
            &self.server,
        ))
    }

    /// Opens a client socket of a session.
    ///
    /// # Errors
    /// The relay refuses it.
    pub(super) async fn client(&self, route: &RouteKey) -> Outcome<Socket> {
        let protocol = (
            header::SEC_WEBSOCKET_PROTOCOL,
            bowline_protocol::SUBPROTOCOL,
        );
        let path = client_path(&self.server, route);
        dial(self.process.address(), &path, &[protocol]).await
    }

    /// Waits for the session's opening and opens the daemon's data socket.
    ///
    /// # Errors
    /// The control socket carries anything else.
    pub(super) async fn answer(&mut self, route: &RouteKey) -> Outcome<(Socket, Lane)> {
        loop {
            let said = self.control.recv().await;
            match said.ok_or("the control socket ended")? {
                RelayMessage::SessionOpened { session } if session == *route => break,
                // Belongs to an earlier, closed pipe.
                RelayMessage::SessionClosed { .. } => {}
                other => return Err(format!("not the session's opening: {other:?}").into()),
            }
        }
        let bearer = (header::AUTHORIZATION, &*self.token.to_header());
        let mut data = dial(self.process.address(), &data_path(route), &[bearer]).await?;
        match LaneFrame::decode(next(&mut data).await?)? {
            LaneFrame::Open { lane } => Ok((data, lane)),
            other => Err(format!("no lane was opened: {other:?}").into()),
        }
    }

    /// Opens a client socket and the daemon's data socket for it.
    ///
    /// # Errors
    /// The relay does not join them.
    pub(super) async fn pipe(&mut self) -> Outcome<Pipe> {
        let route = self.route()?;
        let client = self.client(&route).await?;
        let (daemon, lane) = self.answer(&route).await?;
        Ok(Pipe {
            client,
            daemon,
            lane: Some(lane),
        })
    }
}

async fn hear(control: &mut Socket) -> Outcome<RelayMessage> {
    loop {
        match control.next().await.ok_or("the control socket ended")?? {
            Message::Text(text) => return Ok(serde_json::from_str(&text)?),
            Message::Ping(_) | Message::Pong(_) => {}
            other => return Err(format!("not text: {other:?}").into()),
        }
    }
}

/// Direction of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the daemon to the client.
    Down,
    /// From the client to the daemon.
    Up,
}

/// Both ends.
pub(super) struct Pipe {
    pub(super) client: Socket,
    pub(super) daemon: Socket,
    /// `None` for the forwarder, which has no lanes.
    lane: Option<Lane>,
}

impl Pipe {
    /// Opens a pipe through the forwarder.
    ///
    /// # Errors
    /// The forwarder does not accept.
    pub(super) async fn forwarded(forwarder: &PeerProcess<SocketAddr>) -> Outcome<Self> {
        let address = forwarder.address;
        Ok(Self {
            client: dial(address, "/", &[]).await?,
            daemon: dial(address, "/", &[]).await?,
            lane: None,
        })
    }

    /// A message with the lane header of the daemon's socket.
    pub(super) fn in_lane(&self, payload: &[u8]) -> Bytes {
        let mut message = BytesMut::with_capacity(LaneHeader::LEN + payload.len());
        if let Some(lane) = self.lane {
            let kind = LaneKind::Data;
            message.put_slice(&LaneHeader { kind, lane }.to_bytes());
        }
        message.put_slice(payload);
        message.freeze()
    }

    /// Bytes that the lane header adds to a message.
    pub(super) const fn overhead(&self) -> usize {
        match self.lane {
            Some(_) => LaneHeader::LEN,
            None => 0,
        }
    }

    /// Sequential round trips from client to daemon and back. Returns the time of each in
    /// microseconds.
    ///
    /// # Errors
    /// A message arrives incomplete.
    pub(super) async fn round_trips(&mut self, size: usize, count: usize) -> Outcome<Vec<f64>> {
        let message = Bytes::from(vec![7; size]);
        Ok(timed!(count, {
            self.client.send(Message::Binary(message.clone())).await?;
            let heard = next(&mut self.daemon).await?;
            // Already has its lane header.
            self.daemon.send(Message::Binary(heard)).await?;
            let back = next(&mut self.client).await?;
            if back.len() != size {
                return Err(format!("{} bytes of {size} came back", back.len()).into());
            }
        }))
    }

    /// Sends `count` messages of `size` bytes in one direction, each flushed, and waits for the
    /// last.
    ///
    /// # Errors
    /// A message arrives incomplete.
    pub(super) async fn stream(&mut self, way: Way, size: usize, count: usize) -> Outcome<()> {
        let payload = vec![7; size];
        let (message, expected) = match way {
            Way::Down => (self.in_lane(&payload), size),
            Way::Up => (Bytes::from(payload), size + self.overhead()),
        };
        let (from, to) = match way {
            Way::Down => (&mut self.daemon, &mut self.client),
            Way::Up => (&mut self.client, &mut self.daemon),
        };
        let send = async {
            for _ in 0..count {
                from.send(Message::Binary(message.clone())).await?;
            }
            Outcome::Ok(())
        };
        let receive = async {
            for _ in 0..count {
                let heard = next(to).await?;
                if heard.len() != expected {
                    return Err(format!("{} bytes of {expected} arrived", heard.len()).into());
                }
            }
            Outcome::Ok(())
        };
        tokio::try_join!(send, receive).map(|_| ())
    }
}
