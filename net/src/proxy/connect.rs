//! Tunnels through an HTTP proxy: `CONNECT` (RFC 9110 §9.3.6).

use std::{io, time::SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::ProxyProblem;
use crate::{dialer::Wire, retry_after};

/// Longest response head in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// Most response headers.
const MAX_HEADERS: usize = 64;

/// Makes the proxy at `place` connect to `target`.
pub(super) async fn tunnel(
    mut stream: Box<dyn Wire>,
    place: &str,
    target: &str,
    authorization: Option<&[u8]>,
) -> Result<Box<dyn Wire>, ProxyProblem> {
    let failed = |error: io::Error| ProxyProblem::Connect {
        place: place.to_owned(),
        problem: error.into(),
    };
    let protocol = |problem: &str| ProxyProblem::Protocol {
        place: place.to_owned(),
        problem: problem.to_owned(),
    };
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(authorization) = authorization {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(authorization);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await.map_err(failed)?;
    stream.flush().await.map_err(failed)?;
    let mut head = Vec::new();
    loop {
        if stream.read_buf(&mut head).await.map_err(failed)? == 0 {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        match response.parse(&head) {
            Ok(httparse::Status::Partial) if head.len() < MAX_HEAD => {}
            Ok(httparse::Status::Partial) => return Err(protocol("its answer is too long")),
            Ok(httparse::Status::Complete(length)) => {
                let status = response.code.unwrap_or_default();
                if !(200..300).contains(&status) {
                    let mut after = response.headers.iter();
                    let after =
                        after.find(|header| header.name.eq_ignore_ascii_case("retry-after"));
                    let now = SystemTime::now();
                    return Err(ProxyProblem::Refused {
                        place: place.to_owned(),
                        status,
                        retry_after: after.and_then(|after| retry_after::parse(after.value, now)),
                    });
                }
                // The destination never sends first, so bytes after the head are an error.
                if length != head.len() {
                    return Err(protocol("it sent data after its answer"));
                }
                return Ok(stream);
            }
            Err(error) => return Err(protocol(&error.to_string())),
        }
    }
}

/// Meaning of a proxy's status, for people.
pub(super) const fn meaning(status: u16) -> &'static str {
    match status {
        407 => {
            "it requires a user and a password; write them into the proxy's URL, as in http://USER:PASSWORD@HOST:PORT"
        }
        401 | 403 => "it does not allow that address",
        404 | 405 | 501 => "it does not support CONNECT",
        502..=504 => "it cannot reach that address",
        _ => "it refused the connection",
    }
}
