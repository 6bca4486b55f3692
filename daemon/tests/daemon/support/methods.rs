//! Methods that make a daemon do what a test needs; also the proof that an app's own service can be
//! linked in.

use std::{future::pending, sync::Arc};

use bowline_daemon::{
    ledger::{Audience, Tx},
    service::{Methods, Request, Service},
    setup::Services,
};
use bowline_protocol::{
    AgentId, AgentStatus, AgentSummary, SessionEvent, error::RpcError, methods::Empty,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Notify;

/// The answer of `test.pretty`.
pub(crate) const PRETTY: &str = "{\r\n  \"text\": \"one\\ntwo\",\n  \"list\": [\n    1\n  ]\n}\n";

/// `test.echo` answers with its params; `test.pretty` with JSON of several lines;
/// `test.big {bytes}` with so many bytes; `test.never` not at all; `test.gate` once `test.open` was
/// called;
/// `test.emit {bytes, agentId?}` tells every session, and those of the local socket that are
/// subscribed to the agent, an event of about that size.
#[derive(Default)]
struct Test {
    gate: Notify,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Size {
    bytes: usize,
    agent_id: Option<AgentId>,
}

pub(crate) fn services() -> Services {
    Services::none().with(Test::default())
}

impl Service for Test {
    fn methods(methods: &mut Methods<Self>) {
        methods.method("test.echo", async |_, _, params: Box<RawValue>| Ok(params));
        methods.method("test.pretty", async |_, _, _: Empty| {
            RawValue::from_string(PRETTY.to_owned()).map_err(|e| RpcError::internal(e.to_string()))
        });
        methods.method("test.big", async |_, _, size: Size| {
            Ok("x".repeat(size.bytes))
        });
        methods.method("test.never", async |_, _, _: Empty| {
            pending::<Result<Empty, RpcError>>().await
        });
        methods.method("test.gate", Self::gate);
        methods.now("test.open", Self::open);
        methods.write("test.emit", Self::emit);
    }
}

impl Test {
    async fn gate(self: Arc<Self>, _: Request, _: Empty) -> Result<Empty, RpcError> {
        self.gate.notified().await;
        Ok(Empty {})
    }

    fn open(&self, _: Empty) -> Result<Empty, RpcError> {
        self.gate.notify_waiters();
        Ok(Empty {})
    }

    fn emit(&self, tx: &mut Tx<'_>, size: Size) -> Result<Empty, RpcError> {
        let agent = agent(size.agent_id, "x".repeat(size.bytes));
        let id = agent.id.clone();
        tx.emit(
            Audience::Everyone(&id),
            &SessionEvent::AgentUpdated { agent },
        )?;
        Ok(Empty {})
    }
}

fn agent(id: Option<AgentId>, title: String) -> AgentSummary {
    AgentSummary {
        id: id.unwrap_or_else(|| "agt_test".parse().unwrap()),
        title,
        provider: "test".to_owned(),
        cwd: "/".to_owned(),
        status: AgentStatus::Idle,
        created_at: 0,
        updated_at: 0,
        attention: None,
        intent_id: None,
    }
}
