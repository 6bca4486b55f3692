//! Every history of a few open intents of one host: attaches, losses, answers of every kind, new
//! sessions, and time.

#![allow(clippy::unwrap_used)] // The lint exempts unit tests only.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bowline_machines::{
    Attach, Generation, MonotonicTime,
    client::intents::{
        Answer, Effect, Input, Intents, IntentsConfig, Made, Origin, Outcome, Queued, State,
        TurnEffect,
    },
};
use bowline_protocol::{AgentId, IntentId, RpcReason, SessionState, error::RpcError};

use crate::explorer::{Model, explore};

const CONFIG: IntentsConfig = IntentsConfig {
    window: 2,
    retry: Duration::from_secs(1),
    max_retry: Duration::from_secs(1),
    answer_deadline: Duration::from_secs(2),
    cancel_memory: Duration::from_secs(2),
    outcome_memory: Duration::from_secs(3),
    kept_failures: 1,
    recent: 2,
};

/// The kind of an intent. Prompts are displayed on a screen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Prompt,
    Cancel,
    Other,
}

/// The intents of a scene, in the order of creation.
struct Scene {
    kinds: &'static [Kind],
    /// The first was sent and left on disk by an earlier process.
    has_recovered: bool,
}

#[derive(Clone)]
struct Node {
    intents: Intents,
    now: MonotonicTime,
    /// Time that the monotonic clock did not count.
    slept: Duration,
    attach: Attach,
    is_linked: bool,
    /// Number of submitted intents.
    submitted: u8,
    /// The driver's dispatches in flight, with their attach.
    in_flight: BTreeMap<u8, (Generation, Attach)>,
    /// The last dispatch of each intent that is over but may still be answered.
    withdrawn: BTreeMap<u8, Generation>,
    /// The outcome of each.
    settled: BTreeMap<u8, Outcome>,
    /// The intents on disk, and whether each failed.
    disk: BTreeMap<u8, bool>,
    /// The time of creation of each, by the wall clock.
    made: BTreeMap<u8, MonotonicTime>,
    /// Requests that the connection's queue accepts; the window is no bound.
    room: usize,
    /// The connection's queue was full; no dispatch before this time.
    full_until: Option<MonotonicTime>,
    /// The time of the first dispatch of each that found room, by the wall clock.
    sent: BTreeMap<u8, MonotonicTime>,
    /// Intents first sent too long before the present session began.
    in_doubt: BTreeSet<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Reply {
    Result,
    Refused,
    Overloaded,
    Lost,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Submit,
    Attach {
        is_new: bool,
    },
    Unlink,
    /// The same connection is reported as active again.
    Link,
    Answer(u8, Reply),
    LateAnswer(u8, Reply),
    /// The connection's queue accepts so many more requests.
    Room(usize),
    Dismiss(u8),
    Timer,
    Sleep,
    /// Sleep in which the monotonic clock stands still.
    Suspend,
}

fn id(n: u8) -> IntentId {
    IntentId::from_uuid(uuid::Uuid::from_bytes([n; 16]))
}

fn number(id: IntentId) -> u8 {
    id.as_bytes().first().copied().unwrap()
}

fn answer(reply: Reply) -> Answer {
    match reply {
        Reply::Result => Answer::Result {
            result: "{}".into(),
            made: Made::Other,
            seq: Some(7),
        },
        Reply::Refused => Answer::Error(RpcError::new(RpcReason::NotFound, "")),
        Reply::Overloaded => Answer::Error(RpcError::new(RpcReason::Overloaded, "")),
        Reply::Lost => Answer::Lost,
    }
}

impl Scene {
    fn kind(&self, n: u8) -> Kind {
        self.kinds.get(usize::from(n)).copied().unwrap()
    }

