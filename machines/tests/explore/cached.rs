//! Every short history of a log that is kept on disk, with its session, its daemon and its files:
//! the client is killed at any point between applying an event, acknowledging it, writing the list
//! and writing the manifest (LD-2, LD-5).
//!
//! The files are the real ones. After each step everything on its way is delivered to a copy, and
//! its items must be the daemon's, with each text once. The daemon drops what is acknowledged at
//! once, follows as `daemon/src/ledger/follow/` does, and forgets its follow now and then.

#![allow(clippy::unwrap_used)] // The lint exempts unit tests only.

use std::{cmp::Reverse, collections::VecDeque, sync::Arc};

use bowline_machines::{
    Generation, MonotonicTime,
    client::cursor::{AckGate, AckPolicy, EventCheck, SessionCursor},
    data::{
        cache::{Manifest, SavedList, SavedRows, read_list},
        collection::{Collection, CollectionConfig, Effect, Input, Page, Request, RowChange},
        load::LoadError,
        logs::{LogGrowth, LogRow},
        target::LiveTarget,
    },
};
use bowline_protocol::{
    Epoch, Reason, SessionState,
    handshake::SessionWelcome,
    live::{LiveKind, LogItem, LogPage, Scope},
};

use crate::explorer::{Model, explore};

const NOW: MonotonicTime = MonotonicTime::from_millis(1_000_000);
const CONFIG: CollectionConfig = CollectionConfig {
    page: 10,
    max_rows: 100,
    max_bytes: 1 << 20,
};
/// Most changes of a history.
const CHANGES: u32 = 3;

type Rows = Collection<LogRow>;

fn epoch(n: u8) -> Epoch {
    Epoch::from_uuid(uuid::Uuid::from_bytes([n; 16]))
}

fn target() -> Arc<LiveTarget> {
    Arc::new(LiveTarget {
        name: "test.log".to_owned(),
        params: None,
    })
}

/// What happened to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Appended(u64, String),
    Grown(u64, String),
    /// Something else that the session is told.
    Other,
}

/// A request on its way, with its answer once there is one.
#[derive(Clone, Debug)]
struct Asked {
    load: Generation,
    request: Request<Reverse<u64>>,
    page: Option<Page<LogRow>>,
}

/// The app's process.
#[derive(Clone, Debug)]
struct Client {
    cursor: SessionCursor,
    rows: Rows,
    is_attached: bool,
    asked: VecDeque<Asked>,
    events: VecDeque<(u64, Event)>,
    /// What the list's file has: the revision, the follow and the event.
    written: Option<(u64, Option<u64>, u64)>,
    /// A checkpoint that is being written: the list, then the manifest.
    writing: VecDeque<(bool, Vec<u8>)>,
}

#[derive(Clone, Debug)]
struct Node {
    client: Client,
    list: Option<Vec<u8>>,
    manifest: Option<Vec<u8>>,
    /// The daemon's items.
    items: Vec<String>,
    changes: u32,
    epoch: u8,
    seq: u64,
    /// Events that were not acknowledged.
    replay: VecDeque<(u64, Event)>,
    /// Numbers of the follow, and the event before it.
    followed: Option<(u64, u64, u64)>,
    follows: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Append,
    Grow,
    Other,
    Deliver,
    Process,
    Answer,
    Ack,
    Checkpoint,
    /// The same of another list alone, while this one counts as being loaded.
    OfAnother,
    Write,
    Kill,
    Attach,
    Cut,
    Refresh,
    /// The daemon forgets what the session follows, as at its restart.
    Unfollow,
    /// The session begins anew.
    Forget,
}

struct Logs;

impl Client {
    /// A process that finds these files.
    fn begin(list: Option<&Vec<u8>>, manifest: Option<&Vec<u8>>) -> Self {
        let mut cursor = SessionCursor::new(AckPolicy::default());
        let manifest = manifest.map(|bytes| Manifest::read(bytes).unwrap());
        if let Some(manifest) = manifest.as_ref().filter(|manifest| !manifest.is_empty()) {
            cursor.restore(manifest.position.clone());
        }
        let mut written = None;
        let rows = list.map(|bytes| {
            let stored = read_list::<LogPage>(bytes, &target()).unwrap();
            let kept = stored.kept(manifest.as_ref(), cursor.position().as_ref());
            let page = page(kept.page);
            let follow = page.follow;
            let rows = Rows::restored(CONFIG, page, kept.is_unbroken);
            if kept.is_unbroken {
                written = Some((rows.rev(), follow, kept.stored_seq));
            }
            rows
        });
        Self {
            cursor,
            rows: rows.unwrap_or_else(|| Rows::new(CONFIG)),
            is_attached: false,
            asked: VecDeque::new(),
            events: VecDeque::new(),
            written,
            writing: VecDeque::new(),
        }
    }

