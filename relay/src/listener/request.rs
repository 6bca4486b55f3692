//! The HTTP side: what is upgraded, where it leads, and what everything else is told.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use bowline_protocol::{
    Reason, RouteKey, ServerId,
    relay::{
        self, CLIENT_PATH, CONTROL_PATH, CloseText, DATA_PATH, DataToken, SESSION_PARAMETER,
        limits::HANDSHAKE,
    },
};
use data_encoding::BASE64;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Version,
    body::{Bytes, Incoming},
    header::{self, HeaderName, HeaderValue},
};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::{
    hub::Hub,
    places::{Place, Standing},
    proxies::client_address,
    registry::NotFound,
};

/// What the accept key is made with, RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Where an upgraded socket leads.
#[derive(Debug)]
pub(super) enum Answered {
    /// To a close frame: the request was a WebSocket's, so that is where it looks for an answer.
    Refused(CloseText),
    /// A daemon that will prove who it is.
    Control,
    /// A registered daemon, for one of its sessions.
    Data { server: ServerId, session: RouteKey },
    /// A client.
    Client { server: ServerId, session: RouteKey },
}

/// Answers the one request of a socket, and remembers where it leads.
#[derive(Debug)]
pub(super) struct Service {
    hub: Arc<Hub>,
    peer: IpAddr,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    place: Place,
    answered: Option<Answered>,
}

