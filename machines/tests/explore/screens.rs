//! Every history of a host's screens: one agent created by this client and another one, opened and
//! closed at any time.

#![allow(clippy::unwrap_used)] // The lint exempts unit tests only.

use std::{collections::BTreeMap, time::Duration};

use bowline_machines::{
    Generation, MonotonicTime,
    data::{
        optimistic::{self, Conclusion, IntentFailure, PendingAgent, Queued},
        replica::{Effect, Input, Replica},
        screen::{Connectivity, Creation, ReadOnly},
        screens::{Content, Refusal, ScreenId, ScreenTarget, ScreensConfig},
        timeline,
        timelines::TimelinesConfig,
    },
};
use bowline_protocol::{
    AgentId, AgentStatus, AgentSummary, IntentId, SessionEvent, SessionState,
    methods::{AgentsPage, HistoryPage},
};

use crate::explorer::{Model, explore};

const MOST_SCREENS: usize = 2;
const MOST_TIMELINES: usize = 1;
const FRESH: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Node {
    now: MonotonicTime,
    replica: Replica,
    seq: u64,
    rev: u64,
    /// The creation was sent; its intent is sent once.
    is_sent: bool,
    open: BTreeMap<ScreenId, (ScreenTarget, Content)>,
    /// The running load of each agent.
    flying: BTreeMap<AgentId, Generation>,
    /// Time of the creation's confirmation.
    confirmed_at: Option<MonotonicTime>,
    /// The created agent was opened in time and has been read continuously.
    seen_from_start: bool,
    /// Whether the created agent's row has appeared, and disappeared.
    row: (bool, bool),
}

#[derive(Clone, Debug)]
enum Step {
    Send,
    Created,
    Refused,
    Dismiss,
    /// The created agent's row comes, with an event or with a page of the directory.
    Row {
        is_paged: bool,
    },
    RowLeaves,
    Open(ScreenTarget),
    Close(ScreenId),
    Answer(AgentId),
    Wait,
    Sweep,
}

struct Hosts;

fn intent() -> IntentId {
    IntentId::from_uuid(uuid::Uuid::from_bytes([1; 16]))
}

/// The agent created by this client, and another.
fn agent(n: u8) -> AgentId {
    format!("agt_{n}").parse().unwrap()
}

fn row() -> AgentSummary {
    AgentSummary {
        id: agent(1),
        title: String::new(),
        provider: String::new(),
        cwd: String::new(),
        status: AgentStatus::Idle,
        created_at: 0,
        updated_at: 0,
        attention: None,
        intent_id: Some(intent()),
    }
}

impl Model for Hosts {
    type Node = Node;
    type Step = Step;
    type Key = String;

    fn start(&self) -> Vec<Node> {
        let now = MonotonicTime::from_millis(1_000_000);
        let timelines = TimelinesConfig {
            most_open: MOST_TIMELINES,
            ..TimelinesConfig::default()
        };
        let screens = ScreensConfig {
            most_open: MOST_SCREENS,
            fresh_creation: FRESH,
        };
        let mut node = Node {
            now,
            replica: Replica::new(timelines, screens),
            seq: 0,
            rev: 0,
            is_sent: false,
            open: BTreeMap::new(),
            flying: BTreeMap::new(),
            confirmed_at: None,
            seen_from_start: false,
            row: (false, false),
        };
        let session = SessionState::New;
        node.replica.handle(now, Input::Attached { session });
        answer_directory(&mut node, Vec::new());
        vec![node]
    }