    fn lose(&mut self) {
        self.is_attached = false;
        self.events.clear();
        let reason = Reason::ConnectionLost;
        for asked in std::mem::take(&mut self.asked) {
            let load = asked.load;
            let result = Err(LoadError::Lost(reason));
            self.rows.handle(NOW, Input::Page { load, result });
        }
        self.rows.handle(NOW, Input::Disconnected { reason });
        self.asked.clear();
    }

    /// What the machine would have written, as `Lists::save` does.
    fn checkpoint(&mut self) {
        let seq = self.cursor.last_seq();
        let Some(position) = self.cursor.position() else {
            return;
        };
        if !self.rows.is_as_of(seq) || !self.writing.is_empty() {
            return;
        }
        let mark = (self.rows.rev(), self.rows.follow());
        if self
            .written
            .is_none_or(|(rev, follow, _)| (rev, follow) != mark)
        {
            let list = SavedList {
                kind: LiveKind::Log,
                target: target(),
                epoch: position.epoch.clone(),
                seq,
                scope: Scope::all(),
                follow: self.rows.follow(),
                more: self.rows.has_more(),
                rows: SavedRows::Log {
                    items: self.rows.rows().clone(),
                    first: 0,
                    next: 0,
                },
            };
            self.writing.push_back((true, list.to_bytes().unwrap()));
            self.written = Some((mark.0, mark.1, seq));
        }
        let mut manifest = Manifest::new(position);
        if let Some((.., seq)) = self.written {
            manifest.add(LiveKind::Log, &target(), seq);
        }
        self.writing
            .push_back((false, manifest.to_bytes().unwrap()));
    }
}

fn page(page: LogPage) -> Page<LogRow> {
    let oldest = page.items.iter().map(|item| item.index).min();
    Page {
        rows: page.items.into_iter().rev().map(LogRow::from).collect(),
        next: oldest.filter(|_| page.more).map(|index| index.to_string()),
        total: None,
        seq: page.seq,
        resumed: page.resumed,
        follow: page.follow,
    }
}

fn row(index: u64, text: &str) -> LogRow {
    let value = serde_json::json!({ "text": text });
    LogRow::from(LogItem {
        index,
        value: serde_json::from_value(value).unwrap(),
        omitted_bytes: None,
        unreadable: false,
    })
}

impl Node {
    fn happens(&mut self, event: Event) {
        self.changes += 1;
        // What nobody follows has no number in the session.
        if self.followed.is_none() && event != Event::Other {
            return;
        }
        self.seq += 1;
        self.replay.push_back((self.seq, event.clone()));
        if self.client.is_attached {
            self.client.events.push_back((self.seq, event));
        }
    }

    fn attach(&mut self) {
        let resume = self.client.cursor.position();
        let first = self.replay.front().map_or(self.seq + 1, |(seq, _)| *seq);
        let covers = |seq: u64| seq + 1 >= first && seq <= self.seq;
        let resumes = resume
            .filter(|resume| resume.epoch == epoch(self.epoch) && covers(resume.last_seq))
            .map(|resume| resume.last_seq);
        if resumes.is_none() {
            self.forget();
        }
        let welcome = SessionWelcome {
            state: match resumes {
                Some(_) => SessionState::Resumed,
                None => SessionState::Reset,
            },
            epoch: epoch(self.epoch),
            next_seq: self.seq + 1,
            stamp: None,
        };
        self.client.is_attached = true;
        let session = self.client.cursor.attached(NOW, &welcome);
        self.client.cursor.set_gate(NOW, AckGate::Open);
        if session != SessionState::Resumed {
            self.client.written = None;
        }
        let missed = self.replay.iter();
        let missed = missed.filter(|(seq, _)| resumes.is_some_and(|last| *seq > last));
        self.client.events = missed.cloned().collect();
        self.client.rows.handle(NOW, Input::Attached { session });
    }

