//! Every short history of a followed topic, with its daemon, its events and its requests: cuts,
//! switches of path, resets, restarts of the daemon, lapses and refusals (LD-10).
//!
//! After each step, everything on its way is delivered to a copy, which then has every event once
//! and in order, or a mark where some are missing.

#![allow(clippy::unwrap_used)] // The lint exempts unit tests only.

use std::{collections::VecDeque, sync::Arc};

use bowline_machines::data::target::LiveTarget;
use bowline_machines::{
    Generation, MonotonicTime,
    data::{
        load::{Held, LoadError},
        open::OpenId,
        topics::{BacklogConfig, Effect, TopicState, Topics, TopicsConfig},
    },
};
use bowline_protocol::{
    Reason, RpcReason, SessionState,
    live::{Scope, TablePage, TopicEvent},
};

use crate::explorer::{Model, explore};

const NOW: MonotonicTime = MonotonicTime::from_millis(1_000_000);
const NAME: &str = "a.b";
const LOST: LoadError = LoadError::Lost(Reason::ConnectionLost);

/// A request on its way, or its answer.
#[derive(Clone, Debug)]
struct Asked {
    load: Generation,
    held: Option<Held>,
    /// The answer, and how many events the daemon had told by then.
    answer: Option<(TablePage, u64)>,
    /// Whether its connection has ended.
    is_lost: bool,
}

#[derive(Clone, Debug)]
struct Node {
    client: Topics,
    id: OpenId,
    is_attached: bool,
    asked: VecDeque<Asked>,
    /// The session's events on their way, each with its number.
    events: VecDeque<(u64, u64)>,
    /// Events that the daemon told of the topic, over all epochs.
    told: u64,
    seq: u64,
    /// The daemon's session follows: number of the follow, and of the last event before it.
    followed: Option<(u64, u64)>,
    /// Follows that the daemon began.
    follows: u64,
    /// Whether it was opened since the last attach.
    is_opened: bool,
    /// The last event that the reader has, or before which it began.
    last: Option<u64>,
    /// Whether a mark came after it.
    is_marked: bool,
    /// Whether the session has failed to follow, or events were too many.
    has_excuse: bool,
    state: TopicState,
}

#[derive(Clone, Debug)]
enum Step {
    /// An event, and whether another follow of the session covers its key.
    Tell(bool),
    Deliver,
    Process,
    Answer,
    Refuse(RpcReason),
    Cut,
    Switch,
    Resume,
    Reset,
    Lapse,
    Retry,
    Timer,
}

struct Follows {
    /// Most events that wait.
    events: usize,
}

fn target() -> LiveTarget {
    LiveTarget {
        name: NAME.to_owned(),
        params: None,
    }
}

impl Model for Follows {
    type Node = Node;
    type Step = Step;
    type Key = String;

    fn start(&self) -> Vec<Node> {
        let mut client = Topics::new(TopicsConfig {
            most_open: 1,
            backlog: BacklogConfig {
                events: self.events,
                ..BacklogConfig::default()
            },
        });
        let (id, _) = client.open(NOW, target()).unwrap();
        let fresh = Node {
            client,
            id,
            is_attached: false,
            asked: VecDeque::new(),
            events: VecDeque::new(),
            told: 0,
            seq: 0,
            followed: None,
            follows: 0,
            is_opened: false,
            last: None,
            is_marked: false,
            has_excuse: false,
            state: TopicState::Opening,
        };
        let mut following = fresh.clone();
        for step in [Step::Reset, Step::Process, Step::Answer] {
            self.apply(&mut following, &step).unwrap();
        }
        following.has_excuse = false;
        vec![fresh, following]
    }

