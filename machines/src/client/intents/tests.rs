//! The time of each dispatch, and the meaning of each answer.

use std::time::Duration;

use bowline_protocol::{
    AgentId, IntentId, RpcReason, SessionState,
    error::{Quota, RpcError},
};

use super::*;

const NOW: MonotonicTime = MonotonicTime::from_millis(1_000);
const CONFIG: fn() -> IntentsConfig = IntentsConfig::default;

/// A host's intents, and the effects its driver received.
struct Rig {
    intents: Intents,
    now: MonotonicTime,
    attach: Attach,
    in_flight: HashMap<IntentId, Generation>,
    settled: Vec<(IntentId, Outcome)>,
    /// The event numbers of what was settled.
    seqs: Vec<u64>,
    disk: Vec<Effect>,
    said: Vec<String>,
    is_shown: bool,
    /// Dispatches since the last check.
    dispatched: Vec<u8>,
    /// The connection's queue has no room.
    /// Dispatches for which the connection's queue has room.
    room: usize,
}

fn id(n: u8) -> IntentId {
    IntentId::from_uuid(uuid::Uuid::from_bytes([n; 16]))
}

fn number(id: IntentId) -> u8 {
    id.as_bytes()[0]
}

fn agent(name: &str) -> AgentId {
    name.parse().unwrap()
}

fn prompt(n: u8) -> (u8, TurnEffect) {
    (n, TurnEffect::Prompt(agent("agt_a")))
}

fn cancel(n: u8) -> (u8, TurnEffect) {
    (n, TurnEffect::Cancel(agent("agt_a")))
}

fn other(n: u8) -> (u8, TurnEffect) {
    (n, TurnEffect::Other)
}

impl Rig {
    fn new(intents: impl IntoIterator<Item = (u8, TurnEffect)>) -> Self {
        let mut rig = Self {
            intents: Intents::new(CONFIG()),
            now: NOW,
            attach: Attach::NONE,
            in_flight: HashMap::new(),
            settled: Vec::new(),
            seqs: Vec::new(),
            disk: Vec::new(),
            said: Vec::new(),
            is_shown: false,
            dispatched: Vec::new(),
            room: usize::MAX,
        };
        rig.queue(intents, Origin::Submitted);
        rig
    }

    fn queue(&mut self, intents: impl IntoIterator<Item = (u8, TurnEffect)>, origin: Origin) {
        let queued = intents.into_iter().map(|(n, turn)| Queued {
            id: id(n),
            turn,
            origin,
        });
        self.feed(Input::Queued(queued.collect()));
    }

    fn feed(&mut self, input: Input) {
        self.intents.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(effect) = self.intents.poll_effect() {
            match effect {
                Effect::Dispatch { id, dispatch } if self.room == 0 => {
                    self.intents
                        .handle(self.now, Input::NotSent { id, dispatch });
                }
                Effect::Dispatch { id, dispatch } => {
                    self.room -= 1;
                    self.in_flight.insert(id, dispatch);
                    self.dispatched.push(number(id));
                    self.intents.handle(self.now, Input::Sent { id, dispatch });
                }
                Effect::Withdraw { id } => {
                    self.in_flight.remove(&id).unwrap();
                }
                Effect::Settled {
                    id, outcome, seq, ..
                } => {
                    self.settled.push((id, outcome));
                    self.seqs.push(seq);
                    let is_shown = self.is_shown;
                    self.intents.handle(self.now, Input::Noted { id, is_shown });
                }
                Effect::Keep { .. } | Effect::Forget { .. } => self.disk.push(effect),
                Effect::Deferred { message } => self.said.push(message),
            }
        }
    }

    fn attached(&mut self, session: SessionState) {
        self.attach = self.attach.next();
        self.feed(Input::Attached { session });
        self.feed(Input::Link(Some(self.attach)));
    }

    fn answer(&mut self, n: u8, answer: Answer) {
        let (id, dispatch) = (id(n), self.in_flight.remove(&id(n)).unwrap());
        self.feed(Input::Answered {
            id,
            dispatch,
            answer,
        });
    }

    fn done(&mut self, n: u8) {
        self.answer(
            n,
            Answer::Result {
                result: "{}".into(),
                made: Made::Other,
                seq: Some(7),
            },
        );
    }

