//! What a client's driver does with what its connection brings.

use std::task::{Context, Poll};

use bowline_machines::{Moment, client::Input};
use bowline_protocol::{
    Reason,
    methods::name,
    rpc::{self, Incoming, Text},
    session_event::Sequenced,
};

use super::{ClientEvent, ClientOwner, driver::Driver};
use crate::{
    error::CallError,
    settings::{EVENTS_PER_TURN, MESSAGES_PER_TURN},
    transport::Closed,
};

impl<O: ClientOwner> Driver<O> {
    pub(super) fn poll_link(&mut self, cx: &mut Context<'_>, now: Moment) -> bool {
        let mut progress = false;
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..MESSAGES_PER_TURN {
            let Some((generation, link)) = &mut self.link else {
                break;
            };
            let generation = *generation;
            let received = link.poll_recv(cx, &mut buffer);
            // Any byte is liveness (lesson 16), also of a text that takes longer than the heartbeat to arrive.
            if link.take_progress() {
                self.machine.handle(now, Input::Received { generation });
            }
            let Poll::Ready(received) = received else {
                break;
            };
            progress = true;
            let outcome = received.and_then(|text| self.receive(text));
            if let Err(closed) = outcome {
                self.ended(now, generation, closed);
                break;
            }
            if self.events.len() >= EVENTS_PER_TURN {
                break;
            }
        }
        self.buffer = buffer;
        self.report_events();
        progress
    }

    /// Reports the events received so far. To be done before anything else is reported: they came first.
    pub(super) fn report_events(&mut self) {
        if !self.events.is_empty() {
            let events = std::mem::take(&mut self.events);
            self.reports.push_back(ClientEvent::Events(events));
        }
    }

    /// Takes one text apart.
    fn receive(&mut self, text: &[u8]) -> Result<(), Closed> {
        match rpc::parse(text).map_err(|_| Closed::sealed(Reason::BadRequest, None))? {
            Text::Single(incoming) => self.incoming(incoming),
            Text::Batch(batch) => batch.into_iter().try_for_each(|one| self.incoming(one)),
        }
    }

    fn incoming(&mut self, incoming: Incoming<'_>) -> Result<(), Closed> {
        match incoming {
            Incoming::Response(response) => {
                if let Some(id) = response.id.as_u64() {
                    let outcome = response
                        .outcome
                        .map(ToOwned::to_owned)
                        .map_err(CallError::Rpc);
                    self.waiters.answer(id, outcome);
                }
            }
            Incoming::Notification(notification) if notification.method == name::SESSION_EVENT => {
                let params = notification.params.map_or("null", |params| params.get());
                match serde_json::from_str::<Sequenced>(params) {
                    Ok(event) => self.events.push(event),
                    Err(error) => {
                        tracing::warn!(%error, "a malformed event");
                        return Err(Closed::sealed(Reason::BadRequest, None));
                    }
                }
            }
            // A later daemon may say more; this version has no use for it.
            Incoming::Notification(_) | Incoming::Request(_) | Incoming::Invalid { .. } => {}
        }
        Ok(())
    }
}
