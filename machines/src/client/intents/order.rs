//! The ordering constraint of intents: those that start and end turns of one agent do not overtake
//! each other.
//!
//! One connection preserves the order of sending, but the daemon may answer a prompt with
//! `overloaded`, and an intent sent on the old path may arrive only after a switch. So prompts to
//! one agent are sent one at a time, each after the answer to the previous one. A cancel waits
//! while the delivery of an earlier prompt or cancel is unknown, but not for prompts that the
//! daemon has put off. All other intents, in particular answers to permission requests, never wait.

use std::collections::BTreeMap;

use bowline_protocol::AgentId;

use super::State;
use crate::Attach;

/// The effect of an intent on an agent's turns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TurnEffect {
    /// Starts one.
    Prompt(AgentId),
    /// Ends the running one.
    Cancel(AgentId),
    /// Neither.
    Other,
}

/// The intents blocked by earlier open ones, per agent.
#[derive(Default)]
pub(super) struct Blocked<'a>(BTreeMap<&'a AgentId, Holds>);

#[derive(Clone, Copy, Default)]
struct Holds {
    prompts: bool,
    cancels: bool,
}

impl<'a> Blocked<'a> {
    /// Whether the intent must wait for an earlier one.
    pub(super) fn holds(&self, turn: &TurnEffect) -> bool {
        match turn {
            TurnEffect::Prompt(agent) => self.0.get(agent).is_some_and(|holds| holds.prompts),
            TurnEffect::Cancel(agent) => self.0.get(agent).is_some_and(|holds| holds.cancels),
            TurnEffect::Other => false,
        }
    }

    /// Records an intent that later ones may have to wait for; `link` is the attach they would be
    /// sent under.
    pub(super) fn note(&mut self, turn: &'a TurnEffect, state: State, link: Attach) {
        match state {
            State::InFlight { attach, .. } if attach == link => self.sent(turn),
            State::InFlight { .. } => self.in_doubt(turn),
            State::Waiting { after, .. } if after >= link => self.in_doubt(turn),
            State::Waiting { .. } => self.put_off(turn),
        }
    }

    /// Records that it was sent on the active connection.
    pub(super) fn sent(&mut self, turn: &'a TurnEffect) {
        // A cancel in flight arrives before anything sent after it.
        if let TurnEffect::Prompt(agent) = turn {
            self.of(agent).prompts = true;
        }
    }

    /// Records that its delivery, over a closed connection, is unknown.
    fn in_doubt(&mut self, turn: &'a TurnEffect) {
        if let TurnEffect::Prompt(agent) | TurnEffect::Cancel(agent) = turn {
            *self.of(agent) = Holds {
                prompts: true,
                cancels: true,
            };
        }
    }

    /// Records that the daemon has not accepted it yet.
    fn put_off(&mut self, turn: &'a TurnEffect) {
        if let TurnEffect::Prompt(agent) | TurnEffect::Cancel(agent) = turn {
            self.of(agent).prompts = true;
        }
    }

    fn of(&mut self, agent: &'a AgentId) -> &mut Holds {
        self.0.entry(agent).or_default()
    }
}
