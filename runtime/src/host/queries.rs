//! Read-only queries of the app, sent through the active client when their machine permits.

use std::collections::BTreeMap;

use bowline_machines::{
    MonotonicTime,
    client::queries::{Effect, HostStatus, Queries, QueryId, Ticket},
};

use super::{driver::Driver, events::HostEvent};
use crate::{client::Call, error::CallError};

/// Pending queries.
#[derive(Default)]
pub(super) struct PendingQueries {
    pub(super) machine: Queries,
    waiting: BTreeMap<QueryId, Call>,
}

impl Driver {
    /// Adds a query of the app.
    pub(super) fn add_query(&mut self, now: MonotonicTime, query: Call) {
        self.withdraw_queries();
        let id = self.queries.machine.add(now);
        self.queries.waiting.insert(id, query);
    }

    /// Requeues a query that was never sent.
    pub(super) fn on_query_never_sent(&mut self, ticket: Ticket, query: Call) {
        self.withdraw_queries();
        self.queries.machine.never_sent(ticket);
        self.queries.waiting.insert(ticket.id, query);
    }

    /// Removes queries whose callers have stopped waiting.
    fn withdraw_queries(&mut self) {
        let PendingQueries { machine, waiting } = &mut self.queries;
        waiting.retain(|id, query| {
            let is_closed = query.reply.is_closed();
            if is_closed {
                machine.withdraw(*id);
            }
            !is_closed
        });
    }

    /// Sends permitted queries, and answers those that can no longer succeed.
    pub(super) fn settle_queries(&mut self, now: MonotonicTime) {
        self.withdraw_queries();
        let status = HostStatus::of(self.machine.state(), self.session.attach());
        self.queries.machine.set_host(now, status);
        while let Some(effect) = self.queries.machine.poll_effect() {
            let (Effect::Ask(Ticket { id, .. }) | Effect::Refuse(id)) = effect;
            let Some(query) = self.queries.waiting.remove(&id) else {
                continue;
            };
            match (effect, self.online()) {
                (Effect::Ask(ticket), Some(client)) => {
                    let inbox = self.inbox_sender.clone();
                    // Sent now where there is room: queries keep the order in which they came.
                    let sent = client.reserve().map(|place| place.send_as(&query));
                    tokio::spawn(async move {
                        let (method, params) = (query.method.clone(), query.params.clone());
                        let answer = match sent {
                            Some(answer) => answer.await.unwrap_or(Err(CallError::NotConnected)),
                            None => client.send_with(method, params, query.bytes.clone()).await,
                        };
                        if matches!(answer, Err(CallError::NotConnected)) {
                            // If the host has ended, dropping the query answers it.
                            let _ = inbox.send(HostEvent::NeverSent(ticket, query)).await;
                        } else {
                            query.answer(answer);
                        }
                    });
                }
                (Effect::Ask(_), None) | (Effect::Refuse(_), _) => {
                    query.answer(Err(CallError::NotConnected));
                }
            }
        }
    }
}