    fn steps(&self, node: &Node) -> Vec<Step> {
        let mut steps = vec![
            Step::Open(ScreenTarget::Creation(intent())),
            Step::Open(ScreenTarget::Agent(agent(1))),
            Step::Open(ScreenTarget::Agent(agent(2))),
            Step::Wait,
            Step::Sweep,
        ];
        let rows = [true, false].map(|is_paged| Step::Row { is_paged });
        match node.replica.optimistic().creation(intent()) {
            None if node.is_sent => {}
            None => steps.push(Step::Send),
            Some(optimistic::CreationStatus::Pending(_)) => {
                steps.extend([Step::Created, Step::Refused]);
                steps.extend(rows);
            }
            Some(optimistic::CreationStatus::Failed(_)) => steps.push(Step::Dismiss),
            Some(optimistic::CreationStatus::Confirmed(_)) => match node.row {
                (true, false) => steps.push(Step::RowLeaves),
                (false, _) => steps.extend(rows),
                (true, true) => {}
            },
        }
        steps.extend(node.open.keys().copied().map(Step::Close));
        steps.extend(node.flying.keys().cloned().map(Step::Answer));
        steps
    }

    fn apply(&self, node: &mut Node, step: &Step) -> Result<(), String> {
        let before = node.clone();
        take(node, step)
            .and_then(|()| settle(node, step))
            .and_then(|()| check(&before, node, step))
            .map_err(|name| format!("{name}: {:?} {:?}", node.open, node.replica))
    }

    fn key(&self, node: &Node) -> String {
        let screens: Vec<_> = node
            .open
            .values()
            .map(|(target, content)| {
                let timeline = &content.timeline;
                let known = (timeline.loaded, timeline.known);
                (
                    target,
                    &content.agent_id,
                    content.creation,
                    content.screen,
                    known,
                )
            })
            .collect();
        let timelines = [1, 2].map(|n| {
            let state = node
                .replica
                .timelines()
                .timeline(&agent(n))
                .map(timeline::Timeline::state);
            let seen = node.replica.timelines().read_since_creation(&agent(n));
            (state.map(|state| state.name()), seen.is_some())
        });
        let fresh = node.confirmed_at.map(|at| at + FRESH > node.now);
        let creation = node.replica.optimistic().creation(intent());
        format!(
            "{screens:?} {timelines:?} {fresh:?} {creation:?} {:?} {:?} {} {} {:?}",
            node.flying.keys(),
            node.row,
            node.seen_from_start,
            node.is_sent,
            node.replica.timelines().counts()
        )
    }
}

fn take(node: &mut Node, step: &Step) -> Result<(), &'static str> {
    match step {
        Step::Send => {
            node.is_sent = true;
            let queued = optimistic::Input::Queued(Queued::Agent(PendingAgent {
                intent_id: intent(),
                at: 0,
                provider: String::new(),
                cwd: String::new(),
                title: None,
                prompt: Some(String::new()),
            }));
            node.replica.handle(node.now, Input::Intent(queued));
        }
        Step::Created => conclude(node, Conclusion::Created(agent(1))),
        Step::Refused => conclude(node, Conclusion::Failed(IntentFailure::Expired)),
        Step::Dismiss => {
            let intent_id = intent();
            let dismiss = optimistic::Input::Dismiss { intent_id };
            node.replica.handle(node.now, Input::Intent(dismiss));
        }
        Step::Row { is_paged } => {
            node.row.0 = true;
            node.seq += 1;
            if *is_paged {
                node.replica.handle(node.now, Input::Refresh);
                answer_directory(node, vec![row()]);
            } else {
                event(node, SessionEvent::AgentUpdated { agent: row() });
            }
        }
        Step::RowLeaves => {
            node.row.1 = true;
            node.seq += 1;
            let agent_id = agent(1);
            event(node, SessionEvent::AgentRemoved { agent_id });
        }
        Step::Open(target) => {
            let opened = node.replica.open_screen(target.clone());
            let is_unknown = *target == ScreenTarget::Creation(intent())
                && node.replica.optimistic().creation(intent()).is_none();
            let expected = if node.open.len() >= MOST_SCREENS {
                Some(Refusal::TooMany(MOST_SCREENS))
            } else {
                is_unknown.then_some(Refusal::UnknownCreation)
            };
            if opened.err() != expected {
                return Err("a_screen_is_refused_for_its_reason_only");
            }
            if let Ok(id) = opened {
                // The first content is recorded on display.
                let content = show(node, id).ok_or("a_screen_that_was_opened_is_open")?;
                node.open.insert(id, (target.clone(), content));
            }
        }
        Step::Close(id) => {
            node.open.remove(id);
            node.replica.close_screen(*id);
        }
        Step::Answer(agent_id) => {
            let generation = node.flying.remove(agent_id).unwrap();
            let page = HistoryPage {
                items: Vec::new(),
                has_more: false,
                seq: node.seq,
            };
            let input = timeline::Input::Page {
                load: generation,
                result: Ok(page),
            };
            let agent_id = agent_id.clone();
            node.replica
                .handle(node.now, Input::Timeline { agent_id, input });
        }
        Step::Wait => node.now = node.now + FRESH,
        Step::Sweep => {
            node.replica.sweep(node.now, Connectivity::Online);
        }
    }
    Ok(())
}

