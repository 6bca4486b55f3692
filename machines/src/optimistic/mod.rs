//! What is shown before the daemon has it: messages and agents that were sent from here (UX-3).
//!
//! ```text
//!  message:   queued ──► pending ──concluded(done)──► delivered ──its item is shown──► gone
//!                           │  └────────────its item is shown──────────────────────────►│
//!                           └──refused, expired──► failed ──dismissed, too many──► gone
//!
//!  creation:  queued ──► pending ──done, or its row is there──► confirmed (named)
//!                           └──refused, expired──► failed ──dismissed, too many──► gone
//! ```
//!
//! A message is reconciled by its `intentId`: the item that the daemon made of it carries the same one. It leaves in the same
//! step in which its item is shown, so it is never there twice and never missing; and since it stands after all items
//! and its item comes as the newest, it does not move. Intents outlive the process in the outbox; from there they are
//! queued here again, so what was on its way is shown again.
//!
//! Pure bookkeeping: it has no clock and nothing to wait for. What it holds is bounded by the outbox, and by the constants
//! below for what is over.

mod values;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use bowline_protocol::{AgentId, IntentId, ItemId, model::UnixMillis};

pub use values::{
    Conclusion, FailedAgent, FailedMessage, Input, IntentFailure, PendingAgent, PendingMessage,
    Shown, Standing,
};

/// Failed messages and creations that are remembered, each; the oldest of more is forgotten.
pub const MAX_FAILED: usize = 32;
/// Creations that are remembered after they were confirmed; the oldest of more is forgotten, and is then an agent like any
/// other.
pub const MAX_CONFIRMED: usize = 256;

#[derive(Clone, Debug)]
struct Message {
    shown: Arc<PendingMessage>,
    item: Option<ItemId>,
}

/// Messages of one agent.
#[derive(Clone, Debug, Default)]
struct Messages {
    /// In the order they were sent.
    pending: Vec<Message>,
    failed: VecDeque<Arc<FailedMessage>>,
}

#[derive(Clone, Debug)]
struct Creation {
    agent: Arc<PendingAgent>,
    confirmed: Option<AgentId>,
}

/// The bookkeeping of one host.
#[derive(Clone, Debug, Default)]
pub struct Optimistic {
    messages: BTreeMap<AgentId, Messages>,
    /// Where the message of an intent is.
    recipients: BTreeMap<IntentId, AgentId>,
    /// In the order they were sent. Confirmed ones stay until their row is there.
    creations: Vec<Creation>,
    failed: VecDeque<Arc<FailedAgent>>,
    confirmed: VecDeque<(IntentId, AgentId)>,
    /// Agents confirmed since somebody asked, each with whether it was given a first prompt.
    newly: VecDeque<(AgentId, bool)>,
    /// Agents whose messages changed.
    changed: BTreeSet<AgentId>,
    rev: u64,
}

impl Optimistic {
    /// Nothing is on its way.
    pub fn new() -> Self {
        Self::default()
    }

    /// Feeds one input. What it does not know changes nothing.
    pub fn handle(&mut self, input: Input) {
        match input {
            Input::Queued {
                intent_id,
                at,
                shown,
            } => self.queued(intent_id, at, shown),
            Input::Concluded {
                intent_id,
                conclusion,
            } => self.concluded(intent_id, conclusion),
            Input::Row {
                intent_id,
                agent_id,
            } => self.confirm(intent_id, agent_id),
            Input::RowShown { agent_id } => {
                let before = self.creations.len();
                self.creations
                    .retain(|creation| creation.confirmed.as_ref() != Some(&agent_id));
                self.rev += u64::from(before != self.creations.len());
            }
            Input::ItemShown {
                agent_id,
                intent_id,
            } => {
                if self.recipients.get(&intent_id) == Some(&agent_id) {
                    self.take_message(intent_id);
                }
            }
            Input::Settled {
                agent_id,
                intent_id,
            } => {
                if self.delivered_to(&agent_id).contains(&intent_id) {
                    self.take_message(intent_id);
                }
            }
            Input::Dismiss { intent_id } => self.dismiss(intent_id),
        }
    }

    /// The next agent whose messages changed.
    pub fn poll_changed(&mut self) -> Option<AgentId> {
        self.changed.pop_first()
    }

    /// The next agent that was confirmed since, and whether it was given a first prompt.
    pub fn poll_confirmed(&mut self) -> Option<(AgentId, bool)> {
        self.newly.pop_front()
    }

    /// Grows whenever the creations change.
    pub const fn rev(&self) -> u64 {
        self.rev
    }

    /// Messages on their way to an agent, in the order they were sent.
    pub fn pending(&self, agent_id: &AgentId) -> Arc<[Arc<PendingMessage>]> {
        let messages = self.messages.get(agent_id);
        let pending = messages.into_iter().flat_map(|one| &one.pending);
        pending.map(|message| Arc::clone(&message.shown)).collect()
    }

