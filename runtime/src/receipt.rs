//! The receipt of an intent: its id, and its outcome once there is one (BX-1).

use bowline_protocol::IntentId;
use tokio::sync::watch;

use crate::intent::Outcome;

/// The receipt of an intent. Dropping it changes nothing: the intent is sent all the same. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// The intent's permanent id. With it, [`crate::Runtime::receipt`] finds the intent again, also
    /// after a restart of the app.
    pub id: IntentId,
    outcome: Awaited,
}

impl Receipt {
    pub(crate) const fn new(id: IntentId, outcome: Awaited) -> Self {
        Self { id, outcome }
    }

    /// Waits for the intent's outcome, across disconnects. `None` if the runtime was closed first:
    /// the intent is kept and sent again by the next runtime on the same storage.
    pub async fn outcome(mut self) -> Option<Outcome> {
        let outcome = self.outcome.wait_for(Option::is_some).await;
        outcome.ok().and_then(|outcome| outcome.clone())
    }
}

/// The side of an outcome that waits.
pub(crate) type Awaited = watch::Receiver<Option<Outcome>>;

/// The side of an outcome that is told once. Dropped untold, those who wait learn that there is
/// none.
#[derive(Clone, Debug)]
pub(crate) struct Teller(watch::Sender<Option<Outcome>>);

impl Teller {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// One more receiver.
    pub(crate) fn awaited(&self) -> Awaited {
        self.0.subscribe()
    }

    pub(crate) fn tell(self, outcome: Outcome) {
        self.0.send_replace(Some(outcome));
    }

    /// The receiver of an outcome that is known already.
    pub(crate) fn told(outcome: Outcome) -> Awaited {
        watch::channel(Some(outcome)).1
    }
}
