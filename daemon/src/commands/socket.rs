//! Asking the running daemon over its local socket, for the commands.

use std::{path::PathBuf, time::Duration};

use bowline_local::{CallError, Client, ClientOptions, ConnectError, Endpoint, EndpointError};
use bowline_protocol::RpcReason;
use serde::{Serialize, de::DeserializeOwned};

use super::{Exit, Failure};

/// How long an answer may take before somebody at a terminal should hear that none comes.
const ANSWER: Duration = Duration::from_secs(10);

/// The daemon that a command asks.
pub(super) struct Asked {
    /// Where its local socket is.
    pub(super) socket: PathBuf,
    /// What the program is called, for texts that tell what to type.
    pub(super) program: &'static str,
}

/// Calls one method over a connection of its own.
pub(super) fn call<R: DeserializeOwned>(
    asked: &Asked,
    method: &str,
    params: &impl Serialize,
) -> Result<R, Failure> {
    let endpoint = Endpoint::new(&asked.socket)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("no runtime: {error}")))?;
    runtime.block_on(async {
        let options = ClientOptions {
            request_timeout: ANSWER,
            ..ClientOptions::default()
        };
        let client = Client::connect_with(&endpoint, options).await;
        let client = client.map_err(|error| not_connected(asked, error))?;
        client.call(method, params).await.map_err(not_answered)
    })
}

impl From<EndpointError> for Failure {
    fn from(error: EndpointError) -> Self {
        Self::new(Exit::Usage, error)
    }
}

fn not_connected(asked: &Asked, error: ConnectError) -> Failure {
    match &error {
        ConnectError::NotReachable { .. } => {
            let message = format!("{error}; start it with `{} run`", asked.program);
            Failure::new(Exit::NotReachable, message)
        }
        ConnectError::Timeout { .. } => Failure::new(Exit::NotReachable, error),
        ConnectError::Forbidden { .. } | ConnectError::Stranger { .. } => {
            Failure::new(Exit::Refused, error)
        }
        ConnectError::Unsupported | ConnectError::Io { .. } => Failure::new(Exit::Failed, error),
    }
}

fn not_answered(error: CallError) -> Failure {
    match error {
        // Without its code, which is for programs.
        CallError::Rpc(error) => {
            let exit = match error.reason() {
                Some(RpcReason::Forbidden) => Exit::Refused,
                // What was named is not there.
                Some(RpcReason::NotFound) => Exit::Usage,
                _ => Exit::Failed,
            };
            Failure::new(exit, error.message)
        }
        CallError::Timeout { .. } => {
            let message =
                format!("{error}; the daemon is there and busy, or it hangs: its log says more");
            Failure::new(Exit::Failed, message)
        }
        error => Failure::new(Exit::Failed, error),
    }
}
