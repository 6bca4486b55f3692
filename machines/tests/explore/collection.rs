//! Every short history of a followed table, with its daemon, its events and its requests: cuts,
//! switches of path, resets, restarts of the daemon, lapses and refusals (LD-2).
//!
//! After each step, everything on its way is delivered to a copy, and its rows must be the
//! daemon's. Rows also grow, as the items of logs do (LD-9): no addition is missed, shown twice, or
//! shown without an earlier one.

#![allow(clippy::unwrap_used)] // The lint exempts unit tests only.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, VecDeque},
};

use bowline_machines::{
    Generation, MonotonicTime,
    data::{
        collection::{
            Collection, CollectionConfig, Effect, Entry, Input, More, Page, Request, RowChange,
            State,
        },
        load::{Held, LoadError},
        view::Placed,
    },
};
use bowline_protocol::{Reason, RpcReason, SessionState};

use crate::explorer::{Model, explore};

const NOW: MonotonicTime = MonotonicTime::from_millis(1_000_000);
const KEYS: [u8; 3] = [1, 2, 3];
const LOST: LoadError = LoadError::Lost(Reason::ConnectionLost);

/// A row; its version counts all changes of the daemon, as does each addition to it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    key: u8,
    version: u32,
    grown: Vec<u32>,
}

impl Row {
    /// Number of its newest change.
    fn newest(&self) -> u32 {
        self.grown.last().copied().unwrap_or(self.version)
    }
}

impl Placed for Row {
    type Place = u8;

    fn place(&self) -> u8 {
        self.key
    }

    fn compare(&self, place: &u8) -> Ordering {
        self.key.cmp(place)
    }

    fn compare_rows(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

impl Entry for Row {
    type Key = u8;

    const IS_WINDOW: bool = true;
    const FOLLOWS: bool = true;

    type Growth = u32;

    fn grown(&self, growth: &u32) -> Self {
        let mut row = self.clone();
        row.grown.push(*growth);
        row
    }

    fn growth_bytes(_: &u32) -> usize {
        1
    }

    fn key(&self) -> u8 {
        self.key
    }

    fn bytes(&self) -> usize {
        1
    }
}

#[derive(Clone, Debug)]
struct Event {
    seq: u64,
    keys: Option<Vec<u8>>,
    changes: Vec<RowChange<Row>>,
}

/// A request on its way, or its answer.
#[derive(Clone, Debug)]
struct Asked {
    load: Generation,
    request: Request<u8>,
    page: Option<Page<Row>>,
    /// Whether its connection has ended.
    is_lost: bool,
}

#[derive(Clone, Debug)]
struct Node {
    client: Collection<Row>,
    is_attached: bool,
    asked: VecDeque<Asked>,
    events: VecDeque<Event>,
    rows: BTreeMap<u8, Row>,
    version: u32,
    seq: u64,
    /// The daemon's session follows: number of the follow, and of the last event before it.
    followed: Option<(u64, u64)>,
    /// Follows that the daemon began.
    follows: u64,
    /// Whether it was opened since the last attach.
    is_opened: bool,
    /// The newest version shown of each row.
    shown: BTreeMap<u8, u32>,
    /// The version last shown of rows that are gone.
    gone: BTreeMap<u8, u32>,
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8),
    Remove(u8),
    PutLarge(u8),
    Grow(u8),
    ChangeAll,
    Deliver,
    Process,
    Answer,
    Refuse,
    Cut,
    Switch,
    Resume,
    Reset,
    Lapse,
    LoadMore,
    Refresh,
    Timer,
}

struct Tables {
    max_rows: usize,
}

impl Tables {
    fn begin(&self) -> Node {
        Node {
            client: Collection::new(CollectionConfig {
                page: 1,
                max_rows: self.max_rows,
                max_bytes: 100,
            }),
            is_attached: false,
            asked: VecDeque::new(),
            events: VecDeque::new(),
            rows: [1, 2].map(|key| (key, new(key, 1))).into(),
            version: 1,
            seq: 0,
            followed: None,
            follows: 0,
            is_opened: false,
            shown: BTreeMap::new(),
            gone: BTreeMap::new(),
        }
    }
}

impl Model for Tables {
    type Node = Node;
    type Step = Step;
    type Key = String;

