//! Every short history of a host's timelines: readers come and go, connections end, loads fail, and
//! retention is bounded.

#![allow(clippy::unwrap_used)] // The lint exempts unit tests only.

use std::{collections::BTreeMap, time::Duration};

use bowline_machines::{
    Generation, MonotonicTime,
    data::{
        load::LoadError,
        optimistic::Optimistic,
        screen::Connectivity,
        timeline::{Effect, Happened, Input, State, Timeline, TimelineConfig},
        timelines::{KeptBounds, Reader, Timelines, TimelinesConfig, ViewBounds},
    },
};
use bowline_protocol::{
    AgentId, ItemKind, Reason, RpcReason, SessionState, TimelineItem, methods::HistoryPage,
};

use crate::explorer::{Model, explore};

const NOW: MonotonicTime = MonotonicTime::from_millis(1_000_000);
const AGENTS: [u8; 3] = [1, 2, 3];
const MOST_OPEN: usize = 2;
const KEPT: usize = 1;

#[derive(Clone)]
struct Node {
    timelines: Timelines,
    optimistic: Optimistic,
    rev: u64,
    seq: u64,
    connectivity: Connectivity,
    agents: BTreeMap<u8, Seen>,
}

/// The model's data of one agent.
#[derive(Clone, Debug, Default)]
struct Seen {
    screens: usize,
    has_stream: bool,
    /// Whether any load of it succeeded.
    has_loaded: bool,
    /// The running load, and whether it uses the current client.
    flying: Option<(Generation, bool)>,
    /// Whether its subscription was ended by an event under this attach.
    is_ended: bool,
}

impl Seen {
    fn is_read(&self) -> bool {
        self.screens > 0 || self.has_stream
    }
}

#[derive(Clone, Debug)]
enum Step {
    OpenStream(u8),
    OpenScreen(u8),
    EndStreams(u8),
    CloseScreen(u8),
    Sweep,
    Attached(SessionState),
    Disconnected,
    Answer(u8),
    Fail(u8, LoadError),
    Event(u8),
    Timer,
}

struct Hosts;

fn id(agent: u8) -> AgentId {
    format!("agt_{agent}").parse().unwrap()
}

fn number(agent_id: &AgentId) -> u8 {
    AGENTS.into_iter().find(|n| id(*n) == *agent_id).unwrap()
}

fn item(index: u64) -> TimelineItem {
    TimelineItem::new(
        format!("itm_{index}").parse().unwrap(),
        index,
        ItemKind::Message,
        0,
    )
}

impl Model for Hosts {
    type Node = Node;
    type Step = Step;
    type Key = String;

    fn start(&self) -> Vec<Node> {
        let config = TimelinesConfig {
            timeline: TimelineConfig {
                max_items: 2,
                max_kept: 2,
                ..TimelineConfig::default()
            },
            most_open: MOST_OPEN,
            view: ViewBounds {
                items: 2,
                slack: 0,
                ..ViewBounds::default()
            },
            kept: KeptBounds {
                timelines: KEPT,
                loaded: AGENTS.len(),
                ..KeptBounds::default()
            },
            settle_grace: Duration::from_secs(1),
            ..TimelinesConfig::default()
        };
        let fresh = Node {
            timelines: Timelines::new(config),
            optimistic: Optimistic::new(),
            rev: 0,
            seq: 0,
            connectivity: Connectivity::Connecting,
            agents: AGENTS.map(|agent| (agent, Seen::default())).into(),
        };
        let mut read = fresh.clone();
        for step in [
            Step::Attached(SessionState::Reset),
            Step::OpenStream(1),
            Step::OpenScreen(2),
            Step::Answer(1),
            Step::Answer(2),
        ] {
            self.apply(&mut read, &step).unwrap();
        }
        vec![fresh, read]
    }

    fn steps(&self, node: &Node) -> Vec<Step> {
        let mut steps = vec![Step::Sweep];
        for (agent, seen) in &node.agents {
            if !seen.has_stream {
                steps.push(Step::OpenStream(*agent));
            } else {
                steps.push(Step::EndStreams(*agent));
            }
            if seen.screens == 0 {
                steps.push(Step::OpenScreen(*agent));
            } else {
                steps.push(Step::CloseScreen(*agent));
            }
            if let Some((_, through_this)) = seen.flying {
                if through_this {
                    steps.push(Step::Answer(*agent));
                    steps.push(Step::Fail(*agent, LoadError::Rejected(RpcReason::NotFound)));
                }
                steps.push(Step::Fail(*agent, LoadError::Lost(Reason::ConnectionLost)));
            }
        }
        if node.connectivity == Connectivity::Online {
            steps.push(Step::Disconnected);
            steps.push(Step::Event(1));
        }
        steps.push(Step::Attached(SessionState::Resumed));
        steps.push(Step::Attached(SessionState::Reset));
        if node.timelines.poll_timeout().is_some() {
            steps.push(Step::Timer);
        }
        steps
    }

