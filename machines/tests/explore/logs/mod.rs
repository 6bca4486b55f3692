//! Histories of a followed log with its daemon: items that are added, grow, are replaced and are
//! dropped, by events that hold them or only say so, over cuts, switches of path, resets, restarts
//! of the daemon, lapses and refusals (LD-2, LD-9).
//!
//! After each step, everything on its way is delivered to a copy, and its items must be the
//! daemon's. No replacement or text is missed, taken twice, or taken by an item of another event.
//!
//! Intents are expected to add items (LD-3): these are shown at once and after all others, until
//! the step that brings the daemon's, or with the reason of a refusal, also after the app restarts.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // The lints exempt unit tests only.

mod checks;
mod histories;
mod intents;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
    ops::Range,
    sync::Arc,
};

use bowline_machines::{
    Generation, MonotonicTime,
    data::{
        collection::Request,
        lists::{Effect, Input, Kind, ListsConfig},
        load::{Held, LoadError},
        logs::{LogEvent, LogView, Logs, Window},
        open::OpenId,
        screen::Connectivity,
        target::LiveTarget,
    },
};
use bowline_protocol::{
    Reason, RpcReason, SessionState,
    live::{Json, LogAppended, LogGrown, LogItem, LogPage, LogReplaced, Scope},
};

use intents::{Answer, Doing, Intent, intent_id};

const NOW: MonotonicTime = MonotonicTime::from_millis(1_000_000);
const NAME: &str = "voxel.edits";
const KEY: &str = "castle";
const LOST: LoadError = LoadError::Lost(Reason::ConnectionLost);
/// Items of a page.
const PAGE: usize = 2;

/// Versions of expected items are above those of the daemon.
const EXPECTED: u32 = 1_000;

/// An item: the version in which it got its value, and those of the texts since.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    version: u32,
    text: String,
}

impl Item {
    const fn new(version: u32) -> Self {
        Self {
            version,
            text: String::new(),
        }
    }

    fn json(&self) -> Json {
        let json = format!("{{\"text\":\"{}\",\"v\":{}}}", self.text, self.version);
        serde_json::from_str(&json).unwrap()
    }

    /// The newest change that it has.
    fn newest(&self) -> u32 {
        let last = self.text.split(',').rfind(|part| !part.is_empty());
        last.map_or(self.version, |last| last.parse().unwrap())
    }
}

/// A request on its way, or its answer.
#[derive(Clone, Debug)]
struct Asked {
    id: OpenId,
    load: Generation,
    request: Request<Reverse<u64>>,
    page: Option<LogPage>,
    /// Whether its connection has ended.
    is_lost: bool,
}

#[derive(Clone, Debug)]
struct Node {
    logs: Logs,
    id: OpenId,
    rev: u64,
    view: Arc<LogView>,
    is_attached: bool,
    asked: VecDeque<Asked>,
    /// What the session is told; none: something else.
    events: VecDeque<(u64, Option<LogEvent>)>,
    items: BTreeMap<u64, Item>,
    next: u64,
    version: u32,
    seq: u64,
    /// The daemon's session follows: number of the follow, and of the last event before it.
    followed: Option<(u64, u64)>,
    /// Follows that the daemon began.
    follows: u64,
    /// Whether it was opened since the last attach.
    is_opened: bool,
    /// Whether a follow ended of which the client does not know yet.
    has_lapsed: bool,
    /// The newest change shown of each item.
    shown: BTreeMap<u64, u32>,
    intents: Vec<Intent>,
    answers: VecDeque<Answer>,
    epoch: u32,
    max_rows: usize,
}

/// An item that a step is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Newest,
    Oldest,
}

#[derive(Clone, Debug)]
enum Step {
    Append,
    AppendLarge,
    Grow(Which),
    GrowLarge,
    Replace(Which),
    ReplaceLarge(Which),
    /// In one transaction: an item is replaced and grows, another one is added.
    Together,
    Drop,
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
    Send(usize),
    Do(usize, Doing),
    Reject(usize),
    /// The intent is sent again after its answer was lost.
    Repeat(usize),
    Receive,
    Dismiss(usize),
    Reopen,
    Restart,
}

fn scope() -> Scope {
    Scope::row(KEY).unwrap()
}

fn target() -> LiveTarget {
    LiveTarget {
        name: NAME.to_owned(),
        params: None,
    }
}

fn config(max_rows: usize) -> ListsConfig {
    ListsConfig {
        page: PAGE,
        max_rows,
        ..Window::CONFIG
    }
}

