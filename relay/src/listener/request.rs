//! HTTP requests: upgrades with their destination, and responses to all others.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use bowline_program::{
    WebAccess,
    upgrade::{self, Refusal, accept_key, only_get, set, switching},
};
use bowline_protocol::{
    Reason, RouteKey, ServerId,
    relay::{
        self, CLIENT_PATH, CONTROL_PATH, CloseText, DATA_PATH, DataToken, SESSION_PARAMETER,
        TlsExporter,
    },
};
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header,
};

use crate::{
    admission::Purpose,
    connection_limits::{ConnectionPermit, Denied},
    origins::Arrival,
    parts::Parts,
    registry::NotFound,
};

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Destination of an upgraded socket.
#[derive(Debug)]
pub(super) enum Answered {
    /// None: it is closed with this text, because a WebSocket client reads close frames, not HTTP
    /// errors.
    Refused(CloseText),
    /// A daemon's control socket; its identity is still to be proved.
    Control(Box<Arrival>),
    /// A registered daemon's data socket for one session.
    Data { server: ServerId, session: RouteKey },
    /// A client's socket.
    Client { server: ServerId, session: RouteKey },
}

/// Both ends of a socket, and its TLS.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) peer: IpAddr,
    pub(super) local: SocketAddr,
    pub(super) secure: bool,
    pub(super) exporter: Option<TlsExporter>,
}

/// Answers the one request of a socket and stores its destination.
#[derive(Debug)]
pub(super) struct Service {
    parts: Arc<Parts>,
    web: WebAccess,
    ends: Ends,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    permit: ConnectionPermit,
    answered: Option<Answered>,
}

impl Service {
    pub(super) fn new(
        parts: Arc<Parts>,
        web: WebAccess,
        ends: Ends,
        permit: ConnectionPermit,
    ) -> Self {
        let answered = None;
        Self {
            parts,
            web,
            ends,
            state: Mutex::new(State { permit, answered }),
        }
    }

    /// The destination of the socket, if it was upgraded, and its permit.
    pub(super) fn into_answer(self) -> (Option<Answered>, ConnectionPermit) {
        let state = self.state.into_inner();
        let state = state.unwrap_or_else(PoisonError::into_inner);
        (state.answered, state.permit)
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if let Err((status, problem)) = self.web.check_host(request) {
            return text(status, problem);
        }
        let path = request.uri().path();
        let known =
            matches!(path, CONTROL_PATH | DATA_PATH | "/healthz") || path.starts_with(CLIENT_PATH);
        if !known {
            return text(
                StatusCode::NOT_FOUND,
                "nothing here; this is a Bowline relay",
            );
        }
        match (request.method(), path) {
            (&Method::GET | &Method::HEAD, "/healthz") => text(StatusCode::OK, "ok"),
            (&Method::GET, _) => match self.upgrade(request) {
                Ok((response, answered)) => {
                    let state = self.state.lock();
                    state.unwrap_or_else(PoisonError::into_inner).answered = Some(answered);
                    response
                }
                Err((status, problem)) => text(status, problem),
            },
            _ => only_get(),
        }
    }

    fn upgrade<B>(
        &self,
        request: &Request<B>,
    ) -> Result<(Response<Full<Bytes>>, Answered), Refusal> {
        let headers = request.headers();
        let path = request.uri().path();
        let protocol = subprotocol(path, headers)?;
        let accept = accept_key(request)?;
        self.web.check_origin(headers)?;
        let answered = match self.admit(path, headers)? {
            Some(refused) => Answered::Refused(refused),
            None => self.route(request)?,
        };
        Ok((switching(&accept, protocol), answered))
    }

    /// Checks the limits of the client's address.
    fn admit(&self, path: &str, headers: &HeaderMap) -> Result<Option<CloseText>, Refusal> {
        let forwarded = headers.get_all(FORWARDED_FOR).iter();
        let forwarded = forwarded.filter_map(|value| value.to_str().ok());
        let purpose = match path {
            CONTROL_PATH => Purpose::Registration,
            _ => Purpose::Session,
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let admission = &self.parts.admission;
        match admission.admit(&mut state.permit, self.ends.peer, forwarded, purpose) {
            Ok(()) => Ok(None),
            Err(Denied::Limited(wait)) => Ok(Some(CloseText {
                reason: Reason::RateLimited,
                retry_after: Some(wait),
            })),
            Err(Denied::Dropped | Denied::Full) => Err((
                StatusCode::TOO_MANY_REQUESTS,
                "too many sockets of one address",
            )),
        }
    }

    fn route<B>(&self, request: &Request<B>) -> Result<Answered, Refusal> {
        match request.uri().path() {
            CONTROL_PATH => Ok(Answered::Control(Box::new(self.arrival(request.headers())))),
            DATA_PATH => self.data(request),
            path => {
                let (server, session) = path
                    .strip_prefix(CLIENT_PATH)
                    .and_then(|rest| rest.split_once('/'))
                    .unwrap_or_default();
                // INV-9: a malformed identity has its own error, here too.
                Ok(match (server.parse(), session.parse()) {
                    (Ok(server), Ok(session)) => Answered::Client { server, session },
                    _ => Answered::Refused(Reason::IdentityMissing.into()),
                })
            }
        }
    }

    /// How a control socket arrived.
    fn arrival(&self, headers: &HeaderMap) -> Arrival {
        let Ends {
            peer,
            local,
            secure,
            exporter,
        } = self.ends;
        Arrival {
            local,
            secure,
            exporter,
            is_proxied: self.parts.admission.is_proxy(peer)
                || headers.contains_key(FORWARDED_FOR)
                || headers.contains_key(header::FORWARDED),
        }
    }

    fn data<B>(&self, request: &Request<B>) -> Result<Answered, Refusal> {
        const UNAUTHORIZED: Refusal = (
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
        match self.parts.registry.find(&token, &session) {
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

/// The subprotocol of the response. A data socket may omit it.
fn subprotocol(path: &str, headers: &HeaderMap) -> Result<Option<&'static str>, Refusal> {
    let offers = |protocol| upgrade::offers(headers, protocol);
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

fn text(status: StatusCode, problem: &str) -> Response<Full<Bytes>> {
    let mut response = upgrade::text(status, problem);
    match status {
        StatusCode::UNAUTHORIZED => set(&mut response, header::WWW_AUTHENTICATE, "Bearer"),
        StatusCode::TOO_MANY_REQUESTS => set(&mut response, header::RETRY_AFTER, "10"),
        _ => {}
    }
    response
}
