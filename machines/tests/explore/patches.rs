//! Histories of intents with patches over one followed table: their effects, answers and refusals
//! in every order, with changes by others, cuts, resets, tables that are opened again, and restarts
//! of the app (LD-3).
//!
//! After each step, everything on its way is delivered to a copy: nothing is pending then, the rows
//! are the daemon's, and what was refused says so.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // The lints exempt unit tests only.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bowline_machines::{
    Generation, MonotonicTime,
    data::{
        collection::Request,
        load::LoadError,
        optimistic::IntentFailure,
        patches::{Conclusion, Input, Patch, PatchChange},
        screen::Connectivity,
        tables::{self, Effect, TableId, TableState, TableTarget, TableView, Tables},
    },
};
use bowline_protocol::{
    IntentId, Reason, RpcReason, SessionState,
    error::RpcError,
    live::{Json, Row, Scope, TableChanged, TablePage},
};

use crate::explorer::{Model, explore};

const NOW: MonotonicTime = MonotonicTime::from_millis(1_000_000);
const NAME: &str = "voxel.layers";
const LOST: LoadError = LoadError::Lost(Reason::ConnectionLost);
/// Values of patches are above those of the daemon, which are versions.
const PATCHED: u64 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Upsert,
    Merge,
    Remove,
}

/// What an intent does to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// What was expected.
    Expected,
    /// The same, told by its key only.
    Large,
    /// Something else: another row changes.
    Other,
}

#[derive(Clone, Debug)]
struct Intent {
    key: &'static str,
    change: Change,
    is_sent: bool,
    /// The daemon's version in which it was done, and whether its row changed.
    done: Option<(u64, bool)>,
    is_refused: bool,
    /// Whether the client has the answer.
    is_answered: bool,
    /// Whether an event has told this process of the effect.
    is_told: bool,
    is_dismissed: bool,
}

#[derive(Clone, Debug)]
struct Asked {
    id: TableId,
    load: Generation,
    request: Request<Arc<str>>,
    page: Option<TablePage>,
    is_lost: bool,
}

/// An answer to an intent on its way.
#[derive(Clone, Debug)]
struct Answer {
    intent: usize,
    /// The event and its epoch; none for a refusal.
    seq: Option<(u32, u64)>,
}