impl Node {
    /// An app that has opened a log of as many items, and is not connected.
    fn new(items: u64, max_rows: usize, intents: usize) -> Self {
        let mut logs = Logs::new(config(max_rows));
        let (id, view) = logs.open(NOW, target()).unwrap();
        Self {
            logs,
            id,
            rev: 0,
            view,
            is_attached: false,
            asked: VecDeque::new(),
            events: VecDeque::new(),
            items: (0..items).map(|index| (index, Item::new(1))).collect(),
            next: items,
            version: 1,
            seq: 0,
            followed: None,
            follows: 0,
            is_opened: false,
            has_lapsed: false,
            shown: BTreeMap::new(),
            intents: vec![Intent::default(); intents],
            answers: VecDeque::new(),
            epoch: 1,
            max_rows,
        }
    }

    fn first(&self) -> u64 {
        let first = self.items.first_key_value();
        first.map_or(self.next, |(index, _)| *index)
    }

    fn index(&self, which: Which) -> Option<u64> {
        let item = match which {
            Which::Newest => self.items.last_key_value(),
            Which::Oldest => self.items.first_key_value(),
        };
        item.map(|(index, _)| *index)
    }

    fn bump(&mut self) -> u32 {
        self.version += 1;
        self.version
    }

    /// What nobody follows has no number in the session.
    fn tell(&mut self, event: LogEvent) {
        if self.followed.is_some() {
            self.seq += 1;
            self.events.push_back((self.seq, Some(event)));
        }
    }

    fn append(&mut self, is_large: bool, intent: Option<usize>) {
        let item = Item::new(self.bump());
        let (index, value) = (self.next, item.json());
        self.items.insert(index, item);
        self.next += 1;
        let item = LogItem {
            index,
            value,
            omitted_bytes: None,
            unreadable: false,
        };
        let items = (!is_large).then_some(item).into_iter().collect();
        self.appended(items, is_large, intent);
    }

    fn appended(&mut self, items: Vec<LogItem>, stale: bool, intent: Option<usize>) {
        let event = LogAppended {
            name: NAME.to_owned(),
            key: KEY.to_owned(),
            items,
            first: self.first(),
            next: self.next,
            stale,
            intent_id: intent.map(intent_id),
        };
        self.tell(LogEvent::Appended(event));
    }

    fn grow(&mut self, index: u64, is_large: bool) {
        let text = format!("{},", self.bump());
        if let Some(item) = self.items.get_mut(&index) {
            item.text.push_str(&text);
        }
        let event = LogGrown {
            name: NAME.to_owned(),
            key: KEY.to_owned(),
            index,
            field: "text".to_owned(),
            text: if is_large { String::new() } else { text },
            stale: is_large,
            intent_id: None,
        };
        self.tell(LogEvent::Grown(event));
    }

    /// Replaces an item, which then grows, in one transaction.
    fn replace(&mut self, index: u64, grows: bool, is_large: bool) {
        let mut item = Item::new(self.bump());
        if grows {
            item.text = format!("{},", self.bump());
        }
        let value = (!is_large).then(|| item.json());
        self.items.insert(index, item);
        let event = LogReplaced {
            name: NAME.to_owned(),
            key: KEY.to_owned(),
            // As after a transaction that replaced very many.
            index: (!is_large || !index.is_multiple_of(2)).then_some(index),
            value,
            stale: is_large,
            intent_id: None,
        };
        self.tell(LogEvent::Replaced(event));
    }

    fn attach(&mut self, session: SessionState) {
        self.is_attached = true;
        self.logs.attached(NOW, session);
    }

    /// What is on its way no longer arrives.
    fn lose(&mut self) {
        self.asked.iter_mut().for_each(|asked| asked.is_lost = true);
        for answer in self.answers.drain(..) {
            if answer.seq.is_none() {
                self.intents[answer.intent].is_refused = false;
            }
        }
    }

    /// The daemon answers the oldest request.
    fn process(&mut self) {
        let waits = |asked: &&mut Asked| asked.page.is_none() && !asked.is_lost;
        let (seq, first, next) = (self.seq, self.first(), self.next);
        let Some(asked) = self.asked.iter_mut().find(waits) else {
            return;
        };
        let mut page = LogPage {
            scope: scope(),
            items: Vec::new(),
            more: false,
            first,
            next,
            seq,
            resumed: false,
            follow: None,
        };
        let item = |(index, item): (&u64, &Item)| LogItem {
            index: *index,
            value: item.json(),
            omitted_bytes: None,
            unreadable: false,
        };
        let mut before = |range: Range<u64>, limit: usize| {
            let mut items = self.items.range(range).rev().map(item);
            page.items = items.by_ref().take(limit).collect();
            page.items.reverse();
            page.more = items.next().is_some();
        };
        match &asked.request {
            Request::First { held, limit } => {
                self.is_opened = true;
                if self.followed.is_none() {
                    self.follows += 1;
                }
                let (follow, since) = *self.followed.get_or_insert((self.follows, seq));
                let number = Some(follow);
                let is_held = |held: &Held| held.follow == number && since <= held.seq;
                if !held.as_ref().is_some_and(is_held) {
                    before(0..next, *limit);
                } else {
                    page.resumed = true;
                }
                page.follow = number;
            }
            Request::Page { cursor, limit } => before(0..cursor.parse().unwrap(), *limit),
            Request::Rows(keys) => {
                let found = keys.iter().rev();
                let found = found.filter_map(|Reverse(index)| self.items.get_key_value(index));
                page.items = found.map(item).collect();
            }
        }
        asked.page = Some(page);
    }