    fn overloaded(&mut self, n: u8) {
        let error = RpcError::new(RpcReason::Overloaded, "64 wait");
        self.answer(n, Answer::Error(error));
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.intents.handle_timeout(self.now);
        self.drain();
    }

    /// The numbers of the intents dispatched since the last call, in order.
    fn sent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.dispatched)
    }

    fn expired(&mut self) -> Vec<u8> {
        let settled = std::mem::take(&mut self.settled);
        settled
            .into_iter()
            .filter_map(|(id, outcome)| (outcome == Outcome::Expired).then(|| number(id)))
            .collect()
    }
}

fn online(intents: impl IntoIterator<Item = (u8, TurnEffect)>) -> Rig {
    let mut rig = Rig::new(intents);
    rig.attached(SessionState::Resumed);
    rig
}

#[test]
fn bx_1_an_intent_in_flight_on_a_dying_path_is_sent_again_in_order() {
    let mut rig = Rig::new([0, 1, 2].map(other));
    assert_eq!(rig.sent(), [0_u8; 0], "there is no connection");
    rig.attached(SessionState::New);
    assert_eq!(rig.sent(), [0, 1, 2]);
    rig.done(1);
    rig.answer(2, Answer::Lost);
    rig.answer(0, Answer::Lost);
    assert_eq!(rig.sent(), [0_u8; 0], "not on the connection that is over");
    rig.feed(Input::Link(None));
    rig.attached(SessionState::Resumed);
    assert_eq!(rig.sent(), [0, 2]);
    assert_eq!(rig.intents.len(), 2);
}

#[test]
fn bx_1_a_late_answer_counts_once() {
    let mut rig = online([other(0)]);
    let dispatch = rig.in_flight[&id(0)];
    let again = || Input::Answered {
        id: id(0),
        dispatch,
        answer: Answer::Result {
            result: "1".into(),
            made: Made::Other,
            seq: Some(7),
        },
    };
    rig.answer(0, Answer::Lost);
    rig.feed(again());
    rig.feed(again());
    let result = "1".into();
    assert_eq!(rig.settled, [(id(0), Outcome::Done { result })]);
    assert_eq!(rig.disk, [Effect::Forget { id: id(0) }]);
    assert_eq!(rig.intents.stale(), 1);
}

#[test]
fn inv_10_a_late_error_does_not_take_back_a_newer_dispatch() {
    let mut rig = online([other(0)]);
    let dispatch = rig.in_flight[&id(0)];
    rig.pass(CONFIG().answer_deadline);
    rig.pass(CONFIG().retry);
    assert_eq!(rig.sent(), [0, 0]);
    rig.feed(Input::Answered {
        id: id(0),
        dispatch,
        answer: Answer::Lost,
    });
    assert_eq!((rig.intents.in_flight(), rig.intents.stale()), (1, 1));
    assert_eq!(rig.sent(), [0_u8; 0]);
}

#[test]
fn inv_12_an_intent_without_an_answer_is_withdrawn_and_sent_again() {
    let mut rig = online([other(0)]);
    let deadline = NOW + CONFIG().answer_deadline;
    assert_eq!(rig.intents.poll_timeout(), Some(deadline));
    rig.pass(CONFIG().answer_deadline);
    assert!(rig.in_flight.is_empty());
    assert_eq!(rig.intents.poll_timeout(), Some(deadline + CONFIG().retry));
    rig.pass(CONFIG().retry);
    assert_eq!(rig.sent(), [0, 0]);
}

#[test]
fn an_overloaded_daemon_is_asked_again_later_and_a_refusal_is_final() {
    let mut rig = online([0, 1].map(other));
    rig.overloaded(0);
    assert_eq!(rig.sent(), [0, 1], "it holds up nobody");
    let error = RpcError::new(RpcReason::NotFound, "no agent");
    rig.answer(1, Answer::Error(error.clone()));
    assert_eq!(rig.settled, [(id(1), Outcome::Refused { error })]);
    rig.pass(CONFIG().retry);
    assert_eq!(rig.sent(), [0]);
}

#[test]
fn a_full_disk_of_the_daemon_is_said_once_until_it_takes_something() {
    let mut rig = online([0, 1].map(other));
    let full = || Answer::Error(RpcError::new(RpcReason::StorageUnavailable, "full"));
    rig.answer(0, full());
    rig.answer(1, full());
    assert_eq!(rig.said, ["full"]);
    rig.pass(CONFIG().retry);
    rig.done(0);
    rig.answer(1, full());
    assert_eq!(rig.said, ["full", "full"]);
}