    fn steps(&self, node: &Node) -> Vec<Step> {
        let mut steps = vec![Step::Tell(false), Step::Resume, Step::Reset, Step::Retry];
        if node.followed.is_none() {
            steps.push(Step::Tell(true));
        }
        if node.is_attached {
            steps.extend([Step::Cut, Step::Switch]);
            if !node.events.is_empty() {
                steps.push(Step::Deliver);
            }
        }
        let waits = |asked: &Asked| asked.answer.is_none() && !asked.is_lost;
        if node.asked.iter().any(waits) {
            steps.push(Step::Process);
        }
        if let Some(asked) = node.asked.front() {
            if waits(asked) {
                steps.push(Step::Refuse(RpcReason::Overloaded));
                steps.push(Step::Refuse(RpcReason::NotGranted));
            } else {
                steps.push(Step::Answer);
            }
        }
        if node.followed.is_some() && !node.is_opened {
            steps.push(Step::Lapse);
        }
        if node.client.poll_timeout().is_some() {
            steps.push(Step::Timer);
        }
        steps
    }

    fn apply(&self, node: &mut Node, step: &Step) -> Result<(), String> {
        self.take(node, step)
            .and_then(|()| self.converge(node.clone()))
            .map_err(|name| format!("{name}: {node:?}"))
    }

    fn key(&self, node: &Node) -> String {
        format!("{node:?}")
    }
}

fn event(number: u64) -> Arc<TopicEvent> {
    Arc::new(TopicEvent {
        name: NAME.to_owned(),
        key: "k".to_owned(),
        body: serde_json::from_str(&number.to_string()).unwrap(),
        intent_id: None,
    })
}

fn attach(node: &mut Node, session: SessionState) {
    node.is_attached = true;
    node.client.attached(NOW, session);
}

fn lose_requests(node: &mut Node) {
    node.is_opened = false;
    node.asked.iter_mut().for_each(|asked| asked.is_lost = true);
}

/// The daemon answers the oldest request.
fn process(node: &mut Node) {
    let waits = |asked: &&mut Asked| asked.answer.is_none() && !asked.is_lost;
    let Some(asked) = node.asked.iter_mut().find(waits) else {
        return;
    };
    node.is_opened = true;
    if node.followed.is_none() {
        node.follows += 1;
    }
    let (follow, since) = *node.followed.get_or_insert((node.follows, node.seq));
    let is_held = |held: Held| held.follow == Some(follow) && since <= held.seq;
    let page = TablePage {
        scope: Scope::all(),
        rows: Vec::new(),
        more: false,
        seq: node.seq,
        resumed: asked.held.is_some_and(is_held),
        follow: Some(follow),
    };
    asked.answer = Some((page, node.told));
}

