//! Daemons and clients at the level of the wire.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use bowline_protocol::{
    DaemonIdentity, PublicKey, RouteKey, ServerId,
    identity::random_bytes,
    relay::{
        self, Binding, DaemonMessage, DataToken, Lane, LaneFrame, Nonce, Registration,
        RelayMessage, client_path, data_path,
    },
};
use bowline_relay::{
    Relay,
    config::{Limits, Settings},
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        self, Message,
        client::IntoClientRequest,
        http::{HeaderValue, Request, header},
        protocol::CloseFrame,
    },
};

/// Limit of every wait, however slow the machine; reaching it fails the test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Bounds a wait.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long: {what}"),
    }
}

/// Settings of a test: loopback, and limits out of the way.
pub(crate) fn settings() -> Settings {
    Settings {
        listen: vec![(Ipv4Addr::LOCALHOST, 0).into()],
        metrics: Some((Ipv4Addr::LOCALHOST, 0).into()),
        limits: Limits {
            registrations_per_minute: 0,
            opens_per_minute: 0,
            ..Limits::default()
        },
        ..Settings::default()
    }
}

/// A relay in this process.
pub(crate) async fn start(tweak: impl FnOnce(&mut Settings)) -> (Relay, SocketAddr) {
    let mut settings = settings();
    tweak(&mut settings);
    let relay = Relay::start(settings).await.unwrap();
    let address = relay.addresses()[0];
    (relay, address)
}

/// Result of a WebSocket handshake.
pub(crate) type Dialled = Result<Socket, tungstenite::Error>;

/// Opens a WebSocket, from a local address if given.
pub(crate) async fn dial_from(
    from: Option<IpAddr>,
    relay: SocketAddr,
    path: &str,
    headers: &[(header::HeaderName, &str)],
) -> Dialled {
    let mut request: Request<()> = format!("ws://{relay}{path}").into_client_request()?;
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).unwrap();
        request.headers_mut().insert(name, value);
    }
    let stream = match from {
        None => TcpStream::connect(relay).await?,
        Some(from) => {
            let socket = TcpSocket::new_v4()?;
            socket.bind((from, 0).into())?;
            socket.connect(relay).await?
        }
    };
    stream.set_nodelay(true)?;
    let dialled = within("a WebSocket", client_async(request, stream)).await;
    dialled.map(|(socket, _response)| Socket(socket))
}

pub(crate) async fn dial(
    relay: SocketAddr,
    path: &str,
    headers: &[(header::HeaderName, &str)],
) -> Dialled {
    dial_from(None, relay, path, headers).await
}

/// The HTTP status of a refused WebSocket.
pub(crate) fn status(dialled: Dialled) -> u16 {
    match dialled {
        Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("no answer: {other}"),
        Ok(_) => panic!("it was upgraded"),
    }
}

/// One end of a WebSocket.
pub(crate) struct Socket(pub(crate) WebSocketStream<TcpStream>);

impl Socket {
    pub(crate) async fn send(&mut self, message: Message) {
        within("room to send", self.0.send(message)).await.unwrap();
    }

    /// The next data message.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            match within("a message", self.0.next()).await?.ok()? {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return Some(message),
            }
        }
    }

    pub(crate) async fn binary(&mut self) -> Bytes {
        match self.next().await {
            Some(Message::Binary(bytes)) => bytes,
            other => panic!("not binary: {other:?}"),
        }
    }

    /// Reads until the end; returns the close code and its text.
    pub(crate) async fn ended(&mut self) -> (u16, String) {
        while let Some(message) = self.next().await {
            if let Message::Close(Some(CloseFrame { code, reason })) = message {
                return (code.into(), reason.as_str().to_owned());
            }
        }
        (1006, String::new())
    }

    /// The close code alone.
    pub(crate) async fn end_code(&mut self) -> u16 {
        self.ended().await.0
    }
}

/// A new identity.
pub(crate) fn identity() -> DaemonIdentity {
    DaemonIdentity::from_seed(random_bytes().unwrap()).unwrap()
}

/// A new route key.
pub(crate) fn route(server: &ServerId) -> RouteKey {
    RouteKey::of_device(&PublicKey::from_bytes(random_bytes().unwrap()), server)
}

/// The answer of a daemon that dialled this relay without TLS.
pub(crate) fn answer(
    relay: SocketAddr,
    identity: &DaemonIdentity,
    nonce: &Nonce,
    token: Option<String>,
) -> Registration {
    let binding = Binding {
        origin: format!("ws://{relay}").parse().unwrap(),
        exporter: None,
    };
    Registration::answer(identity, nonce, binding, token)
}

/// A daemon's control socket.
pub(crate) struct Control {
    pub(crate) socket: Socket,
    pub(crate) relay: SocketAddr,
}

impl Control {
    /// Connects and reads the challenge.
    pub(crate) async fn challenged(relay: SocketAddr) -> (Self, Nonce) {
        Self::challenged_with(relay, &[]).await
    }

    /// The same, with further headers.
    pub(crate) async fn challenged_with(
        relay: SocketAddr,
        headers: &[(header::HeaderName, &str)],
    ) -> (Self, Nonce) {
        let protocol = (header::SEC_WEBSOCKET_PROTOCOL, relay::SUBPROTOCOL);
        let headers = [&[protocol], headers].concat();
        let socket = dial(relay, relay::CONTROL_PATH, &headers).await.unwrap();
        let mut control = Self { socket, relay };
        match control.hear().await {
            RelayMessage::Challenge { nonce } => (control, nonce),
            other => panic!("no challenge: {other:?}"),
        }
    }

