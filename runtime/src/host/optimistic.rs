//! What intents of a host put on screens before the daemon has them (UX-3): read from their records, in this process and
//! after its restart.

use bowline_machines::optimistic::{Conclusion, Input, IntentFailure, Optimistic, Shown, Standing};
use bowline_protocol::{
    AgentSummary, IntentId,
    methods::{AgentCreated, CreateAgent, PromptSent, SendPrompt, name},
};

use super::driver::Driver;
use crate::{intent::Outcome, outbox::Record};

/// Takes note of an intent.
pub(super) fn queued(optimistic: &mut Optimistic, record: &Record) {
    let shown = match record.method.as_str() {
        name::AGENTS_SEND => {
            let params = serde_json::from_str::<SendPrompt>(record.params.get());
            params.ok().map(|params| Shown::Message {
                agent_id: params.agent_id,
                text: params.text,
            })
        }
        name::AGENTS_CREATE => {
            let params = serde_json::from_str::<CreateAgent>(record.params.get());
            params.ok().map(|params| Shown::Agent {
                provider: params.provider,
                cwd: params.cwd,
                title: params.title,
                prompt: params.prompt,
            })
        }
        // Nothing of them is shown in advance.
        _ => None,
    };
    if let Some(shown) = shown {
        optimistic.handle(Input::Queued {
            intent_id: record.id,
            at: record.at,
            shown,
        });
    }
}

/// Takes note of an intent's end.
pub(super) fn concluded(optimistic: &mut Optimistic, intent_id: IntentId, outcome: &Outcome) {
    let creates = matches!(
        optimistic.creation(intent_id),
        Some(Standing::Pending(_) | Standing::Confirmed(_))
    );
    let conclusion = match outcome {
        Outcome::Done { result } if creates => {
            let created = serde_json::from_str::<AgentCreated>(result);
            // An answer that does not read leaves the row to tell.
            created.map_or(Conclusion::Dropped, |created| {
                Conclusion::Created(created.agent.id)
            })
        }
        Outcome::Done { result } => {
            let sent = serde_json::from_str::<PromptSent>(result);
            let item = sent.ok().map(|sent| sent.item_id);
            Conclusion::Done { item }
        }
        Outcome::Refused { error } => Conclusion::Failed(IntentFailure::Refused(error.clone())),
        Outcome::Expired => Conclusion::Failed(IntentFailure::Expired),
        Outcome::Abandoned => Conclusion::Dropped,
    };
    optimistic.handle(Input::Concluded {
        intent_id,
        conclusion,
    });
}

impl Driver {
    /// A row may say that it is what a creation from here made, before its answer does.
    pub(super) fn note_creation(&mut self, agent: &AgentSummary) {
        if let Some(intent_id) = agent.intent_id
            && self.optimistic.is_creating()
        {
            self.optimistic.handle(Input::Row {
                intent_id,
                agent_id: agent.id.clone(),
            });
        }
    }

    /// Agents on their way whose rows are there need no place of their own.
    pub(super) fn settle_creations(&mut self) {
        for agent_id in self.optimistic.awaited_rows() {
            if self.directory.agent(&agent_id).is_some() {
                self.optimistic.handle(Input::RowShown { agent_id });
            }
        }
    }
}
