//! Opens WebSockets. The caller sets the timeout.

use std::{sync::Arc, time::SystemTime};

use bowline_protocol::relay::TlsExporter;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        ClientRequestBuilder, Error,
        http::{Uri, header},
        protocol::WebSocketConfig,
    },
};

use crate::{
    counted::{Count, counted},
    destination::Destination,
    error::{ConnectProblem, DialError},
    proxy::{Proxies, Proxy, ProxyProblem},
    race::race,
    resolver::Resolver,
    retry_after,
    tls::{Tls, exporter},
};

/// The stream under a WebSocket: TCP, optionally through a proxy, optionally with TLS.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A WebSocket.
pub type Socket = WebSocketStream<Box<dyn Wire>>;

/// Parameters of a WebSocket upgrade.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The only offered subprotocol.
    pub subprotocol: &'static str,
    /// The value of the `Authorization` header, if any.
    pub authorization: Option<String>,
    /// Buffer sizes and limits.
    pub config: WebSocketConfig,
}

/// An open WebSocket.
pub struct Opened {
    /// The socket.
    pub socket: Socket,
    /// Bytes received, counted below TLS and WebSocket.
    pub count: Count,
    /// The exporter of its TLS 1.3 connection, if it has one.
    pub exporter: Option<TlsExporter>,
}

/// Opens WebSockets. Clones share the TLS trust, the proxy rules and the resolver.
#[derive(Clone, Debug)]
pub struct Dialer {
    tls: Tls,
    proxies: Arc<Proxies>,
    resolver: Resolver,
}

impl Dialer {
    /// A dialer with this trust and these proxy rules, on the process's resolver.
    pub fn new(tls: Tls, proxies: Proxies) -> Self {
        Self {
            tls,
            proxies: Arc::new(proxies),
            resolver: Resolver::shared(),
        }
    }

    /// Opens one WebSocket.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn open(
        &self,
        destination: &Destination,
        opening: Opening,
    ) -> Result<Opened, DialError> {
        let uri: Uri = destination
            .uri()
            .parse()
            .map_err(|error| DialError::Request(format!("{error}")))?;
        let mut request = ClientRequestBuilder::new(uri).with_sub_protocol(opening.subprotocol);
        if let Some(authorization) = opening.authorization {
            request = request.with_header(header::AUTHORIZATION.as_str(), authorization);
        }
        let (stream, count, exporter) = self.stream(destination).await?;
        let place = destination.place();
        match client_async_with_config(request, stream, Some(opening.config)).await {
            Ok((socket, _response)) => Ok(Opened {
                socket,
                count,
                exporter,
            }),
            Err(Error::Http(response)) => {
                let after = response.headers().get(header::RETRY_AFTER);
                let now = SystemTime::now();
                Err(DialError::Status {
                    place,
                    status: response.status().as_u16(),
                    retry_after: after.and_then(|after| retry_after::parse(after.as_bytes(), now)),
                    is_relay: destination.is_relay,
                })
            }
            Err(Error::Io(error)) => Err(DialError::HungUp { place, error }),
            Err(error) => Err(DialError::Protocol {
                place,
                problem: error.to_string(),
            }),
        }
    }

    /// Opens the stream below the WebSocket.
    async fn stream(
        &self,
        destination: &Destination,
    ) -> Result<(Box<dyn Wire>, Count, Option<TlsExporter>), DialError> {
        let place = || destination.place();
        let no_proxy = |problem| DialError::Proxy {
            place: place(),
            problem,
        };
        let (stream, count) = match self.proxies.find(destination).map_err(no_proxy)? {
            Some(proxy) => self
                .through_proxy(&proxy, destination)
                .await
                .map_err(no_proxy)?,
            None => {
                let connected = self.connect(&destination.host, destination.port).await;
                connected.map_err(|problem| DialError::Connect {
                    place: place(),
                    problem,
                })?
            }
        };
        if !destination.secure {
            return Ok((stream, count, None));
        }
        let stream = self.tls.connect(&destination.host, stream).await;
        let stream = stream.map_err(|problem| DialError::Tls {
            place: place(),
            problem,
        })?;
        let exporter = exporter(&stream);
        Ok((Box::new(stream), count, exporter))
    }

    /// Opens the stream through a proxy.
    async fn through_proxy(
        &self,
        proxy: &Proxy,
        destination: &Destination,
    ) -> Result<(Box<dyn Wire>, Count), ProxyProblem> {
        let place = || proxy.place();
        let connected = self.connect(&proxy.host, proxy.port).await;
        let (mut stream, count) = connected.map_err(|problem| ProxyProblem::Connect {
            place: place(),
            problem,
        })?;
        if proxy.is_secure() {
            let secured = self.tls.connect(&proxy.host, stream).await;
            stream = Box::new(secured.map_err(|problem| ProxyProblem::Tls {
                place: place(),
                problem,
            })?);
        }
        Ok((proxy.tunnel(stream, destination).await?, count))
    }

    /// Opens a TCP connection to the first address that answers.
    async fn connect(
        &self,
        host: &str,
        port: u16,
    ) -> Result<(Box<dyn Wire>, Count), ConnectProblem> {
        let addresses = self.resolver.resolve(host).await?;
        let stream = race(&addresses, port, TcpStream::connect).await?;
        // Messages are small and answered at once, so Nagle's delay would only add latency.
        let _ = stream.set_nodelay(true);
        // Counted below TLS: on a slow path a single TLS record may take longer than a heartbeat.
        let (stream, count) = counted(stream);
        Ok((Box::new(stream), count))
    }
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opened")
    }
}