    fn forget(&mut self) {
        self.epoch += 1;
        self.seq = 0;
        self.replay.clear();
        self.followed = None;
    }

    fn process(&mut self) {
        let waits = |asked: &&mut Asked| asked.page.is_none();
        let Some(asked) = self.client.asked.iter_mut().find(waits) else {
            return;
        };
        // There are few items: nothing else is asked for.
        let Request::First { held, .. } = &asked.request else {
            return;
        };
        self.follows += 1;
        let number = self.follows;
        let (first, _, since) = self.followed.unwrap_or((number, number, self.seq));
        let is_held = held.is_some_and(|held| {
            let follow = held.follow.unwrap();
            self.followed
                .is_some_and(|(first, last, _)| (first..=last).contains(&follow))
                && held.seq >= since
        });
        self.followed = Some((first, number, since));
        let items = (0_u64..).zip(&self.items);
        asked.page = Some(Page {
            rows: match is_held {
                true => Vec::new(),
                false => items.map(|(index, text)| row(index, text)).collect(),
            },
            next: None,
            total: None,
            seq: self.seq,
            resumed: is_held,
            follow: Some(number),
        });
    }
}

impl Model for Logs {
    type Node = Node;
    type Step = Step;
    type Key = String;

    fn start(&self) -> Vec<Node> {
        let fresh = Node {
            client: Client::begin(None, None),
            list: None,
            manifest: None,
            items: vec!["a".to_owned()],
            changes: 0,
            epoch: 1,
            seq: 0,
            replay: VecDeque::new(),
            followed: None,
            follows: 0,
        };
        let mut ready = fresh.clone();
        for step in [Step::Attach, Step::Process, Step::Answer] {
            take(&mut ready, &step).unwrap();
        }
        let mut kept = ready.clone();
        for step in [Step::Checkpoint, Step::Write, Step::Write] {
            take(&mut kept, &step).unwrap();
        }
        // Items that a page brought before the events that they include.
        let mut ahead = kept.clone();
        for step in [Step::Grow, Step::Refresh, Step::Process, Step::Answer] {
            take(&mut ahead, &step).unwrap();
        }
        vec![fresh, ready, kept, ahead]
    }

    fn steps(&self, node: &Node) -> Vec<Step> {
        let client = &node.client;
        let mut steps = vec![Step::Kill];
        if node.changes < CHANGES {
            steps.extend([Step::Append, Step::Grow, Step::Other]);
        }
        if node.followed.is_some() {
            steps.push(Step::Unfollow);
        }
        if client.is_attached {
            steps.extend([Step::Cut, Step::Ack, Step::Refresh]);
        } else {
            steps.extend([Step::Attach, Step::Forget]);
        }
        if !client.events.is_empty() {
            steps.push(Step::Deliver);
        }
        if client.asked.iter().any(|asked| asked.page.is_none()) {
            steps.push(Step::Process);
        }
        if client.asked.front().is_some_and(|one| one.page.is_some()) {
            steps.push(Step::Answer);
        }
        match client.writing.is_empty() {
            true => steps.extend([Step::Checkpoint, Step::OfAnother]),
            false => steps.push(Step::Write),
        }
        steps
    }

    fn apply(&self, node: &mut Node, step: &Step) -> Result<(), String> {
        take(node, step)
            .and_then(|()| converge(node.clone()))
            .map_err(|name| format!("{name}: {node:?}"))
    }

    fn key(&self, node: &Node) -> String {
        format!("{node:?}")
    }
}