fn event(node: &mut Node, event: SessionEvent) {
    let seq = node.seq;
    node.replica.handle(node.now, Input::Event { seq, event });
}

/// Answers the load of the directory with one page of these agents.
fn answer_directory(node: &mut Node, agents: Vec<AgentSummary>) {
    let Some(load) = take_effects(node) else {
        return;
    };
    let page = AgentsPage {
        total: agents.len().try_into().unwrap(),
        agents,
        next_cursor: None,
        seq: node.seq,
    };
    let result = Ok(page);
    node.replica
        .handle(node.now, Input::DirectoryPage { load, result });
}

/// Starts every load that is asked for; that of the directory is returned.
fn take_effects(node: &mut Node) -> Option<Generation> {
    let mut directory = None;
    while let Some(effect) = node.replica.poll_effect() {
        match effect {
            Effect::LoadDirectory { load, .. } => directory = Some(load),
            Effect::Timeline(
                agent_id,
                timeline::Effect::Load {
                    load: generation, ..
                },
            ) => {
                node.flying.insert(agent_id, generation);
            }
            Effect::Timeline(_, timeline::Effect::Unsubscribe)
            | Effect::Table(_)
            | Effect::Log(_)
            | Effect::Topic(_) => {}
        }
    }
    directory
}

fn conclude(node: &mut Node, conclusion: Conclusion) {
    let concluded = optimistic::Input::Concluded {
        intent_id: intent(),
        conclusion,
    };
    node.replica.handle(node.now, Input::Intent(concluded));
}

fn show(node: &mut Node, id: ScreenId) -> Option<Content> {
    node.replica.show(id, Connectivity::Online)
}

/// The end of a driver's turn.
fn settle(node: &mut Node, step: &Step) -> Result<(), &'static str> {
    let is_confirmed = matches!(
        node.replica.optimistic().creation(intent()),
        Some(optimistic::CreationStatus::Confirmed(_))
    );
    if is_confirmed && node.confirmed_at.is_none() {
        node.confirmed_at = Some(node.now);
    }
    node.replica.follow(node.now);
    while let Some((id, refusal)) = node.replica.poll_refused() {
        if refusal != Refusal::TooMany(MOST_TIMELINES) || node.open.remove(&id).is_none() {
            return Err("only_an_open_screen_without_a_place_is_refused");
        }
    }
    if take_effects(node).is_some() {
        return Err("the_directory_is_loaded_when_it_is_asked_for_only");
    }
    while node.replica.poll_transition().is_some() {}
    node.replica.publish(Connectivity::Online, &mut node.rev);
    let (mut begins, mut is_read) = (false, false);
    for id in node.open.keys().copied().collect::<Vec<_>>() {
        let content = show(node, id).ok_or("an_open_screen_shows_something")?;
        let shown = &mut node.open.get_mut(&id).unwrap().1;
        let reads = content.agent_id == Some(agent(1));
        is_read |= reads;
        begins |= reads && shown.agent_id.is_none();
        *shown = content;
    }
    let is_in_time = node.confirmed_at.is_some_and(|at| node.now < at + FRESH);
    node.seen_from_start |= begins && is_in_time;
    if !is_read && matches!(step, Step::Sweep) {
        node.seen_from_start = false;
    }
    Ok(())
}