#[test]
fn tr_12_a_daemon_that_asks_for_a_pause_gets_it_and_the_user_is_told_once() {
    let mut rig = online([0, 1].map(other));
    let limited = |pause| {
        let error = RpcError::new(RpcReason::RateLimited, "this phone has sent too much");
        Answer::Error(error.after(pause))
    };
    let pause = Duration::from_secs(60);
    rig.answer(0, limited(pause));
    rig.answer(1, limited(Duration::MAX));
    assert_eq!(rig.said, ["this phone has sent too much"]);
    rig.pass(CONFIG().retry);
    assert_eq!(rig.sent(), [0, 1], "the first dispatch of each");
    rig.pass(pause - CONFIG().retry);
    assert_eq!(rig.sent(), [0]);
    rig.done(0);
    rig.pass(CONFIG().max_retry - pause);
    assert_eq!(rig.sent(), [1], "no daemon puts an intent off for ever");
}

#[test]
fn tr_12_an_intent_over_a_quota_of_stored_data_fails_and_is_shown() {
    let mut rig = online([other(0)]);
    let error = RpcError::new(RpcReason::QuotaExceeded, "remove something");
    rig.answer(0, Answer::Error(error.clone()));
    assert_eq!(rig.settled, [(id(0), Outcome::Refused { error })]);
}

#[test]
fn what_fits_into_no_message_is_refused() {
    let mut rig = online([other(0)]);
    rig.answer(0, Answer::Unsendable("too long".into()));
    let error = RpcError::invalid_params("too long");
    assert_eq!(rig.settled, [(id(0), Outcome::Refused { error })]);
}

#[test]
fn a_full_queue_of_the_connection_is_tried_again_in_order() {
    let mut rig = Rig::new([0, 1, 2].map(other));
    rig.room = 1;
    rig.attached(SessionState::Resumed);
    assert_eq!((rig.sent(), rig.intents.in_flight()), (vec![0], 1));
    rig.room = usize::MAX;
    rig.queue([other(3)], Origin::Submitted);
    assert_eq!(
        rig.sent(),
        [0_u8; 0],
        "room for one that another waits for is left"
    );
    let retry = NOW + CONFIG().retry;
    assert_eq!(rig.intents.poll_timeout(), Some(retry));
    rig.pass(CONFIG().retry);
    assert_eq!(rig.sent(), [1, 2, 3]);
    assert_eq!(rig.intents.stale(), 0);
}

#[test]
fn ux_3_prompts_to_one_agent_keep_their_order_when_the_daemon_puts_one_off() {
    let another = (2, TurnEffect::Prompt(agent("agt_b")));
    let mut rig = online([prompt(0), prompt(1), another]);
    assert_eq!(rig.sent(), [0, 2], "another agent's goes ahead");
    rig.overloaded(0);
    assert_eq!(rig.sent(), [0_u8; 0], "it would overtake");
    rig.pass(CONFIG().retry);
    assert_eq!(rig.sent(), [0]);
    rig.done(0);
    assert_eq!(rig.sent(), [1]);
}

#[test]
fn ux_3_a_prompt_that_hangs_on_the_old_path_is_not_overtaken_on_the_new_one() {
    let mut rig = online([prompt(0)]);
    rig.attached(SessionState::Resumed);
    rig.queue([prompt(1), cancel(2), other(3)], Origin::Submitted);
    assert_eq!(rig.sent(), [0, 3], "an answer waits for nobody");
    rig.answer(0, Answer::Lost);
    assert_eq!(rig.sent(), [0, 2], "sent after it on one connection");
    rig.done(0);
    assert_eq!(rig.sent(), [1]);
}

#[test]
fn a_cancel_passes_prompts_that_the_daemon_puts_off_and_holds_up_those_after_it() {
    let mut rig = online([prompt(0)]);
    rig.overloaded(0);
    rig.queue([cancel(1), prompt(2)], Origin::Submitted);
    assert_eq!(rig.sent(), [0, 1]);
    rig.overloaded(1);
    rig.pass(CONFIG().retry);
    assert_eq!(rig.sent(), [0, 1]);
    rig.overloaded(1);
    rig.done(0);
    assert_eq!(
        rig.sent(),
        [0_u8; 0],
        "a turn after the cancel is not the one that was meant"
    );
}

