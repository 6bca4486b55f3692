//! Questions of the app that change nothing: each waits for the host to be online, within a bound. One that is
//! under way when its connection ends is over with it (INV-13).

use std::collections::VecDeque;

use bowline_machines::Moment;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::{driver::Driver, events::HostEvent};
use crate::{
    error::CallError,
    settings::{QUERY_WAIT, WAITING_QUERIES},
};

/// One query.
pub(super) struct Query {
    method: &'static str,
    params: Box<RawValue>,
    reply: oneshot::Sender<Result<Box<RawValue>, CallError>>,
    /// When it has waited long enough.
    until: Moment,
    /// It is to be asked under a later attach than this one, whose connection is over.
    after: u64,
}

impl Query {
    pub(super) fn new(
        now: Moment,
        method: &'static str,
        params: Box<RawValue>,
        reply: oneshot::Sender<Result<Box<RawValue>, CallError>>,
    ) -> Self {
        Self {
            method,
            params,
            reply,
            until: now + QUERY_WAIT,
            after: 0,
        }
    }

    fn answer(self, answer: Result<Box<RawValue>, CallError>) {
        // Whoever asked may have stopped waiting.
        let _ = self.reply.send(answer);
    }
}

/// The queries that wait.
#[derive(Default)]
pub(super) struct Queries {
    waiting: VecDeque<Query>,
}

impl Queries {
    /// Lets a query wait. At the bound it is answered.
    pub(super) fn push(&mut self, query: Query) {
        if self.waiting.len() >= WAITING_QUERIES {
            self.waiting.retain(|waiting| !waiting.reply.is_closed());
        }
        if self.waiting.len() >= WAITING_QUERIES {
            query.answer(Err(CallError::NotConnected));
        } else {
            self.waiting.push_back(query);
        }
    }

    /// When the first has waited long enough.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.waiting.iter().map(|query| query.until).min()
    }
}

impl Driver {
    /// Asks what can be asked, and answers what waits in vain.
    pub(super) fn settle_queries(&mut self, now: Moment) {
        let is_hopeful = self.machine.state().is_hopeful();
        let online = self.online();
        for query in std::mem::take(&mut self.queries.waiting) {
            if query.reply.is_closed() {
                continue;
            }
            match &online {
                Some(client) if query.after < self.attaches => {
                    let (client, inbox) = (client.clone(), self.inbox_sender.clone());
                    let query = Query {
                        after: self.attaches,
                        ..query
                    };
                    tokio::spawn(async move {
                        let answer = client.request(query.method, query.params.clone()).await;
                        if matches!(answer, Err(CallError::NotConnected)) {
                            // Never sent: the connection's end had not been heard of. A host that is gone drops
                            // it, which answers it as well.
                            let _ = inbox.send(HostEvent::NotAsked(query)).await;
                        } else {
                            query.answer(answer);
                        }
                    });
                }
                Some(_) | None if !is_hopeful || query.until <= now => {
                    query.answer(Err(CallError::NotConnected));
                }
                Some(_) | None => self.queries.waiting.push_back(query),
            }
        }
    }
}
