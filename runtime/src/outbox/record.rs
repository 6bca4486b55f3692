//! An intent as the journal keeps it, and the lines of the journal.

use std::sync::Arc;

use bowline_machines::data::patches::Patch;
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
    /// What rows show of it before the daemon says so (LD-3).
    pub(crate) patches: Arc<[Patch]>,
    /// Creation time in milliseconds since the Unix epoch; later than that of every earlier intent.
    pub(crate) at: i64,
    /// Whether it was ever sent: the daemon may then have executed it.
    pub(crate) sent: bool,
    /// The failure of an intent that is not sent again; kept until the user has seen it (UX-3).
    pub(crate) outcome: Option<Outcome>,
}

/// A record in the journal, with method and parameters as on the wire. A frozen format: a later
/// version may add members, which an earlier one ignores.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored<M = String, P = Box<RawValue>, D = Box<RawValue>> {
    id: IntentId,
    method: M,
    params: P,
    /// Absent without any, and in records of earlier versions.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    patches: Option<D>,
    at: i64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    sent: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
}

impl Record {
    /// A new record with its creation time.
    pub(crate) fn new(id: IntentId, request: Request, patches: Vec<Patch>, at: i64) -> Self {
        Self {
            id,
            request: Arc::new(request),
            patches: patches.into(),
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
            patches: stored.patches.as_deref().map_or_else(Arc::default, patches),
            at: stored.at,
            sent: stored.sent,
            outcome: stored.outcome,
        }
    }
}

const fn none<D>() -> Option<D> {
    None
}

/// Reads patches. Those of a later version that do not read are not shown; the intent is sent all
/// the same.
fn patches(stored: &RawValue) -> Arc<[Patch]> {
    serde_json::from_str(stored.get()).unwrap_or_default()
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let stored = Stored {
            id: self.id,
            method: self.request.method(),
            params: &*self.request,
            patches: (!self.patches.is_empty()).then_some(&*self.patches),
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
