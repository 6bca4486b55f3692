//! The driver's queue of open intents: pure, in order, with a window of what is offered at once.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use bowline_machines::Moment;
use bowline_protocol::{IntentId, RpcReason, error::RpcError};

use super::{
    Record,
    order::{Held, Turn},
};
use crate::{
    error::CallError,
    intent::Outcome,
    settings::{CANCEL_MEMORY, INTENT_RETRY, INTENT_WINDOW, OUTCOME_MEMORY},
};

/// An intent to be sent now.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) id: IntentId,
    pub(crate) record: Record,
}

#[derive(Debug)]
enum State {
    /// Not before that moment, and not before the attach after that one.
    Waiting { from: Moment, after: u64 },
    /// Sent under that attach; the answer decides.
    Offered { attach: u64 },
}

#[derive(Debug)]
struct Entry {
    record: Record,
    turn: Turn,
    state: State,
    /// When it was submitted to this process; by the wall clock only what another one left behind can be judged.
    made: Option<Moment>,
    sent: Sent,
    /// The daemon may have run it and forgotten that.
    in_doubt: bool,
}

/// When it was offered first.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Never,
    /// By an earlier process.
    Before,
    At(Moment),
}

/// Open intents in the order they were made.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: BTreeMap<u64, Entry>,
    places: HashMap<IntentId, u64>,
    next_place: u64,
    offered: usize,
    /// Whether the daemon's disk took nothing when it answered last, so that the log says it once.
    is_daemon_full: bool,
}