fn check(before: &Node, after: &Node, step: &Step) -> Result<(), &'static str> {
    let optimistic = after.replica.optimistic();
    let is_confirmed = !matches!(
        optimistic.creation(intent()),
        None | Some(optimistic::CreationStatus::Pending(_) | optimistic::CreationStatus::Failed(_))
    );
    let has_row = after.replica.directory().agent(&agent(1)).is_some();
    if has_row != (after.row == (true, false)) {
        return Err("a_row_is_there_from_its_event_or_page_until_it_leaves");
    }
    if has_row && optimistic.is_creating() {
        return Err("an_agent_with_a_row_has_no_place_among_the_creations (UX-3)");
    }
    if is_confirmed && !after.row.0 && !optimistic.is_creating() {
        return Err("a_created_agent_without_a_row_keeps_its_place (UX-3)");
    }
    for (id, (target, content)) in &after.open {
        if let Some(agent_id) = &content.agent_id
            && after
                .replica
                .timelines()
                .timeline(agent_id)
                .map(timeline::Timeline::state)
                .is_none_or(|state| *state == timeline::State::Idle)
        {
            return Err("a_screen_reads_the_timeline_of_its_agent");
        }
        let is_new = content.creation == Creation::Confirmed && !content.timeline.loaded;
        if is_new && !content.screen.overlay && !after.seen_from_start {
            return Err("only_who_saw_it_from_the_start_is_spared_the_overlay (UX-1)");
        }
        if is_new && content.screen.overlay && after.seen_from_start {
            return Err("who_saw_it_from_the_start_is_shown_no_overlay (UX-3)");
        }
        if content.screen.read_only == Some(ReadOnly::Removed) && after.row != (true, true) {
            return Err("only_an_agent_that_left_the_directory_is_removed");
        }
        let Some((_, was)) = before.open.get(id) else {
            continue;
        };
        if was.agent_id.is_some() && was.agent_id != content.agent_id {
            return Err("the_same_screen_goes_on (UX-3)");
        }
        let goes_on = match (was.creation, content.creation) {
            (Creation::Pending, Creation::Pending | Creation::Confirmed | Creation::Failed)
            | (Creation::None, Creation::None | Creation::Confirmed)
            | (Creation::Confirmed, Creation::Confirmed)
            | (Creation::Failed, Creation::Failed) => true,
            (
                Creation::None | Creation::Confirmed | Creation::Failed,
                Creation::Pending | Creation::Failed | Creation::None | Creation::Confirmed,
            )
            | (Creation::Pending, Creation::None) => false,
        };
        if !goes_on {
            return Err("a_creation_goes_forward (UX-3)");
        }
        let was_pending = was.creation == Creation::Pending;
        if matches!(target, ScreenTarget::Creation(_)) && was_pending && content.screen.overlay {
            return Err("an_agent_created_here_is_never_covered (UX-3)");
        }
        if was.timeline.loaded && content.screen.overlay {
            return Err("what_was_loaded_is_never_covered (UX-2)");
        }
    }
    let closed = before.open.keys().any(|id| !after.open.contains_key(id));
    let is_full = after.replica.timelines().counts().0 >= MOST_TIMELINES;
    if closed && !matches!(step, Step::Close(_)) && !is_full {
        return Err("a_screen_ends_only_when_it_is_closed_or_there_is_no_place");
    }
    Ok(())
}

#[test]
fn ux_1_ux_2_ux_3_every_history_of_a_hosts_screens() {
    let report = explore(&Hosts, 40);
    assert!(report.complete && report.nodes > 1_000, "{report:?}");
}
