//! Opens WebSockets to a relay with `bowline_net`. The caller bounds the time.

use std::{path::PathBuf, time::Duration};

pub(super) use bowline_net::Socket;
use bowline_net::{Destination, DialError, Dialer, Opened, Opening, Proxies, Tls};
use bowline_program::config::SecretError;
use bowline_protocol::{
    Reason,
    relay::{RelayUrlError, SUBPROTOCOL},
};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::config::{ProxyUrl, RelayUrl};

/// Relay settings are not usable.
#[derive(Debug, thiserror::Error)]
pub enum RelaySettingsError {
    /// A root certificate is not usable.
    #[error("`relay_root`: {}: {problem}; it must hold certificates in PEM", path.display())]
    Root {
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: String,
    },
    /// The token of the file has not exactly one relay.
    #[error(
        "`relay_token_file` holds the token of one relay, and {0} have none in their URL: write \
         those of others as in wss://TOKEN@HOST"
    )]
    TokenOf(usize),
    /// The file with a relay's token is not usable.
    #[error("`relay_token_file`: {0}")]
    TokenFile(#[from] SecretError),
    /// The file contains no valid token.
    #[error("`relay_token_file`: {0}")]
    Token(#[from] RelayUrlError),
}

/// Failure to open a socket.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    /// Earliest time of the next attempt.
    pub(super) retry_after: Option<Duration>,
    /// Text for people.
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
    /// Trusts the public certificate roots and those in `roots`. Uses `proxy`, or else the proxies
    /// of the daemon's environment.
    pub(super) fn new(
        roots: &[PathBuf],
        proxy: Option<&ProxyUrl>,
    ) -> Result<Self, RelaySettingsError> {
        let wrong = |path: &PathBuf, problem: String| RelaySettingsError::Root {
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
        let proxies = proxy.map_or_else(Proxies::from_env, |proxy| Proxies::all(proxy.reveal()));
        Ok(Self(Dialer::new(tls, proxies)))
    }

    /// Opens the WebSocket at `path`, with the `Authorization` header if given.
    pub(super) async fn dial(
        &self,
        relay: &RelayUrl,
        path: &str,
        authorization: Option<String>,
        config: WebSocketConfig,
    ) -> Result<Opened, Failure> {
        let opening = Opening {
            subprotocol: SUBPROTOCOL,
            authorization,
            config,
        };
        Ok(self
            .0
            .open(&Destination::relay(relay, path), opening)
            .await?)
    }
}
