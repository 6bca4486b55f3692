//! Someone who reads a timeline as it happens and writes down what he was given, to be held against what the
//! daemon keeps.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bowline_protocol::{
    AgentId, ItemKind, TimelineItem,
    methods::{History, HistoryPage, name},
};
use bowline_runtime::{CallError, TimelinePosition, TimelineStream, TimelineUpdate};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::{Client, WorldError};

/// For waits that only a broken system exceeds, however slow the machine.
const LONG: Duration = Duration::from_secs(60);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// What was given so far, and the first thing that was wrong with it.
#[derive(Debug, Default)]
pub struct Notes {
    items: Vec<TimelineItem>,
    position: TimelinePosition,
    wrong: Option<String>,
}

impl Notes {
    /// The items so far.
    pub fn items(&self) -> &[TimelineItem] {
        &self.items
    }

    /// Writes an update down.
    ///
    /// # Errors
    /// When it is not the next thing: something was lost or came twice.
    pub fn take(&mut self, update: TimelineUpdate) -> Result<(), String> {
        note(&mut self.items, update)
    }

    /// Holds what was given so far against what is kept.
    ///
    /// # Errors
    /// Says where both differ.
    pub fn compare(&self, kept: &[TimelineItem]) -> Result<(), String> {
        if self.items == kept {
            Ok(())
        } else {
            Err(difference(&self.items, kept))
        }
    }
}

