//! A service's topic, as batches of events.

use bowline_runtime::{self as runtime, TopicBatch, protocol::live};

use super::{agent::LoadFailure, mirror};

mirror! {
    /// What an app shows of a topic, besides its events.
    TopicState of runtime::TopicState {
        /// It is being opened for the first time, or the host is connecting.
        Opening,
        /// Every event from here on arrives. What is loaded after this lacks nothing.
        Following,
        /// It was followed; the connection ended, or following on failed (`error`). It goes on by
        /// itself.
        Interrupted,
        /// It could not be opened (`error`). It is tried again.
        Failed,
        /// The daemon refuses the topic (`error`). Not tried again before the next connection or
        /// subscription.
        Refused,
    }
}

mirror! {
    /// An event of a topic.
    #[derive(Eq)]
    JsonEvent of event: &live::TopicEvent {
        /// What it is about.
        key: String = event.key.clone(),
        /// Its body as JSON.
        json: String = event.body.get().to_owned(),
        /// The intent that caused it, whoever sent that.
        intent_id: Option<String> = event.intent_id.map(|id| id.to_string()),
    }
}

/// The next events of a topic. No update replaces another.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct TopicUpdate {
    /// Events may be missing between those of the update before and those of this one.
    pub missed: bool,
    /// The events, in order: at most 256 and 1 MiB, or one larger one. None if only the rest is
    /// news.
    pub events: Vec<JsonEvent>,
    /// What to show besides the events.
    pub state: TopicState,
    /// Why it is not followed.
    pub error: Option<LoadFailure>,
}

impl From<&TopicBatch> for TopicUpdate {
    fn from(batch: &TopicBatch) -> Self {
        let events = batch.events.iter();
        Self {
            missed: batch.missed,
            events: events.map(|event| event.as_ref().into()).collect(),
            state: batch.status.state.into(),
            error: batch.status.error.map(Into::into),
        }
    }
}
