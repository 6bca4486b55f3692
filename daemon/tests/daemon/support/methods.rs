//! Methods that make a daemon do what a test needs; also the proof that an app's own service can be
//! linked in.

use std::{future::pending, sync::Arc};

use bowline_daemon::{
    ledger::{Audience, Tx},
    service::{Methods, Request, Service},
    setup::Services,
};
use bowline_protocol::{
    AgentId, AgentStatus, AgentSummary, Role, RpcReason, SessionEvent, error::RpcError,
    methods::Empty,
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
/// subscribed to the agent (`test.subscribe {agentId}`), an event of about that size.
///
/// `test.list` is what every device may read; `test.act {text}` is an intent of operators, which
/// tells nobody anything, `test.keep {text}` one of owners, after which all sessions get an event,
/// and `test.refuse` one of operators that is answered with `not_found`.
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

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Subscribe {
    agent_id: AgentId,
}

#[derive(Deserialize, JsonSchema)]
struct Text {
    #[serde(default)]
    text: String,
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
        methods.read("test.list", |_, _, _: Empty| Ok([0; 0]));
        methods
            .write("test.subscribe", Self::subscribe)
            .role(Role::Viewer);
        methods
            .intent("test.act", |_, _, _: Text| Ok(Empty {}))
            .role(Role::Operator);
        methods.intent("test.keep", Self::keep);
        methods
            .intent("test.refuse", |_, _, _: Empty| {
                Err::<Empty, _>(RpcError::new(RpcReason::NotFound, "there is none"))
            })
            .role(Role::Operator);
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
            Audience::Everyone(id.as_str()),
            &SessionEvent::AgentUpdated { agent },
        )?;
        Ok(Empty {})
    }

    fn subscribe(&self, tx: &mut Tx<'_>, params: Subscribe) -> Result<Empty, RpcError> {
        tx.follow(params.agent_id.as_str())?;
        Ok(Empty {})
    }

    fn keep(&self, tx: &mut Tx<'_>, params: Text) -> Result<Empty, RpcError> {
        let agent = agent(None, params.text);
        let id = agent.id.clone();
        tx.emit(
            Audience::Everyone(id.as_str()),
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