    /// Messages to an agent that were not taken, oldest first.
    pub fn failed(&self, agent_id: &AgentId) -> Arc<[Arc<FailedMessage>]> {
        let messages = self.messages.get(agent_id);
        messages
            .into_iter()
            .flat_map(|one| &one.failed)
            .cloned()
            .collect()
    }

    /// Whether a message with that intent is on its way to that agent.
    pub fn awaits(&self, agent_id: &AgentId, intent_id: IntentId) -> bool {
        self.recipients.get(&intent_id) == Some(agent_id)
    }

    /// The intents of messages to that agent that became that item.
    pub fn became(&self, agent_id: &AgentId, item: &ItemId) -> Option<IntentId> {
        let pending = self.messages.get(agent_id)?.pending.iter();
        let mut pending = pending.filter(|message| message.item.as_ref() == Some(item));
        pending.next().map(|message| message.shown.intent_id)
    }

    /// Whether any message is on its way to that agent.
    pub fn has_pending(&self, agent_id: &AgentId) -> bool {
        self.messages
            .get(agent_id)
            .is_some_and(|messages| !messages.pending.is_empty())
    }

    /// Agents that have messages the daemon took and that no timeline showed.
    pub fn delivered(&self) -> Vec<AgentId> {
        let messages = self.messages.iter();
        let delivered = messages.filter(|(_, one)| one.pending.iter().any(|m| m.shown.delivered));
        delivered.map(|(agent_id, _)| agent_id.clone()).collect()
    }

    /// The messages to an agent that the daemon took and that no timeline showed, in the order they were sent.
    pub fn delivered_to(&self, agent_id: &AgentId) -> Vec<IntentId> {
        let messages = self.messages.get(agent_id);
        let pending = messages.into_iter().flat_map(|one| &one.pending);
        let delivered = pending.filter(|one| one.shown.delivered);
        delivered.map(|one| one.shown.intent_id).collect()
    }

    /// Agents on their way that no row stands for yet, in the order they were sent.
    pub fn creating(&self) -> Arc<[Arc<PendingAgent>]> {
        let creations = self.creations.iter();
        creations
            .map(|creation| Arc::clone(&creation.agent))
            .collect()
    }

    /// Whether any agent is on its way.
    pub fn is_creating(&self) -> bool {
        !self.creations.is_empty()
    }

    /// Agents that are confirmed and still wait for their rows.
    pub fn awaited_rows(&self) -> Vec<AgentId> {
        let creations = self.creations.iter();
        creations.filter_map(|one| one.confirmed.clone()).collect()
    }

    /// Agents that could not be created, oldest first, until dismissed.
    pub fn failed_creations(&self) -> Arc<[Arc<FailedAgent>]> {
        self.failed.iter().cloned().collect()
    }

    /// Whether a message or an agent with that intent is shown and on its way.
    pub fn is_pending(&self, intent_id: IntentId) -> bool {
        let mut creations = self.creations.iter();
        self.recipients.contains_key(&intent_id)
            || creations.any(|creation| creation.agent.intent_id == intent_id)
    }

    /// How a creation from here stands, if it is known.
    pub fn creation(&self, intent_id: IntentId) -> Option<Standing> {
        let confirmed = self.confirmed.iter().find(|(id, _)| *id == intent_id);
        if let Some((_, agent_id)) = confirmed {
            return Some(Standing::Confirmed(agent_id.clone()));
        }
        let mut failed = self.failed.iter();
        if let Some(failed) = failed.find(|one| one.agent.intent_id == intent_id) {
            return Some(Standing::Failed(Arc::clone(failed)));
        }
        let mut creations = self.creations.iter();
        let pending = creations.find(|one| one.agent.intent_id == intent_id)?;
        Some(Standing::Pending(Arc::clone(&pending.agent)))
    }

    /// Whether an agent was created from here, as far as is remembered.
    pub fn is_created_here(&self, agent_id: &AgentId) -> bool {
        self.confirmed.iter().any(|(_, id)| id == agent_id)
    }

    fn queued(&mut self, intent_id: IntentId, at: UnixMillis, shown: Shown) {
        match shown {
            Shown::Message { agent_id, text } => {
                let failed = self.messages.get(&agent_id).map(|one| &one.failed);
                let has_failed = failed
                    .is_some_and(|failed| failed.iter().any(|one| one.intent_id == intent_id));
                if !has_failed && !self.recipients.contains_key(&intent_id) {
                    self.add_message(agent_id, intent_id, text, at, false);
                }
            }
            Shown::Agent {
                provider,
                cwd,
                title,
                prompt,
            } => {
                if self.creation(intent_id).is_some() {
                    return;
                }
                let agent = Arc::new(PendingAgent {
                    intent_id,
                    provider,
                    cwd,
                    title,
                    prompt,
                    at,
                });
                self.creations.push(Creation {
                    agent,
                    confirmed: None,
                });
                self.rev += 1;
            }
        }
    }

