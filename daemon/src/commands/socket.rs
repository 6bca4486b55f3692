//! Asking the running daemon over its local socket, for the commands.

use std::{path::Path, time::Duration};

use bowline_local::{CallError, Client, ClientOptions, ConnectError, Endpoint, EndpointError};
use bowline_protocol::RpcReason;
use serde::{Serialize, de::DeserializeOwned};

use super::{Exit, Failure};

/// How long an answer may take before somebody at a terminal should hear that none comes.
const ANSWER: Duration = Duration::from_secs(10);

/// Calls one method over a connection of its own.
pub(super) fn call<R: DeserializeOwned>(
    socket: &Path,
    method: &str,
    params: &impl Serialize,
) -> Result<R, Failure> {
    let endpoint = Endpoint::new(socket)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("no runtime: {error}")))?;
    runtime.block_on(async {
        let options = ClientOptions {
            request_timeout: ANSWER,
            ..ClientOptions::default()
        };
        let client = Client::connect_with(&endpoint, options).await?;
        Ok(client.call(method, params).await?)
    })
}

impl From<EndpointError> for Failure {
    fn from(error: EndpointError) -> Self {
        Self::new(Exit::Usage, error)
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let exit = match &error {
            ConnectError::NotReachable { .. } | ConnectError::Timeout { .. } => Exit::NotReachable,
            ConnectError::Forbidden { .. } | ConnectError::Stranger { .. } => Exit::Refused,
            ConnectError::Unsupported | ConnectError::Io { .. } => Exit::Failed,
        };
        Self::new(exit, error)
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let exit = match &error {
            CallError::Rpc(error) => match error.reason() {
                Some(RpcReason::Forbidden) => Exit::Refused,
                // What was named is not there.
                Some(RpcReason::NotFound) => Exit::Usage,
                _ => Exit::Failed,
            },
            _ => Exit::Failed,
        };
        Self::new(exit, error)
    }
}
