//! Opening a WebSocket to a relay; how is the business of `bowline_net`. The caller bounds the time.

use std::{path::PathBuf, time::Duration};

pub(super) use bowline_net::Socket;
use bowline_net::{DialError, Dialer, Endpoint, Opening, Proxies, Tls};
use bowline_protocol::{Reason, relay::SUBPROTOCOL};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::config::RelayUrl;

/// Why relays cannot be spoken to over TLS.
#[derive(Debug, thiserror::Error)]
pub enum RelayTlsError {
    /// A root certificate is not usable.
    #[error("`relay_root`: {}: {problem}; it must hold certificates in PEM", path.display())]
    Root {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// Why there is no socket.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    /// Not to be tried again earlier than this.
    pub(super) retry_after: Option<Duration>,
    /// For people.
    pub(super) message: String,
    /// The relay answered with this HTTP status.
    pub(super) status: Option<u16>,
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        Self {
            reason: error.reason(),
            retry_after: error.retry_after(),
            message: error.to_string(),
            status: error.status(),
        }
    }
}

/// Opens sockets to relays.
#[derive(Clone, Debug)]
pub(super) struct Dialler(Dialer);

impl Dialler {
    /// Trusts the public certificate roots, and those in these files besides. Goes through the proxies that the daemon's
    /// environment names.
    pub(super) fn new(roots: &[PathBuf]) -> Result<Self, RelayTlsError> {
        let wrong = |path: &PathBuf, problem: String| RelayTlsError::Root {
            path: path.clone(),
            problem,
        };
        let read =
            |path: &PathBuf| std::fs::read(path).map_err(|error| wrong(path, error.to_string()));
        let texts: Vec<_> = roots.iter().map(read).collect::<Result<_, _>>()?;
        let tls = Tls::new(&texts).map_err(|(index, error)| {
            let path = roots.get(index).cloned().unwrap_or_default();
            wrong(&path, error.to_string())
        })?;
        Ok(Self(Dialer::new(tls, Proxies::from_env())))
    }

    /// Opens the WebSocket at `path`, with that `Authorization` if there is one.
    pub(super) async fn dial(
        &self,
        relay: &RelayUrl,
        path: &str,
        authorization: Option<String>,
        config: WebSocketConfig,
    ) -> Result<Socket, Failure> {
        let opening = Opening {
            subprotocol: SUBPROTOCOL,
            authorization,
            config,
        };
        let opened = self.0.open(&Endpoint::relay(relay, path), opening).await?;
        Ok(opened.socket)
    }
}
