//! The HTTP side of a listener: upgrades requests to session sockets and answers all others.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::atomic::{AtomicBool, Ordering},
};

use bowline_program::{
    WebAccess,
    upgrade::{Refusal, accept_key, offers, only_get, switching, text},
};
use bowline_protocol::{SESSION_PATH, SUBPROTOCOL};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    service::Service,
};

/// Answers the one request of a socket, and records whether it was with 101.
#[derive(Debug)]
pub(super) struct Upgrade {
    web: WebAccess,
    accepted: AtomicBool,
}

impl Upgrade {
    pub(super) const fn new(web: WebAccess) -> Self {
        Self {
            web,
            accepted: AtomicBool::new(false),
        }
    }

    /// Whether the socket is a WebSocket from now on.
    pub(super) fn accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if let Err((status, problem)) = self.web.check_host(request) {
            return text(status, problem);
        }
        match (request.uri().path(), request.method()) {
            (SESSION_PATH, &Method::GET) => match self.upgrade(request) {
                Ok(response) => {
                    self.accepted.store(true, Ordering::Relaxed);
                    response
                }
                Err((status, problem)) => text(status, problem),
            },
            ("/healthz", &Method::GET | &Method::HEAD) => text(StatusCode::OK, "ok"),
            (SESSION_PATH | "/healthz", _) => only_get(),
            _ => text(
                StatusCode::NOT_FOUND,
                "nothing here; Bowline sessions are on GET /v1/session",
            ),
        }
    }

    fn upgrade<B>(&self, request: &Request<B>) -> Result<Response<Full<Bytes>>, Refusal> {
        let accept = accept_key(request)?;
        self.web.check_origin(request.headers())?;
        if !offers(request.headers(), SUBPROTOCOL) {
            return Err((
                StatusCode::BAD_REQUEST,
                "the WebSocket subprotocol `bowline.v1` must be offered (`Sec-WebSocket-Protocol: bowline.v1`)",
            ));
        }
        Ok(switching(&accept, Some(SUBPROTOCOL)))
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
        let upgrade = Upgrade::new(WebAccess::new(&[], &[]));
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
    fn every_wrong_request_is_answered_and_not_upgraded() {
        for (name, status) in [("upgrade", 426), ("sec-websocket-protocol", 400)] {
            let headers: Vec<_> = GOOD.iter().copied().filter(|(n, _)| *n != name).collect();
            let (got, upgrade) = answer("GET", "/v1/session", &headers);
            assert_eq!(got, status, "without {name}");
            assert!(!upgrade.accepted());
        }
        assert_eq!(answer("POST", "/v1/session", GOOD).0, 405);
        assert_eq!(answer("GET", "/", GOOD).0, 404);
        assert_eq!(answer("GET", "/v1/session/x", GOOD).0, 404);
        assert_eq!(answer("GET", "/healthz", &[]).0, 200);
    }
}
