//! The HTTP side of a WebSocket listener: checks upgrade requests (RFC 6455) and answers all
//! others.

use data_encoding::BASE64;
use http::{
    HeaderMap, Request, Response, StatusCode, Version,
    header::{self, HeaderName, HeaderValue},
};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// The GUID of the accept key, RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A response without upgrade; its text states the problem.
pub type Refusal = (StatusCode, &'static str);

/// Checks an upgrade request by RFC 6455, except its subprotocol, and returns
/// `Sec-WebSocket-Accept`.
///
/// # Errors
/// The response for the first invalid header.
pub fn accept_key<B>(request: &Request<B>) -> Result<String, Refusal> {
    let headers = request.headers();
    may_upgrade(request.version(), headers)?;
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
        // The key is 16 bytes in base64.
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

/// HTTP/1.0 has no upgrades (C39), and one side would read the body of an upgrade as messages.
fn may_upgrade(version: Version, headers: &HeaderMap) -> Result<(), Refusal> {
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

/// Whether a request offers the subprotocol.
pub fn offers(headers: &HeaderMap, protocol: &str) -> bool {
    lists(headers, header::SEC_WEBSOCKET_PROTOCOL, protocol)
}

/// Whether a header contains a token.
fn lists(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// The response that turns the connection into a WebSocket.
pub fn switching<B: Default>(accept: &str, protocol: Option<&'static str>) -> Response<B> {
    let mut response = Response::new(B::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    set(&mut response, header::CONNECTION, "Upgrade");
    set(&mut response, header::UPGRADE, "websocket");
    if let Some(protocol) = protocol {
        set(&mut response, header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    if let Ok(value) = HeaderValue::from_str(accept) {
        response
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_ACCEPT, value);
    }
    response
}

/// A line of text, after which the connection closes.
pub fn text<B: From<String>>(status: StatusCode, text: &str) -> Response<B> {
    let mut response = Response::new(B::from(format!("{text}\n")));
    *response.status_mut() = status;
    set(
        &mut response,
        header::CONTENT_TYPE,
        "text/plain; charset=utf-8",
    );
    // One request per connection. The header is set here, because hyper's own switch would also add
    // `close` to the 101, which strict WebSocket clients refuse.
    set(&mut response, header::CONNECTION, "close");
    if status == StatusCode::UPGRADE_REQUIRED {
        set(&mut response, header::UPGRADE, "websocket");
        set(&mut response, header::SEC_WEBSOCKET_VERSION, "13");
    }
    response
}

/// The response to other methods than GET.
pub fn only_get<B: From<String>>() -> Response<B> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here");
    set(&mut response, header::ALLOW, "GET");
    response
}

/// Sets a header of a response.
pub fn set<B>(response: &mut Response<B>, name: HeaderName, value: &'static str) {
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
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn key(version: Version, headers: &[(&str, &str)]) -> Result<String, Refusal> {
        let mut request = Request::builder().version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        accept_key(&request.body(()).unwrap())
    }

    #[test]
    fn a_right_request_is_upgraded() {
        // The example of RFC 6455 §1.3.
        let accept = key(Version::HTTP_11, GOOD).unwrap();
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let response: Response<String> = switching(&accept, Some("bowline.v1"));
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()["sec-websocket-accept"], accept);
        assert_eq!(response.headers()["sec-websocket-protocol"], "bowline.v1");
        assert_eq!(response.headers()["connection"], "Upgrade");
    }

    #[test]
    fn every_wrong_request_is_told_what_is_missing() {
        for (name, status) in [
            ("connection", 426),
            ("upgrade", 426),
            ("sec-websocket-version", 426),
            ("sec-websocket-key", 400),
        ] {
            let headers: Vec<_> = GOOD.iter().copied().filter(|(n, _)| *n != name).collect();
            let (refused, _) = key(Version::HTTP_11, &headers).unwrap_err();
            assert_eq!(refused, status, "without {name}");
        }
        let with = |name, value| key(Version::HTTP_11, &[GOOD, &[(name, value)]].concat());
        assert!(with("content-length", "0").is_ok());
        assert_eq!(with("content-length", "5").unwrap_err().0, 400);
        assert_eq!(with("transfer-encoding", "chunked").unwrap_err().0, 400);
        // C39.
        assert_eq!(key(Version::HTTP_10, GOOD).unwrap_err().0, 426);
        let response: Response<String> = text(StatusCode::UPGRADE_REQUIRED, "so");
        assert_eq!(response.headers()["sec-websocket-version"], "13");
        assert_eq!(response.headers()["connection"], "close");
    }
}
