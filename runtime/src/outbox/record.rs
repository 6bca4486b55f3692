//! An intent as the journal keeps it, and the lines of the journal.

use std::sync::Arc;

use bowline_protocol::IntentId;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::intent::{Outcome, Request};

/// A stored intent. Cheap to clone.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Stored")]
pub(crate) struct Record {
    pub(crate) id: IntentId,
    pub(crate) request: Arc<Request>,
    /// Creation time in milliseconds since the Unix epoch; later than that of every earlier intent.
    pub(crate) at: i64,
    /// Whether it was ever sent: the daemon may then have executed it.
    pub(crate) sent: bool,
    /// The failure of an intent that is not sent again; kept until the user has seen it (UX-3).
    pub(crate) outcome: Option<Outcome>,
}

/// A record in the journal, with method and parameters as on the wire. A frozen format.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored<M = String, P = Box<RawValue>> {
    id: IntentId,
    method: M,
    params: P,
    at: i64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    sent: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
}

impl Record {
    /// A new record with its creation time.
    pub(crate) fn new(id: IntentId, request: Request, at: i64) -> Self {
        Self {
            id,
            request: Arc::new(request),
            at,
            sent: false,
            outcome: None,
        }
    }

    pub(super) const fn marks(&self) -> Marks {
        (self.sent, self.outcome.is_some())
    }
}

/// What changes in a record: whether it was sent, and whether it failed.
pub(super) type Marks = (bool, bool);

impl From<Stored> for Record {
    fn from(stored: Stored) -> Self {
        Self {
            id: stored.id,
            request: Arc::new(Request::read(stored.method, stored.params)),
            at: stored.at,
            sent: stored.sent,
            outcome: stored.outcome,
        }
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let stored = Stored {
            id: self.id,
            method: self.request.method(),
            params: &*self.request,
            at: self.at,
            sent: self.sent,
            outcome: self.outcome.clone(),
        };
        stored.serialize(serializer)
    }
}

/// One line of the journal.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Line {
    Kept(Record),
    Sent(IntentId),
    Done(IntentId),
}
