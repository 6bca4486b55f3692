//! Handling of incoming data in a client's driver.

use std::task::{Context, Poll};

use bowline_machines::{Generation, MonotonicTime, client::connection::Input};
use bowline_protocol::{
    Reason,
    methods::name,
    rpc::{self, Incoming, Text},
    session_event::Sequenced,
};

use bytes::Bytes;

use super::{ClientEvent, ClientOwner, Reply, driver::Driver, waiters::Answered};
use crate::{
    error::CallError,
    settings::{EVENTS_PER_TURN, MESSAGES_PER_TURN},
    transport::Closed,
};

impl<O: ClientOwner> Driver<O> {
    pub(super) fn poll_link(&mut self, cx: &mut Context<'_>, now: MonotonicTime) -> bool {
        let mut progress = false;
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..MESSAGES_PER_TURN {
            let Some((generation, link)) = &mut self.link else {
                break;
            };
            let generation = *generation;
            let received = link.poll_recv(cx, &mut buffer);
            // Any received byte proves liveness (LS-16), also part of a message that takes longer
            // than the heartbeat interval to arrive.
            if link.take_progress() {
                // Reports of the machine leave in this turn, also if no message is complete (SP-1).
                progress = true;
                self.machine.handle(now, Input::Received { generation });
            }
            let Poll::Ready(received) = received else {
                break;
            };
            progress = true;
            let outcome = received.and_then(|text| self.receive(now, generation, text));
            if let Err(closed) = outcome {
                self.ended(now, generation, closed);
                break;
            }
            if self.events.len() >= EVENTS_PER_TURN {
                break;
            }
        }
        self.buffer = buffer;
        if let Some((generation, _)) = &self.link
            && !self.events.is_empty()
        {
            let generation = *generation;
            self.machine.handle(now, Input::Streamed { generation });
        }
        self.report_events();
        progress
    }

    /// Reports the events received so far. Must run before any later report, to keep the order.
    pub(super) fn report_events(&mut self) {
        if !self.events.is_empty() {
            let events = std::mem::take(&mut self.events);
            self.reports.push_back(ClientEvent::Events(events));
        }
    }

    /// Handles one message.
    fn receive(
        &mut self,
        now: MonotonicTime,
        generation: Generation,
        text: &[u8],
    ) -> Result<(), Closed> {
        let malformed = |_| Closed::sealed(Reason::BadRequest, None);
        let (message, bytes) = rpc::split_carried(text).map_err(malformed)?;
        match rpc::parse(message).map_err(malformed)? {
            Text::Single(incoming) => self.incoming(now, generation, incoming, bytes),
            Text::Batch(batch) => batch
                .into_iter()
                .try_for_each(|one| self.incoming(now, generation, one, None)),
        }
    }

    fn incoming(
        &mut self,
        now: MonotonicTime,
        generation: Generation,
        incoming: Incoming<'_>,
        bytes: Option<&[u8]>,
    ) -> Result<(), Closed> {
        match incoming {
            Incoming::Response(response) => {
                if let Some(id) = response.id.as_u64() {
                    let seq = response.seq;
                    let outcome = response.outcome.map_err(CallError::Rpc);
                    let outcome = outcome.map(|result| Reply {
                        result: result.to_owned(),
                        seq,
                        bytes: bytes.map(Bytes::copy_from_slice),
                    });
                    if let Some(Answered {
                        round_trip,
                        is_ping,
                    }) = self.waiters.answer(now, id, outcome)
                    {
                        self.machine.handle(
                            now,
                            Input::Answered {
                                generation,
                                round_trip,
                                is_ping,
                            },
                        );
                    }
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
            // Messages of a later protocol version; ignored by this one.
            Incoming::Notification(_) | Incoming::Request(_) | Incoming::Invalid { .. } => {}
        }
        Ok(())
    }
}
