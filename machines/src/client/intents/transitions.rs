//! Effects of each input on the open intents.

use std::time::Duration;

use super::{
    Age, Answer, Attach, Effect, Entry, Generation, Input, IntentId, Intents, Made, MonotonicTime,
    Origin, Outcome, Queued, RpcError, RpcReason, State, TurnEffect, order::Blocked,
};
use bowline_protocol::SessionState;

/// Most reasons that are remembered as told.
const MOST_TOLD: usize = 8;

/// What an answer means.
enum Verdict {
    /// The intent has its outcome.
    Settled(Outcome, Made, u64),
    /// The daemon could not accept it now: it is sent again after this pause.
    Pause(Duration),
    /// The connection ended before the answer: it is sent again under the next attach.
    NextAttach,
}

impl Intents {
    /// Feeds one input.
    pub fn handle(&mut self, now: MonotonicTime, input: Input) {
        match input {
            Input::Queued(queued) => queued.into_iter().for_each(|one| self.queued(now, one)),
            Input::Failed { id } => self.keep_failure(id),
            Input::Attached { session } => self.attached(now, session),
            Input::Link(link) => {
                if self.link == link {
                    return;
                }
                self.link = link;
                // A new connection has its own queue.
                self.full_until = None;
            }
            Input::Answered {
                id,
                dispatch,
                answer,
            } => {
                // The queue has room again.
                self.full_until = None;
                self.answered(now, id, dispatch, answer);
            }
            // Changes nothing about what can be dispatched.
            Input::Sent { id, dispatch } => return self.sent(now, id, dispatch),
            Input::NotSent { id, dispatch } => self.not_sent(now, id, dispatch),
            Input::Slept(time) => self.slept(now, time),
            Input::Noted { id, is_shown } => self.noted(id, is_shown),
            Input::Dismissed { id } => self.dismissed(id),
        }
        self.dispatch(now);
    }

    /// Advances the time.
    pub fn handle_timeout(&mut self, now: MonotonicTime) {
        let has_passed = |deadline: MonotonicTime| deadline <= now;
        self.full_until = self.full_until.filter(|until| !has_passed(*until));
        let mut overdue = Vec::new();
        for entry in self.open.values_mut() {
            match &mut entry.state {
                State::Waiting { pause, .. } => *pause = pause.filter(|until| !has_passed(*until)),
                State::InFlight {
                    dispatch, deadline, ..
                } => {
                    if has_passed(*deadline) {
                        overdue.push((entry.id, *dispatch));
                    }
                }
            }
        }
        for (id, dispatch) in overdue {
            self.effects.push(Effect::Withdraw { id });
            self.answered(now, id, dispatch, Answer::TimedOut);
        }
        self.expire(now);
        self.dispatch(now);
    }

    fn queued(&mut self, now: MonotonicTime, Queued { id, turn, origin }: Queued) {
        if self.positions.contains_key(&id) {
            return;
        }
        let (age, was_sent) = match origin {
            Origin::Submitted => (Duration::ZERO, false),
            Origin::Recovered { age, sent } => (age, sent),
        };
        let made = Age::new(now, age);
        let entry = Entry {
            id,
            turn,
            made,
            // The time of sending is unknown; it is not before the time of creation.
            sent: was_sent.then_some(made),
            is_in_doubt: false,
            state: State::Waiting {
                pause: None,
                after: Attach::NONE,
            },
        };
        let position = self.next_position;
        self.next_position += 1;
        self.positions.insert(id, position);
        self.open.insert(position, entry);
        self.expire_one(now, id);
    }

    /// Marks intents in doubt. The daemon keeps outcomes for a day, and only as long as their
    /// session, so an intent sent longer ago in an earlier session is in doubt.
    fn attached(&mut self, now: MonotonicTime, session: SessionState) {
        self.link = None;
        if session != SessionState::Resumed {
            self.renumbered = self.dispatches;
        }
        if session == SessionState::New {
            for entry in self.open.values_mut() {
                let sent = entry.sent;
                entry.is_in_doubt |=
                    sent.is_some_and(|sent| sent.is_over(now, self.config.outcome_memory));
            }
        }
        self.expire(now);
    }

