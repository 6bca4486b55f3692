//! An impostor: it answers in a daemon's place and claims to be that daemon, which it cannot prove
//! (TR-1).

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bowline_protocol::{
    DaemonIdentity, Hello, Offer, Purpose, Reason, SUBPROTOCOL, ServerId, TransportKey, Welcome,
    handshake::{SessionState, SessionWelcome},
    identity::PresharedKey,
    limits::MAX_MESSAGE_BYTES,
    offer::PairingToken,
    seal::Responder,
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
        http::{HeaderValue, header},
        protocol::CloseFrame,
    },
};

use super::WorldError;
use crate::peer::accepted;

/// Most connections served at once; further ones wait.
const MAX_CONNECTIONS: usize = 64;

/// A running impostor; ends when dropped.
pub struct Impostor {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    /// Whom it claims to be.
    server: ServerId,
    /// What it has of its own.
    identity: DaemonIdentity,
    own: TransportKey,
    /// The daemon's transport key, for when it has stolen that.
    stolen: TransportKey,
    has_stolen: AtomicBool,
    connections: AtomicU64,
    hellos: AtomicU64,
    messages: AtomicU64,
}

/// What clients have told an impostor so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Connections to it.
    pub connections: u64,
    /// Hellos that it could read.
    pub hellos: u64,
    /// Messages after its welcome.
    pub messages: u64,
}

impl fmt::Debug for Impostor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "an impostor of {} at {}",
            self.shared.server, self.address
        )
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Impostor {
    /// Starts an impostor of the daemon with this state folder, on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// The daemon's identity cannot be read, or no port is free.
    pub async fn start(state_dir: &Path) -> Result<Self, WorldError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Identity {
            server_id: ServerId,
            transport_key: String,
        }
        let unusable = |error| WorldError::Unexpected(format!("a key: {error}"));
        let file = std::fs::read(state_dir.join("identity.json"));
        let file = file.map_err(WorldError::io("the daemon's identity"))?;
        let Identity {
            server_id,
            transport_key,
        } = serde_json::from_slice(&file)?;
        let shared = Arc::new(Shared {
            server: server_id,
            identity: DaemonIdentity::from_seed([66; 32]).map_err(unusable)?,
            own: TransportKey::from_private([66; 32]),
            stolen: TransportKey::from_base64(&transport_key).map_err(unusable)?,
            has_stolen: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            hellos: AtomicU64::new(0),
            messages: AtomicU64::new(0),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(WorldError::io("a listener"))?;
        let address = listener.local_addr();
        let address = address.map_err(WorldError::io("a listener's address"))?;
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            accepting,
        })
    }

    /// Its address.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets whether it has stolen the daemon's transport key. Without, it cannot read what clients
    /// send; with it, only its identity gives it away.
    pub fn has_stolen(&self, has_stolen: bool) {
        self.shared.has_stolen.store(has_stolen, Ordering::Relaxed);
    }

    /// A link that names the daemon, under the impostor's own key and address.
    pub fn forge(&self, mut offer: Offer) -> Offer {
        offer.transport_key = self.shared.own.public();
        offer.token = PairingToken::from_bytes([66; 16]);
        (offer.direct, offer.relays) = (vec![self.address.to_string()], Vec::new());
        offer
    }

    /// What it has heard so far.
    pub fn heard(&self) -> Heard {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Heard {
            connections: count(&self.shared.connections),
            hellos: count(&self.shared.hellos),
            messages: count(&self.shared.messages),
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut serving = JoinSet::new();
    loop {
        if serving.len() >= MAX_CONNECTIONS {
            let _ = serving.join_next().await;
        }
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(&shared);
        serving.spawn(async move { shared.serve(stream).await });
    }
}

impl Shared {
    /// Serves one connection until the client ends it. `None` if it has ended before.
    async fn serve(&self, stream: TcpStream) -> Option<()> {
        #[allow(clippy::result_large_err, reason = "as the library wants it")]
        let chosen = |_: &Request, mut response: Response| {
            let protocol = HeaderValue::from_static(SUBPROTOCOL);
            let headers = response.headers_mut();
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
            Ok(response)
        };
        let mut socket = accept_hdr_async(stream, chosen).await.ok()?;
        let first = next(&mut socket).await?;
        match self.answer(&first) {
            Some(second) => socket.send(Message::Binary(second.into())).await.ok()?,
            // As a daemon does with what it cannot open.
            None => {
                let (code, text) = Reason::CryptoFailed.in_clear();
                let close = CloseFrame {
                    code: code.into(),
                    reason: text.into(),
                };
                socket.close(Some(close)).await.ok()?;
            }
        }
        while next(&mut socket).await.is_some() {
            self.messages.fetch_add(1, Ordering::Relaxed);
        }
        Some(())
    }

    /// The welcome to a hello; `None` for one that it cannot read.
    fn answer(&self, first: &[u8]) -> Option<Vec<u8>> {
        let key = match self.has_stolen.load(Ordering::Relaxed) {
            true => &self.stolen,
            false => &self.own,
        };
        let mut responder = Responder::new(key, &self.server).ok()?;
        let (_, hello) = responder.read_hello(first).ok()?;
        let hello = Hello::parse(&hello).ok()?;
        self.hellos.fetch_add(1, Ordering::Relaxed);
        let session = SessionWelcome {
            state: SessionState::New,
            epoch: "ep_impostor".parse().ok()?,
            next_seq: 1,
            stamp: None,
        };
        let session = (hello.purpose == Purpose::Session).then_some(session);
        let welcome = Welcome::Accepted(accepted(self.server.clone(), "impostor", session));
        let most = MAX_MESSAGE_BYTES as usize;
        let written = responder.write_welcome(&self.identity, &PresharedKey::NONE, &welcome, most);
        written.ok().map(|(message, _)| message)
    }
}

/// The next binary message.
async fn next(socket: &mut WebSocketStream<TcpStream>) -> Option<Bytes> {
    loop {
        if let Message::Binary(message) = socket.next().await?.ok()? {
            return Some(message);
        }
    }
}
