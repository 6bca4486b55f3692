//! Agents: their directory, timelines and the programs that run them (`docs/protocol.md` §3).

use std::sync::Arc;

use bowline_protocol::error::RpcError;

use crate::{
    config::ProviderSettings,
    ledger::Ledger,
    service::{AnswerFuture, Request, Service},
};

/// Settings of the agents service.
#[derive(Clone, Debug)]
pub struct AgentsOptions {
    /// In the order clients see them. An unknown kind or a duplicate name is an error at start.
    pub providers: Vec<ProviderSettings>,
    /// Output kept of one turn, in bytes; the rest is read and dropped, and the timeline says so.
    pub max_output_bytes: usize,
    /// Turns running at once; further ones wait.
    pub max_runs: usize,
    /// Agents kept; a new one over it is answered with `overloaded`.
    pub max_agents: u64,
}

/// The service.
#[derive(Clone)]
pub struct Agents(Arc<()>);

/// The configuration of providers is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AgentsError(pub String);

impl Agents {
    /// Ends what a killed daemon left running, marks interrupted turns, starts queued ones. Needs a tokio
    /// runtime.
    ///
    /// # Errors
    /// When the providers are configured wrongly or the ledger cannot write.
    pub async fn start(_ledger: Ledger, _options: AgentsOptions) -> Result<Self, AgentsError> {
        todo!()
    }

    /// Ends every running turn (its process group too) and returns once they are gone and recorded, or
    /// after a few seconds.
    pub async fn shutdown(&self) {
        todo!()
    }
}

impl Service for Agents {
    fn methods(&self) -> &'static [&'static str] {
        &[]
    }

    fn call(&self, request: Request) -> AnswerFuture {
        Box::pin(async move { Err(RpcError::method_not_found(&request.method)) })
    }
}