    /// Records the first dispatch that the connection's queue accepted.
    fn sent(&mut self, now: MonotonicTime, id: IntentId, of: Generation) {
        let position = self.positions.get(&id);
        if let Some(entry) = position.and_then(|position| self.open.get_mut(position))
            && matches!(entry.state, State::InFlight { dispatch, .. } if dispatch == of)
        {
            entry.sent.get_or_insert(Age::new(now, Duration::ZERO));
        }
    }

    /// Returns a dispatch that found no room, and all that were to follow, to waiting: if one of
    /// these found room, the order would change.
    fn not_sent(&mut self, now: MonotonicTime, id: IntentId, dispatch: Generation) {
        self.put_back(now, id, dispatch, None, false);
        let is_dispatch = |effect: &Effect| matches!(effect, Effect::Dispatch { .. });
        for effect in self.effects.take_if(is_dispatch) {
            if let Effect::Dispatch { id, dispatch } = effect {
                self.put_back(now, id, dispatch, None, false);
            }
        }
        self.full_until = Some(now + self.config.retry);
    }

    /// Adds time that the clock did not count to the age of every intent.
    fn slept(&mut self, now: MonotonicTime, time: Duration) {
        for entry in self.open.values_mut() {
            entry.made = entry.made.aged(time);
            entry.sent = entry.sent.map(|sent| sent.aged(time));
        }
        self.expire(now);
    }

    fn answered(&mut self, now: MonotonicTime, id: IntentId, dispatch: Generation, answer: Answer) {
        match self.judge(answer) {
            // The outcome of an earlier dispatch is equally valid: the daemon ran the intent once.
            // A number of an earlier epoch means nothing; what was told then is in what is loaded.
            Verdict::Settled(outcome, made, _) if dispatch <= self.renumbered => {
                self.settle(id, outcome, made, 0);
            }
            Verdict::Settled(outcome, made, seq) => self.settle(id, outcome, made, seq),
            Verdict::Pause(pause) => {
                let pause = Some(now + pause);
                self.put_back(now, id, dispatch, pause, false);
            }
            Verdict::NextAttach => self.put_back(now, id, dispatch, None, true),
        }
    }

    fn judge(&mut self, answer: Answer) -> Verdict {
        let (outcome, made, seq) = match answer {
            Answer::Result { result, made, seq } => {
                (Outcome::Done { result }, made, seq.unwrap_or_default())
            }
            Answer::Error(error) if error.is_final() => {
                (Outcome::Refused { error }, Made::Other, 0)
            }
            Answer::Unsendable(message) => {
                let error = RpcError::invalid_params(message);
                (Outcome::Refused { error }, Made::Other, 0)
            }
            Answer::Error(error) => {
                let asked = error.retry_after().unwrap_or_default();
                self.tell(error);
                let longest = self.config.max_retry.max(self.config.retry);
                return Verdict::Pause(asked.clamp(self.config.retry, longest));
            }
            Answer::TimedOut => return Verdict::Pause(self.config.retry),
            Answer::Lost => return Verdict::NextAttach,
        };
        self.told.clear();
        Verdict::Settled(outcome, made, seq)
    }

    /// Tells why an intent must wait: each reason, and each quota, once until an intent succeeds.
    fn tell(&mut self, error: RpcError) {
        let Some(reason @ (RpcReason::StorageUnavailable | RpcReason::RateLimited)) =
            error.reason()
        else {
            return;
        };
        let why = (reason, error.quota().map(|quota| quota.name.clone()));
        if !self.told.contains(&why) {
            let message = error.message;
            self.effects.push(Effect::Deferred { message });
            // A daemon that makes up quotas costs a line of the log for each.
            self.told.truncate(MOST_TOLD - 1);
            self.told.insert(0, why);
        }
    }