    fn queued(&self, n: u8) -> Queued {
        let agent: AgentId = "agt_a".parse().unwrap();
        let turn = match self.kind(n) {
            Kind::Prompt => TurnEffect::Prompt(agent),
            Kind::Cancel => TurnEffect::Cancel(agent),
            Kind::Other => TurnEffect::Other,
        };
        let origin = if self.has_recovered && n == 0 {
            Origin::Recovered {
                age: Duration::from_secs(1),
                sent: true,
            }
        } else {
            Origin::Submitted
        };
        Queued {
            id: id(n),
            turn,
            origin,
        }
    }
}

impl Model for Scene {
    type Node = Node;
    type Step = Step;
    type Key = String;

    fn start(&self) -> Vec<Node> {
        vec![Node {
            intents: Intents::new(CONFIG),
            now: MonotonicTime::from_millis(1_000_000),
            slept: Duration::ZERO,
            attach: Attach::NONE,
            is_linked: false,
            submitted: 0,
            in_flight: BTreeMap::new(),
            withdrawn: BTreeMap::new(),
            settled: BTreeMap::new(),
            disk: BTreeMap::new(),
            made: BTreeMap::new(),
            room: CONFIG.window,
            full_until: None,
            sent: BTreeMap::new(),
            in_doubt: BTreeSet::new(),
        }]
    }

    fn steps(&self, node: &Node) -> Vec<Step> {
        let mut steps = vec![
            Step::Attach { is_new: false },
            Step::Attach { is_new: true },
        ];
        if usize::from(node.submitted) < self.kinds.len() {
            steps.push(Step::Submit);
        }
        if node.is_linked {
            steps.push(Step::Unlink);
        }
        if node.attach != Attach::NONE {
            steps.push(Step::Link);
        }
        let replies = [
            Reply::Result,
            Reply::Refused,
            Reply::Overloaded,
            Reply::Lost,
        ];
        for n in node.in_flight.keys() {
            steps.extend(replies.map(|reply| Step::Answer(*n, reply)));
        }
        let rooms = (0..=CONFIG.window).filter(|room| *room != node.room);
        steps.extend(rooms.map(Step::Room));
        for n in node.withdrawn.keys() {
            steps.extend(replies.map(|reply| Step::LateAnswer(*n, reply)));
        }
        if let Some(n) = node.intents.failures().next() {
            steps.push(Step::Dismiss(number(n)));
        }
        if node.intents.poll_timeout().is_some() {
            steps.push(Step::Timer);
        }
        if !node.intents.is_empty() {
            steps.extend([Step::Sleep, Step::Suspend]);
        }
        steps
    }

    fn apply(&self, node: &mut Node, step: &Step) -> Result<(), String> {
        let before = node.clone();
        let name = |name: &str| format!("{name}: {:?}", before.intents);
        match *step {
            Step::Submit => {
                let n = node.submitted;
                node.submitted += 1;
                node.disk.insert(n, false);
                node.made.insert(n, node.wall());
                if self.queued(n).origin != Origin::Submitted {
                    let at = MonotonicTime::from_millis(node.wall().as_millis() - 1_000);
                    node.made.insert(n, at);
                    node.sent.insert(n, at);
                }
                let queued = vec![self.queued(n)];
                self.feed(node, Input::Queued(queued))
            }
            Step::Attach { is_new } => {
                node.attach = node.attach.next();
                node.is_linked = false;
                node.full_until = None;
                let session = if is_new {
                    let old = |at: &MonotonicTime| node.wall().since(*at) > CONFIG.outcome_memory;
                    let sent = node.sent.iter().filter(|(_, at)| old(at));
                    let in_doubt = sent.map(|(n, _)| *n);
                    node.in_doubt.extend(in_doubt.collect::<Vec<_>>());
                    SessionState::New
                } else {
                    SessionState::Resumed
                };
                self.feed(node, Input::Attached { session }).and_then(|()| {
                    node.is_linked = true;
                    self.feed(node, Input::Link(Some(node.attach)))
                })
            }
            Step::Unlink => {
                node.is_linked = false;
                node.full_until = None;
                self.feed(node, Input::Link(None))
            }
            Step::Link => {
                node.full_until = node.full_until.filter(|_| node.is_linked);
                node.is_linked = true;
                self.feed(node, Input::Link(Some(node.attach)))
            }
            Step::Answer(n, reply) => {
                let (dispatch, _) = node.in_flight.remove(&n).unwrap();
                let answer = answer(reply);
                node.full_until = None;
                self.feed(
                    node,
                    Input::Answered {
                        id: id(n),
                        dispatch,
                        answer,
                    },
                )
            }
            Step::LateAnswer(n, reply) => {
                let dispatch = node.withdrawn.remove(&n).unwrap();
                let answer = answer(reply);
                node.full_until = None;
                self.feed(
                    node,
                    Input::Answered {
                        id: id(n),
                        dispatch,
                        answer,
                    },
                )
            }
            Step::Room(room) => {
                node.room = room;
                Ok(())
            }
            Step::Dismiss(n) => self.feed(node, Input::Dismissed { id: id(n) }),
            Step::Timer => {
                let deadline = node.intents.poll_timeout().unwrap();
                node.now = node.now.max(deadline);
                node.intents.handle_timeout(node.now);
                let told = self.follow(node);
                if node
                    .intents
                    .poll_timeout()
                    .is_some_and(|next| next <= node.now)
                {
                    return Err(name("a_deadline_that_passed_is_over"));
                }
                told
            }
            Step::Sleep => {
                node.now = node.now + Duration::from_secs(60);
                node.intents.handle_timeout(node.now);
                self.follow(node)
            }
            Step::Suspend => {
                let time = Duration::from_secs(60);
                node.slept += time;
                self.feed(node, Input::Slept(time))
            }
        }
        .and_then(|()| self.check(&before, node, step))
        .map_err(|broken| format!("{broken}: {:?}", node.intents))
    }

