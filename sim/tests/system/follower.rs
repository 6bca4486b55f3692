//! Someone who reads a timeline as it happens and writes down what he was given, to be held against what the
//! daemon keeps.

use std::sync::{Arc, Mutex};

use bowline_protocol::{AgentId, ItemKind, TimelineItem};
use bowline_runtime::{TimelineStream, TimelineUpdate};
use bowline_sim::world::{Client, WorldError};
use tokio::task::JoinHandle;

use crate::world::{eventually, history};

/// What was given so far, and the first thing that was wrong with it.
#[derive(Default)]
struct Notes {
    items: Vec<TimelineItem>,
    wrong: Option<String>,
}

pub(crate) struct Follower {
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
    pub(crate) async fn new(client: &Client, agent: &AgentId) -> Result<Self, WorldError> {
        let stream = client.timeline(agent).await?.from_index(0);
        let notes = Arc::<Mutex<Notes>>::default();
        let task = tokio::spawn(follow(stream, Arc::clone(&notes)));
        Ok(Self {
            agent: agent.clone(),
            notes,
            task,
        })
    }

    /// What it has now.
    pub(crate) fn items(&self) -> Vec<TimelineItem> {
        self.notes.lock().unwrap().items.clone()
    }

    /// All output so far.
    pub(crate) fn output(&self) -> String {
        output(&self.items())
    }

    /// How many turns it saw the end of.
    pub(crate) fn ended_turns(&self) -> usize {
        let ends = |item: &&TimelineItem| item.kind == ItemKind::TurnEnd;
        self.items().iter().filter(ends).count()
    }

    /// Waits until so many lines of output were given.
    pub(crate) async fn until_lines(&self, wanted: usize) -> Result<(), WorldError> {
        eventually(&format!("{wanted} lines of output"), || async {
            self.output().lines().count() >= wanted
        })
        .await
    }

    /// Waits for the end of so many turns.
    pub(crate) async fn until_ended(&self, turns: usize) -> Result<(), WorldError> {
        eventually(&format!("the end of {turns} turns"), || async {
            self.ended_turns() >= turns
        })
        .await
    }

    /// BX-2: what was given is what the daemon keeps, byte for byte, each once and in order.
    pub(crate) async fn check(&self, client: &Client) -> Result<(), WorldError> {
        let kept = history(client, &self.agent).await?;
        eventually("the follower has what the daemon has", || async {
            let notes = self.notes.lock().unwrap();
            notes.wrong.is_some() || notes.items == kept
        })
        .await
        .inspect_err(|_| self.compare(&kept))?;
        self.compare(&kept);
        Ok(())
    }

    fn compare(&self, kept: &[TimelineItem]) {
        let notes = self.notes.lock().unwrap();
        assert_eq!(notes.wrong, None);
        assert_eq!(
            notes.items.len(),
            kept.len(),
            "items given and items kept; the last given is {:?}, the last kept {:?}",
            notes.items.last(),
            kept.last()
        );
        for (given, kept) in notes.items.iter().zip(kept) {
            assert_eq!(given, kept);
        }
    }
}

pub(crate) fn output(items: &[TimelineItem]) -> String {
    let outputs = items.iter().filter(|item| item.kind == ItemKind::Output);
    outputs.map(|item| item.text.as_str()).collect()
}

async fn follow(mut stream: TimelineStream, notes: Arc<Mutex<Notes>>) {
    loop {
        let next = stream.next().await;
        let mut notes = notes.lock().unwrap();
        let wrong = match next {
            Ok(Some(update)) => note(&mut notes.items, update),
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
    }
}
