//! Calls of the commands to the running daemon over its local socket.

use std::{path::PathBuf, time::Duration};

use bowline_local::{CallError, Client, ClientOptions, ConnectError, Endpoint};
use bowline_program::{Exit, Failure};
use bowline_protocol::RpcReason;
use serde::{Serialize, de::DeserializeOwned};

/// Deadline of a response, short enough for a user who waits at a terminal.
const ANSWER: Duration = Duration::from_secs(10);

/// The daemon that a command calls.
pub(super) struct Asked {
    /// The endpoint of its local socket.
    pub(super) socket: PathBuf,
    /// The program's name, for texts that suggest a command.
    pub(super) program: &'static str,
}

/// Calls one method over a new connection.
pub(super) fn call<R: DeserializeOwned>(
    asked: &Asked,
    method: &str,
    params: &impl Serialize,
) -> Result<R, Failure> {
    let endpoint = Endpoint::new(&asked.socket).map_err(Failure::usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("no runtime: {error}")))?;
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

fn not_connected(asked: &Asked, error: ConnectError) -> Failure {
    match &error {
        ConnectError::NotReachable { .. } => {
            let message = format!("{error}; start it with `{} run`", asked.program);
            Failure::new(Exit::Unreachable, message)
        }
        ConnectError::Timeout { .. } => Failure::new(Exit::Unreachable, error),
        ConnectError::Forbidden { .. } | ConnectError::Stranger { .. } => {
            Failure::new(Exit::Refused, error)
        }
        ConnectError::Unsupported | ConnectError::Io { .. } => Failure::failed(error),
    }
}

fn not_answered(error: CallError) -> Failure {
    match error {
        // Without its code, which is meant for programs.
        CallError::Rpc(error) => {
            let exit = match error.reason() {
                Some(RpcReason::Forbidden) => Exit::Refused,
                // The object named in the parameters does not exist.
                Some(RpcReason::NotFound) => Exit::Usage,
                _ => Exit::Failed,
            };
            Failure::new(exit, error.message)
        }
        CallError::Timeout { .. } => {
            let message =
                format!("{error}; the daemon is there and busy, or it hangs: its log says more");
            Failure::failed(message)
        }
        error => Failure::failed(error),
    }
}