/// A running follower; it ends when dropped.
pub struct Follower {
    agent: AgentId,
    notes: Arc<Mutex<Notes>>,
    task: JoinHandle<()>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Follower {
    /// Follows an agent from its very first item.
    ///
    /// # Errors
    /// When the timeline cannot be opened.
    pub async fn new(client: &Client, agent: &AgentId) -> Result<Self, WorldError> {
        Ok(Self::of(client.timeline(agent).await?, agent))
    }

    /// Follows a timeline from its very first item.
    pub fn of(stream: TimelineStream, agent: &AgentId) -> Self {
        Self::start(stream.from_index(0), agent, Notes::default())
    }

    /// Goes on with the notes of a follower that ended, in an earlier process perhaps.
    pub fn go_on(stream: TimelineStream, agent: &AgentId, notes: Notes) -> Self {
        // A follower that was given nothing has no place to go on from.
        let stream = match notes.position.next {
            Some(_) => stream.from_position(notes.position.clone()),
            None => stream.from_index(0),
        };
        Self::start(stream, agent, notes)
    }

    /// Ends and hands out what it has.
    pub fn end(self) -> Notes {
        self.task.abort();
        std::mem::take(&mut *self.notes())
    }

    fn start(stream: TimelineStream, agent: &AgentId, notes: Notes) -> Self {
        let notes = Arc::new(Mutex::new(notes));
        let task = tokio::spawn(follow(stream, Arc::clone(&notes)));
        Self {
            agent: agent.clone(),
            notes,
            task,
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        lock(&self.notes)
    }

    /// The first thing that was wrong with what it was given.
    pub fn wrong(&self) -> Option<String> {
        self.notes().wrong.clone()
    }

    /// Holds what was given so far against what is kept.
    ///
    /// # Errors
    /// Says where both differ.
    pub fn compare(&self, kept: &[TimelineItem]) -> Result<(), String> {
        self.notes().compare(kept)
    }

    /// What it has now.
    pub fn items(&self) -> Vec<TimelineItem> {
        self.notes().items.clone()
    }

    /// Lines of output so far.
    pub fn lines(&self) -> usize {
        let notes = self.notes();
        let outputs = notes
            .items
            .iter()
            .filter(|item| item.kind == ItemKind::Output);
        outputs.map(|item| item.text.lines().count()).sum()
    }

    /// How many turns it saw the end of.
    pub fn ended_turns(&self) -> usize {
        let ends = |item: &&TimelineItem| item.kind == ItemKind::TurnEnd;
        self.notes().items.iter().filter(ends).count()
    }

    /// Waits until so many lines of output were given.
    ///
    /// # Errors
    /// After a minute, or when something wrong was given.
    pub async fn until_lines(&self, wanted: usize) -> Result<(), WorldError> {
        self.until(&format!("{wanted} lines"), || self.lines() >= wanted)
            .await
    }

    /// Waits for the end of so many turns.
    ///
    /// # Errors
    /// After a minute, or when something wrong was given.
    pub async fn until_ended(&self, turns: usize) -> Result<(), WorldError> {
        self.until(&format!("the end of {turns} turns"), || {
            self.ended_turns() >= turns
        })
        .await
    }

    async fn until(&self, what: &str, condition: impl Fn() -> bool) -> Result<(), WorldError> {
        let deadline = Instant::now() + LONG;
        while !condition() {
            if let Some(wrong) = self.wrong() {
                return Err(WorldError::Unexpected(wrong));
            }
            if Instant::now() > deadline {
                return Err(WorldError::Unexpected(format!(
                    "the follower was not given {what}: it has {} lines, {} turns ended",
                    self.lines(),
                    self.ended_turns()
                )));
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// BX-2: what was given is what the daemon keeps, byte for byte, each once and in order. The agent must be
    /// at rest.
    ///
    /// # Errors
    /// Says where both differ.
    pub async fn check(&self, client: &Client) -> Result<(), WorldError> {
        let kept = history(client, &self.agent).await?;
        let same = self
            .until("what the daemon has", || self.notes().items == kept)
            .await;
        same.map_err(|error| {
            let difference = self.compare(&kept).err().unwrap_or_default();
            WorldError::Unexpected(format!("{error}: {difference}"))
        })
    }
}

fn lock(notes: &Mutex<Notes>) -> MutexGuard<'_, Notes> {
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}

fn difference(given: &[TimelineItem], kept: &[TimelineItem]) -> String {
    for (given, kept) in given.iter().zip(kept) {
        if given != kept {
            return format!("given {given:?}, kept {kept:?}");
        }
    }
    format!(
        "{} items given and {} kept; the last given is {:?}, the last kept {:?}",
        given.len(),
        kept.len(),
        given.last(),
        kept.last()
    )
}

async fn follow(mut stream: TimelineStream, notes: Arc<Mutex<Notes>>) {
    loop {
        let next = stream.next().await;
        let mut notes = lock(&notes);
        let wrong = match next {
            Ok(Some(update)) => {
                // Kept together: one is as of the other.
                notes.position = stream.position().clone();
                notes.take(update)
            }
            // The runtime was closed.
            Ok(None) => return,
            Err(error) => Err(format!("the stream ended: {error}")),
        };
        if let Err(wrong) = wrong {
            notes.wrong.get_or_insert(wrong);
            return;
        }
    }
}

fn note(items: &mut Vec<TimelineItem>, update: TimelineUpdate) -> Result<(), String> {
    match update {
        TimelineUpdate::Item(item) if item.index == items.len() as u64 => {
            items.push(TimelineItem::clone(&item));
            Ok(())
        }
        TimelineUpdate::Item(item) => {
            Err(format!("item {} after {} items", item.index, items.len()))
        }
        TimelineUpdate::Delta {
            item_id,
            index,
            text,
        } => match items.iter_mut().find(|item| item.id == item_id) {
            Some(item) if item.index == index => {
                item.text.push_str(&text);
                Ok(())
            }
            _ => Err(format!("text for item {index}, which was never given")),
        },
        TimelineUpdate::Cleared => Err("the timeline is another one now".to_owned()),
    }
}

/// The whole durable timeline, asked for page by page from its beginning.
///
/// A page whose connection dies is asked for again.
///
/// # Errors
/// When the daemon does not answer.
pub async fn history(client: &Client, agent: &AgentId) -> Result<Vec<TimelineItem>, WorldError> {
    let mut items: Vec<TimelineItem> = Vec::new();
    loop {
        // The first page is that before item 1, which is item 0.
        let params = History {
            agent_id: agent.clone(),
            before: items.is_empty().then_some(1),
            after: items.last().map(|item| item.index),
            limit: Some(200),
        };
        let page = page(client, &params).await?;
        let first = items.is_empty();
        let more = page.has_more || (first && !page.items.is_empty());
        items.extend(page.items);
        if !more {
            return Ok(items);
        }
    }
}

async fn page(client: &Client, params: &History) -> Result<HistoryPage, WorldError> {
    let deadline = Instant::now() + LONG;
    loop {
        let server_id = client.server_id()?;
        let answer = client
            .runtime()
            .query(&server_id, name::AGENTS_HISTORY, params)
            .await;
        match answer {
            Ok(page) => return Ok(page),
            Err(CallError::Disconnected(_) | CallError::Timeout | CallError::NotConnected)
                if Instant::now() < deadline =>
            {
                sleep(LOOK).await;
            }
            Err(error) => return Err(WorldError::Unexpected(format!("history: {error}"))),
        }
    }
}
