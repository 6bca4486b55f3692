//! Intents of a host: the outbox stores them, the machine of intents decides, and this module
//! executes (BX-1).

use std::sync::Arc;

use bowline_machines::{
    Generation, MonotonicTime,
    client::intents::{Answer, Effect, Input, Made, Origin, Queued},
    client::paths,
    data::{
        optimistic::{self, Conclusion},
        patches, replica,
    },
};
use bowline_protocol::{IntentId, SessionState};

use super::{driver::Driver, events::HostEvent};
use crate::{
    blocking::blocking,
    client::{Reply, Reserved, to_raw},
    clock::unix_millis,
    error::CallError,
    intent::{Outcome, Request},
    outbox::{Record, Submission},
};

impl From<CallError> for Answer {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Rpc(error) => Self::Error(error),
            CallError::Malformed(message) => Self::Unsendable(message),
            CallError::TooLarge => Self::Unsendable(error.to_string()),
            CallError::Timeout => Self::TimedOut,
            CallError::Disconnected(_) | CallError::NotConnected | CallError::Closed => Self::Lost,
        }
    }
}

impl Driver {
    /// Takes over intents of earlier processes.
    pub(super) fn recover_intents(&mut self, now: MonotonicTime, kept: Vec<Record>) {
        let queued = kept
            .into_iter()
            .filter_map(|record| self.take_over(now, &record, origin(&record)))
            .collect();
        self.feed_intents(now, Input::Queued(queued));
    }

    /// Takes submitted intents and those left by other processes since.
    pub(super) fn on_submitted(&mut self, now: MonotonicTime) {
        let submitted = self.outbox.take();
        if submitted.is_empty() {
            return;
        }
        let mut queued = Vec::new();
        for Submission { record, is_left } in submitted {
            let origin = if is_left {
                origin(&record)
            } else {
                Origin::Submitted
            };
            queued.extend(self.take_over(now, &record, origin));
        }
        self.feed_intents(now, Input::Queued(queued));
        self.machine.handle(now, paths::Input::IntentQueued);
        self.execute(now);
    }

    /// Adds an intent to the screens. Returns it if it is to be sent.
    fn take_over(&mut self, now: MonotonicTime, record: &Record, origin: Origin) -> Option<Queued> {
        let id = record.id;
        if let Some(shown) = record.request.shown(record.at) {
            let queued = optimistic::Input::Queued(shown);
            self.replica.handle(now, replica::Input::Intent(queued));
        }
        if !record.patches.is_empty() {
            let queued = patches::Input::Queued {
                intent_id: id,
                at: record.at,
                patches: record.patches.to_vec(),
            };
            self.replica.handle(now, replica::Input::Patch(queued));
        }
        if let Some(outcome) = &record.outcome {
            self.show_conclusion(now, id, outcome, Made::Other, 0);
            self.feed_intents(now, Input::Failed { id });
            return None;
        }
        let turn = record.request.turn();
        Some(Queued { id, turn, origin })
    }

    /// Updates the machine's attach, under which requests are sent.
    pub(super) fn link_intents(&mut self, now: MonotonicTime) {
        let link = self.machine.online().map(|_| self.session.attach());
        self.feed_intents(now, Input::Link(link));
    }

    pub(super) fn on_intents_attached(&mut self, now: MonotonicTime, session: SessionState) {
        self.feed_intents(now, Input::Attached { session });
    }

    pub(super) fn on_answer(
        &mut self,
        now: MonotonicTime,
        id: IntentId,
        dispatch: Generation,
        answer: Answer,
    ) {
        let answered = Input::Answered {
            id,
            dispatch,
            answer,
        };
        self.feed_intents(now, answered);
    }

    /// Removes a failed intent that the user has seen.
    pub(super) fn dismiss(&mut self, now: MonotonicTime, id: IntentId) {
        let dismiss = optimistic::Input::Dismiss { intent_id: id };
        self.replica.handle(now, replica::Input::Intent(dismiss));
        self.dismiss_patches(now, id);
        self.feed_intents(now, Input::Dismissed { id });
    }

    /// Forgets a failed intent that no row shows any more, unless something else does.
    pub(super) fn forget_failure(&mut self, now: MonotonicTime, id: IntentId) {
        if !self.replica.is_shown(id) {
            self.feed_intents(now, Input::Dismissed { id });
        }
    }

    /// Notices that this device slept, before anything else that happened meanwhile.
    pub(super) fn note_sleep(&mut self, now: MonotonicTime) {
        if let Some(time) = self.sleep.check(now, unix_millis()) {
            tracing::debug!(?time, "this device slept");
            self.feed_intents(now, Input::Slept(time));
        }
    }

