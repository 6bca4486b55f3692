//! Opening a WebSocket to a relay: names, TCP, TLS, the upgrade. The caller bounds the time.

use std::{fmt, io, net::SocketAddr, path::PathBuf, time::Duration};

use bowline_protocol::{
    Reason,
    relay::{SUBPROTOCOL, limits::MAX_RETRY_AFTER},
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::sleep,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        ClientRequestBuilder, Error,
        http::{Response, StatusCode, Uri, header},
        protocol::WebSocketConfig,
    },
};

use super::tls::{RelayTlsError, Tls};
use crate::config::RelayUrl;

/// Head start of each address of a name over the next (lesson 9: none is given up for being slow).
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses tried of one name; further ones are ignored.
const MOST_ADDRESSES: usize = 8;

/// What a WebSocket to a relay runs over.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A WebSocket to a relay.
pub(super) type Socket = WebSocketStream<Box<dyn Wire>>;

/// Why there is no socket.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    /// Not to be tried again earlier than this.
    pub(super) retry_after: Option<Duration>,
    /// For people.
    pub(super) message: String,
    /// The relay answered with this HTTP status.
    pub(super) status: Option<StatusCode>,
}

impl Failure {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            retry_after: None,
            message: message.into(),
            status: None,
        }
    }

    fn answered(response: &Response<Option<Vec<u8>>>) -> Self {
        let status = response.status();
        let reason = match status {
            StatusCode::TOO_MANY_REQUESTS => Reason::RateLimited,
            // The registration that the token was of is no more, or the session is not.
            StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND => Reason::DaemonOffline,
            status if status.is_server_error() => Reason::ServerRestarting,
            _ => Reason::NotBowline,
        };
        let after = response.headers().get(header::RETRY_AFTER);
        let after = after.and_then(|value| value.to_str().ok()?.parse().ok());
        Self {
            retry_after: after.map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER)),
            status: Some(status),
            ..Self::new(reason, format!("the relay answered {status}"))
        }
    }
}

/// Opens sockets to relays.
#[derive(Clone)]
pub(super) struct Dialler {
    tls: Tls,
}

impl Dialler {
    pub(super) fn new(roots: &[PathBuf]) -> Result<Self, RelayTlsError> {
        let tls = Tls::new(roots)?;
        Ok(Self { tls })
    }

    /// Opens the WebSocket at `path`, with that `Authorization` if there is one.
    pub(super) async fn dial(
        &self,
        relay: &RelayUrl,
        path: &str,
        authorization: Option<String>,
        config: WebSocketConfig,
    ) -> Result<Socket, Failure> {
        let (host, port) = (relay.host(), relay.port());
        let uri: Uri = relay.socket(path).parse().map_err(|error| {
            Failure::new(Reason::Unreachable, format!("not a usable URL: {error}"))
        })?;
        let stream = connect(host, port).await.map_err(|error| {
            let message = format!("not reachable at {host}:{port}: {error}");
            Failure::new(Reason::Unreachable, message)
        })?;
        // Messages are small and answered at once: waiting to fill a segment only adds latency.
        let _ = stream.set_nodelay(true);
        let stream: Box<dyn Wire> = if relay.is_secure() {
            let stream = self.tls.connect(host, stream).await.map_err(|error| {
                let message = format!("TLS with {host} failed: {error}");
                Failure::new(Reason::TlsFailed, message)
            })?;
            Box::new(stream)
        } else {
            Box::new(stream)
        };
        let mut request = ClientRequestBuilder::new(uri).with_sub_protocol(SUBPROTOCOL);
        if let Some(authorization) = authorization {
            request = request.with_header(header::AUTHORIZATION.as_str(), authorization);
        }
        match client_async_with_config(request, stream, Some(config)).await {
            Ok((socket, _response)) => Ok(socket),
            Err(Error::Http(response)) => Err(Failure::answered(&response)),
            Err(Error::Io(error)) => Err(Failure::new(
                Reason::ConnectionLost,
                format!("{host}:{port} hung up: {error}"),
            )),
            Err(error) => Err(Failure::new(
                Reason::NotBowline,
                format!("{host}:{port} does not speak as a relay: {error}"),
            )),
        }
    }
}

impl fmt::Debug for Dialler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialler")
    }
}

/// Connects to the first address of a name that answers.
async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = lookup_host((host, port)).await?.collect();
    let mut addresses = addresses.into_iter().take(MOST_ADDRESSES);
    let mut attempts = FuturesUnordered::new();
    let mut failed = None;
    loop {
        let next = addresses.next();
        let is_last = next.is_none();
        attempts.extend(next.map(TcpStream::connect));
        tokio::select! {
            attempt = attempts.next() => match attempt {
                Some(Ok(connected)) => return Ok(connected),
                Some(Err(error)) => failed = Some(error),
                None => {
                    let none = || io::Error::new(io::ErrorKind::NotFound, "no address of that name");
                    return Err(failed.unwrap_or_else(none));
                }
            },
            () = sleep(STAGGER), if !is_last => {}
        }
    }
}
