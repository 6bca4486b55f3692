//! The receipt of an intent, for apps.

use std::sync::Arc;

use bowline_runtime as core;

use crate::{
    dispatcher::on_dispatcher, engine::engine, error::BowlineError, records::IntentOutcome,
};

/// The receipt of an intent: its id, and its outcome once there is one. Dropping it changes
/// nothing: the intent is sent all the same.
#[derive(uniffi::Object)]
pub struct SentIntent {
    core: core::Receipt,
}

impl SentIntent {
    pub(crate) fn new(core: core::Receipt) -> Arc<Self> {
        Arc::new(Self { core })
    }
}

#[uniffi::export]
impl SentIntent {
    /// The intent's permanent id. With it, `outcome` of the runtime finds the intent again after a
    /// restart of the app.
    pub fn id(&self) -> String {
        self.core.id.to_string()
    }

    /// Waits for the intent's outcome, across disconnects. Known as long as this receipt is kept,
    /// however many other intents end meanwhile. Fails if the runtime is shut down first: the
    /// intent is kept, and sent by the next runtime on the same storage.
    pub async fn outcome(&self) -> Result<IntentOutcome, BowlineError> {
        let outcome = self.core.clone().outcome();
        let outcome = on_dispatcher(engine()?, outcome).await?;
        let outcome = outcome.ok_or_else(BowlineError::closed)?;
        Ok(IntentOutcome::whole(self.core.id, &outcome))
    }
}