    /// The items shown, by index.
    fn view_items(&self) -> BTreeMap<u64, Item> {
        let items = self.view.items();
        let items = items.filter(|row| row.expected.is_none());
        let items = items.map(|row| {
            let json: serde_json::Value = serde_json::from_str(row.json().get()).unwrap();
            let version = u32::try_from(json["v"].as_u64().unwrap()).unwrap();
            let text = json["text"].as_str().unwrap().to_owned();
            (row.index, Item { version, text })
        });
        items.collect()
    }
}

fn take(node: &mut Node, step: &Step) {
    match *step {
        Step::Append => node.append(false, None),
        Step::AppendLarge => node.append(true, None),
        Step::Grow(which) => {
            if let Some(index) = node.index(which) {
                node.grow(index, false);
            }
        }
        Step::GrowLarge => {
            if let Some(index) = node.index(Which::Newest) {
                node.grow(index, true);
            }
        }
        Step::Replace(which) => {
            if let Some(index) = node.index(which) {
                node.replace(index, false, false);
            }
        }
        Step::ReplaceLarge(which) => {
            if let Some(index) = node.index(which) {
                node.replace(index, false, true);
            }
        }
        Step::Together => {
            if let Some(index) = node.index(Which::Newest) {
                node.replace(index, true, false);
            }
            node.append(false, None);
        }
        Step::Drop => {
            node.items.pop_first();
            node.appended(Vec::new(), false, None);
        }
        Step::Deliver => {
            if let Some((seq, event)) = node.events.pop_front() {
                match &event {
                    Some(event) => node.logs.changed(NOW, seq, event),
                    None => node.logs.passed(seq),
                }
                node.note_told(event.as_ref());
            }
        }
        Step::Process => node.process(),
        Step::Answer => {
            if let Some(asked) = node.asked.pop_front() {
                let result = asked.page.filter(|_| !asked.is_lost).ok_or(LOST);
                node.has_lapsed &= !result.as_ref().is_ok_and(|page| page.follow.is_some());
                let load = asked.load;
                node.logs
                    .handle(NOW, asked.id, Input::Page { load, result });
            }
        }
        Step::Refuse => {
            if let Some(Asked { id, load, .. }) = node.asked.pop_front() {
                let result = Err(LoadError::Rejected(RpcReason::Overloaded));
                node.logs.handle(NOW, id, Input::Page { load, result });
            }
        }
        Step::Cut => {
            node.is_attached = false;
            node.lose();
            node.logs.disconnected(NOW, Reason::ConnectionLost);
        }
        Step::Switch => node.attach(SessionState::Resumed),
        Step::Resume => {
            node.is_opened = false;
            node.lose();
            node.attach(SessionState::Resumed);
        }
        Step::Reset => {
            node.begin_epoch();
            node.asked.iter_mut().for_each(|asked| asked.is_lost = true);
            node.attach(SessionState::Reset);
        }
        Step::Lapse => {
            node.followed = None;
            node.has_lapsed = true;
        }
        Step::LoadMore => node.logs.handle(NOW, node.id, Input::LoadMore),
        Step::Refresh => node.logs.handle(NOW, node.id, Input::Refresh),
        Step::Timer => {
            let due = node.logs.poll_timeout().unwrap_or(NOW);
            node.logs.handle_timeout(due);
        }
        Step::Send(_)
        | Step::Do(..)
        | Step::Reject(_)
        | Step::Repeat(_)
        | Step::Receive
        | Step::Dismiss(_)
        | Step::Reopen
        | Step::Restart => intents::take(node, step),
    }
    while let Some(effect) = node.logs.poll_effect() {
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
                let of = intents.find(|(number, _)| intent_id(*number) == forgotten);
                of.unwrap().1.is_dismissed = true;
            }
            Effect::Close(_) => {}
        }
    }
    while node.logs.poll_transition().is_some() {}
    node.logs.publish(Connectivity::Online, &mut node.rev);
    while let Some((id, view)) = node.logs.poll_view() {
        if id == node.id {
            node.view = view;
        }
    }
    if matches!(step, Step::Reopen | Step::Restart) {
        node.view = node.logs.open(NOW, target()).unwrap().1;
    }
}