    fn key(&self, node: &Node) -> String {
        let age = |at: &MonotonicTime| node.wall().since(*at).min(Duration::from_secs(4));
        let is_open = |n: &u8| !node.settled.contains_key(n);
        let ages = |times: &BTreeMap<u8, MonotonicTime>| {
            let open = times.iter().filter(|(n, _)| is_open(n));
            open.map(|(_, at)| age(at)).collect::<Vec<_>>()
        };
        let left = |until: MonotonicTime| until.since(node.now);
        let in_doubt = node.in_doubt.iter().filter(|n| is_open(n));
        let states = (0..node.submitted).map(|n| match node.intents.state(id(n)) {
            Some(State::Waiting { pause, after }) => {
                format!("{:?} {}", pause.map(left), after == node.attach)
            }
            Some(State::InFlight {
                attach, deadline, ..
            }) => format!("in flight {:?} {}", left(deadline), attach == node.attach),
            None => "settled".to_owned(),
        });
        format!(
            "{:?} {} {} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            states.collect::<Vec<_>>(),
            node.is_linked,
            node.room,
            node.full_until.map(left),
            ages(&node.made),
            ages(&node.sent),
            node.withdrawn.keys(),
            in_doubt.collect::<Vec<_>>(),
            node.disk,
            node.intents.failures().map(number).collect::<Vec<_>>(),
        )
    }
}

impl Node {
    fn wall(&self) -> MonotonicTime {
        self.now + self.slept
    }
}

impl Scene {
    fn feed(&self, node: &mut Node, input: Input) -> Result<(), String> {
        node.intents.handle(node.now, input);
        self.follow(node)
    }