    pub(crate) async fn hear(&mut self) -> RelayMessage {
        match self.socket.next().await {
            Some(Message::Text(text)) => serde_json::from_str(&text).unwrap(),
            other => panic!("not text: {other:?}"),
        }
    }

    pub(crate) async fn say(&mut self, registration: Registration) {
        let message = DaemonMessage::Register(Box::new(registration));
        let json = serde_json::to_string(&message).unwrap();
        self.socket.send(Message::text(json)).await;
    }

    /// The next message must report an opened session.
    pub(crate) async fn opened(&mut self) -> RouteKey {
        match self.hear().await {
            RelayMessage::SessionOpened { session } => session,
            other => panic!("not opened: {other:?}"),
        }
    }

    /// The next message must report a closed session.
    pub(crate) async fn closed(&mut self) -> RouteKey {
        match self.hear().await {
            RelayMessage::SessionClosed { session } => session,
            other => panic!("not closed: {other:?}"),
        }
    }
}

/// A registered daemon.
pub(crate) struct Daemon {
    pub(crate) control: Control,
    pub(crate) server: ServerId,
    pub(crate) token: DataToken,
    /// Contents of `sync`.
    pub(crate) sessions: Vec<RouteKey>,
    pub(crate) heartbeat_ms: u64,
}

impl Daemon {
    pub(crate) async fn register(relay: SocketAddr) -> Self {
        Self::register_as(relay, &identity()).await
    }

    pub(crate) async fn register_as(relay: SocketAddr, identity: &DaemonIdentity) -> Self {
        let (mut control, nonce) = Control::challenged(relay).await;
        control.say(answer(relay, identity, &nonce, None)).await;
        let RelayMessage::Registered {
            heartbeat_ms,
            data_token,
        } = control.hear().await
        else {
            panic!("not registered");
        };
        let RelayMessage::Sync { sessions } = control.hear().await else {
            panic!("no sync");
        };
        Self {
            control,
            server: identity.server_id().clone(),
            token: data_token,
            sessions,
            heartbeat_ms,
        }
    }

    pub(crate) async fn dial(&self, session: &RouteKey) -> Dialled {
        dial_data(self.control.relay, &self.token, session).await
    }

    /// Opens a data socket for a session.
    pub(crate) async fn data(&self, session: &RouteKey) -> Data {
        Data(self.dial(session).await.unwrap())
    }

    /// Opens a client of a new session, and the daemon's data socket for it, up to the open frame.
    pub(crate) async fn pair(&mut self) -> Pair {
        let session = route(&self.server);
        let client = client(self.control.relay, &self.server, &session).await;
        assert_eq!(self.control.opened().await, session);
        let mut data = self.data(&session).await;
        let lane = data.opened().await;
        Pair {
            session,
            client,
            data,
            lane,
        }
    }
}

/// A session with one client.
pub(crate) struct Pair {
    pub(crate) session: RouteKey,
    pub(crate) client: Socket,
    pub(crate) data: Data,
    pub(crate) lane: Lane,
}

pub(crate) async fn dial_data(relay: SocketAddr, token: &DataToken, session: &RouteKey) -> Dialled {
    let bearer = (header::AUTHORIZATION, &*token.to_header());
    let protocol = (header::SEC_WEBSOCKET_PROTOCOL, relay::SUBPROTOCOL);
    dial(relay, &data_path(session), &[bearer, protocol]).await
}

/// A client socket from any address.
pub(crate) async fn client(relay: SocketAddr, server: &ServerId, session: &RouteKey) -> Socket {
    client_from(None, relay, &client_path(server, session)).await
}

pub(crate) async fn client_from(from: Option<IpAddr>, relay: SocketAddr, path: &str) -> Socket {
    let protocol = (
        header::SEC_WEBSOCKET_PROTOCOL,
        bowline_protocol::SUBPROTOCOL,
    );
    dial_from(from, relay, path, &[protocol]).await.unwrap()
}

/// A daemon's data socket.
pub(crate) struct Data(pub(crate) Socket);

impl Data {
    pub(crate) async fn hear(&mut self) -> LaneFrame {
        LaneFrame::decode(self.0.binary().await).unwrap()
    }

    pub(crate) async fn say(&mut self, frame: LaneFrame) {
        self.0.send(Message::Binary(frame.encode())).await;
    }

    pub(crate) async fn send(&mut self, lane: Lane, payload: impl Into<Bytes>) {
        let payload = payload.into();
        self.say(LaneFrame::Data { lane, payload }).await;
    }

    pub(crate) async fn opened(&mut self) -> Lane {
        match self.hear().await {
            LaneFrame::Open { lane } => lane,
            other => panic!("not open: {other:?}"),
        }
    }

    /// The next frame must be data.
    pub(crate) async fn heard(&mut self) -> (Lane, Bytes) {
        match self.hear().await {
            LaneFrame::Data { lane, payload } => (lane, payload),
            other => panic!("not data: {other:?}"),
        }
    }

    /// The next frame must be a close.
    pub(crate) async fn closed(&mut self) -> (Lane, u16) {
        match self.hear().await {
            LaneFrame::Close { lane, code } => (lane, code),
            other => panic!("not close: {other:?}"),
        }
    }
}