    fn feed_intents(&mut self, now: MonotonicTime, input: Input) {
        self.intents.handle(now, input);
        self.execute_intents(now);
    }

    pub(super) fn execute_intents(&mut self, now: MonotonicTime) {
        // Those who wait learn an outcome after it is in the journal.
        let mut settled = Vec::new();
        while let Some(effect) = self.intents.poll_effect() {
            match effect {
                Effect::Dispatch { id, dispatch } => {
                    let told = match self.dispatch(id, dispatch) {
                        Some(()) => Input::Sent { id, dispatch },
                        None => Input::NotSent { id, dispatch },
                    };
                    self.intents.handle(now, told);
                }
                Effect::Withdraw { id } => {
                    if let Some(waiting) = self.in_flight.remove(&id) {
                        waiting.abort();
                    }
                }
                Effect::Settled {
                    id,
                    outcome,
                    made,
                    seq,
                } => {
                    let recent = Arc::clone(self.intents.recent());
                    let teller = self.outbox.settled(id, recent);
                    self.conclude(now, id, &outcome, made, seq);
                    settled.extend(teller.map(|teller| (teller, outcome)));
                }
                Effect::Keep { id, outcome } => {
                    let should_rewrite = self.outbox.failed(id, outcome);
                    self.rewrite_outbox(should_rewrite);
                }
                Effect::Forget { id } => {
                    // Of a failure that is one too many; others are not there.
                    self.dismiss_patches(now, id);
                    let should_rewrite = self.outbox.done(id);
                    self.rewrite_outbox(should_rewrite);
                }
                // The intent would otherwise wait without an explanation (C8, TR-12).
                Effect::Deferred { message } => {
                    tracing::error!("{message}; requests are kept and retried");
                }
            }
        }
        for (teller, outcome) in settled {
            teller.tell(outcome);
        }
    }

    /// Sends an intent through the active client; `None`, without a trace, if its queue is full.
    fn dispatch(&mut self, id: IntentId, dispatch: Generation) -> Option<()> {
        let client = self.online()?;
        let place = client.reserve()?;
        let request = self.outbox.send(id)?;
        let inbox = self.inbox_sender.clone();
        let answer = ask(place, request)?;
        let task = tokio::spawn(async move {
            let event = HostEvent::Answered {
                id,
                dispatch,
                answer: answer.await,
            };
            let _ = inbox.send(event).await;
        });
        self.in_flight.insert(id, task.abort_handle());
        Some(())
    }

    /// Publishes an intent's outcome.
    fn conclude(
        &mut self,
        now: MonotonicTime,
        id: IntentId,
        outcome: &Outcome,
        made: Made,
        seq: u64,
    ) {
        let is_shown = self.replica.is_shown(id);
        self.intents.handle(now, Input::Noted { id, is_shown });
        self.in_flight.remove(&id);
        self.show_conclusion(now, id, outcome, made, seq);
    }

    fn show_conclusion(
        &mut self,
        now: MonotonicTime,
        intent_id: IntentId,
        outcome: &Outcome,
        made: Made,
        seq: u64,
    ) {
        let conclusion = Conclusion::new(outcome, made);
        let concluded = optimistic::Input::Concluded {
            intent_id,
            conclusion,
        };
        self.replica.handle(now, replica::Input::Intent(concluded));
        let conclusion = patches::Conclusion::new(outcome, seq);
        let concluded = patches::Input::Concluded {
            intent_id,
            conclusion,
        };
        self.replica.handle(now, replica::Input::Patch(concluded));
    }

    fn dismiss_patches(&mut self, now: MonotonicTime, intent_id: IntentId) {
        let dismissed = patches::Input::Dismissed { intent_id };
        self.replica.handle(now, replica::Input::Patch(dismissed));
    }

    fn rewrite_outbox(&self, should: bool) {
        if should {
            let outbox = Arc::clone(&self.outbox);
            // Intents submitted meanwhile are accepted without waiting for the disk.
            let _ = blocking(move || outbox.rewrite());
        }
    }
}

/// Queues a request and returns its pending answer.
fn ask(
    place: Reserved<'_>,
    request: Arc<Request>,
) -> Option<impl Future<Output = Answer> + Send + use<>> {
    // Stored parameters always serialise.
    let params = to_raw(&*request).ok()?;
    let answer = place.request(request.method().to_owned(), params);
    Some(async move {
        match answer.await.unwrap_or(Err(CallError::NotConnected)) {
            Ok(Reply { result, seq, .. }) => Answer::Result {
                made: request.made(&result),
                result: result.get().to_owned(),
                seq,
            },
            Err(error) => error.into(),
        }
    })
}

/// The origin of an intent left by another process.
fn origin(record: &Record) -> Origin {
    Origin::recovered(unix_millis(), record.at, record.sent)
}
