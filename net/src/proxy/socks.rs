//! Tunnels through a SOCKS5 proxy (RFC 1928, RFC 1929), which resolves the names.

use tokio_socks::{Error, tcp::Socks5Stream};

use super::ProxyProblem;
use crate::dialer::Wire;

const ANOTHER_LOGIN: &str = "it wants another user and password; write them into the proxy's URL, as in \
                             socks5://USER:PASSWORD@HOST:PORT";

/// Makes the proxy at `place` connect to `target`.
pub(super) async fn tunnel(
    stream: Box<dyn Wire>,
    place: &str,
    target: (&str, u16),
    login: Option<(&str, &str)>,
) -> Result<Box<dyn Wire>, ProxyProblem> {
    let connected = match login {
        Some((user, password)) => {
            Socks5Stream::connect_with_password_and_socket(stream, target, user, password).await
        }
        None => Socks5Stream::connect_with_socket(stream, target).await,
    };
    let place = place.to_owned();
    connected
        .map(Socks5Stream::into_inner)
        .map_err(|error| match error {
            Error::Io(error) => ProxyProblem::Connect {
                place,
                problem: error.into(),
            },
            Error::InvalidResponseVersion
            | Error::InvalidReservedByte
            | Error::UnknownAddressType => ProxyProblem::Protocol {
                place,
                problem: error.to_string(),
            },
            Error::NoAcceptableAuthMethods | Error::PasswordAuthFailure(_) => ProxyProblem::Socks {
                place,
                problem: ANOTHER_LOGIN.to_owned(),
            },
            error => ProxyProblem::Socks {
                place,
                problem: error.to_string(),
            },
        })
}
