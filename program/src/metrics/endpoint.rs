//! `GET /metrics`, on a separate address that is off by default.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

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
use tokio::{sync::Semaphore, time::timeout};
use tracing::debug;

use super::CONTENT_TYPE;
use crate::{Listener, WebAccess};

/// Most open connections; further ones are closed at once.
const MAX_CONNECTIONS: usize = 16;
/// Longest life of a connection, idle or not.
const LIFETIME: Duration = Duration::from_secs(300);
/// Longest wait for a request head, for each request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Longest request head in bytes: the smallest limit that hyper allows.
const MAX_HEAD: usize = 8 * 1024;

/// Serves the text of `page` until dropped. Its error is a text for people.
pub async fn serve<P, F>(listener: Listener, web: WebAccess, page: P)
where
    P: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Result<String, String>> + Send,
{
    let source = Arc::new((page, web.at(listener.address())));
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let (stream, _) = listener.accept().await;
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            debug!("connection for metrics refused: too many are open");
            continue;
        };
        let source = Arc::clone(&source);
        tokio::spawn(async move {
            let (page, web) = &*source;
            let service = service_fn(|request| answer(page, web, request));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(MAX_HEAD)
                .serve_connection(TokioIo::new(stream), service);
            let _ = timeout(LIFETIME, connection).await;
            drop(permit);
        });
    }
}

async fn answer<F: Future<Output = Result<String, String>>>(
    page: impl Fn() -> F,
    web: &WebAccess,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if let Err((status, problem)) = web.check_host(&request) {
        return Ok(plain(status, problem));
    }
    Ok(match (request.uri().path(), request.method()) {
        ("/metrics", &Method::GET | &Method::HEAD) => match page().await {
            Ok(page) => response(StatusCode::OK, CONTENT_TYPE, page),
            Err(problem) => plain(StatusCode::SERVICE_UNAVAILABLE, &problem),
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