#[test]
fn a_cancel_that_could_not_be_delivered_for_a_minute_ends_no_other_turn() {
    let mut rig = Rig::new([cancel(0), prompt(1)]);
    rig.pass(CONFIG().cancel_memory);
    assert_eq!(rig.expired(), [0_u8; 0]);
    let late = rig.now + Duration::from_millis(1);
    assert_eq!(rig.intents.poll_timeout(), Some(late));
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.expired(), [0]);
    rig.attached(SessionState::Resumed);
    assert_eq!(rig.sent(), [1]);
}

#[test]
fn a_cancel_of_another_process_is_judged_by_its_age() {
    let mut rig = Rig::new([]);
    let memory = CONFIG().cancel_memory;
    for (n, age) in [(0, memory), (1, memory + Duration::from_millis(1))] {
        rig.queue([cancel(n)], Origin::Recovered { age, sent: true });
    }
    assert_eq!(rig.expired(), [1]);
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.expired(), [0]);
}

#[test]
fn the_window_bounds_what_is_in_flight() {
    let mut rig = online((0..200).map(other));
    assert_eq!(rig.sent().len(), CONFIG().window);
    rig.done(7);
    assert_eq!(rig.sent(), [64]);
    assert_eq!(rig.intents.in_flight(), CONFIG().window);
}

/// C44: a clock that was days ahead made an intent look young when the daemon had forgotten its
/// outcome, and it ran twice.
#[test]
fn case_c44_what_an_earlier_session_was_sent_a_day_ago_is_not_sent_to_a_new_one() {
    let mut rig = online([0, 1].map(other));
    rig.answer(0, Answer::Lost);
    rig.feed(Input::Link(None));
    rig.queue([other(2)], Origin::Submitted);
    // The connection of the other client still counts as open, so its answer arrives after the new
    // session begins.
    let day = CONFIG().outcome_memory + Duration::from_millis(1);
    rig.now = rig.now + day;
    rig.attached(SessionState::Resumed);
    assert_eq!(rig.expired(), [0_u8; 0], "the daemon remembers its session");
    rig.answer(0, Answer::Lost);
    rig.answer(2, Answer::Lost);
    rig.sent();
    rig.attached(SessionState::New);
    assert_eq!(rig.expired(), [0]);
    assert_eq!(rig.sent(), [2], "it was sent lately");
    rig.answer(1, Answer::Lost);
    assert_eq!(rig.expired(), [1], "found dead only now");
}

/// A short grace, or a connection lost before the daemon began the session: the daemon still has
/// the outcome, or never ran the intent.
#[test]
fn bx_1_what_was_sent_lately_is_sent_to_a_new_session() {
    let mut rig = online([other(0)]);
    rig.answer(0, Answer::Lost);
    rig.attached(SessionState::New);
    assert_eq!(rig.sent(), [0, 0]);
    rig.answer(0, Answer::Lost);
    // The first dispatch counts, not the last.
    rig.now = NOW + CONFIG().outcome_memory + Duration::from_millis(1);
    rig.attached(SessionState::New);
    assert_eq!(rig.expired(), [0]);
}

#[test]
fn case_c44_what_an_earlier_process_sent_is_in_doubt_for_a_new_session() {
    let memory = CONFIG().outcome_memory;
    for (age, sent, expired) in [
        (memory, true, false),
        (memory + Duration::from_millis(1), true, true),
        (memory * 9, false, false),
    ] {
        let mut rig = Rig::new([]);
        rig.queue([prompt(0)], Origin::Recovered { age, sent });
        assert_eq!(rig.expired(), [0_u8; 0], "the session goes on");
        rig.attached(SessionState::New);
        assert_eq!(!rig.expired().is_empty(), expired, "{age:?} {sent}");
        assert_eq!(rig.sent().is_empty(), expired);
    }
}

/// The queue of the connection refused it, so the daemon cannot have run it.
#[test]
fn bx_1_what_a_full_queue_refused_was_not_sent_and_is_not_in_doubt() {
    let mut rig = Rig::new([prompt(0)]);
    rig.room = 0;
    rig.attached(SessionState::Resumed);
    assert_eq!(rig.sent(), [0_u8; 0]);
    rig.now = rig.now + CONFIG().outcome_memory * 2;
    rig.room = usize::MAX;
    rig.attached(SessionState::New);
    assert_eq!((rig.expired(), rig.sent()), (vec![], vec![0]));
}

