//! Agents: their directory, timelines and the programs that run them (`docs/protocol.md` §3).

use std::sync::Arc;

use bowline_protocol::error::RpcError;

use crate::{
    ledger::Ledger,
    service::{AnswerFuture, Request, Service},
};

/// One configured provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderConfig {
    /// What clients choose it by.
    pub name: String,
    /// `command` (or, once it exists, `acp`).
    pub kind: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// For people; the name when absent.
    pub title: Option<String>,
    /// How a `command` gets its prompt.
    pub prompt: PromptVia,
}

impl ProviderConfig {
    /// The provider of a daemon without configuration: the user's shell, the prompt being its script.
    pub fn shell() -> Self {
        todo!()
    }
}

/// How a `command` provider gets its prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptVia {
    /// As the last argument.
    #[default]
    Argument,
    /// On standard input, which is then closed.
    Stdin,
}

/// Settings of the agents service.
#[derive(Clone, Debug)]
pub struct AgentsOptions {
    /// In the order clients see them. An unknown kind or a duplicate name is an error at start.
    pub providers: Vec<ProviderConfig>,
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
