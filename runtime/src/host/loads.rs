//! Loads: requests whose answers feed a machine, under the generation they were started under (INV-10).

use bowline_machines::load::LoadError;
use bowline_protocol::{
    AgentId, Reason, RpcReason,
    error::code,
    methods::{AgentRef, AgentsPage, HistoryPage, ListAgents, name},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{client::DaemonClient, error::CallError, settings::DIRECTORY_PAGE};

/// One page of the directory.
pub(super) async fn directory(
    client: Option<DaemonClient>,
    cursor: Option<String>,
) -> Result<AgentsPage, LoadError> {
    call(
        client.as_ref(),
        name::AGENTS_LIST,
        &ListAgents {
            cursor,
            limit: Some(DIRECTORY_PAGE),
            newest_first: true,
        },
    )
    .await
}

/// One page of a timeline, after subscribing to it if that is asked for.
pub(super) async fn history(
    client: Option<DaemonClient>,
    agent_id: AgentId,
    subscribe: bool,
    params: bowline_protocol::methods::History,
) -> Result<HistoryPage, LoadError> {
    if subscribe {
        let _: serde::de::IgnoredAny = call(
            client.as_ref(),
            name::AGENTS_SUBSCRIBE,
            &AgentRef { agent_id },
        )
        .await?;
    }
    call(client.as_ref(), name::AGENTS_HISTORY, &params).await
}

async fn call<P: Serialize, R: DeserializeOwned>(
    client: Option<&DaemonClient>,
    method: &'static str,
    params: &P,
) -> Result<R, LoadError> {
    let Some(client) = client else {
        return Err(LoadError::Lost(Reason::ConnectionLost));
    };
    client
        .call(method, params)
        .await
        .map_err(|error| match error {
            CallError::Rpc(error) => {
                // A defect of the daemon may pass; a method or parameters that it does not know do not.
                let unnamed = match error.code {
                    code::INTERNAL_ERROR => RpcReason::Overloaded,
                    _ => RpcReason::Unsupported,
                };
                LoadError::Rejected(error.reason().unwrap_or(unnamed))
            }
            CallError::Disconnected(reason) => LoadError::Lost(reason),
            CallError::NotConnected | CallError::Closed => LoadError::Lost(Reason::ConnectionLost),
            CallError::Timeout => LoadError::TimedOut,
            CallError::Malformed(_) => LoadError::Malformed,
        })
}