    /// Executes the effects and checks each against the model's own data.
    fn follow(&self, node: &mut Node) -> Result<(), String> {
        node.full_until = node.full_until.filter(|until| *until > node.now);
        while let Some(effect) = node.intents.poll_effect() {
            match effect {
                Effect::Dispatch { id, dispatch } => {
                    let n = number(id);
                    if node.full_until.is_some() {
                        return Err("a_full_connection_is_left_alone".into());
                    }
                    if node.room == 0 {
                        node.full_until = Some(node.now + CONFIG.retry);
                        node.intents
                            .handle(node.now, Input::NotSent { id, dispatch });
                        continue;
                    }
                    self.may_be_sent(node, n)?;
                    if node.room < CONFIG.window {
                        node.room -= 1;
                    }
                    node.in_flight.insert(n, (dispatch, node.attach));
                    let wall = node.wall();
                    node.sent.entry(n).or_insert(wall);
                    node.intents.handle(node.now, Input::Sent { id, dispatch });
                }
                Effect::Withdraw { id } => {
                    let n = number(id);
                    let Some((dispatch, _)) = node.in_flight.remove(&n) else {
                        return Err("only_what_is_in_flight_is_withdrawn".into());
                    };
                    node.withdrawn.insert(n, dispatch);
                }
                Effect::Settled { id, outcome, .. } => {
                    let n = number(id);
                    self.may_end(node, n, &outcome)?;
                    if node.settled.insert(n, outcome).is_some() {
                        return Err("every_outcome_is_settled_once (BX-1)".into());
                    }
                    // The answer on an earlier connection is ignored.
                    node.withdrawn.remove(&n);
                    node.in_flight.remove(&n);
                    let is_shown = self.kind(n) == Kind::Prompt;
                    node.intents.handle(node.now, Input::Noted { id, is_shown });
                }
                Effect::Keep { id, .. } => {
                    if node.disk.insert(number(id), true) != Some(false) {
                        return Err("a_failure_is_kept_once (UX-3)".into());
                    }
                }
                Effect::Forget { id } => {
                    let n = number(id);
                    if !node.settled.contains_key(&n) || node.disk.remove(&n).is_none() {
                        return Err("only_what_is_settled_is_forgotten_and_once (BX-1)".into());
                    }
                }
                Effect::Deferred { .. } => {
                    return Err("a_disk_is_full_only_if_the_daemon_says_so".into());
                }
            }
        }
        Ok(())
    }

    fn may_be_sent(&self, node: &Node, n: u8) -> Result<(), String> {
        let fail = |name: &str| Err(format!("{name}: {n}"));
        if !node.is_linked {
            return fail("nothing_is_sent_without_a_connection");
        }
        if node.in_flight.contains_key(&n) {
            return fail("an_intent_is_in_flight_once (BX-1)");
        }
        if node.settled.contains_key(&n) {
            return fail("nothing_is_sent_after_its_outcome (BX-1)");
        }
        if node.in_doubt.contains(&n) {
            return fail("what_is_in_doubt_is_never_sent (BX-1)");
        }
        if node.in_flight.len() >= CONFIG.window {
            return fail("the_window_bounds_what_is_in_flight");
        }
        let earlier = (0..n).filter(|m| !node.settled.contains_key(m));
        for m in earlier {
            let attach = node.in_flight.get(&m).map(|(_, attach)| *attach);
            let overtakes = match (self.kind(m), self.kind(n)) {
                (Kind::Prompt, Kind::Prompt) => true,
                // One connection preserves the order.
                (Kind::Cancel, Kind::Prompt) => attach != Some(node.attach),
                (Kind::Prompt | Kind::Cancel, Kind::Cancel) => {
                    attach.is_some_and(|attach| attach != node.attach)
                }
                (Kind::Other, _) | (_, Kind::Other) => false,
            };
            if overtakes {
                return fail("no_turn_overtakes_an_earlier_one_of_its_agent (UX-3)");
            }
        }
        Ok(())
    }

    fn may_end(&self, node: &Node, n: u8, outcome: &Outcome) -> Result<(), String> {
        let made = node.made.get(&n).copied().unwrap();
        let is_late =
            self.kind(n) == Kind::Cancel && node.wall().since(made) > CONFIG.cancel_memory;
        match outcome {
            Outcome::Expired if !is_late && !node.in_doubt.contains(&n) => {
                Err("only_what_is_in_doubt_or_late_expires".into())
            }
            Outcome::Expired if node.in_flight.contains_key(&n) => {
                Err("what_may_yet_be_answered_does_not_expire".into())
            }
            Outcome::Abandoned => Err("nothing_is_abandoned_by_the_machine".into()),
            Outcome::Expired | Outcome::Done { .. } | Outcome::Refused { .. } => Ok(()),
        }
    }