/// An answer that is not an upgrade.
type Plain = (StatusCode, &'static str);

impl Service {
    pub(super) fn new(hub: Arc<Hub>, peer: IpAddr, place: Place) -> Self {
        let answered = None;
        Self {
            hub,
            peer,
            state: Mutex::new(State { place, answered }),
        }
    }

    /// Where the socket leads, if it was upgraded, and its place.
    pub(super) fn into_answer(self) -> (Option<Answered>, Place) {
        let state = self.state.into_inner();
        let state = state.unwrap_or_else(PoisonError::into_inner);
        (state.answered, state.place)
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let known = matches!(path, CONTROL_PATH | DATA_PATH | "/healthz" | "/metrics")
            || path.starts_with(CLIENT_PATH);
        if !known {
            return text(
                StatusCode::NOT_FOUND,
                "nothing here; this is a Bowline relay",
            );
        }
        match (request.method(), path) {
            (&Method::GET | &Method::HEAD, "/healthz") => text(StatusCode::OK, "ok"),
            (&Method::GET | &Method::HEAD, "/metrics") => self.metrics(),
            (&Method::GET, _) => match self.upgrade(request) {
                Ok((response, answered)) => {
                    let state = self.state.lock();
                    state.unwrap_or_else(PoisonError::into_inner).answered = Some(answered);
                    response
                }
                Err((status, problem)) => text(status, problem),
            },
            _ => {
                let mut response =
                    text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here");
                set(&mut response, header::ALLOW, "GET");
                response
            }
        }
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let body = self.hub.metrics.render(self.hub.gauges());
        let mut response = Response::new(Full::from(body));
        set(
            &mut response,
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        );
        set(&mut response, header::CONNECTION, "close");
        response
    }

    fn upgrade<B>(&self, request: &Request<B>) -> Result<(Response<Full<Bytes>>, Answered), Plain> {
        let headers = request.headers();
        let path = request.uri().path();
        let protocol = subprotocol(path, headers)?;
        may_upgrade(request.version(), headers)?;
        let accept = accept_key(headers)?;
        let answered = match self.admit(path, headers)? {
            Some(refused) => Answered::Refused(refused),
            None => self.route(request)?,
        };
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        set(&mut response, header::CONNECTION, "Upgrade");
        set(&mut response, header::UPGRADE, "websocket");
        if let Some(protocol) = protocol {
            set(&mut response, header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        if let Ok(value) = HeaderValue::from_str(&accept) {
            response
                .headers_mut()
                .insert(header::SEC_WEBSOCKET_ACCEPT, value);
        }
        Ok((response, answered))
    }

    /// Whether the address may have one more socket, and one more now.
    fn admit(&self, path: &str, headers: &HeaderMap) -> Result<Option<CloseText>, Plain> {
        let forwarded = headers.get_all(FORWARDED_FOR).iter();
        let forwarded = forwarded.filter_map(|value| value.to_str().ok());
        let address = client_address(&self.hub.trusted_proxies, self.peer, forwarded);
        let over = |wait| {
            let retry_after = Some(wait);
            CloseText {
                reason: Reason::RateLimited,
                retry_after,
            }
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match self.hub.places.claim(&mut state.place, address) {
            Standing::Welcome => {}
            Standing::Over => return Ok(Some(over(HANDSHAKE))),
            Standing::Unheard => {
                return Err((
                    StatusCode::TOO_MANY_REQUESTS,
                    "too many sockets of one address",
                ));
            }
        }
        let rate = match path {
            CONTROL_PATH => &self.hub.registrations,
            _ => &self.hub.opens,
        };
        Ok(rate.admit(address).err().map(over))
    }

    fn route<B>(&self, request: &Request<B>) -> Result<Answered, Plain> {
        match request.uri().path() {
            CONTROL_PATH => Ok(Answered::Control),
            DATA_PATH => self.data(request),
            path => {
                let (server, session) = path
                    .strip_prefix(CLIENT_PATH)
                    .and_then(|rest| rest.split_once('/'))
                    .unwrap_or_default();
                // INV-9: a malformed identity is an error of its own, also here.
                Ok(match (server.parse(), session.parse()) {
                    (Ok(server), Ok(session)) => Answered::Client { server, session },
                    _ => Answered::Refused(Reason::IdentityMissing.into()),
                })
            }
        }
    }

    fn data<B>(&self, request: &Request<B>) -> Result<Answered, Plain> {
        const UNAUTHORIZED: Plain = (
            StatusCode::UNAUTHORIZED,
            "a data socket needs the data token of a registration in force",
        );
        let token = request.headers().get(header::AUTHORIZATION);
        let token = token.and_then(|value| value.to_str().ok());
        let token = token.and_then(|value| DataToken::from_header(value).ok());
        let token = token.ok_or(UNAUTHORIZED)?;
        let session = session_parameter(request.uri().query()).ok_or((
            StatusCode::BAD_REQUEST,
            "the session must be named: ?session=<routeKey>",
        ))?;
        match self.hub.registry.find(&token, &session) {
            Ok(server) => Ok(Answered::Data { server, session }),
            Err(NotFound::Token) => Err(UNAUTHORIZED),
            Err(NotFound::Session) => {
                Err((StatusCode::NOT_FOUND, "that session has no clients now"))
            }
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        ready(Ok(self.answer(&request)))
    }
}

fn session_parameter(query: Option<&str>) -> Option<RouteKey> {
    let mut pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    let (_, session) = pairs.find(|(name, _)| *name == SESSION_PARAMETER)?;
    session.parse().ok()
}

/// Whether a header lists a token.
fn lists(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// The subprotocol to answer with. A data socket may do without.
fn subprotocol(path: &str, headers: &HeaderMap) -> Result<Option<&'static str>, Plain> {
    let offers = |protocol| lists(headers, header::SEC_WEBSOCKET_PROTOCOL, protocol);
    match path {
        CONTROL_PATH if !offers(relay::SUBPROTOCOL) => Err((
            StatusCode::BAD_REQUEST,
            "the WebSocket subprotocol `bowline.relay.v1` must be offered",
        )),
        CONTROL_PATH => Ok(Some(relay::SUBPROTOCOL)),
        DATA_PATH => Ok(offers(relay::SUBPROTOCOL).then_some(relay::SUBPROTOCOL)),
        _ if !offers(bowline_protocol::SUBPROTOCOL) => Err((
            StatusCode::BAD_REQUEST,
            "the WebSocket subprotocol `bowline.v1` must be offered",
        )),
        _ => Ok(Some(bowline_protocol::SUBPROTOCOL)),
    }
}

/// Checks an upgrade request as RFC 6455 asks; gives `Sec-WebSocket-Accept`.
fn accept_key(headers: &HeaderMap) -> Result<String, Plain> {
    if !lists(headers, header::CONNECTION, "upgrade")
        || !lists(headers, header::UPGRADE, "websocket")
    {
        return Err((
            StatusCode::UPGRADE_REQUIRED,
            "this is a WebSocket endpoint: send `Connection: Upgrade` and `Upgrade: websocket`",
        ));
    }
    let value = |name: HeaderName| headers.get(name).map(HeaderValue::as_bytes);
    if value(header::SEC_WEBSOCKET_VERSION) != Some(b"13") {
        return Err((
            StatusCode::UPGRADE_REQUIRED,
            "only WebSocket version 13 is spoken here (`Sec-WebSocket-Version: 13`)",
        ));
    }
    match value(header::SEC_WEBSOCKET_KEY) {
        // 16 bytes in base64.
        Some(key) if key.len() == 24 && key.ends_with(b"==") => {
            let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat());
            Ok(BASE64.encode(hash.as_ref()))
        }
        _ => Err((
            StatusCode::BAD_REQUEST,
            "`Sec-WebSocket-Key` must be 16 bytes in base64",
        )),
    }
}

/// HTTP/1.0 knows no upgrades (C39), and an upgrade that brings a body would be read by one side as messages.
fn may_upgrade(version: Version, headers: &HeaderMap) -> Result<(), Plain> {
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
    match status {
        StatusCode::UPGRADE_REQUIRED => {
            set(&mut response, header::UPGRADE, "websocket");
            set(&mut response, header::SEC_WEBSOCKET_VERSION, "13");
        }
        StatusCode::UNAUTHORIZED => set(&mut response, header::WWW_AUTHENTICATE, "Bearer"),
        StatusCode::TOO_MANY_REQUESTS => set(&mut response, header::RETRY_AFTER, "10"),
        _ => {}
    }
    response
}

fn set(response: &mut Response<Full<Bytes>>, name: HeaderName, value: &'static str) {
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
}