    fn apply(&self, node: &mut Node, step: &Step) -> Result<(), String> {
        let before = node.clone();
        take(node, step)
            .and_then(|()| execute(node, step))
            .and_then(|()| check(&before, node, step))
            .map_err(|name| format!("{name}: {:?} {:?}", node.agents, node.timelines))
    }

    fn key(&self, node: &Node) -> String {
        let states: Vec<_> = AGENTS
            .map(|agent| {
                let view = node.timelines.view(&id(agent));
                let view = view.map(|view| (view.loaded, view.known, view.items.len()));
                let timeline = node.timelines.timeline(&id(agent));
                let state = timeline.map(|it| (it.state().name(), it.running().is_some()));
                (state, view)
            })
            .into();
        let agents: Vec<_> = node
            .agents
            .values()
            .map(|seen| {
                let flying = seen.flying.map(|(_, through_this)| through_this);
                let read = (seen.screens, seen.has_stream);
                (read, seen.has_loaded, flying, seen.is_ended)
            })
            .collect();
        format!(
            "{states:?} {agents:?} {:?} {:?}",
            node.connectivity,
            node.timelines.counts()
        )
    }
}

/// Applies the step as a driver does.
fn take(node: &mut Node, step: &Step) -> Result<(), &'static str> {
    let Node {
        timelines,
        optimistic,
        agents,
        ..
    } = node;
    match step {
        Step::OpenStream(agent) | Step::OpenScreen(agent) => {
            let is_stream = matches!(step, Step::OpenStream(_));
            let reader = if is_stream {
                Reader::Stream
            } else {
                Reader::Screen { created: None }
            };
            let others = agents
                .iter()
                .filter(|(it, seen)| *it != agent && seen.is_read());
            let is_full = others.count() >= MOST_OPEN;
            let opened = timelines.open(NOW, &id(*agent), reader, optimistic);
            if opened.is_err() != is_full {
                return Err("opening_is_refused_at_the_bound_and_only_there");
            }
            let seen = agents.get_mut(agent).unwrap();
            if opened.is_ok() && is_stream {
                seen.has_stream = true;
            } else if opened.is_ok() {
                seen.screens += 1;
            }
        }
        Step::EndStreams(agent) => {
            agents.get_mut(agent).unwrap().has_stream = false;
            timelines.streams_ended(&id(*agent));
        }
        Step::CloseScreen(agent) => {
            agents.get_mut(agent).unwrap().screens -= 1;
            timelines.screen_closed(&id(*agent));
        }
        Step::Sweep => timelines.sweep(NOW, node.connectivity, optimistic),
        Step::Attached(session) => {
            node.connectivity = Connectivity::Online;
            if *session == SessionState::Reset {
                node.seq = 0;
            }
            for seen in agents.values_mut() {
                seen.is_ended = false;
                // The running load uses a client that is being replaced.
                seen.flying = seen.flying.map(|(load, _)| (load, false));
            }
            timelines.attached(NOW, *session, optimistic);
        }
        Step::Disconnected => {
            node.connectivity = Connectivity::Connecting;
            let reason = Reason::ConnectionLost;
            timelines.disconnected(NOW, reason, optimistic);
        }
        Step::Answer(agent) => {
            let seen = agents.get_mut(agent).unwrap();
            let (generation, _) = seen.flying.take().unwrap();
            seen.has_loaded |=
                timelines.timeline(&id(*agent)).and_then(Timeline::running) == Some(generation);
            let page = HistoryPage {
                items: vec![item(0), item(1)],
                has_more: false,
                seq: node.seq,
            };
            let input = Input::Page {
                load: generation,
                result: Ok(page),
            };
            timelines.handle(NOW, &id(*agent), input, optimistic);
        }
        Step::Fail(agent, error) => {
            let seen = agents.get_mut(agent).unwrap();
            let (generation, _) = seen.flying.take().unwrap();
            let error = *error;
            let input = Input::Page {
                load: generation,
                result: Err(error),
            };
            timelines.handle(NOW, &id(*agent), input, optimistic);
        }
        Step::Event(agent) => {
            node.seq += 1;
            let (seq, happened) = (node.seq, Happened::Appended(item(2)));
            let input = Input::Event { seq, happened };
            timelines.handle(NOW, &id(*agent), input, optimistic);
        }
        Step::Timer => {
            let due = timelines.poll_timeout().unwrap_or(NOW);
            timelines.handle_timeout(due, optimistic);
        }
    }
    Ok(())
}