    /// Returns an intent whose dispatch is over to waiting; `lost` if its connection ended.
    fn put_back(
        &mut self,
        now: MonotonicTime,
        id: IntentId,
        of: Generation,
        pause: Option<MonotonicTime>,
        lost: bool,
    ) {
        let position = self.positions.get(&id);
        if let Some(entry) = position.and_then(|position| self.open.get_mut(position))
            && let State::InFlight {
                attach, dispatch, ..
            } = entry.state
            && dispatch == of
        {
            let after = if lost { attach } else { Attach::NONE };
            entry.state = State::Waiting { pause, after };
            self.in_flight -= 1;
            self.expire_one(now, id);
        } else {
            self.stale += 1;
        }
    }

    /// Settles waiting intents that must not be sent any more.
    fn expire(&mut self, now: MonotonicTime) {
        let waiting = self.open.values().map(|entry| entry.id);
        for id in waiting.collect::<Vec<_>>() {
            self.expire_one(now, id);
        }
    }

    fn expire_one(&mut self, now: MonotonicTime, id: IntentId) {
        let position = self.positions.get(&id);
        let Some(entry) = position.and_then(|position| self.open.get(position)) else {
            return;
        };
        let is_late = matches!(entry.turn, TurnEffect::Cancel(_))
            && entry.made.is_over(now, self.config.cancel_memory);
        if matches!(entry.state, State::Waiting { .. }) && (entry.is_in_doubt || is_late) {
            self.settle(id, Outcome::Expired, Made::Other, 0);
        }
    }

    fn settle(&mut self, id: IntentId, outcome: Outcome, made: Made, seq: u64) {
        let position = self.positions.remove(&id);
        let Some(entry) = position.and_then(|position| self.open.remove(&position)) else {
            self.stale += 1;
            return;
        };
        if matches!(entry.state, State::InFlight { .. }) {
            self.in_flight -= 1;
        }
        let failure = match &outcome {
            Outcome::Refused { .. } | Outcome::Expired => Some(outcome.clone()),
            Outcome::Done { .. } | Outcome::Abandoned => None,
        };
        self.settled.insert(id, failure);
        let skip = (self.recent.len() + 1).saturating_sub(self.config.recent);
        let kept = self.recent.iter().skip(skip).cloned();
        self.recent = kept.chain([(id, outcome.clone())]).collect();
        self.effects.push(Effect::Settled {
            id,
            outcome,
            made,
            seq,
        });
    }

    fn noted(&mut self, id: IntentId, is_shown: bool) {
        match self.settled.remove(&id) {
            Some(Some(outcome)) if is_shown => {
                self.effects.push(Effect::Keep { id, outcome });
                self.keep_failure(id);
            }
            Some(_) => self.effects.push(Effect::Forget { id }),
            None => {}
        }
    }

    fn keep_failure(&mut self, id: IntentId) {
        self.failures.push_back(id);
        if self.failures.len() > self.config.kept_failures
            && let Some(id) = self.failures.pop_front()
        {
            self.effects.push(Effect::Forget { id });
        }
    }

    fn dismissed(&mut self, id: IntentId) {
        let before = self.failures.len();
        self.failures.retain(|failure| *failure != id);
        if self.failures.len() < before {
            self.effects.push(Effect::Forget { id });
        }
    }

    /// Sends the intents that are ready, in order.
    fn dispatch(&mut self, now: MonotonicTime) {
        let Some(link) = self.link.filter(|_| self.full_until.is_none()) else {
            return;
        };
        let mut room = self.config.window.saturating_sub(self.in_flight);
        let mut blocked = Blocked::default();
        let mut due = Vec::new();
        for (position, entry) in &self.open {
            if room == 0 {
                break;
            }
            let is_due =
                matches!(entry.state, State::Waiting { pause: None, after } if after < link);
            if is_due && !blocked.holds(&entry.turn) {
                due.push(*position);
                blocked.sent(&entry.turn);
                room -= 1;
            } else {
                blocked.note(&entry.turn, entry.state, link);
            }
        }
        for position in due {
            let Some(entry) = self.open.get_mut(&position) else {
                continue;
            };
            self.dispatches = self.dispatches.next();
            self.in_flight += 1;
            entry.state = State::InFlight {
                attach: link,
                dispatch: self.dispatches,
                deadline: now + self.config.answer_deadline,
            };
            self.effects.push(Effect::Dispatch {
                id: entry.id,
                dispatch: self.dispatches,
            });
        }
    }
}
