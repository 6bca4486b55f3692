//! The way through a SOCKS5 proxy (RFC 1928, RFC 1929). It resolves names.

use tokio_socks::{Error, tcp::Socks5Stream};

use super::ProxyProblem;
use crate::dialer::Wire;

/// Has the proxy at `place` connect to `target`.
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
    match connected {
        Ok(connected) => Ok(connected.into_inner()),
        Err(Error::Io(error)) => Err(ProxyProblem::Connect {
            place: place.to_owned(),
            error,
        }),
        Err(
            error @ (Error::InvalidResponseVersion
            | Error::InvalidReservedByte
            | Error::UnknownAddressType),
        ) => Err(ProxyProblem::Protocol {
            place: place.to_owned(),
            problem: error.to_string(),
        }),
        Err(Error::NoAcceptableAuthMethods | Error::PasswordAuthFailure(_)) => {
            Err(ProxyProblem::Socks {
                place: place.to_owned(),
                problem:
                    "it wants another user and password; write them into the proxy's URL, as in \
                      socks5://USER:PASSWORD@HOST:PORT"
                        .to_owned(),
            })
        }
        Err(error) => Err(ProxyProblem::Socks {
            place: place.to_owned(),
            problem: error.to_string(),
        }),
    }
}
