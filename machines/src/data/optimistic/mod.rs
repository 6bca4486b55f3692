//! Messages and agents submitted by this client, displayed before the daemon has them (UX-3).
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
//! A message is reconciled by its `intentId`: the daemon's item for it carries the same one. It is
//! removed in the same step in which its item is displayed, so it never appears twice and is never
//! missing; and since messages follow all items and the new item is the newest, it does not move.
//! Intents are stored in the queue; a later process queues them here again, so pending messages are
//! displayed again.
//!
//! Pure bookkeeping, without a clock or timers. Pending entries are bounded by the queue, finished
//! ones by the constants below.

mod values;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use bowline_protocol::{AgentId, IntentId, ItemId};

pub use values::{
    Conclusion, CreationStatus, FailedAgent, FailedMessage, Input, IntentFailure, PendingAgent,
    PendingMessage, Queued,
};

/// Most failed messages and most failed creations kept, the same number as on disk; beyond it the
/// oldest is forgotten.
pub const MAX_FAILED: usize = crate::client::intents::KEPT_FAILURES;
/// Most confirmed creations kept; beyond it the oldest is forgotten, and its agent is treated as
/// any other.
pub const MAX_CONFIRMED: usize = 256;

#[derive(Clone, Debug)]
struct Message {
    shown: Arc<PendingMessage>,
    item: Option<ItemId>,
}

/// Messages of one agent.
#[derive(Clone, Debug, Default)]
struct Messages {
    /// In the order of submission.
    pending: Vec<Message>,
    failed: VecDeque<Arc<FailedMessage>>,
}

#[derive(Clone, Debug)]
struct Creation {
    agent: Arc<PendingAgent>,
    confirmed: Option<AgentId>,
}

/// The pending messages and agents of one host.
#[derive(Clone, Debug, Default)]
pub struct Optimistic {
    messages: BTreeMap<AgentId, Messages>,
    /// The recipient of each message.
    recipients: BTreeMap<IntentId, AgentId>,
    /// In the order of submission. Confirmed ones stay until their row appears.
    creations: Vec<Creation>,
    failed: VecDeque<Arc<FailedAgent>>,
    confirmed: VecDeque<(IntentId, AgentId)>,
    /// Agents confirmed since the last poll, with whether each had a first prompt.
    newly: VecDeque<(AgentId, bool)>,
    /// Agents whose messages changed.
    changed: BTreeSet<AgentId>,
}

impl Optimistic {
    /// No pending messages or agents.
    pub fn new() -> Self {
        Self::default()
    }