fn take(node: &mut Node, step: &Step) -> Result<(), &'static str> {
    match step {
        Step::Append => {
            let text = format!("<{}>", node.changes);
            node.items.push(text.clone());
            node.happens(Event::Appended(node.items.len() as u64 - 1, text));
        }
        Step::Grow => {
            let text = format!("+{}", node.changes);
            node.items.last_mut().unwrap().push_str(&text);
            node.happens(Event::Grown(node.items.len() as u64 - 1, text));
        }
        Step::Other => node.happens(Event::Other),
        Step::Deliver => deliver(node)?,
        Step::Process => node.process(),
        Step::Answer => {
            if let Some(asked) = node.client.asked.pop_front() {
                let (load, result) = (asked.load, asked.page.ok_or(LoadError::Malformed));
                node.client.rows.handle(NOW, Input::Page { load, result });
            }
        }
        Step::Ack => {
            let last = node.client.cursor.last_seq();
            node.replay.retain(|(seq, _)| *seq > last);
        }
        Step::Checkpoint => node.client.checkpoint(),
        Step::OfAnother => {
            if let Some(position) = node.client.cursor.position() {
                let another = LiveTarget {
                    name: "test.another".to_owned(),
                    params: None,
                };
                let seq = position.last_seq;
                let mut manifest = Manifest::new(position);
                manifest.add(LiveKind::Log, &another, seq);
                let bytes = manifest.to_bytes().unwrap();
                node.client.writing.push_back((false, bytes));
            }
        }
        Step::Write => match node.client.writing.pop_front() {
            Some((true, list)) => node.list = Some(list),
            Some((false, manifest)) => node.manifest = Some(manifest),
            None => {}
        },
        Step::Kill => {
            node.client = Client::begin(node.list.as_ref(), node.manifest.as_ref());
        }
        Step::Attach => node.attach(),
        Step::Cut => node.client.lose(),
        Step::Refresh => node.client.rows.handle(NOW, Input::Refresh),
        Step::Unfollow => node.followed = None,
        Step::Forget => node.forget(),
    }
    while let Some(Effect::Load { load, request }) = node.client.rows.poll_effect() {
        if node.client.is_attached {
            let page = None;
            node.client.asked.push_back(Asked {
                load,
                request,
                page,
            });
        } else {
            let result = Err(LoadError::Lost(Reason::ConnectionLost));
            node.client.rows.handle(NOW, Input::Page { load, result });
        }
    }
    while node.client.rows.poll_transition().is_some() {}
    if node.client.rows.refused() > 0 {
        return Err("every_change_is_in_the_table");
    }
    Ok(())
}

fn deliver(node: &mut Node) -> Result<(), &'static str> {
    let Some((seq, event)) = node.client.events.pop_front() else {
        return Ok(());
    };
    let of = epoch(node.epoch);
    match node.client.cursor.receive(NOW, Some(&of), seq) {
        EventCheck::Next => {}
        EventCheck::Repeated => return Ok(()),
        EventCheck::AfterGap | EventCheck::Stale => {
            return Err("events_come_without_gaps (BX-2)");
        }
    }
    let change = match event {
        Event::Other => return Ok(()),
        Event::Appended(index, text) => RowChange::Put(row(index, &text)),
        Event::Grown(index, text) => RowChange::Grow(
            Reverse(index),
            LogGrowth {
                field: "text".into(),
                text,
            },
        ),
    };
    let changes = vec![change];
    node.client
        .rows
        .handle(NOW, Input::Changed { seq, changes });
    Ok(())
}

/// Delivers everything; then the items are the daemon's.
fn converge(mut node: Node) -> Result<(), &'static str> {
    if !node.client.is_attached {
        take(&mut node, &Step::Attach)?;
    }
    for _ in 0..40 {
        let client = &node.client;
        let step = if client.asked.iter().any(|asked| asked.page.is_none()) {
            Step::Process
        } else if !client.asked.is_empty() {
            Step::Answer
        } else if !client.events.is_empty() {
            Step::Deliver
        } else {
            break;
        };
        take(&mut node, &step)?;
    }
    // What a daemon that restarts forgets is opened again at the next attach, which follows.
    if node.followed.is_none() {
        take(&mut node, &Step::Cut)?;
        return converge(node);
    }
    if !node.client.rows.is_current() {
        return Err("every_history_ends_ready");
    }
    let rows = node.client.rows.rows().iter().rev();
    let shown: Vec<String> = rows
        .map(|row| {
            let value: serde_json::Value = serde_json::from_str(row.json().get()).unwrap();
            value.get("text").unwrap().as_str().unwrap().to_owned()
        })
        .collect();
    if shown != node.items {
        return Err("no_item_and_no_text_is_missed_or_repeated (LD-2)");
    }
    Ok(())
}

#[test]
fn ld_2_ld_5_a_kill_between_apply_save_and_acknowledgement_loses_and_repeats_nothing() {
    let report = explore(&Logs, 5);
    assert!(report.nodes > 1_000, "{report:?}");
}
