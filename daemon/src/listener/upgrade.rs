//! The HTTP side of a listener: what is upgraded to a session socket, and what everything else is told.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::atomic::{AtomicBool, Ordering},
};

use bowline_protocol::{SESSION_PATH, SUBPROTOCOL};
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Version,
    body::{Bytes, Incoming},
    header::{self, HeaderName, HeaderValue},
    service::Service,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Answers the one request of a socket, and remembers whether it was answered with 101.
#[derive(Debug, Default)]
pub(super) struct Upgrade {
    accepted: AtomicBool,
}

impl Upgrade {
    /// Whether the socket is a WebSocket from here on.
    pub(super) fn accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        match (request.uri().path(), request.method()) {
            (SESSION_PATH, &Method::GET) => match accept_key(request) {
                Ok(key) => {
                    self.accepted.store(true, Ordering::Relaxed);
                    switching(&key)
                }
                Err((status, problem)) => text(status, problem),
            },
            ("/healthz", &Method::GET | &Method::HEAD) => text(StatusCode::OK, "ok"),
            (SESSION_PATH | "/healthz", _) => {
                let mut response =
                    text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here");
                set(&mut response, header::ALLOW, "GET");
                response
            }
            _ => text(
                StatusCode::NOT_FOUND,
                "nothing here; Bowline sessions are on GET /v1/session",
            ),
        }
    }
}

impl Service<Request<Incoming>> for Upgrade {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        ready(Ok(self.answer(&request)))
    }
}

/// Checks an upgrade request as RFC 6455 asks; gives `Sec-WebSocket-Accept`.
fn accept_key<B>(request: &Request<B>) -> Result<String, (StatusCode, &'static str)> {
    let headers = request.headers();
    may_upgrade(request.version(), headers)?;
    let lists = |name: HeaderName, token: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|item| item.trim().eq_ignore_ascii_case(token))
    };
    if !lists(header::CONNECTION, "upgrade") || !lists(header::UPGRADE, "websocket") {
        return Err((
            StatusCode::UPGRADE_REQUIRED,
            "this is a WebSocket endpoint: send `Connection: Upgrade` and `Upgrade: websocket`",
        ));
    }
    if headers
        .get(header::SEC_WEBSOCKET_VERSION)
        .map(HeaderValue::as_bytes)
        != Some(b"13")
    {
        return Err((
            StatusCode::UPGRADE_REQUIRED,
            "only WebSocket version 13 is spoken here (`Sec-WebSocket-Version: 13`)",
        ));
    }
    if !lists(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        return Err((
            StatusCode::BAD_REQUEST,
            "the WebSocket subprotocol `bowline.v1` must be offered (`Sec-WebSocket-Protocol: bowline.v1`)",
        ));
    }
    match headers
        .get(header::SEC_WEBSOCKET_KEY)
        .map(HeaderValue::as_bytes)
    {
        // 16 bytes in base64.
        Some(key) if key.len() == 24 && key.ends_with(b"==") => Ok(derive_accept_key(key)),
        _ => Err((
            StatusCode::BAD_REQUEST,
            "`Sec-WebSocket-Key` must be 16 bytes in base64",
        )),
    }
}

/// HTTP/1.0 knows no upgrades (C39), and an upgrade that brings a body would be read by one side as messages.
fn may_upgrade(version: Version, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
    if version < Version::HTTP_11 {
        return Err((
            StatusCode::UPGRADE_REQUIRED,
            "a WebSocket needs HTTP/1.1; a proxy in between must be told to speak it",
        ));
    }
    let empty = headers
        .get(header::CONTENT_LENGTH)
        .is_none_or(|length| length == "0");
    if !empty || headers.contains_key(header::TRANSFER_ENCODING) {
        return Err((StatusCode::BAD_REQUEST, "a WebSocket's request has no body"));
    }
    Ok(())
}

fn switching(accept: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    set(&mut response, header::CONNECTION, "Upgrade");
    set(&mut response, header::UPGRADE, "websocket");
    set(&mut response, header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
    if let Ok(value) = HeaderValue::from_str(accept) {
        response
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_ACCEPT, value);
    }
    response
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{text}\n")));
    *response.status_mut() = status;
    set(
        &mut response,
        header::CONTENT_TYPE,
        "text/plain; charset=utf-8",
    );
    // One request a socket. Said here, because hyper's own switch for it would also add `close` to the 101,
    // which strict WebSocket clients refuse.
    set(&mut response, header::CONNECTION, "close");
    if status == StatusCode::UPGRADE_REQUIRED {
        set(&mut response, header::UPGRADE, "websocket");
        set(&mut response, header::SEC_WEBSOCKET_VERSION, "13");
    }
    response
}

fn set(response: &mut Response<Full<Bytes>>, name: HeaderName, value: &'static str) {
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &[(&str, &str)] = &[
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "other, bowline.v1"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn answer(method: &str, path: &str, headers: &[(&str, &str)]) -> (StatusCode, Upgrade) {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let upgrade = Upgrade::default();
        let response = upgrade.answer(&request.body(()).unwrap());
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            assert_eq!(
                response.headers()["sec-websocket-accept"],
                "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
            );
            assert_eq!(response.headers()["sec-websocket-protocol"], "bowline.v1");
        }
        (response.status(), upgrade)
    }

    #[test]
    fn a_right_request_is_upgraded() {
        let (status, upgrade) = answer("GET", "/v1/session", GOOD);
        assert_eq!(status, 101);
        assert!(upgrade.accepted());
    }

    #[test]
    fn every_wrong_request_is_told_what_is_missing() {
        for (name, status) in [
            ("connection", 426),
            ("upgrade", 426),
            ("sec-websocket-version", 426),
            ("sec-websocket-protocol", 400),
            ("sec-websocket-key", 400),
        ] {
            let headers: Vec<_> = GOOD.iter().copied().filter(|(n, _)| *n != name).collect();
            let (got, upgrade) = answer("GET", "/v1/session", &headers);
            assert_eq!(got, status, "without {name}");
            assert!(!upgrade.accepted());
        }
        let with = |name, value| [GOOD, &[(name, value)]].concat();
        assert_eq!(
            answer("GET", "/v1/session", &with("content-length", "0")).0,
            101
        );
        assert_eq!(
            answer("GET", "/v1/session", &with("content-length", "5")).0,
            400
        );
        assert_eq!(
            answer("GET", "/v1/session", &with("transfer-encoding", "chunked")).0,
            400
        );
        assert_eq!(answer("POST", "/v1/session", GOOD).0, 405);
        assert_eq!(answer("GET", "/", GOOD).0, 404);
        assert_eq!(answer("GET", "/v1/session/x", GOOD).0, 404);
        assert_eq!(answer("GET", "/healthz", &[]).0, 200);
    }
}