/// The monotonic clock stands still in suspend; the daemon's does not.
#[test]
fn bx_1_intents_age_while_this_device_sleeps() {
    let mut rig = online([other(0), cancel(1)]);
    rig.answer(0, Answer::Lost);
    rig.answer(1, Answer::Lost);
    let sent = true;
    rig.queue(
        [prompt(2)],
        Origin::Recovered {
            age: Duration::ZERO,
            sent,
        },
    );
    rig.feed(Input::Link(None));
    rig.feed(Input::Slept(CONFIG().outcome_memory));
    assert_eq!(rig.expired(), [1], "too late for a cancel");
    rig.pass(Duration::from_millis(1));
    rig.attached(SessionState::New);
    assert_eq!(rig.expired(), [0, 2]);
}

#[test]
fn ux_3_a_failure_that_is_shown_is_kept_until_it_was_seen_and_the_oldest_of_many_is_forgotten() {
    let many = u8::try_from(CONFIG().kept_failures).unwrap();
    let mut rig = online((0..=many).map(other));
    let refuse = |rig: &mut Rig, n| {
        rig.answer(n, Answer::Error(RpcError::new(RpcReason::NotFound, "")));
    };
    refuse(&mut rig, many);
    assert_eq!(
        rig.disk,
        [Effect::Forget { id: id(many) }],
        "nobody shows it"
    );
    rig.disk.clear();
    rig.is_shown = true;
    (0..many).for_each(|n| refuse(&mut rig, n));
    assert!(
        rig.disk
            .iter()
            .all(|one| matches!(one, Effect::Keep { .. }))
    );
    rig.disk.clear();
    rig.feed(Input::Failed { id: id(200) });
    rig.feed(Input::Dismissed { id: id(1) });
    rig.feed(Input::Dismissed { id: id(1) });
    let forgotten = [0, 1].map(|n| Effect::Forget { id: id(n) });
    assert_eq!(rig.disk, forgotten);
    assert_eq!(rig.intents.failures().count(), CONFIG().kept_failures - 1);
}

#[test]
fn an_id_that_is_known_is_queued_once() {
    let mut rig = online([other(0)]);
    rig.queue(
        [other(0)],
        Origin::Recovered {
            age: Duration::ZERO,
            sent: true,
        },
    );
    assert_eq!(rig.sent(), [0]);
    assert!(rig.intents.state(id(0)).is_some() && rig.intents.len() == 1);
}

/// The refusal of a burst must not hide that the day's quota is used up as well.
#[test]
fn tr_12_each_quota_is_told_once_until_an_intent_succeeds() {
    let mut rig = online([0, 1, 2].map(other));
    let limited = |name: &str| {
        let quota = Quota {
            name: name.into(),
            limit: 1,
            whose: "this phone".into(),
            device_id: None,
        };
        Answer::Error(RpcError::of_quota(RpcReason::RateLimited, quota, name))
    };
    rig.answer(0, limited("waiting_per_device"));
    rig.answer(1, limited("intents_per_device"));
    rig.answer(2, limited("waiting_per_device"));
    assert_eq!(rig.said, ["waiting_per_device", "intents_per_device"]);
    rig.pass(CONFIG().retry);
    rig.done(0);
    rig.answer(1, limited("intents_per_device"));
    assert_eq!(rig.said.last().unwrap(), "intents_per_device");
    assert_eq!(rig.said.len(), 3);
}

#[test]
fn ld_1_an_event_number_counts_in_the_numbering_in_which_the_intent_was_sent() {
    for (session, expected) in [
        (SessionState::Resumed, [7, 7]),
        (SessionState::New, [0, 7]),
        (SessionState::Reset, [0, 7]),
    ] {
        let mut rig = Rig::new([other(0)]);
        rig.attached(SessionState::New);
        // The old connection may still answer what was sent before.
        rig.attached(session);
        rig.queue([other(1)], Origin::Submitted);
        rig.done(0);
        rig.done(1);
        assert_eq!(rig.seqs, expected, "{session:?}");
    }
    let mut rig = Rig::new([other(0)]);
    rig.attached(SessionState::New);
    let error = RpcError::new(RpcReason::NotFound, "");
    rig.answer(0, Answer::Error(error));
    assert_eq!(rig.seqs, [0]);
}
