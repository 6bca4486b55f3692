//! Which intents must not overtake each other: those that make and end turns of one agent.
//!
//! On one connection what is sent first is taken first, but the daemon may put a prompt off (`overloaded`), and what was sent
//! on the old path may come back only after a switch. So prompts to one agent go out one after the other, each after the
//! answer to the one before; a cancel waits while it is unknown whether an earlier prompt or cancel arrived, but not for
//! prompts that the daemon does not take yet; all else, the answer to a permission above all, waits for nobody.

use std::{borrow::Cow, collections::HashMap};

use bowline_protocol::methods::name;
use serde::Deserialize;

use super::Record;

/// What an intent does with the turns of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Makes one.
    Prompt(String),
    /// Ends the one that runs.
    Cancel(String),
    /// Neither.
    Any,
}

impl Turn {
    /// Of a record, by its method and parameters.
    pub(super) fn of(record: &Record) -> Self {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Target<'a> {
            #[serde(borrow)]
            agent_id: Cow<'a, str>,
        }
        let turn = match record.method.as_str() {
            name::AGENTS_SEND => Self::Prompt,
            name::AGENTS_CANCEL => Self::Cancel,
            _ => return Self::Any,
        };
        // Without a target the daemon refuses it, in whatever order.
        serde_json::from_str::<Target<'_>>(record.params.get())
            .map_or(Self::Any, |target| turn(target.agent_id.into_owned()))
    }
}

/// What the open intents before one hold up, agent by agent.
#[derive(Default)]
pub(super) struct Held(HashMap<String, Holds>);

#[derive(Clone, Copy, Default)]
struct Holds {
    prompts: bool,
    cancels: bool,
}

impl Held {
    /// Whether it must wait.
    pub(super) fn holds(&self, turn: &Turn) -> bool {
        match turn {
            Turn::Prompt(agent) => self.0.get(agent).is_some_and(|holds| holds.prompts),
            Turn::Cancel(agent) => self.0.get(agent).is_some_and(|holds| holds.cancels),
            Turn::Any => false,
        }
    }

    /// An earlier one is on the active connection.
    pub(super) fn sent(&mut self, turn: &Turn) {
        // A cancel that is under way arrives before what is sent after it.
        if let Turn::Prompt(agent) = turn {
            self.of(agent).prompts = true;
        }
    }

    /// An earlier one may or may not have arrived by a connection that is over.
    pub(super) fn in_doubt(&mut self, turn: &Turn) {
        if let Turn::Prompt(agent) | Turn::Cancel(agent) = turn {
            *self.of(agent) = Holds {
                prompts: true,
                cancels: true,
            };
        }
    }

    /// An earlier one is not taken yet.
    pub(super) fn put_off(&mut self, turn: &Turn) {
        if let Turn::Prompt(agent) | Turn::Cancel(agent) = turn {
            self.of(agent).prompts = true;
        }
    }

    fn of(&mut self, agent: &str) -> &mut Holds {
        self.0.entry(agent.to_owned()).or_default()
    }
}