#[derive(Clone, Debug)]
struct Node {
    tables: Tables,
    id: Option<TableId>,
    rev: u64,
    view: Arc<TableView>,
    is_attached: bool,
    asked: VecDeque<Asked>,
    /// What the session is told; none: something else.
    events: VecDeque<(u64, Option<TableChanged>)>,
    answers: VecDeque<Answer>,
    intents: Vec<Intent>,
    rows: BTreeMap<&'static str, u64>,
    /// The version in which each row was last removed.
    removed: BTreeMap<&'static str, u64>,
    version: u64,
    epoch: u32,
    seq: u64,
    followed_since: Option<u64>,
    /// Whether the rows are those of before a refusal: patches do not wait for others.
    is_refused: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    Do(usize, Doing),
    Refuse(usize),
    /// The intent is sent again after its answer was lost.
    Repeat(usize),
    Answer,
    Dismiss(usize),
    OthersPut(&'static str),
    OthersRemove(&'static str),
    Deliver,
    Process,
    Page,
    RefuseTable,
    Cut,
    Resume,
    Reset,
    Lapse,
    Refresh,
    Reopen,
    Restart,
    Timer,
}

fn id(intent: usize) -> IntentId {
    IntentId::from_uuid(uuid::Uuid::from_u128(intent as u128 + 1))
}

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap()
}

fn value(version: u64) -> Json {
    json(&format!("{{\"v\":{version}}}"))
}

fn target() -> TableTarget {
    TableTarget {
        name: NAME.into(),
        params: None,
    }
}

fn scope() -> Scope {
    Scope::under("k").unwrap()
}

fn row(key: &str, version: u64) -> Row {
    Row {
        key: key.into(),
        value: value(version),
        omitted_bytes: None,
    }
}

impl Node {
    fn new(intents: &[(&'static str, Change)], rows: &[&'static str]) -> Self {
        let intents = intents.iter().map(|(key, change)| Intent {
            key,
            change: *change,
            is_sent: false,
            done: None,
            is_refused: false,
            is_answered: false,
            is_told: false,
            is_dismissed: false,
        });
        let mut node = Self {
            tables: Tables::default(),
            id: None,
            rev: 0,
            view: Arc::default(),
            is_attached: false,
            asked: VecDeque::new(),
            events: VecDeque::new(),
            answers: VecDeque::new(),
            intents: intents.collect(),
            rows: rows.iter().map(|key| (*key, 1)).collect(),
            removed: BTreeMap::new(),
            version: 1,
            epoch: 1,
            seq: 0,
            followed_since: None,
            is_refused: false,
        };
        node.open();
        node
    }

    fn open(&mut self) {
        self.id = Some(self.tables.open(NOW, target()).unwrap().0);
    }

    /// Writes or removes a row, and tells it if the session follows.
    fn change(&mut self, key: &'static str, is_put: bool, intent: Option<usize>, is_large: bool) {
        self.version += 1;
        let mut event = TableChanged {
            name: NAME.into(),
            scope: scope(),
            upserts: Vec::new(),
            removed: Vec::new(),
            stale: is_large,
            keys: is_large.then(|| vec![key.to_owned()]),
            intent_id: intent.map(id),
        };
        if is_put {
            self.rows.insert(key, self.version);
            if !is_large {
                event.upserts.push(row(key, self.version));
            }
        } else {
            self.rows.remove(key);
            self.removed.insert(key, self.version);
            if !is_large {
                event.removed.push(key.to_owned());
            }
        }
        self.seq += 1;
        let event = self.followed_since.map(|_| event);
        self.events.push_back((self.seq, event));
    }

    fn queue(&mut self, intent: usize) {
        let one = &self.intents[intent];
        let marker = value(PATCHED + intent as u64);
        let change = match one.change {
            Change::Upsert => PatchChange::Upsert(marker),
            Change::Merge => PatchChange::Merge(marker),
            Change::Remove => PatchChange::Remove,
        };
        let patch = Patch {
            table: NAME.into(),
            params: None,
            key: one.key.into(),
            change,
        };
        self.tables.patch(Input::Queued {
            intent_id: id(intent),
            at: intent as i64,
            patches: vec![patch],
        });
    }

    fn conclude(&mut self, intent: usize, conclusion: Conclusion) {
        self.intents[intent].is_answered = true;
        self.tables.patch(Input::Concluded {
            intent_id: id(intent),
            conclusion,
        });
    }

    fn attach(&mut self, session: SessionState) {
        self.is_attached = true;
        self.tables.attached(NOW, session);
    }

    /// The daemon answers the oldest request.
    fn process(&mut self) {
        let waits = |asked: &&mut Asked| asked.page.is_none() && !asked.is_lost;
        let Some(asked) = self.asked.iter_mut().find(waits) else {
            return;
        };
        let mut page = TablePage {
            scope: scope(),
            rows: Vec::new(),
            more: false,
            seq: self.seq,
            resumed: false,
            // Every change here has a number.
            follow: None,
        };
        let all = self.rows.iter().map(|(key, version)| row(key, *version));
        match &asked.request {
            Request::First { held, .. } => {
                let since = *self.followed_since.get_or_insert(self.seq);
                page.resumed = held.is_some_and(|held| since <= held.seq);
                if !page.resumed {
                    page.rows = all.collect();
                }
            }
            Request::Rows(keys) => {
                let is_it = |row: &Row| keys.iter().any(|key| **key == row.key);
                page.rows = all.filter(is_it).collect();
            }
            Request::Page { .. } => {}
        }
        asked.page = Some(page);
    }

    /// What is on its way no longer arrives; intents without an answer are sent again.
    fn lose(&mut self) {
        self.asked.iter_mut().for_each(|asked| asked.is_lost = true);
        for answer in self.answers.drain(..) {
            if answer.seq.is_none() {
                self.intents[answer.intent].is_refused = false;
            }
        }
    }

    fn is_waiting(&self, intent: usize) -> bool {
        self.answers.iter().any(|answer| answer.intent == intent)
    }

    /// Whether a row is shown only to say why it could not be made.
    fn is_only_failed(&self, key: &str) -> bool {
        let mut rows = self.view.rows.iter();
        rows.any(|row| &*row.key == key && row.failure.is_some() && !row.pending)
    }

    /// The number in the shown row's value.
    fn shown(&self, key: &str) -> Option<u64> {
        let mut rows = self.view.rows.iter();
        let row = rows.find(|row| &*row.key == key)?;
        let digits: String = row
            .value
            .get()
            .chars()
            .filter(char::is_ascii_digit)
            .collect();
        digits.parse().ok()
    }
}

fn take(node: &mut Node, step: &Step) {
    match *step {
        Step::Send(intent) => {
            node.intents[intent].is_sent = true;
            node.queue(intent);
        }
        Step::Do(intent, doing) => {
            let Intent { key, change, .. } = node.intents[intent];
            let is_put =
                change == Change::Upsert || change == Change::Merge && node.rows.contains_key(key);
            let is_removed = change == Change::Remove && node.rows.contains_key(key);
            let mut is_its_row = false;
            match doing {
                Doing::Expected | Doing::Large if is_put || is_removed => {
                    node.change(key, is_put, Some(intent), doing == Doing::Large);
                    is_its_row = true;
                }
                Doing::Expected | Doing::Large => {}
                Doing::Other => node.change("k/other", true, Some(intent), false),
            }
            node.intents[intent].done = Some((node.version, is_its_row));
            let seq = Some((node.epoch, node.seq));
            node.answers.push_back(Answer { intent, seq });
        }
        Step::Refuse(intent) => {
            node.intents[intent].is_refused = true;
            node.answers.push_back(Answer { intent, seq: None });
        }
        Step::Repeat(intent) => {
            let seq = Some((node.epoch, node.seq));
            node.answers.push_back(Answer { intent, seq });
        }
        Step::Answer => {
            if let Some(Answer { intent, seq }) = node.answers.pop_front() {
                let conclusion = match seq {
                    Some((epoch, seq)) if epoch == node.epoch => Conclusion::Done { seq },
                    Some(_) => Conclusion::Done { seq: 0 },
                    None => {
                        let error = RpcError::new(RpcReason::Forbidden, "no");
                        Conclusion::Failed(IntentFailure::Refused(error))
                    }
                };
                node.conclude(intent, conclusion);
            }
        }
        Step::Dismiss(intent) => {
            node.intents[intent].is_dismissed = true;
            let intent_id = id(intent);
            node.tables.patch(Input::Dismissed { intent_id });
        }
        Step::OthersPut(key) => node.change(key, true, None, false),
        Step::OthersRemove(key) => node.change(key, false, None, false),
        Step::Deliver => {
            let Some((seq, event)) = node.events.pop_front() else {
                return;
            };
            if event.is_none() {
                node.tables.passed(seq);
            }
            if let Some(event) = event {
                node.tables.changed(NOW, seq, &event);
                for (intent, one) in node.intents.iter_mut().enumerate() {
                    let keys = event.upserts.iter().map(|row| &row.key);
                    let mut keys = keys.chain(&event.removed);
                    one.is_told |=
                        event.intent_id == Some(id(intent)) && keys.any(|key| *key == one.key);
                }
            }
        }
        Step::Process => node.process(),
        Step::Page => {
            if let Some(asked) = node.asked.pop_front() {
                let result = asked.page.filter(|_| !asked.is_lost).ok_or(LOST);
                let load = asked.load;
                let page = tables::Input::Page { load, result };
                node.tables.handle(NOW, asked.id, page);
            }
        }
        Step::RefuseTable => {
            if let Some(Asked { id, load, .. }) = node.asked.pop_front() {
                let result = Err(LoadError::Rejected(RpcReason::Forbidden));
                node.tables
                    .handle(NOW, id, tables::Input::Page { load, result });
            }
        }
        Step::Cut => {
            node.is_attached = false;
            node.lose();
            node.tables.disconnected(NOW, Reason::ConnectionLost);
        }
        Step::Resume => {
            node.asked.iter_mut().for_each(|asked| asked.is_lost = true);
            node.attach(SessionState::Resumed);
        }
        Step::Reset => {
            node.asked.iter_mut().for_each(|asked| asked.is_lost = true);
            node.followed_since = None;
            node.events.clear();
            (node.epoch, node.seq) = (node.epoch + 1, 0);
            node.attach(SessionState::Reset);
        }
        Step::Lapse => node.followed_since = None,
        Step::Refresh => {
            if let Some(id) = node.id {
                node.tables.handle(NOW, id, tables::Input::Refresh);
            }
        }
        Step::Reopen => {
            if let Some(id) = node.id.take() {
                node.tables.left(id);
                node.tables.sweep();
            }
            node.open();
        }
        Step::Restart => {
            node.lose();
            node.events.clear();
            node.followed_since = None;
            (node.epoch, node.seq, node.rev) = (node.epoch + 1, 0, 0);
            node.tables = Tables::default();
            node.asked.clear();
            for intent in 0..node.intents.len() {
                let one = &mut node.intents[intent];
                one.is_told = false;
                if one.is_sent && !one.is_answered {
                    node.queue(intent);
                } else if one.is_refused && !one.is_dismissed {
                    node.queue(intent);
                    let error = RpcError::new(RpcReason::Forbidden, "no");
                    let failed = Conclusion::Failed(IntentFailure::Refused(error));
                    node.conclude(intent, failed);
                }
            }
            node.open();
            node.attach(SessionState::Reset);
        }
        Step::Timer => {
            let due = node.tables.poll_timeout().unwrap_or(NOW);
            node.tables.handle_timeout(due);
        }
    }
    while let Some(effect) = node.tables.poll_effect() {
        if let Effect::Load {
            id, load, request, ..
        } = effect
        {
            node.asked.push_back(Asked {
                id,
                load,
                request,
                page: None,
                is_lost: !node.is_attached,
            });
        }
    }
    while node.tables.poll_transition().is_some() {}
    node.tables.publish(Connectivity::Online, &mut node.rev);
    while let Some((id, view)) = node.tables.poll_view() {
        if Some(id) == node.id {
            node.view = view;
        }
    }
    node.is_refused |= node.view.state == TableState::Refused;
    node.is_refused &= !matches!(node.view.state, TableState::Ready | TableState::Empty);
    if matches!(step, Step::Reopen | Step::Restart) {
        node.view = node.tables.open(NOW, target()).unwrap().1;
    }
}

fn check(node: &Node) -> Result<(), &'static str> {
    let is_loaded = !matches!(
        node.view.state,
        TableState::Loading | TableState::Failed | TableState::Refused
    );
    let mut keys: Vec<_> = node.intents.iter().map(|one| one.key).collect();
    keys.dedup();
    for key in keys {
        let shown = node.shown(key);
        let intents = node.intents.iter().enumerate();
        let intents = intents.filter(|(_, one)| one.key == key && one.is_sent);
        let intents: Vec<_> = intents.collect();
        // The last one that the daemon has not said anything of lies on top.
        if let Some((number, last)) = intents.last()
            && !last.is_answered
            && !last.is_told
        {
            let is_there = match last.change {
                Change::Upsert => shown == Some(PATCHED + *number as u64),
                // Nothing is merged into a row that only says why it could not be made.
                Change::Merge => {
                    shown.is_none_or(|shown| shown == PATCHED + *number as u64)
                        || node.is_only_failed(key)
                }
                Change::Remove => shown.is_none(),
            };
            // One that was told by its key only may have left.
            if !is_there && last.done.is_none() {
                return Err("what_is_open_is_shown (LD-3)");
            }
        }
        let is_marked = shown.is_some_and(|shown| shown >= PATCHED);
        let has_removal = intents.iter().any(|(_, one)| {
            one.change == Change::Remove
                && !(one.is_refused && one.is_answered)
                && !(one.is_told && is_loaded)
        });
        if !is_loaded || node.is_refused || is_marked || shown.is_none() && has_removal {
            continue;
        }
        // What is shown is the daemon's: not as it was before an effect of which the client knows.
        for (_, one) in &intents {
            let Some((version, true)) = one.done else {
                continue;
            };
            let is_known_done = one.is_answered && !one.is_refused;
            if !one.is_told && !is_known_done {
                continue;
            }
            // Others had removed the row into which it is to be merged.
            if shown.is_none() && one.change == Change::Merge && !one.is_told {
                continue;
            }
            let as_of = shown.or_else(|| node.removed.get(key).copied());
            if as_of.is_none_or(|as_of| as_of < version) {
                return Err("no_effect_is_taken_back (LD-3)");
            }
        }
    }
    // In the step that brings the effect, the patch is gone.
    for (number, one) in node.intents.iter().enumerate() {
        if one.is_told && is_loaded && node.shown(one.key) == Some(PATCHED + number as u64) {
            return Err("a_patch_leaves_with_its_effect (LD-3)");
        }
    }
    Ok(())
}

/// Delivers everything, in one of two orders of events and answers.
fn converge(mut node: Node, events_first: bool) -> Result<(), &'static str> {
    if !node.is_attached {
        take(&mut node, &Step::Resume);
    }
    for _ in 0..60 {
        let ready = |asked: &Asked| asked.page.is_some() || asked.is_lost;
        let unanswered = (0..node.intents.len()).find(|n| {
            let one = &node.intents[*n];
            one.is_sent && !one.is_answered && !node.is_waiting(*n)
        });
        let has_ended = |state| matches!(state, TableState::Failed | TableState::Stale);
        let step = if events_first && !node.events.is_empty() {
            Step::Deliver
        } else if !node.answers.is_empty() {
            Step::Answer
        } else if let Some(at) = node.asked.iter().position(ready) {
            node.asked.swap(0, at);
            Step::Page
        } else if !node.asked.is_empty() {
            Step::Process
        } else if !node.events.is_empty() {
            Step::Deliver
        } else if let Some(intent) = unanswered {
            match node.intents[intent].done {
                Some(_) => Step::Repeat(intent),
                None => Step::Do(intent, Doing::Expected),
            }
        } else if has_ended(node.view.state) {
            Step::Timer
        } else if node.view.state == TableState::Refused {
            Step::Refresh
        } else {
            break;
        };
        take(&mut node, &step);
        check(&node).inspect_err(|_| println!("{step:?}: {node:?}"))?;
    }
    if !matches!(node.view.state, TableState::Ready | TableState::Empty) {
        return Err("every_history_ends_ready");
    }
    if node.view.rows.iter().any(|row| row.pending) {
        return Err("no_patch_is_stuck (LD-3)");
    }
    for key in ["k/a", "k/b", "k/other"] {
        let mut failed = node.intents.iter().enumerate().filter(|(_, one)| {
            one.key == key && one.is_refused && one.is_answered && !one.is_dismissed
        });
        let mut rows = node.view.rows.iter();
        let shown = rows.find(|row| &*row.key == key);
        let last = failed.clone().next_back().map(|(number, _)| id(number));
        let ghost = failed.rfind(|(_, one)| one.change == Change::Upsert);
        let expected = node.rows.get(key).copied();
        let ghost = ghost.map(|(number, _)| PATCHED + number as u64);
        if node.shown(key) != expected.or(ghost) {
            return Err("the_rows_are_the_daemons (LD-3)");
        }
        let said = shown
            .and_then(|row| row.failure.as_ref())
            .map(|why| why.intent_id);
        if shown.is_some() && said != last {
            return Err("a_failure_is_said_until_it_is_dismissed (LD-3)");
        }
    }
    Ok(())
}