    fn check(&self, before: &Node, after: &Node, step: &Step) -> Result<(), String> {
        let fail = |name: &str| Err(name.to_owned());
        let failures: Vec<_> = after.intents.failures().map(number).collect();
        for n in 0..after.submitted {
            let state = after.intents.state(id(n));
            if state.is_some() == after.settled.contains_key(&n) {
                return fail("an_intent_is_open_or_settled (BX-1)");
            }
            let kept = state.is_some() || failures.contains(&n);
            if after.disk.contains_key(&n) != kept {
                return fail("what_is_open_or_to_be_seen_is_on_disk (BX-1)");
            }
            match state {
                Some(State::InFlight { deadline, .. })
                    if !after.in_flight.contains_key(&n) || deadline <= after.now =>
                {
                    return fail("what_is_in_flight_has_a_deadline (INV-12)");
                }
                Some(State::Waiting { pause, after: lost }) => {
                    if after.in_flight.contains_key(&n) {
                        return fail("an_intent_is_in_flight_once (BX-1)");
                    }
                    let is_paused = pause.is_some_and(|until| until > after.now);
                    let awaits_attach = !after.is_linked || lost >= after.attach;
                    let is_crowded =
                        after.full_until.is_some() || after.in_flight.len() >= CONFIG.window;
                    let is_behind = self.kind(n) != Kind::Other
                        && (0..n).any(|m| {
                            self.kind(m) != Kind::Other && !after.settled.contains_key(&m)
                        });
                    if !is_paused && !awaits_attach && !is_crowded && !is_behind {
                        return fail("nothing_waits_without_a_reason (INV-12)");
                    }
                    if is_crowded && after.is_linked && after.intents.poll_timeout().is_none() {
                        return fail("every_waiting_state_has_a_deadline (INV-12)");
                    }
                }
                Some(State::InFlight { .. }) | None => {}
            }
        }
        if failures.len() > CONFIG.kept_failures {
            return fail("failures_are_bounded");
        }
        let recent = after.intents.recent();
        let is_known = |(id, outcome): &_| after.settled.get(&number(*id)) == Some(outcome);
        if recent.len() != after.settled.len().min(CONFIG.recent) || !recent.iter().all(is_known) {
            return fail("the_last_outcomes_are_kept (UX-3)");
        }
        if after.intents.in_flight() != after.in_flight.len() {
            return fail("machine_and_driver_agree_on_what_is_in_flight");
        }
        if let Step::LateAnswer(_, Reply::Lost | Reply::Overloaded) = step
            && before.full_until.is_none()
            && (0..after.submitted)
                .any(|n| before.intents.state(id(n)) != after.intents.state(id(n)))
        {
            return fail("a_late_error_changes_nothing (INV-10)");
        }
        Ok(())
    }
}

fn every_history(kinds: &'static [Kind], has_recovered: bool) {
    let scene = Scene {
        kinds,
        has_recovered,
    };
    let report = explore(&scene, 60);
    assert!(report.complete, "{report:?}");
}

#[test]
fn ux_3_every_history_of_two_prompts_and_a_cancel_between_them() {
    every_history(&[Kind::Prompt, Kind::Cancel, Kind::Prompt], false);
}

#[test]
fn ux_3_histories_of_two_prompts_behind_something_else_in_a_window_of_two() {
    let scene = Scene {
        kinds: &[Kind::Other, Kind::Prompt, Kind::Prompt],
        has_recovered: false,
    };
    explore(&scene, 9);
}

#[test]
fn bx_1_inv_12_every_history_of_two_prompts() {
    every_history(&[Kind::Prompt, Kind::Prompt], false);
}

#[test]
fn bx_1_inv_12_every_history_of_a_prompt_and_its_cancel() {
    every_history(&[Kind::Prompt, Kind::Cancel], false);
}

#[test]
fn bx_1_inv_12_every_history_of_what_an_earlier_process_left() {
    every_history(&[Kind::Cancel, Kind::Prompt], true);
}
