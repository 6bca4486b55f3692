//! Opening a WebSocket. The caller bounds the time.

use std::{io, sync::Arc, time::SystemTime};

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
    counted::{Count, Counted},
    endpoint::Endpoint,
    error::DialError,
    proxy::{Proxies, Proxy, ProxyProblem},
    race::race,
    resolver::{NameError, Resolver},
    retry_after,
    tls::Tls,
};

/// What a WebSocket runs over: TCP, perhaps through a proxy, perhaps under TLS.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A WebSocket.
pub type Socket = WebSocketStream<Box<dyn Wire>>;

/// How a WebSocket is asked for.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The one subprotocol that is offered.
    pub subprotocol: &'static str,
    /// The value of `Authorization`, if there is one.
    pub authorization: Option<String>,
    /// Buffers and bounds.
    pub config: WebSocketConfig,
}

/// An open WebSocket.
pub struct Opened {
    /// The socket.
    pub socket: Socket,
    /// Bytes received below TLS and WebSocket.
    pub count: Count,
}

/// Opens WebSockets. Clones share trust, rules and threads.
#[derive(Clone, Debug)]
pub struct Dialer {
    tls: Tls,
    proxies: Arc<Proxies>,
    resolver: Resolver,
}

/// Why there is no TCP connection.
enum NoTcp {
    Name(NameError),
    Connect(io::Error),
}

impl Dialer {
    /// A dialer with that trust and those rules, on the process's resolver.
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
    pub async fn open(&self, endpoint: &Endpoint, opening: Opening) -> Result<Opened, DialError> {
        let uri: Uri = endpoint
            .uri()
            .parse()
            .map_err(|error| DialError::Request(format!("{error}")))?;
        let mut request = ClientRequestBuilder::new(uri).with_sub_protocol(opening.subprotocol);
        if let Some(authorization) = opening.authorization {
            request = request.with_header(header::AUTHORIZATION.as_str(), authorization);
        }
        let (stream, count) = self.stream(endpoint).await?;
        let place = endpoint.place();
        match client_async_with_config(request, stream, Some(opening.config)).await {
            Ok((socket, _response)) => Ok(Opened { socket, count }),
            Err(Error::Http(response)) => {
                let after = response.headers().get(header::RETRY_AFTER);
                let now = SystemTime::now();
                Err(DialError::Status {
                    place,
                    status: response.status().as_u16(),
                    retry_after: after.and_then(|after| retry_after::parse(after.as_bytes(), now)),
                    is_relay: endpoint.is_relay,
                })
            }
            Err(Error::Io(error)) => Err(DialError::HungUp { place, error }),
            Err(error) => Err(DialError::Protocol {
                place,
                problem: error.to_string(),
            }),
        }
    }

    /// The stream below the WebSocket.
    async fn stream(&self, endpoint: &Endpoint) -> Result<(Box<dyn Wire>, Count), DialError> {
        let place = || endpoint.place();
        let proxy = self.proxies.find(endpoint);
        let proxy = proxy.map_err(|problem| DialError::Proxy {
            place: place(),
            problem,
        })?;
        let (stream, count) = match proxy {
            Some(proxy) => {
                let led = self.lead(&proxy, endpoint).await;
                led.map_err(|problem| DialError::Proxy {
                    place: place(),
                    problem,
                })?
            }
            None => {
                let connected = self.connect(&endpoint.host, endpoint.port).await;
                connected.map_err(|problem| match problem {
                    NoTcp::Name(problem) => DialError::Name {
                        place: place(),
                        problem,
                    },
                    NoTcp::Connect(error) => DialError::Connect {
                        place: place(),
                        error,
                    },
                })?
            }
        };
        if !endpoint.secure {
            return Ok((stream, count));
        }
        let stream = self.tls.connect(&endpoint.host, stream).await;
        let stream = stream.map_err(|problem| DialError::Tls {
            place: place(),
            problem,
        })?;
        Ok((Box::new(stream), count))
    }

    /// Through a proxy.
    async fn lead(
        &self,
        proxy: &Proxy,
        endpoint: &Endpoint,
    ) -> Result<(Box<dyn Wire>, Count), ProxyProblem> {
        let place = || proxy.place();
        let connected = self.connect(&proxy.host, proxy.port).await;
        let (mut stream, count) = connected.map_err(|problem| match problem {
            NoTcp::Name(problem) => ProxyProblem::Name {
                place: place(),
                problem,
            },
            NoTcp::Connect(error) => ProxyProblem::Connect {
                place: place(),
                error,
            },
        })?;
        if proxy.is_secure() {
            let secured = self.tls.connect(&proxy.host, stream).await;
            stream = Box::new(secured.map_err(|problem| ProxyProblem::Tls {
                place: place(),
                problem,
            })?);
        }
        Ok((proxy.tunnel(stream, endpoint).await?, count))
    }

    /// TCP, to the first address that answers.
    async fn connect(&self, host: &str, port: u16) -> Result<(Box<dyn Wire>, Count), NoTcp> {
        let addresses = self.resolver.resolve(host).await.map_err(NoTcp::Name)?;
        let stream = race(&addresses, port, TcpStream::connect).await;
        let stream = stream.map_err(NoTcp::Connect)?;
        // Messages are small and answered at once: waiting to fill a segment only adds latency.
        let _ = stream.set_nodelay(true);
        // Below TLS: on a slow path even one of its records may take longer than a heartbeat.
        let (stream, count) = Counted::new(stream);
        Ok((Box::new(stream), count))
    }
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opened")
    }
}