/// Executes every effect, as a daemon that answers later does.
fn execute(node: &mut Node, step: &Step) -> Result<(), &'static str> {
    while let Some((agent_id, effect)) = node.timelines.poll_effect() {
        let timeline = node.timelines.timeline(&agent_id);
        let is_idle = timeline.is_none_or(|it| *it.state() == State::Idle);
        let seen = node.agents.get_mut(&number(&agent_id)).unwrap();
        match effect {
            Effect::Load {
                load: generation, ..
            } => {
                if seen.flying == Some((generation, true)) {
                    return Err("no_load_is_in_flight_twice (INV-10)");
                }
                if timeline.and_then(Timeline::running) != Some(generation) {
                    return Err("what_is_asked_for_is_the_running_load (INV-10)");
                }
                seen.flying = Some((generation, true));
            }
            Effect::Unsubscribe => {
                if !is_idle {
                    return Err("a_timeline_that_is_read_stays_subscribed");
                }
                let is_leftover = matches!(step, Step::Event(_));
                if is_leftover && seen.is_ended {
                    return Err("a_leftover_subscription_is_ended_once_under_an_attach");
                }
                seen.is_ended |= is_leftover;
            }
        }
    }
    while node.timelines.poll_transition().is_some() {}
    node.timelines.publish(&mut node.optimistic, &mut node.rev);
    while let Some((agent_id, view)) = node.timelines.poll_view() {
        if node.timelines.view(&agent_id) != Some(&view) {
            return Err("a_stream_is_given_the_newest_view");
        }
        if !node.agents.get(&number(&agent_id)).unwrap().has_stream {
            return Err("only_streams_are_given_views");
        }
    }
    Ok(())
}

fn check(before: &Node, after: &Node, step: &Step) -> Result<(), &'static str> {
    let (open, kept, remembered) = after.timelines.counts();
    let swept_twice = matches!(step, Step::Sweep) && before.timelines.counts().0 == open;
    if swept_twice && (kept > KEPT || open > MOST_OPEN) {
        return Err("what_is_kept_is_bounded");
    }
    if remembered > AGENTS.len() {
        return Err("what_is_remembered_is_bounded");
    }
    for (agent, seen) in &after.agents {
        let agent_id = id(*agent);
        let timeline = after.timelines.timeline(&agent_id);
        let state = timeline.map(Timeline::state);
        let view = after.timelines.view(&agent_id);
        if seen.is_read() && state.is_none_or(|state| *state == State::Idle) {
            return Err("an_open_timeline_is_never_forgotten_nor_closed");
        }
        if seen.has_loaded && view.is_some_and(|view| !view.loaded) {
            return Err("loaded_once_is_loaded_whenever_it_is_opened (UX-2)");
        }
        if let (Some(view), Some(was)) = (view, before.timelines.view(&agent_id))
            && view.known
            && was.known
            && view.items.len() < was.items.len()
        {
            return Err("nothing_shown_is_taken_away (UX-2)");
        }
        if matches!(step, Step::Event(of) if of == agent)
            && state.is_none_or(|state| *state == State::Idle)
            && !seen.is_ended
        {
            return Err("an_event_that_nobody_wants_ends_its_subscription");
        }
        let Some(timeline) = timeline else { continue };
        if let Some(load) = timeline.running() {
            if seen.flying.is_none_or(|(flying, _)| flying != load) {
                return Err("a_running_load_is_on_its_way");
            }
            if after.timelines.poll_timeout().is_none() {
                return Err("every_waiting_state_has_a_deadline (INV-12)");
            }
        }
        // It used a client that another has replaced: no attach follows.
        let is_lost = matches!(step, Step::Fail(of, LoadError::Lost(_)) if of == agent);
        let was = before.timelines.timeline(&agent_id);
        let was_running = was.and_then(Timeline::running);
        if is_lost
            && before.agents.get(agent).unwrap().flying == was_running.map(|load| (load, false))
            && was_running.is_some()
            && timeline.running() != was_running
        {
            return Err("a_load_lost_with_a_replaced_client_goes_on");
        }
        if seen.is_read()
            && matches!(step, Step::Attached(_))
            && !matches!(
                timeline.state(),
                State::CatchingUp { .. } | State::Live { .. }
            )
        {
            return Err("an_attach_brings_everything_that_is_read_up_to_date");
        }
    }
    Ok(())
}

#[test]
fn ux_2_inv_10_every_short_history_of_a_hosts_timelines() {
    let report = explore(&Hosts, 7);
    assert!(report.nodes > 10_000, "{report:?}");
}
