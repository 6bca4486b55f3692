//! Intents of a host: offered through the active client until their outcome is known (BX-1).

use std::sync::Arc;

use bowline_machines::{Moment, optimistic::Input};
use bowline_protocol::IntentId;
use tokio::time::timeout;

use super::{driver::Driver, events::HostEvent, optimistic};
use crate::{
    blocking::blocking,
    clock::unix_millis,
    error::CallError,
    intent::Outcome,
    outbox::Submission,
    settings::{KEPT_FAILURES, RECENT_OUTCOMES, REQUEST_TIMEOUT},
};

impl Driver {
    /// Takes over what was submitted since.
    pub(super) fn on_submitted(&mut self, now: Moment) {
        let submitted = self.outbox.take();
        if submitted.is_empty() {
            return;
        }
        for Submission { record, outcome } in submitted {
            optimistic::queued(&mut self.optimistic, &record);
            // Another process left it behind.
            if let Some(outcome) = &record.outcome {
                optimistic::concluded(&mut self.optimistic, record.id, outcome);
                self.keep_failure(record.id);
                continue;
            }
            let made = outcome.is_some().then_some(now);
            if let Some(outcome) = outcome {
                self.outcomes.insert(record.id, outcome);
            }
            self.queue.push(record, made);
        }
        self.machine
            .handle(now, bowline_machines::host::Input::IntentQueued);
        self.execute();
    }

    /// Offers what may be offered through the active client, in order.
    pub(super) fn offer_intents(&mut self, now: Moment) {
        let Some(client) = self.online() else { return };
        while let Some(offer) = self.queue.offer(now, self.attaches) {
            let id = offer.id;
            self.outbox.sent(id);
            let params = offer.record.params.as_ref().to_owned();
            let Some(answer) = client.try_request(offer.record.method, params) else {
                // The client's queue is full; an answer or the next attach brings us back here.
                self.queue.unoffer(id, now);
                return;
            };
            let inbox = self.inbox_sender.clone();
            tokio::spawn(async move {
                let answer = match timeout(REQUEST_TIMEOUT, answer).await {
                    Ok(answer) => answer.unwrap_or(Err(CallError::NotConnected)),
                    Err(_) => Err(CallError::Timeout),
                };
                let answer = answer.map(|result| result.get().to_owned());
                let _ = inbox.send(HostEvent::Answered { id, answer }).await;
            });
        }
    }

    pub(super) fn on_answer(
        &mut self,
        now: Moment,
        id: IntentId,
        answer: Result<String, CallError>,
    ) {
        if let Some(outcome) = self.queue.answered(now, id, answer) {
            self.conclude(id, outcome);
        } else {
            // What comes back from a connection that is over may be in doubt by now.
            self.expire_intents(now);
        }
    }

    pub(super) fn expire_intents(&mut self, now: Moment) {
        for id in self.queue.expire(now, unix_millis()) {
            self.conclude(id, Outcome::Expired);
        }
    }

    /// An intent has its outcome: it is told to its sender, and shown. On disk it is forgotten, unless a screen has to say that it
    /// was not done: then when that was seen.
    fn conclude(&mut self, id: IntentId, outcome: Outcome) {
        let is_shown = self.optimistic.is_pending(id);
        let has_failed = matches!(outcome, Outcome::Refused { .. } | Outcome::Expired);
        if is_shown && has_failed {
            let should_rewrite = self.outbox.failed(id, outcome.clone());
            self.rewrite_outbox(should_rewrite);
            self.keep_failure(id);
        } else {
            let should_rewrite = self.outbox.done(id);
            self.rewrite_outbox(should_rewrite);
        }
        optimistic::concluded(&mut self.optimistic, id, &outcome);
        let skip = (self.recent.len() + 1).saturating_sub(RECENT_OUTCOMES);
        let kept = self.recent.iter().skip(skip).cloned();
        self.recent = kept.chain([(id, outcome.clone())]).collect();
        if let Some(sender) = self.outcomes.remove(&id) {
            // The sender of the intent may have stopped waiting.
            let _ = sender.send(outcome);
        }
    }

    /// The user has seen that it failed.
    pub(super) fn dismiss(&mut self, id: IntentId) {
        self.optimistic.handle(Input::Dismiss { intent_id: id });
        self.failures.retain(|failure| *failure != id);
        let should_rewrite = self.outbox.done(id);
        self.rewrite_outbox(should_rewrite);
    }

    /// At the bound the oldest is forgotten.
    fn keep_failure(&mut self, id: IntentId) {
        self.failures.push_back(id);
        if self.failures.len() > KEPT_FAILURES
            && let Some(oldest) = self.failures.pop_front()
        {
            let should_rewrite = self.outbox.done(oldest);
            self.rewrite_outbox(should_rewrite);
        }
    }

    fn rewrite_outbox(&self, should: bool) {
        if should {
            let outbox = Arc::clone(&self.outbox);
            // What comes meanwhile is taken all the same, and nobody waits for the disk.
            let _ = blocking(move || outbox.rewrite());
        }
    }

    /// Ends the waits of this process. With `forget` the intents themselves are over.
    pub(super) fn abandon(&mut self, forget: bool) {
        let taken = self.outcomes.drain().map(|(_, sender)| sender);
        let submitted = self.outbox.take().into_iter().filter_map(|one| one.outcome);
        for sender in taken.chain(submitted) {
            if forget {
                let _ = sender.send(Outcome::Abandoned);
            }
        }
    }
}
