//! Opens WebSockets to daemons and relays, through `bowline_net`.

use bowline_machines::Path;
use bowline_net::{Destination, DialError, Dialer, Opening, Proxies, Tls};
use bowline_protocol::{
    Reason, SESSION_PATH, SUBPROTOCOL,
    relay::{RelayUrl, client_path},
};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::{BoxFuture, Connector, Target, Transport, websocket::WebSocketTransport};
use crate::{
    error::Failure,
    settings::{MAX_FRAME, MAX_WRITE_BUFFER, READ_BUFFER, RuntimeSettings, WRITE_BUFFER},
};

/// Opens WebSockets with subprotocol `bowline.v1`.
pub struct WebSocketConnector {
    dialer: Dialer,
}

impl WebSocketConnector {
    /// A connector that trusts the public certificate roots and `extra_roots` (PEM), and uses the
    /// proxies of the environment variables.
    ///
    /// # Errors
    /// An extra root cannot be parsed or contains no certificate.
    pub fn new(extra_roots: &[Vec<u8>]) -> Result<Self, Failure> {
        Self::with_proxies(extra_roots, Proxies::from_env())
    }

    /// The same through one proxy, `http://…`, `https://…` or `socks5://…`, ignoring the
    /// environment.
    ///
    /// # Errors
    /// As [`WebSocketConnector::new`]. An invalid proxy URL fails each connection that would use
    /// it.
    pub fn through(extra_roots: &[Vec<u8>], proxy: &str) -> Result<Self, Failure> {
        Self::with_proxies(extra_roots, Proxies::all(proxy))
    }

    fn with_proxies(extra_roots: &[Vec<u8>], proxies: Proxies) -> Result<Self, Failure> {
        let tls = Tls::new(extra_roots).map_err(|(index, error)| {
            let message = format!(
                "extra root {}: {error}; it must hold certificates in PEM",
                index + 1
            );
            Failure::new(Reason::TlsFailed, message)
        })?;
        let dialer = Dialer::new(tls, proxies);
        Ok(Self { dialer })
    }
}

impl RuntimeSettings {
    /// A connector with these certificates and proxy.
    ///
    /// # Errors
    /// An extra root cannot be parsed.
    pub fn connector(&self) -> Result<WebSocketConnector, Failure> {
        match &self.proxy {
            None => WebSocketConnector::new(&self.extra_roots),
            Some(proxy) => WebSocketConnector::through(&self.extra_roots, proxy),
        }
    }
}

impl Connector for WebSocketConnector {
    fn connect(&self, target: &Target) -> BoxFuture<Result<Box<dyn Transport>, Failure>> {
        let dialer = self.dialer.clone();
        let destination = destination(target);
        Box::pin(async move {
            let opening = Opening {
                subprotocol: SUBPROTOCOL,
                authorization: None,
                config: WebSocketConfig::default()
                    .read_buffer_size(READ_BUFFER)
                    .write_buffer_size(WRITE_BUFFER)
                    .max_write_buffer_size(MAX_WRITE_BUFFER)
                    .max_message_size(Some(MAX_FRAME))
                    .max_frame_size(Some(MAX_FRAME)),
            };
            let opened = dialer.open(&destination?, opening).await?;
            let transport = WebSocketTransport::new(opened.socket, opened.count);
            Ok(Box::new(transport) as Box<dyn Transport>)
        })
    }
}

/// URL of the session socket of a target.
fn destination(target: &Target) -> Result<Destination, Failure> {
    let address = &target.address.address;
    match target.address.path {
        Path::Local | Path::Direct => {
            Ok(Destination::direct(address, SESSION_PATH).map_err(DialError::from)?)
        }
        Path::Relay => {
            let url: RelayUrl = address
                .parse()
                .map_err(|error| Failure::new(Reason::Unreachable, format!("{error}")))?;
            let path = client_path(&target.server_id, &target.route_key);
            Ok(Destination::relay(&url, &path))
        }
    }
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        Self {
            retry_after: error.retry_after(),
            ..Self::new(error.reason(), error.to_string())
        }
    }
}
