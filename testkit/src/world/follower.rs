//! A follower that records a timeline as it is delivered, for comparison with the daemon's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bowline_protocol::{
    AgentId, ItemKind, TimelineItem,
    methods::{History, HistoryPage, name},
};
use bowline_runtime::{CallError, TimelinePosition, TimelineStream, TimelineUpdate};
use tokio::task::JoinHandle;

use super::{Client, WorldError};
use crate::try_eventually;

/// The delivered items, and the first inconsistency.
#[derive(Debug, Default)]
pub struct Notes {
    items: Vec<TimelineItem>,
    position: TimelinePosition,
    wrong: Option<String>,
}

impl Notes {
    /// The delivered items.
    pub fn items(&self) -> &[TimelineItem] {
        &self.items
    }

    /// Records an update.
    ///
    /// # Errors
    /// The update does not follow the previous one: something was lost or repeated.
    pub fn take(&mut self, update: TimelineUpdate) -> Result<(), String> {
        note(&mut self.items, update)
    }

    /// Compares the delivered items with the stored ones.
    ///
    /// # Errors
    /// The first difference.
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
    /// Follows an agent from its first item.
    ///
    /// # Errors
    /// The timeline cannot be opened.
    pub async fn new(client: &Client, agent: &AgentId) -> Result<Self, WorldError> {
        Ok(Self::of(client.timeline(agent).await?, agent))
    }

    /// Follows a timeline from its first item.
    pub fn of(stream: TimelineStream, agent: &AgentId) -> Self {
        Self::start(stream.from_index(0), agent, Notes::default())
    }

    /// Continues with the notes of an earlier follower, possibly of another process.
    pub fn go_on(stream: TimelineStream, agent: &AgentId, notes: Notes) -> Self {
        // Without delivered items there is no position to continue from.
        let stream = match notes.position.next {
            Some(_) => stream.from_position(notes.position.clone()),
            None => stream.from_index(0),
        };
        Self::start(stream, agent, notes)
    }

    /// Ends and returns its notes.
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

    /// The first inconsistency of the delivered updates.
    pub fn wrong(&self) -> Option<String> {
        self.notes().wrong.clone()
    }

    /// Compares the delivered items with the stored ones.
    ///
    /// # Errors
    /// The first difference.
    pub fn compare(&self, kept: &[TimelineItem]) -> Result<(), String> {
        self.notes().compare(kept)
    }

    /// The delivered items.
    pub fn items(&self) -> Vec<TimelineItem> {
        self.notes().items.clone()
    }

    /// Delivered lines of output.
    pub fn lines(&self) -> usize {
        let notes = self.notes();
        let outputs = notes
            .items
            .iter()
            .filter(|item| item.kind == ItemKind::Output);
        outputs.map(|item| item.text.lines().count()).sum()
    }

    /// Number of ended turns.
    pub fn ended_turns(&self) -> usize {
        let ends = |item: &&TimelineItem| item.kind == ItemKind::TurnEnd;
        self.notes().items.iter().filter(ends).count()
    }

    /// Waits for this many lines of output.
    ///
    /// # Errors
    /// After a minute, or at an inconsistency.
    pub async fn until_lines(&self, wanted: usize) -> Result<(), WorldError> {
        self.until(&format!("{wanted} lines"), || self.lines() >= wanted)
            .await
    }

    /// Waits for the end of this many turns.
    ///
    /// # Errors
    /// After a minute, or at an inconsistency.
    pub async fn until_ended(&self, turns: usize) -> Result<(), WorldError> {
        self.until(&format!("the end of {turns} turns"), || {
            self.ended_turns() >= turns
        })
        .await
    }

    async fn until(&self, what: &str, condition: impl Fn() -> bool) -> Result<(), WorldError> {
        let given = async || match self.wrong() {
            Some(wrong) => Ok(Err(WorldError::Unexpected(wrong))),
            None if condition() => Ok(Ok(())),
            None => Err((self.lines(), self.ended_turns())),
        };
        let what = format!("the follower is given {what} (lines and ended turns)");
        try_eventually(what, given).await?
    }

    /// BX-2: the delivered items equal the stored ones byte for byte, each once and in order. The
    /// agent must be idle.
    ///
    /// # Errors
    /// The first difference.
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
                // Recorded together, so that position and items match.
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
        TimelineUpdate::Cleared => Err("the timeline was replaced".to_owned()),
    }
}

/// The whole stored timeline, loaded page by page from its start.
///
/// A page whose connection fails is requested again.
///
/// # Errors
/// The daemon does not answer.
pub async fn history(client: &Client, agent: &AgentId) -> Result<Vec<TimelineItem>, WorldError> {
    let mut items: Vec<TimelineItem> = Vec::new();
    loop {
        // The page before item 1 is item 0.
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
    let server_id = client.server_id()?;
    let asked = async || {
        let runtime = client.runtime();
        match runtime
            .query(&server_id, name::AGENTS_HISTORY, params)
            .await
        {
            Err(
                away @ (CallError::Disconnected(_) | CallError::Timeout | CallError::NotConnected),
            ) => Err(away),
            answer => Ok(answer),
        }
    };
    let answer = try_eventually("the history is answered", asked).await?;
    answer.map_err(|error| WorldError::Unexpected(format!("history: {error}")))
}
