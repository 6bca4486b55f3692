//! `GET /metrics`, on an address of its own that is off unless configured.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tracing::{debug, warn};

use super::{page, text::CONTENT_TYPE};
use crate::{connection::Environment, listener::BindError};

/// Most connections at once; one more is closed at once.
const MAX_CONNECTIONS: usize = 16;
/// Longest life of a connection, however it is used.
const LIFE: Duration = Duration::from_secs(300);
/// How long a connection may take to ask, for the first time and again.
const ASKING: Duration = Duration::from_secs(75);
/// Longest request head in bytes. The least that hyper allows.
const MAX_HEAD: usize = 8 * 1024;
/// Pause after a failed accept, so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bound address.
#[derive(Debug)]
pub struct Endpoint {
    listener: TcpListener,
    address: SocketAddr,
}

impl Endpoint {
    /// Binds an address.
    ///
    /// # Errors
    /// [`BindError`], which says what to do.
    pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let bound = match TcpListener::bind(address).await {
            Ok(listener) => listener.local_addr().map(|local| (listener, local)),
            Err(error) => Err(error),
        };
        match bound {
            Ok((listener, address)) => Ok(Self { listener, address }),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(BindError::InUse {
                address,
                flag: "--metrics",
            }),
            Err(error) => Err(BindError::Other { address, error }),
        }
    }

    /// The address bound.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until dropped.
    pub async fn serve(self, environment: Arc<Environment>) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "accepting a connection for metrics failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                debug!("a connection for metrics was turned away");
                continue;
            };
            let environment = Arc::clone(&environment);
            tokio::spawn(async move {
                let service = service_fn(|request| answer(&environment, request));
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(ASKING)
                    .max_buf_size(MAX_HEAD)
                    .serve_connection(TokioIo::new(stream), service);
                let _ = timeout(LIFE, connection).await;
                drop(place);
            });
        }
    }
}

async fn answer(
    environment: &Environment,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(match (request.uri().path(), request.method()) {
        ("/metrics", &Method::GET | &Method::HEAD) => match page(environment).await {
            Ok(page) => response(StatusCode::OK, CONTENT_TYPE, page),
            Err(error) => plain(StatusCode::SERVICE_UNAVAILABLE, &error.message),
        },
        ("/metrics", _) => plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here"),
        _ => plain(StatusCode::NOT_FOUND, "nothing here; see GET /metrics"),
    })
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
    }
    response
}