impl Follows {
    fn take(&self, node: &mut Node, step: &Step) -> Result<(), &'static str> {
        let (state, stale) = (node.state, node.client.stale());
        // What the reader gets from its beginning on, once the answer says that it is followed.
        let mut began = None;
        match step {
            Step::Tell(is_covered) => {
                node.told += 1;
                if node.followed.is_some() || *is_covered {
                    node.seq += 1;
                    node.events.push_back((node.seq, node.told));
                }
            }
            Step::Deliver => {
                if let Some((seq, number)) = node.events.pop_front() {
                    node.client.event(NOW, seq, event(number));
                }
            }
            Step::Process => process(node),
            Step::Answer => {
                if let Some(asked) = node.asked.pop_front() {
                    let answer = asked.answer.filter(|_| !asked.is_lost);
                    began = answer.as_ref().map(|(_, told)| *told);
                    let result = answer.map(|(page, _)| page).ok_or(LOST);
                    node.client.opened(NOW, node.id, asked.load, result);
                }
            }
            Step::Refuse(reason) => {
                node.has_excuse |= reason.is_final();
                if let Some(Asked { load, .. }) = node.asked.pop_front() {
                    let result = Err(LoadError::Rejected(*reason));
                    node.client.opened(NOW, node.id, load, result);
                }
            }
            Step::Cut => {
                node.is_attached = false;
                lose_requests(node);
                node.client.disconnected(NOW, Reason::ConnectionLost);
            }
            Step::Switch => attach(node, SessionState::Resumed),
            Step::Resume => {
                lose_requests(node);
                attach(node, SessionState::Resumed);
            }
            Step::Reset => {
                lose_requests(node);
                node.followed = None;
                node.events.clear();
                node.seq = 0;
                node.has_excuse = true;
                attach(node, SessionState::Reset);
            }
            Step::Lapse => {
                node.followed = None;
                node.has_excuse = true;
            }
            Step::Retry => {
                node.client.open(NOW, target()).unwrap();
            }
            Step::Timer => {
                let due = node.client.poll_timeout().unwrap_or(NOW);
                node.client.handle_timeout(due);
            }
        }
        while let Some(Effect::Open { load, held, .. }) = node.client.poll_effect() {
            node.asked.push_back(Asked {
                load,
                held,
                answer: None,
                is_lost: !node.is_attached,
            });
        }
        let is_stale = node.client.stale() > stale;
        if node.last.is_none() && !is_stale {
            node.last = began;
        }
        self.read(node)?;
        let records = std::iter::from_fn(|| node.client.poll_transition()).count();
        if is_stale && (state != node.state || records > 0) {
            return Err("stale_answers_change_nothing (INV-10)");
        }
        let flies = !node.asked.is_empty();
        let is_waiting = matches!(node.state, TopicState::Opening) && node.is_attached;
        if is_waiting && (!flies || node.client.poll_timeout().is_none()) {
            return Err("every_waiting_state_has_a_deadline (INV-12)");
        }
        if node.client.refused() > 0 {
            return Err("every_change_is_in_the_table");
        }
        Ok(())
    }

    /// The reader takes what there is.
    fn read(&self, node: &mut Node) -> Result<(), &'static str> {
        while let Some((_, batch)) = node.client.poll_batch() {
            node.state = batch.status.state;
            let is_excused = node.has_excuse || node.told > self.events as u64;
            if batch.missed && !is_excused {
                return Err("a_mark_has_a_reason (LD-10)");
            }
            node.is_marked |= batch.missed;
            if batch.events.len() > self.events {
                return Err("everything_is_bounded");
            }
            for event in &batch.events {
                let number: u64 = event.body.get().parse().unwrap();
                let Some(last) = node.last else {
                    return Err("no_event_comes_before_the_follow (LD-10)");
                };
                if number <= last {
                    return Err("no_event_is_repeated_or_out_of_order (LD-10)");
                }
                if number > last + 1 && !node.is_marked {
                    return Err("no_event_is_lost_unmarked (LD-10)");
                }
                node.last = Some(number);
                node.is_marked = false;
            }
        }
        Ok(())
    }

    /// Delivers everything and one more event; then the reader has that.
    fn converge(&self, mut node: Node) -> Result<(), &'static str> {
        if !node.is_attached {
            self.take(&mut node, &Step::Resume)?;
        }
        let is_ready = |asked: &Asked| asked.answer.is_some() || asked.is_lost;
        let mut has_ended = false;
        for _ in 0..40 {
            let step = if let Some(at) = node.asked.iter().position(is_ready) {
                // Answers overtake each other, but none is left behind.
                node.asked.swap(0, at);
                Step::Answer
            } else if !node.asked.is_empty() {
                Step::Process
            } else if !node.events.is_empty() {
                Step::Deliver
            } else if node.state != TopicState::Following {
                // A refusal is tried again by a new reader only.
                Step::Retry
            } else if !has_ended {
                has_ended = true;
                Step::Tell(false)
            } else {
                break;
            };
            self.take(&mut node, &step)?;
        }
        if node.state != TopicState::Following || !node.asked.is_empty() {
            return Err("every_history_ends_following");
        }
        if node.followed.is_none() {
            return Err("what_is_followed_is_followed (LD-10)");
        }
        if node.last != Some(node.told) {
            return Err("no_event_is_lost_unmarked (LD-10)");
        }
        Ok(())
    }
}

#[test]
fn ld_10_every_short_history_of_a_followed_topic() {
    let report = explore(&Follows { events: 100 }, 6);
    assert!(report.nodes > 10_000, "{report:?}");
}

#[test]
fn ld_10_every_short_history_of_a_topic_whose_events_are_too_many() {
    let report = explore(&Follows { events: 1 }, 5);
    assert!(report.nodes > 1_000, "{report:?}");
}