struct Histories {
    intents: &'static [(&'static str, Change)],
    rows: &'static [&'static str],
}

impl Model for Histories {
    type Node = Node;
    type Step = Step;
    type Key = String;

    fn start(&self) -> Vec<Node> {
        let fresh = Node::new(self.intents, self.rows);
        let mut ready = fresh.clone();
        for step in [Step::Reset, Step::Process, Step::Page] {
            self.apply(&mut ready, &step).unwrap();
        }
        let mut sent = ready.clone();
        for intent in 0..self.intents.len() {
            self.apply(&mut sent, &Step::Send(intent)).unwrap();
        }
        vec![fresh, ready, sent]
    }

    fn steps(&self, node: &Node) -> Vec<Step> {
        let mut steps = vec![Step::Reset, Step::Refresh, Step::Reopen, Step::Restart];
        let unsent = node.intents.iter().position(|one| !one.is_sent);
        steps.extend(unsent.map(Step::Send));
        for (number, one) in node.intents.iter().enumerate() {
            let is_undecided = one.is_sent && one.done.is_none() && !one.is_refused;
            if is_undecided && node.is_attached {
                let all = [Doing::Expected, Doing::Large, Doing::Other];
                steps.extend(all.map(|doing| Step::Do(number, doing)));
                steps.push(Step::Refuse(number));
            }
            let is_done = one.done.is_some() && !one.is_answered;
            if is_done && node.is_attached && !node.is_waiting(number) {
                steps.push(Step::Repeat(number));
            }
            if one.is_answered && one.is_refused && !one.is_dismissed {
                steps.push(Step::Dismiss(number));
            }
        }
        steps.extend([Step::OthersPut("k/a"), Step::OthersRemove("k/a")]);
        if node.is_attached {
            steps.push(Step::Cut);
            if !node.events.is_empty() {
                steps.push(Step::Deliver);
            }
            if !node.answers.is_empty() {
                steps.push(Step::Answer);
            }
        } else {
            steps.push(Step::Resume);
        }
        if node.followed_since.is_some() && !node.is_attached {
            steps.push(Step::Lapse);
        }
        if let Some(asked) = node.asked.front() {
            if asked.page.is_some() || asked.is_lost {
                steps.push(Step::Page);
            } else {
                steps.extend([Step::Process, Step::RefuseTable]);
            }
        }
        if node.tables.poll_timeout().is_some() {
            steps.push(Step::Timer);
        }
        steps
    }