    fn add_message(
        &mut self,
        agent_id: AgentId,
        intent_id: IntentId,
        text: String,
        at: UnixMillis,
        delivered: bool,
    ) {
        let shown = Arc::new(PendingMessage {
            intent_id,
            text,
            at,
            delivered,
        });
        let messages = self.messages.entry(agent_id.clone()).or_default();
        messages.pending.push(Message { shown, item: None });
        self.changed.insert(agent_id.clone());
        self.recipients.insert(intent_id, agent_id);
    }

    fn concluded(&mut self, intent_id: IntentId, conclusion: Conclusion) {
        match conclusion {
            Conclusion::Created(agent_id) => self.confirm(intent_id, agent_id),
            Conclusion::Done { item } => self.deliver(intent_id, item),
            Conclusion::Failed(error) => {
                if let Some((agent_id, message)) = self.take_message(intent_id) {
                    self.fail_message(agent_id, &message, error);
                } else if let Some(creation) = self.take_creation(intent_id) {
                    self.failed.push_back(Arc::new(FailedAgent {
                        agent: creation.agent,
                        error,
                    }));
                    if self.failed.len() > MAX_FAILED {
                        self.failed.pop_front();
                    }
                }
            }
            Conclusion::Dropped => {
                self.take_message(intent_id);
                self.take_creation(intent_id);
            }
        }
    }

    fn deliver(&mut self, intent_id: IntentId, item: Option<ItemId>) {
        let Some(agent_id) = self.recipients.get(&intent_id) else {
            return;
        };
        let messages = self.messages.get_mut(agent_id);
        let mut pending = messages.into_iter().flat_map(|one| &mut one.pending);
        if let Some(message) = pending.find(|one| one.shown.intent_id == intent_id) {
            message.item = item;
            Arc::make_mut(&mut message.shown).delivered = true;
            self.changed.insert(agent_id.clone());
        }
    }

    /// The agent has its name. Its first prompt is a message from now on.
    fn confirm(&mut self, intent_id: IntentId, agent_id: AgentId) {
        let mut creations = self.creations.iter_mut();
        let creation = creations.find(|one| one.agent.intent_id == intent_id);
        let Some(creation) = creation.filter(|one| one.confirmed.is_none()) else {
            return;
        };
        creation.confirmed = Some(agent_id.clone());
        let agent = Arc::clone(&creation.agent);
        if let Some(prompt) = &agent.prompt {
            self.add_message(agent_id.clone(), intent_id, prompt.clone(), agent.at, true);
        }
        self.newly
            .push_back((agent_id.clone(), agent.prompt.is_some()));
        self.confirmed.push_back((intent_id, agent_id));
        if self.confirmed.len() > MAX_CONFIRMED {
            self.confirmed.pop_front();
        }
        if self.newly.len() > MAX_CONFIRMED {
            self.newly.pop_front();
        }
        self.rev += 1;
    }

    fn take_message(&mut self, intent_id: IntentId) -> Option<(AgentId, Message)> {
        let agent_id = self.recipients.remove(&intent_id)?;
        let messages = self.messages.get_mut(&agent_id)?;
        let mut pending = messages.pending.iter();
        let place = pending.position(|one| one.shown.intent_id == intent_id)?;
        let message = messages.pending.remove(place);
        self.changed.insert(agent_id.clone());
        self.tidy(&agent_id);
        Some((agent_id, message))
    }

    fn take_creation(&mut self, intent_id: IntentId) -> Option<Creation> {
        let mut creations = self.creations.iter();
        let place = creations.position(|one| one.agent.intent_id == intent_id)?;
        self.rev += 1;
        Some(self.creations.remove(place))
    }

    fn fail_message(&mut self, agent_id: AgentId, message: &Message, error: IntentFailure) {
        let messages = self.messages.entry(agent_id).or_default();
        messages.failed.push_back(Arc::new(FailedMessage {
            intent_id: message.shown.intent_id,
            text: message.shown.text.clone(),
            at: message.shown.at,
            error,
        }));
        if messages.failed.len() > MAX_FAILED {
            messages.failed.pop_front();
        }
    }

    fn dismiss(&mut self, intent_id: IntentId) {
        let before = self.failed.len();
        self.failed.retain(|one| one.agent.intent_id != intent_id);
        self.rev += u64::from(before != self.failed.len());
        let has_it = |messages: &Messages| {
            let mut failed = messages.failed.iter();
            failed.any(|one| one.intent_id == intent_id)
        };
        let holder = self.messages.iter().find(|(_, messages)| has_it(messages));
        let Some(agent_id) = holder.map(|(agent_id, _)| agent_id.clone()) else {
            return;
        };
        if let Some(messages) = self.messages.get_mut(&agent_id) {
            messages.failed.retain(|one| one.intent_id != intent_id);
        }
        self.tidy(&agent_id);
        self.changed.insert(agent_id);
    }

    /// Nothing is remembered of an agent that nothing is said to.
    fn tidy(&mut self, agent_id: &AgentId) {
        if let Some(messages) = self.messages.get(agent_id)
            && messages.pending.is_empty()
            && messages.failed.is_empty()
        {
            self.messages.remove(agent_id);
        }
    }
}
