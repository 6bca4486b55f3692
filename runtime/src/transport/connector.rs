//! Opening a WebSocket over TCP, with TLS for `wss`.

use bowline_machines::Path;
use bowline_protocol::{Reason, SESSION_PATH, SUBPROTOCOL};
use tokio_tungstenite::{
    client_async_with_config,
    tungstenite::{self, ClientRequestBuilder, http::Uri, protocol::WebSocketConfig},
};

use super::{
    BoxFuture, Connector, Target, Transport,
    counted::{Count, Counted},
    tcp,
    tls::Tls,
    websocket::WebSocketTransport,
};
use crate::{
    error::Failure,
    settings::{MAX_FRAME, MAX_WRITE_BUFFER, READ_BUFFER, WRITE_BUFFER},
};

/// Opens WebSockets with subprotocol `bowline.v1`.
pub struct WebSocketConnector {
    tls: Tls,
}

impl WebSocketConnector {
    /// A connector that trusts the public certificate roots and these besides (PEM).
    ///
    /// # Errors
    /// When an extra root does not read.
    pub fn new(extra_roots: &[Vec<u8>]) -> Result<Self, Failure> {
        Ok(Self {
            tls: Tls::new(extra_roots)?,
        })
    }
}

impl Connector for WebSocketConnector {
    fn connect(&self, target: &Target) -> BoxFuture<Result<Box<dyn Transport>, Failure>> {
        let url = session_url(target);
        let tls = self.tls.clone();
        Box::pin(async move {
            let url: Uri = url.parse().map_err(|_| {
                Failure::new(
                    Reason::Unreachable,
                    format!("`{url}` is not a usable address"),
                )
            })?;
            let secure = url.scheme_str() == Some("wss");
            let host = url
                .host()
                .unwrap_or_default()
                .trim_matches(['[', ']'])
                .to_owned();
            let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
            let stream = tcp::connect(&host, port).await.map_err(|error| {
                Failure::new(
                    Reason::Unreachable,
                    format!("not reachable at {host}:{port}: {error}"),
                )
            })?;
            // Messages are small and answered at once: waiting to fill a segment only adds latency.
            let _ = stream.set_nodelay(true);
            // Below TLS: on a slow path even one of its records may take longer than a heartbeat.
            let (stream, count) = Counted::new(stream);
            if secure {
                let stream = tls.connect(&host, stream).await?;
                upgrade(url, stream, count).await
            } else {
                upgrade(url, stream, count).await
            }
        })
    }
}

/// The URL of the session socket behind a target.
fn session_url(target: &Target) -> String {
    let address = &target.address.address;
    match target.address.path {
        Path::Local | Path::Direct => format!("ws://{address}{SESSION_PATH}"),
        Path::Relay => {
            let base = address
                .replacen("https://", "wss://", 1)
                .replacen("http://", "ws://", 1);
            let base = base.trim_end_matches('/');
            format!("{base}/v1/client/{}/{}", target.server_id, target.route_key)
        }
    }
}

async fn upgrade<S>(url: Uri, stream: S, count: Count) -> Result<Box<dyn Transport>, Failure>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .max_message_size(Some(MAX_FRAME))
        .max_frame_size(Some(MAX_FRAME));
    let where_to = url.authority().map(ToString::to_string).unwrap_or_default();
    let request = ClientRequestBuilder::new(url).with_sub_protocol(SUBPROTOCOL);
    match client_async_with_config(request, stream, Some(config)).await {
        Ok((socket, _response)) => Ok(Box::new(WebSocketTransport::new(socket, count))),
        Err(tungstenite::Error::Http(response)) => {
            let status = response.status();
            let reason = match status.as_u16() {
                429 => Reason::RateLimited,
                502..=504 => Reason::ServerRestarting,
                _ => Reason::NotBowline,
            };
            Err(Failure::new(
                reason,
                format!("{where_to} answered {status}, not a session socket"),
            ))
        }
        Err(tungstenite::Error::Io(error)) => Err(Failure::new(
            Reason::ConnectionLost,
            format!("{where_to} hung up: {error}"),
        )),
        Err(error) => Err(Failure::new(
            Reason::NotBowline,
            format!("{where_to} does not speak the session protocol: {error}"),
        )),
    }
}
