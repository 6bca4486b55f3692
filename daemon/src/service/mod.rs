//! Methods: the requests a daemon answers, its own and an app author's (`docs/services.md`).
//!
//! * [`Service`] is what an author implements: a type, and the list of its methods
//! * [`Methods`] takes that list: plain functions with typed parameters and results, in five kinds
//! * [`Followable`] is a table, log or topic that clients may follow
//! * [`Request`] and [`Context`] are the resources of a method; [`Cancellation`] signals when its
//!   result is no longer needed
//! * [`Router`] finds a method by its name; [`crate::setup`] links services into a daemon

mod asked;
mod cancel;
mod describe;
mod live;
mod methods;
pub(crate) mod params;
mod request;
mod router;

pub use self::{
    cancel::{CancelOnDrop, Cancellation},
    live::Followable,
    methods::{Access, Method, Methods},
    request::{Context, Origin, Request},
    router::{MethodError, Router},
};
pub(crate) use self::{
    describe::{About, Kind, Types},
    live::LiveData,
    methods::{Call, Offered, Started},
};
pub use crate::rpc::{Answer, Done, Made, PAGE_BYTES, Reply, ReplyFuture, answer};
pub use bowline_protocol::live::Scope;

/// A group of methods and their shared state.
///
/// ```
/// use bowline_daemon::{ledger::{Reader, Table, Tx}, service::{Methods, Service}};
/// use bowline_protocol::{error::RpcError, methods::Empty};
/// use schemars::JsonSchema;
/// use serde::{Deserialize, Serialize};
///
/// /// What is kept: notes by name, durable.
/// const NOTES: Table<Note> = Table::new("notes");
///
/// #[derive(Serialize, Deserialize, JsonSchema)]
/// struct Note { name: String, text: String }
///
/// struct Notes;
///
/// impl Service for Notes {
///     fn methods(methods: &mut Methods<Self>) {
///         methods.read("notes.list", Self::list);
///         methods.intent("notes.write", Self::write);
///     }
/// }
///
/// impl Notes {
///     fn list(&self, reader: &Reader<'_>, _: Empty) -> Result<Vec<Note>, RpcError> {
///         Ok(NOTES.page(reader, "", 100)?.into_iter().map(|(_, note)| note).collect())
///     }
///
///     /// Happens once, however often it is asked for under the same `intentId` (BX-1).
///     fn write(&self, tx: &mut Tx<'_>, note: Note) -> Result<Empty, RpcError> {
///         NOTES.put(tx, &note.name, &note)?;
///         Ok(Empty {})
///     }
/// }
/// ```
pub trait Service: Send + Sync + Sized + 'static {
    /// Lists its methods. Called once, when the service is linked into a daemon.
    fn methods(methods: &mut Methods<Self>);
}