impl Queue {
    /// Takes an intent: one that was submitted to this process at that moment, or one that an earlier process left.
    pub(crate) fn push(&mut self, record: Record, made: Option<Moment>) {
        if self.places.contains_key(&record.id) {
            return;
        }
        self.places.insert(record.id, self.next_place);
        let entry = Entry {
            turn: Turn::of(&record),
            made,
            sent: if record.sent {
                Sent::Before
            } else {
                Sent::Never
            },
            in_doubt: false,
            record,
            state: State::Waiting {
                from: Moment::default(),
                after: 0,
            },
        };
        self.entries.insert(self.next_place, entry);
        self.next_place += 1;
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the answer to any offer is still to come.
    pub(crate) const fn is_offering(&self) -> bool {
        self.offered > 0
    }

    /// The next intent to send through the active client, which attached as the `attach`-th, from 1. Intents go out
    /// in order; one that the daemon put off holds up later ones of the same agent only, as [`Held`] says.
    pub(crate) fn offer(&mut self, now: Moment, attach: u64) -> Option<Offer> {
        if self.offered >= INTENT_WINDOW {
            return None;
        }
        let is_due = |state: &State| matches!(state, State::Waiting { from, after } if *from <= now && *after < attach);
        let mut held = Held::default();
        let entry = self.entries.values_mut().find(|entry| {
            if is_due(&entry.state) && !held.holds(&entry.turn) {
                return true;
            }
            match entry.state {
                State::Offered { attach: by } if by == attach => held.sent(&entry.turn),
                State::Offered { .. } => held.in_doubt(&entry.turn),
                State::Waiting { after, .. } if after >= attach => held.in_doubt(&entry.turn),
                State::Waiting { .. } => held.put_off(&entry.turn),
            }
            false
        })?;
        entry.state = State::Offered { attach };
        if matches!(entry.sent, Sent::Never) {
            entry.sent = Sent::At(now);
        }
        self.offered += 1;
        Some(Offer {
            id: entry.record.id,
            record: entry.record.clone(),
        })
    }

    /// Takes an offer back that could not be sent.
    pub(crate) fn unoffer(&mut self, id: IntentId, from: Moment) {
        self.put_back(id, from, false);
    }

    /// Takes an offer back; `lost` with the connection it was made on, whose end nobody may have heard of yet.
    fn put_back(&mut self, id: IntentId, from: Moment, lost: bool) {
        if let Some(entry) = self
            .places
            .get(&id)
            .and_then(|place| self.entries.get_mut(place))
            && let State::Offered { attach } = entry.state
        {
            let after = if lost { attach } else { 0 };
            entry.state = State::Waiting { from, after };
            self.offered -= 1;
        }
    }

    /// What the answer means: an outcome, or that the intent stays open. An answer from another client
    /// than the one that offered it last is as good: the daemon ran it once.
    pub(crate) fn answered(
        &mut self,
        now: Moment,
        id: IntentId,
        answer: Result<String, CallError>,
    ) -> Option<Outcome> {
        let outcome = match answer {
            Ok(result) => Outcome::Done { result },
            Err(CallError::Rpc(error)) if is_final(&error) => Outcome::Refused { error },
            Err(CallError::Malformed(message)) => Outcome::Refused {
                error: RpcError::invalid_params(message),
            },
            // The daemon is there and could not take it now.
            Err(CallError::Rpc(error)) => {
                let is_full = error.reason() == Some(RpcReason::StorageUnavailable);
                if is_full && !self.is_daemon_full {
                    // Whoever waits for it would wait without a word else (C8).
                    tracing::error!(
                        "{}; requests are kept and tried again until it can",
                        error.message
                    );
                }
                self.is_daemon_full = is_full;
                self.put_back(id, now + INTENT_RETRY, false);
                return None;
            }
            Err(CallError::Timeout) => {
                self.put_back(id, now + INTENT_RETRY, false);
                return None;
            }
            // The path died: offered again, under the same id, on the next connection.
            Err(CallError::Disconnected(_) | CallError::NotConnected | CallError::Closed) => {
                self.put_back(id, now, true);
                return None;
            }
        };
        self.is_daemon_full = false;
        self.remove(id)?;
        Some(outcome)
    }

    /// The daemon begins a new session. It keeps outcomes for a day and as long as their session, so what the earlier one was offered
    /// longer ago it may have run and forgotten. By the wall clock only what another process left behind can be judged.
    pub(crate) fn session_began(&mut self, now: Moment, unix_now: i64) {
        for entry in self.entries.values_mut() {
            entry.in_doubt |= match entry.sent {
                Sent::Never => false,
                Sent::Before => is_over(unix_now, entry.record.at, OUTCOME_MEMORY),
                Sent::At(at) => now.since(at) >= OUTCOME_MEMORY,
            };
        }
    }

    /// Intents that must not be offered again (BX-1). One that is in doubt could run twice. And a cancel that comes late would end
    /// another turn than the one that was meant.
    pub(crate) fn expire(&mut self, now: Moment, unix_now: i64) -> Vec<IntentId> {
        let is_late = |entry: &Entry| match entry.made {
            Some(made) => now.since(made) > CANCEL_MEMORY,
            None => is_over(unix_now, entry.record.at, CANCEL_MEMORY),
        };
        let old: Vec<IntentId> = self
            .entries
            .values()
            .filter(|entry| {
                let is_cancel = matches!(entry.turn, Turn::Cancel(_));
                matches!(entry.state, State::Waiting { .. })
                    && (entry.in_doubt || is_cancel && is_late(entry))
            })
            .map(|entry| entry.record.id)
            .collect();
        old.into_iter()
            .filter(|id| self.remove(*id).is_some())
            .collect()
    }

    /// When an intent that was put off may be offered again.
    pub(crate) fn next_retry(&self, now: Moment) -> Option<Moment> {
        self.entries
            .values()
            .filter_map(|entry| match entry.state {
                State::Waiting { from, .. } if from > now => Some(from),
                State::Waiting { .. } | State::Offered { .. } => None,
            })
            .min()
    }

    fn remove(&mut self, id: IntentId) -> Option<Record> {
        let entry = self.entries.remove(&self.places.remove(&id)?)?;
        if matches!(entry.state, State::Offered { .. }) {
            self.offered -= 1;
        }
        Some(entry.record)
    }
}

/// Whether that long lies between two times of the wall clock, whichever comes first: it may have been set.
fn is_over(one: i64, other: i64, time: Duration) -> bool {
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    one.saturating_sub(other).saturating_abs() > millis
}

/// Whether an error is the intent's outcome, rather than a passing trouble of the daemon.
fn is_final(error: &RpcError) -> bool {
    match error.reason() {
        Some(RpcReason::Overloaded | RpcReason::Timeout | RpcReason::StorageUnavailable) => false,
        Some(
            RpcReason::NotFound
            | RpcReason::IntentConflict
            | RpcReason::ResponseTooLarge
            | RpcReason::Unsupported
            | RpcReason::Cancelled
            | RpcReason::ProviderFailed
            | RpcReason::Forbidden,
        ) => true,
        None => error.code != bowline_protocol::error::code::INTERNAL_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use bowline_protocol::{Reason, methods::name};
    use serde_json::value::RawValue;

    use super::*;

    const NOW: Moment = Moment::from_millis(1_000);

    fn id(n: u8) -> IntentId {
        IntentId::from_uuid(uuid::Uuid::from_bytes([n; 16]))
    }

    fn queue(count: u8) -> Queue {
        let mut queue = Queue::default();
        for n in 0..count {
            queue.push(
                Record {
                    id: id(n),
                    method: "m".into(),
                    params: RawValue::from_string("{}".into()).unwrap().into(),
                    at: i64::from(n),
                    sent: false,
                    outcome: None,
                },
                Some(NOW),
            );
        }
        queue
    }

    #[test]
    fn bx_1_an_intent_in_flight_on_a_dying_path_is_offered_again_in_order() {
        let mut queue = queue(3);
        for n in 0..3 {
            assert_eq!(queue.offer(NOW, 1).unwrap().id, id(n));
        }
        assert!(queue.offer(NOW, 1).is_none());
        let done = queue.answered(NOW, id(1), Ok("{}".into()));
        assert_eq!(
            done,
            Some(Outcome::Done {
                result: "{}".into()
            })
        );
        for n in [2, 0] {
            let lost = Err(CallError::Disconnected(Reason::ConnectionLost));
            assert_eq!(queue.answered(NOW, id(n), lost), None);
        }
        assert!(
            queue.offer(NOW, 1).is_none(),
            "not on the connection that is over"
        );
        assert_eq!(queue.offer(NOW, 2).unwrap().id, id(0));
        assert_eq!(queue.offer(NOW, 2).unwrap().id, id(2));
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn bx_1_a_late_answer_counts_once() {
        let mut queue = queue(1);
        queue.offer(NOW, 1);
        queue.answered(NOW, id(0), Err(CallError::NotConnected));
        assert!(queue.answered(NOW, id(0), Ok("1".into())).is_some());
        assert!(queue.answered(NOW, id(0), Ok("1".into())).is_none());
    }

    #[test]
    fn an_overloaded_daemon_is_asked_again_later_and_a_refusal_is_final() {
        let mut queue = queue(2);
        queue.offer(NOW, 1);
        let overloaded = RpcError::new(RpcReason::Overloaded, "later");
        assert_eq!(queue.answered(NOW, id(0), Err(overloaded.into())), None);
        assert_eq!(queue.next_retry(NOW), Some(NOW + INTENT_RETRY));
        assert_eq!(queue.offer(NOW, 1).unwrap().id, id(1), "it holds up nobody");
        let error = RpcError::new(RpcReason::NotFound, "no agent");
        assert_eq!(
            queue.answered(NOW, id(1), Err(error.clone().into())),
            Some(Outcome::Refused { error })
        );
        assert_eq!(queue.offer(NOW + INTENT_RETRY, 1).unwrap().id, id(0));
    }

    fn about(n: u8, method: &str, agent: &str) -> Record {
        Record {
            id: id(n),
            method: method.into(),
            params: RawValue::from_string(format!("{{\"agentId\":\"{agent}\"}}"))
                .unwrap()
                .into(),
            at: 1_000,
            sent: false,
            outcome: None,
        }
    }

    fn of(records: impl IntoIterator<Item = Record>) -> Queue {
        let mut queue = Queue::default();
        records
            .into_iter()
            .for_each(|record| queue.push(record, Some(NOW)));
        queue
    }

    #[test]
    fn ux_3_prompts_to_one_agent_keep_their_order_when_the_daemon_puts_one_off() {
        let prompt = |n, agent| about(n, name::AGENTS_SEND, agent);
        let mut queue = of([prompt(0, "agt_a"), prompt(1, "agt_a"), prompt(2, "agt_b")]);
        assert_eq!(queue.offer(NOW, 1).unwrap().id, id(0));
        assert_eq!(queue.offer(NOW, 1).unwrap().id, id(2), "another agent's");
        assert!(queue.offer(NOW, 1).is_none());
        let overloaded = RpcError::new(RpcReason::Overloaded, "64 wait");
        queue.answered(NOW, id(0), Err(overloaded.into()));
        assert!(queue.offer(NOW, 1).is_none(), "it would overtake");
        let later = NOW + INTENT_RETRY;
        assert_eq!(queue.offer(later, 1).unwrap().id, id(0));
        queue.answered(later, id(0), Ok("{}".into()));
        assert_eq!(queue.offer(later, 1).unwrap().id, id(1));
    }

    #[test]
    fn ux_3_a_prompt_that_hangs_on_the_old_path_is_not_overtaken_on_the_new_one() {
        let mut queue = of([
            about(0, name::AGENTS_SEND, "agt_a"),
            about(1, name::AGENTS_SEND, "agt_a"),
            about(2, name::AGENTS_CANCEL, "agt_a"),
            about(3, name::AGENTS_RESPOND, "agt_a"),
        ]);
        assert_eq!(queue.offer(NOW, 1).unwrap().id, id(0));
        assert_eq!(
            queue.offer(NOW, 2).unwrap().id,
            id(3),
            "an answer waits for nobody"
        );
        assert!(queue.offer(NOW, 2).is_none());
        let lost = Err(CallError::Disconnected(Reason::ConnectionLost));
        queue.answered(NOW, id(0), lost);
        assert_eq!(queue.offer(NOW, 2).unwrap().id, id(0));
        assert_eq!(
            queue.offer(NOW, 2).unwrap().id,
            id(2),
            "sent after it on one connection"
        );
        queue.answered(NOW, id(0), Ok("{}".into()));
        assert_eq!(queue.offer(NOW, 2).unwrap().id, id(1));
    }

    #[test]
    fn a_cancel_passes_prompts_that_the_daemon_puts_off_and_holds_up_those_after_it() {
        let mut queue = of([
            about(0, name::AGENTS_SEND, "agt_a"),
            about(1, name::AGENTS_CANCEL, "agt_a"),
            about(2, name::AGENTS_SEND, "agt_a"),
        ]);
        queue.offer(NOW, 1);
        let overloaded = || Err(RpcError::new(RpcReason::Overloaded, "64 wait").into());
        queue.answered(NOW, id(0), overloaded());
        assert_eq!(queue.offer(NOW, 1).unwrap().id, id(1));
        queue.answered(NOW, id(1), overloaded());
        let later = NOW + INTENT_RETRY;
        assert_eq!(queue.offer(later, 1).unwrap().id, id(0));
        queue.answered(later, id(0), Ok("{}".into()));
        assert_eq!(queue.offer(later, 1).unwrap().id, id(1));
        queue.answered(later, id(1), overloaded());
        assert!(
            queue.offer(later, 1).is_none(),
            "a turn after the cancel is not the one that was meant"
        );
    }

    #[test]
    fn a_cancel_that_could_not_be_sent_for_a_minute_ends_no_other_turn() {
        let mut queue = of([
            about(0, name::AGENTS_CANCEL, "agt_a"),
            about(1, name::AGENTS_SEND, "agt_a"),
        ]);
        // Whatever the wall clock says (C44).
        assert_eq!(queue.expire(NOW + CANCEL_MEMORY, i64::MAX), []);
        let late = NOW + CANCEL_MEMORY + std::time::Duration::from_millis(1);
        assert_eq!(queue.expire(late, 0), [id(0)]);
        assert_eq!(queue.offer(NOW, 1).unwrap().id, id(1));
    }

    #[test]
    fn the_window_bounds_what_is_offered_at_once() {
        let mut queue = queue(200);
        let offered = std::iter::from_fn(|| queue.offer(NOW, 1)).count();
        assert_eq!(offered, INTENT_WINDOW);
    }

    /// C44: a clock that was days ahead made an intent look young when the daemon had forgotten it, and it ran twice.
    #[test]
    fn case_c44_what_an_earlier_session_was_offered_a_day_ago_is_not_offered_to_a_new_one() {
        let mut queue = queue(3);
        queue.offer(NOW, 1);
        queue.offer(NOW, 1);
        queue.answered(NOW, id(0), Err(CallError::NotConnected));
        let late = NOW + OUTCOME_MEMORY;
        // While the session is there, the daemon remembers what it was offered.
        assert_eq!(queue.expire(late, i64::MAX), []);
        queue.session_began(late, 0);
        assert_eq!(queue.expire(late, 0), [id(0)]);
        assert_eq!(queue.offer(late, 2).unwrap().id, id(2), "never offered");
        // One whose connection is found dead only now.
        queue.answered(late, id(1), Err(CallError::NotConnected));
        assert_eq!(queue.expire(late, 0), [id(1)]);
        queue.answered(late, id(2), Err(CallError::NotConnected));
        assert_eq!(
            queue.expire(late, 0),
            [],
            "offered to the session that there is"
        );
    }

    /// A short grace, or a connection that broke before the daemon had begun the session: the daemon still knows, or never did.
    #[test]
    fn bx_1_what_was_offered_lately_is_offered_to_a_new_session_whatever_the_clock_says() {
        let mut queue = queue(1);
        queue.offer(NOW, 1);
        queue.answered(NOW, id(0), Err(CallError::NotConnected));
        queue.session_began(NOW, i64::MAX);
        assert_eq!(queue.expire(NOW, i64::MAX), []);
        assert_eq!(queue.offer(NOW, 2).unwrap().id, id(0));
        // The first offer counts, not the last.
        queue.answered(NOW, id(0), Err(CallError::NotConnected));
        queue.session_began(NOW + OUTCOME_MEMORY, 0);
        assert_eq!(queue.expire(NOW + OUTCOME_MEMORY, 0), [id(0)]);
    }

    #[test]
    fn case_c44_what_an_earlier_process_offered_is_in_doubt_for_a_new_session() {
        let day = i64::try_from(OUTCOME_MEMORY.as_millis()).unwrap();
        for (now, in_doubt) in [
            (1_000 + day, false),
            (1_000 - day, false),
            (1_001 + day, true),
            (999 - day, true),
        ] {
            let mut left = about(0, name::AGENTS_SEND, "agt_a");
            left.sent = true;
            let mut queue = Queue::default();
            queue.push(left, None);
            queue.push(about(1, name::AGENTS_SEND, "agt_a"), None);
            assert_eq!(queue.expire(NOW, now), [], "the session goes on");
            queue.session_began(NOW, now);
            let expected: &[IntentId] = if in_doubt { &[id(0)] } else { &[] };
            assert_eq!(queue.expire(NOW, now), expected, "{now}");
        }
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_make_an_old_cancel_young() {
        let mut queue = Queue::default();
        queue.push(about(1, name::AGENTS_CANCEL, "agt_a"), None);
        assert_eq!(queue.expire(NOW, 1_000), []);
        assert_eq!(queue.expire(NOW, 1_000 - 60_001), [id(1)]);
    }
}