    fn start(&self) -> Vec<Node> {
        let fresh = self.begin();
        let mut ready = fresh.clone();
        for step in [Step::Reset, Step::Process, Step::Answer] {
            self.apply(&mut ready, &step).unwrap();
        }
        // What many steps lead to: rows are on their way, as of what was before the next step.
        let mut refreshing = ready.clone();
        let mut fetching = ready.clone();
        for step in [Step::Refresh, Step::Process] {
            self.apply(&mut refreshing, &step).unwrap();
        }
        for step in [Step::PutLarge(1), Step::Deliver, Step::Process] {
            self.apply(&mut fetching, &step).unwrap();
        }
        vec![fresh, ready, refreshing, fetching]
    }

    fn steps(&self, node: &Node) -> Vec<Step> {
        let mut steps = vec![Step::Resume, Step::Reset, Step::Refresh, Step::LoadMore];
        // Of two rows, one is in the window at first.
        for key in KEYS {
            steps.push(Step::Put(key));
        }
        for key in node.rows.keys() {
            steps.push(Step::Remove(*key));
        }
        steps.extend([Step::PutLarge(1), Step::ChangeAll]);
        let grows = [1, 2].into_iter().filter(|key| node.rows.contains_key(key));
        steps.extend(grows.map(Step::Grow));
        if node.is_attached {
            steps.extend([Step::Cut, Step::Switch]);
            if !node.events.is_empty() {
                steps.push(Step::Deliver);
            }
        }
        if node
            .asked
            .iter()
            .any(|asked| asked.page.is_none() && !asked.is_lost)
        {
            steps.push(Step::Process);
        }
        if let Some(asked) = node.asked.front() {
            if asked.page.is_some() || asked.is_lost {
                steps.push(Step::Answer);
            } else {
                steps.push(Step::Refuse);
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
        let before = node.clone();
        take(node, step);
        check(&before, node)
            .and_then(|()| converge(node.clone(), self.max_rows))
            .map_err(|name| format!("{name}: {node:?}"))
    }

    fn key(&self, node: &Node) -> String {
        format!("{node:?}")
    }
}

/// Makes a change of the daemon, with its event if it is followed.
fn change(node: &mut Node, keys: Option<Vec<u8>>, changes: Vec<RowChange<Row>>) {
    // What nobody follows has no number in the session.
    if node.followed.is_some() {
        node.seq += 1;
        let seq = node.seq;
        node.events.push_back(Event { seq, keys, changes });
    }
}

fn new(key: u8, version: u32) -> Row {
    Row {
        key,
        version,
        grown: Vec::new(),
    }
}

fn put(node: &mut Node, key: u8) -> Row {
    node.version += 1;
    let row = new(key, node.version);
    node.rows.insert(key, row.clone());
    row
}

fn take(node: &mut Node, step: &Step) {
    match step {
        Step::Put(key) => {
            let row = put(node, *key);
            change(node, Some(Vec::new()), vec![RowChange::Put(row)]);
        }
        Step::Remove(key) => {
            node.version += 1;
            node.rows.remove(key);
            change(node, Some(Vec::new()), vec![RowChange::Remove(*key)]);
        }
        Step::PutLarge(key) => {
            put(node, *key);
            change(node, Some(vec![*key]), Vec::new());
        }
        Step::Grow(key) => {
            node.version += 1;
            let growth = node.version;
            if let Some(row) = node.rows.get_mut(key) {
                row.grown.push(growth);
            }
            change(node, Some(Vec::new()), vec![RowChange::Grow(*key, growth)]);
        }
        Step::ChangeAll => {
            node.version += 1;
            node.rows.remove(&1);
            put(node, 2);
            change(node, None, Vec::new());
        }
        Step::Deliver => {
            if let Some(Event { seq, keys, changes }) = node.events.pop_front() {
                let input = if changes.is_empty() {
                    Input::Stale { seq, keys }
                } else {
                    Input::Changed { seq, changes }
                };
                node.client.handle(NOW, input);
            }
        }
        Step::Process => process(node),
        Step::Answer => {
            if let Some(asked) = node.asked.pop_front() {
                let result = asked.page.filter(|_| !asked.is_lost).ok_or(LOST);
                let load = asked.load;
                node.client.handle(NOW, Input::Page { load, result });
            }
        }
        Step::Refuse => {
            if let Some(Asked { load, .. }) = node.asked.pop_front() {
                let result = Err(LoadError::Rejected(RpcReason::Overloaded));
                node.client.handle(NOW, Input::Page { load, result });
            }
        }
        Step::Cut => {
            node.is_attached = false;
            node.asked.iter_mut().for_each(|asked| asked.is_lost = true);
            let reason = Reason::ConnectionLost;
            node.client.handle(NOW, Input::Disconnected { reason });
        }
        Step::Switch => attach(node, SessionState::Resumed),
        Step::Resume => {
            node.is_opened = false;
            node.asked.iter_mut().for_each(|asked| asked.is_lost = true);
            attach(node, SessionState::Resumed);
        }
        Step::Reset => {
            node.is_opened = false;
            node.followed = None;
            node.events.clear();
            node.seq = 0;
            node.asked.iter_mut().for_each(|asked| asked.is_lost = true);
            attach(node, SessionState::Reset);
        }
        Step::Lapse => node.followed = None,
        Step::LoadMore => node.client.handle(NOW, Input::LoadMore),
        Step::Refresh => node.client.handle(NOW, Input::Refresh),
        Step::Timer => {
            let due = node.client.poll_timeout().unwrap_or(NOW);
            node.client.handle_timeout(due);
        }
    }
    while let Some(Effect::Load { load, request }) = node.client.poll_effect() {
        node.asked.push_back(Asked {
            load,
            request,
            page: None,
            is_lost: !node.is_attached,
        });
    }
}

fn attach(node: &mut Node, session: SessionState) {
    node.is_attached = true;
    node.client.handle(NOW, Input::Attached { session });
}

/// The daemon answers the oldest request.
fn process(node: &mut Node) {
    let waits = |asked: &&mut Asked| asked.page.is_none() && !asked.is_lost;
    let Some(asked) = node.asked.iter_mut().find(waits) else {
        return;
    };
    let seq = node.seq;
    let row = |(_, row): (&u8, &Row)| row.clone();
    let mut number = None;
    let (after, limit) = match &asked.request {
        Request::First { held, limit } => {
            node.is_opened = true;
            if node.followed.is_none() {
                node.follows += 1;
            }
            let (follow, since) = *node.followed.get_or_insert((node.follows, seq));
            number = Some(follow);
            let is_held = |held: &Held| held.follow == number && since <= held.seq;
            if held.as_ref().is_some_and(is_held) {
                asked.page = Some(page(Vec::new(), None, seq, number, true));
                return;
            }
            (0, *limit)
        }
        Request::Page { cursor, limit } => (cursor.parse().unwrap(), *limit),
        Request::Rows(keys) => {
            let found = keys.iter().filter_map(|key| node.rows.get_key_value(key));
            asked.page = Some(page(found.map(row).collect(), None, seq, None, false));
            return;
        }
    };
    let mut rest = node.rows.range(after + 1..).map(row);
    let rows: Vec<_> = rest.by_ref().take(limit).collect();
    let next = rest.next().and(rows.last()).map(|row| row.key.to_string());
    drop(rest);
    asked.page = Some(page(rows, next, seq, number, false));
}

fn page(
    rows: Vec<Row>,
    next: Option<String>,
    seq: u64,
    follow: Option<u64>,
    resumed: bool,
) -> Page<Row> {
    Page {
        rows,
        next,
        total: None,
        seq,
        resumed,
        follow,
    }
}

fn rows(client: &Collection<Row>) -> Vec<(u8, u32)> {
    let rows = client.rows().iter();
    rows.map(|row| (row.key, row.newest())).collect()
}

fn check(before: &Node, node: &mut Node) -> Result<(), &'static str> {
    let records = std::iter::from_fn(|| node.client.poll_transition()).count();
    let (old, client) = (&before.client, &node.client);
    let shown = rows(client);
    if !shown.is_sorted_by(|one, other| one.0 < other.0) {
        return Err("no_row_is_repeated (LD-2)");
    }
    for row in client.rows().iter() {
        let now = node.rows.get(&row.key);
        if now.is_some_and(|now| now.version == row.version && !now.grown.starts_with(&row.grown)) {
            return Err("no_text_has_a_hole (LD-9)");
        }
    }
    for (key, version) in &shown {
        let newest = node.shown.insert(*key, *version);
        if newest.is_some_and(|newest| newest > *version) {
            return Err("no_row_goes_back (LD-2)");
        }
        if node.gone.get(key).is_some_and(|gone| gone >= version) {
            return Err("no_row_is_resurrected (LD-2)");
        }
    }
    let is_covered =
        |key: u8| !client.has_more() || shown.last().is_some_and(|(last, _)| key < *last);
    for (key, version) in rows(old) {
        if is_covered(key) && !shown.iter().any(|(shown, _)| *shown == key) {
            node.gone.insert(key, version);
        }
    }
    if old.has_succeeded() && !client.has_succeeded() {
        return Err("after_the_first_success_errors_never_block (DS-1)");
    }
    if client.running().is_some() && client.poll_timeout().is_none() {
        return Err("every_waiting_state_has_a_deadline (INV-12)");
    }
    let flies = |load| node.asked.iter().any(|asked| Some(asked.load) == load);
    if client.running().is_some() && !flies(client.running()) {
        return Err("a_running_load_is_on_its_way");
    }
    if client.stale() > old.stale() && (old.state() != client.state() || rows(old) != shown) {
        return Err("stale_results_change_nothing (INV-10)");
    }
    if old.rev() == client.rev() && rows(old) != shown {
        return Err("rev_tells_changes");
    }
    if old.state().name() != client.state().name() && records == 0 {
        return Err("every_change_is_recorded (OB-1)");
    }
    if client.refused() > 0 {
        return Err("every_change_is_in_the_table");
    }
    Ok(())
}

/// Delivers everything; then the rows are the daemon's.
fn converge(mut node: Node, max_rows: usize) -> Result<(), &'static str> {
    if !node.is_attached {
        take(&mut node, &Step::Resume);
    }
    for _ in 0..40 {
        let step = if node
            .asked
            .iter()
            .any(|asked| asked.page.is_some() || asked.is_lost)
        {
            // Answers overtake each other, but none is left behind.
            let ready = |asked: &Asked| asked.page.is_some() || asked.is_lost;
            let at = node.asked.iter().position(ready).unwrap();
            node.asked.swap(0, at);
            Step::Answer
        } else if !node.asked.is_empty() {
            Step::Process
        } else if !node.events.is_empty() {
            Step::Deliver
        } else if matches!(node.client.state(), State::Failed { .. }) {
            Step::Timer
        } else if is_short(&node.client) {
            Step::LoadMore
        } else {
            break;
        };
        let before = node.clone();
        take(&mut node, &step);
        check(&before, &mut node)?;
    }
    let client = &node.client;
    if !client.is_current() || is_short(client) || !node.asked.is_empty() {
        return Err("every_history_ends_ready");
    }
    if node.followed.is_none() {
        return Err("what_is_ready_is_followed (LD-2)");
    }
    let shown = rows(client);
    let all: Vec<Row> = node.rows.into_values().collect();
    let is_whole = shown.len() == all.len();
    let is_same = client
        .rows()
        .iter()
        .zip(&all)
        .all(|(row, all)| **row == *all);
    if shown.len() > all.len() || !is_same || client.has_more() && shown.is_empty() {
        return Err("no_row_is_missed (LD-2)");
    }
    if !is_whole && !client.has_more() {
        return Err("what_is_left_out_is_known");
    }
    if shown.len() > max_rows {
        return Err("everything_is_bounded");
    }
    Ok(())
}

/// Whether rows after the last one are missing although they would fit.
fn is_short(client: &Collection<Row>) -> bool {
    let more = client.state();
    matches!(
        more,
        State::Ready {
            more: More::Failed(_)
        }
    ) && !client.is_full()
}

#[test]
fn ld_2_every_short_history_of_a_followed_table() {
    let report = explore(&Tables { max_rows: 10 }, 5);
    assert!(report.nodes > 10_000, "{report:?}");
}

#[test]
fn ld_2_every_short_history_of_a_table_that_does_not_fit() {
    let report = explore(&Tables { max_rows: 1 }, 4);
    assert!(report.nodes > 1_000, "{report:?}");
}