    fn apply(&self, node: &mut Node, step: &Step) -> Result<(), String> {
        take(node, step);
        check(node)
            .and_then(|()| converge(node.clone(), true))
            .and_then(|()| converge(node.clone(), false))
            .map_err(|name| format!("{name}: {node:?}"))
    }

    fn key(&self, node: &Node) -> String {
        format!("{node:?}")
    }
}

const NEW: Histories = Histories {
    intents: &[("k/a", Change::Upsert), ("k/a", Change::Remove)],
    rows: &[],
};

const CHANGED: Histories = Histories {
    intents: &[("k/a", Change::Merge), ("k/b", Change::Upsert)],
    rows: &["k/a"],
};

const GONE: Histories = Histories {
    intents: &[
        ("k/a", Change::Remove),
        ("k/a", Change::Upsert),
        ("k/a", Change::Merge),
    ],
    rows: &["k/a", "k/b"],
};

#[test]
fn ld_3_every_short_history_of_a_row_that_is_made_and_removed() {
    let report = explore(&NEW, 4);
    assert!(report.nodes > 5_000, "{report:?}");
}

#[test]
fn ld_3_every_short_history_of_a_row_that_is_changed_beside_another() {
    let report = explore(&CHANGED, 4);
    assert!(report.nodes > 5_000, "{report:?}");
}

#[test]
fn ld_3_long_histories_of_patches_that_overlap() {
    let mut random = 7_u64;
    let mut below = |bound: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(random >> 33).unwrap() % bound
    };
    for round in 0..300 {
        for model in [&NEW, &CHANGED, &GONE] {
            let starts = model.start();
            let mut node = starts[below(starts.len())].clone();
            let mut trail = Vec::new();
            for _ in 0..40 {
                let steps = model.steps(&node);
                let step = steps[below(steps.len())].clone();
                let outcome = model.apply(&mut node, &step);
                trail.push(step);
                assert!(outcome.is_ok(), "round {round}: {trail:#?}\n{outcome:?}");
            }
        }
    }
}
