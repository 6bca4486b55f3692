//! Histories of intents with patches over one followed table: their effects, answers and refusals
//! in every order, with changes by others, cuts, resets, tables that are opened again, and restarts
//! of the app (LD-3).
//!
//! After each step, everything on its way is delivered to a copy: nothing is pending then, the rows
//! are the daemon's, and what was refused says so.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // The lints exempt unit tests only.

mod checks;
mod histories;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bowline_machines::data::target::LiveTarget;
use bowline_machines::{
    Generation, MonotonicTime,
    data::{
        collection::Request,
        load::LoadError,
        open::OpenId,
        optimistic::IntentFailure,
        patches::{Conclusion, Input, Patch, PatchChange},
        screen::Connectivity,
        tables::{self, Effect, TableState, TableView, Tables},
    },
};
use bowline_protocol::{
    IntentId, Reason, RpcReason, SessionState,
    error::RpcError,
    live::{Json, Row, Scope, TableChanged, TablePage},
};

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
    id: OpenId,
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
    id: Option<OpenId>,
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

fn target() -> LiveTarget {
    LiveTarget {
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
        unreadable: false,
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
        self.tables.patch(
            NOW,
            Input::Queued {
                intent_id: id(intent),
                at: intent as i64,
                patches: vec![patch],
            },
        );
    }

    fn conclude(&mut self, intent: usize, conclusion: Conclusion) {
        self.intents[intent].is_answered = true;
        self.tables.patch(
            NOW,
            Input::Concluded {
                intent_id: id(intent),
                conclusion,
            },
        );
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
            node.tables.patch(NOW, Input::Dismissed { intent_id });
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
        match effect {
            Effect::Load {
                id, load, request, ..
            } => node.asked.push_back(Asked {
                id,
                load,
                request,
                page: None,
                is_lost: !node.is_attached,
            }),
            Effect::Forget(forgotten) => {
                let mut intents = node.intents.iter_mut().enumerate();
                let of = intents.find(|(number, _)| id(*number) == forgotten);
                of.unwrap().1.is_dismissed = true;
            }
            Effect::Close(_) => {}
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