    /// Feeds one input. Inputs about unknown intents change nothing.
    pub fn handle(&mut self, input: Input) {
        match input {
            Input::Queued(queued) => self.queued(queued),
            Input::Concluded {
                intent_id,
                conclusion,
            } => self.concluded(intent_id, conclusion),
            Input::Row {
                intent_id,
                agent_id,
            } => self.confirm(intent_id, agent_id),
            Input::RowShown { agent_id } => self
                .creations
                .retain(|creation| creation.confirmed.as_ref() != Some(&agent_id)),
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

    /// The next confirmed agent, and whether it had a first prompt.
    pub fn poll_confirmed(&mut self) -> Option<(AgentId, bool)> {
        self.newly.pop_front()
    }

    /// Pending messages to an agent, in the order of submission.
    pub fn pending(&self, agent_id: &AgentId) -> Arc<[Arc<PendingMessage>]> {
        let messages = self.messages.get(agent_id);
        let pending = messages.into_iter().flat_map(|one| &one.pending);
        pending.map(|message| Arc::clone(&message.shown)).collect()
    }

    /// Failed messages to an agent, oldest first.
    pub fn failed(&self, agent_id: &AgentId) -> Arc<[Arc<FailedMessage>]> {
        let messages = self.messages.get(agent_id);
        messages
            .into_iter()
            .flat_map(|one| &one.failed)
            .cloned()
            .collect()
    }

    /// Whether a message with that intent to that agent is pending.
    pub fn awaits(&self, agent_id: &AgentId, intent_id: IntentId) -> bool {
        self.recipients.get(&intent_id) == Some(agent_id)
    }

    /// The intent of the message to that agent that became `item`.
    pub fn became(&self, agent_id: &AgentId, item: &ItemId) -> Option<IntentId> {
        let pending = self.messages.get(agent_id)?.pending.iter();
        let mut pending = pending.filter(|message| message.item.as_ref() == Some(item));
        pending.next().map(|message| message.shown.intent_id)
    }

    /// Whether any message to that agent is pending.
    pub fn has_pending(&self, agent_id: &AgentId) -> bool {
        self.messages
            .get(agent_id)
            .is_some_and(|messages| !messages.pending.is_empty())
    }

    /// Agents with messages that the daemon accepted and no timeline has displayed.
    pub fn delivered(&self) -> Vec<AgentId> {
        let messages = self.messages.iter();
        let delivered = messages.filter(|(_, one)| one.pending.iter().any(|m| m.shown.delivered));
        delivered.map(|(agent_id, _)| agent_id.clone()).collect()
    }

    /// Messages to an agent that the daemon accepted and no timeline has displayed, in the order of
    /// submission.
    pub fn delivered_to(&self, agent_id: &AgentId) -> Vec<IntentId> {
        let messages = self.messages.get(agent_id);
        let pending = messages.into_iter().flat_map(|one| &one.pending);
        let delivered = pending.filter(|one| one.shown.delivered);
        delivered.map(|one| one.shown.intent_id).collect()
    }

    /// Pending agents without a row, in the order of submission.
    pub fn creating(&self) -> Arc<[Arc<PendingAgent>]> {
        let creations = self.creations.iter();
        creations
            .map(|creation| Arc::clone(&creation.agent))
            .collect()
    }

    /// Whether any agent is pending.
    pub fn is_creating(&self) -> bool {
        !self.creations.is_empty()
    }

    /// Confirmed agents without a row.
    pub fn awaited_rows(&self) -> Vec<AgentId> {
        let creations = self.creations.iter();
        creations.filter_map(|one| one.confirmed.clone()).collect()
    }

    /// Failed creations, oldest first, until dismissed.
    pub fn failed_creations(&self) -> Arc<[Arc<FailedAgent>]> {
        self.failed.iter().cloned().collect()
    }

    /// Whether a message or agent with that intent is pending.
    pub fn is_pending(&self, intent_id: IntentId) -> bool {
        let mut creations = self.creations.iter();
        self.recipients.contains_key(&intent_id)
            || creations.any(|creation| creation.agent.intent_id == intent_id)
    }

    /// Status of a creation by this client, if known.
    pub fn creation(&self, intent_id: IntentId) -> Option<CreationStatus> {
        let confirmed = self.confirmed.iter().find(|(id, _)| *id == intent_id);
        if let Some((_, agent_id)) = confirmed {
            return Some(CreationStatus::Confirmed(agent_id.clone()));
        }
        let mut failed = self.failed.iter();
        if let Some(failed) = failed.find(|one| one.agent.intent_id == intent_id) {
            return Some(CreationStatus::Failed(Arc::clone(failed)));
        }
        let mut creations = self.creations.iter();
        let pending = creations.find(|one| one.agent.intent_id == intent_id)?;
        Some(CreationStatus::Pending(Arc::clone(&pending.agent)))
    }

    /// Whether the agent is a creation by this client that is still kept.
    pub fn is_created_here(&self, agent_id: &AgentId) -> bool {
        self.confirmed.iter().any(|(_, id)| id == agent_id)
    }

    fn queued(&mut self, queued: Queued) {
        match queued {
            Queued::Message { agent_id, message } => {
                let intent_id = message.intent_id;
                let messages = self.messages.get(&agent_id).into_iter();
                let mut failed = messages.flat_map(|one| &one.failed);
                let has_failed = failed.any(|one| one.intent_id == intent_id);
                if !has_failed && !self.recipients.contains_key(&intent_id) {
                    self.add_message(agent_id, message);
                }
            }
            Queued::Agent(agent) => {
                if self.creation(agent.intent_id).is_none() {
                    self.creations.push(Creation {
                        agent: Arc::new(agent),
                        confirmed: None,
                    });
                }
            }
        }
    }

    fn add_message(&mut self, agent_id: AgentId, message: PendingMessage) {
        self.recipients.insert(message.intent_id, agent_id.clone());
        self.changed.insert(agent_id.clone());
        let messages = self.messages.entry(agent_id).or_default();
        messages.pending.push(Message {
            shown: Arc::new(message),
            item: None,
        });
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

    /// Handles the agent's id. Its first prompt becomes a message.
    fn confirm(&mut self, intent_id: IntentId, agent_id: AgentId) {
        let mut creations = self.creations.iter_mut();
        let creation = creations.find(|one| one.agent.intent_id == intent_id);
        let Some(creation) = creation.filter(|one| one.confirmed.is_none()) else {
            return;
        };
        creation.confirmed = Some(agent_id.clone());
        let agent = Arc::clone(&creation.agent);
        if let Some(prompt) = &agent.prompt {
            let message = PendingMessage {
                intent_id,
                text: prompt.clone(),
                at: agent.at,
                delivered: true,
            };
            self.add_message(agent_id.clone(), message);
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
        self.failed.retain(|one| one.agent.intent_id != intent_id);
        let holder = self.messages.iter_mut().find_map(|(agent_id, messages)| {
            let before = messages.failed.len();
            messages.failed.retain(|one| one.intent_id != intent_id);
            (before != messages.failed.len()).then(|| agent_id.clone())
        });
        if let Some(agent_id) = holder {
            self.tidy(&agent_id);
            self.changed.insert(agent_id);
        }
    }

    /// Removes the entry of an agent without messages.
    fn tidy(&mut self, agent_id: &AgentId) {
        if let Some(messages) = self.messages.get(agent_id)
            && messages.pending.is_empty()
            && messages.failed.is_empty()
        {
            self.messages.remove(agent_id);
        }
    }
}
