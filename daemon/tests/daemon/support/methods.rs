//! Methods that make a daemon do what a test needs; also the proof that an app's own service can be linked in.

use std::{future::pending, sync::Arc};

use bowline_daemon::{
    ledger::Audience,
    service::{Answer, AnswerFuture, Request, Service, answer},
};
use bowline_protocol::{
    AgentId, AgentStatus, AgentSummary, SessionEvent, error::RpcError, methods::Empty,
};
use serde::Deserialize;
use tokio::sync::Notify;

/// `test.echo` answers with its params; `test.big {bytes}` with so many; `test.never` not at all; `test.gate` once
/// `test.open` was called; `test.emit {bytes}` tells every session an event of about that size.
struct Methods {
    gate: Notify,
}

#[derive(Deserialize)]
struct Size {
    bytes: usize,
}

pub(crate) fn service() -> Arc<dyn Service> {
    Arc::new(Shared(Arc::new(Methods {
        gate: Notify::new(),
    })))
}

struct Shared(Arc<Methods>);

impl Service for Shared {
    fn methods(&self) -> &'static [&'static str] {
        &[
            "test.echo",
            "test.big",
            "test.never",
            "test.gate",
            "test.open",
            "test.emit",
        ]
    }

    fn call(&self, request: Request) -> AnswerFuture {
        let methods = Arc::clone(&self.0);
        Box::pin(async move { methods.respond(request).await })
    }
}

impl Methods {
    async fn respond(&self, request: Request) -> Answer {
        match &*request.method {
            "test.echo" => answer(&request.params),
            "test.big" => answer(&"x".repeat(request.params::<Size>()?.bytes)),
            "test.never" => pending().await,
            "test.gate" => {
                self.gate.notified().await;
                answer(&Empty {})
            }
            "test.open" => {
                self.gate.notify_waiters();
                answer(&Empty {})
            }
            "test.emit" => {
                let bytes = request.params::<Size>()?.bytes;
                let emit = request.context.ledger.write(move |tx| {
                    let agent = agent("x".repeat(bytes));
                    let id = agent.id.clone();
                    tx.emit(
                        Audience::Everyone(&id),
                        &SessionEvent::AgentUpdated { agent },
                    )
                });
                emit.await?;
                answer(&Empty {})
            }
            other => Err(RpcError::method_not_found(other)),
        }
    }
}

fn agent(title: String) -> AgentSummary {
    AgentSummary {
        id: "agt_test".parse::<AgentId>().unwrap(),
        title,
        provider: "test".to_owned(),
        cwd: "/".to_owned(),
        status: AgentStatus::Idle,
        created_at: 0,
        updated_at: 0,
        attention: None,
    }
}
