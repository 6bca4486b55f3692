//! Methods: how a daemon's abilities are added to it, its own and an app author's alike (`docs/services.md`).
//!
//! * [`Service`] is what an author implements: a type, and the list of its methods
//! * [`Methods`] takes that list: plain functions with typed parameters and results, in five kinds
//! * [`Request`] and [`Context`] are what a method may use; [`Cancellation`] tells when nobody waits any more
//! * [`Services`] are the ones linked into a daemon, [`Router`] finds a method by its name

mod cancel;
mod methods;
mod page;
mod params;
mod request;
mod router;
mod services;

use std::{future::Future, pin::Pin};

use bowline_protocol::error::RpcError;
use serde::Serialize;
use serde_json::value::RawValue;

pub use self::page::PAGE_BYTES;
pub use self::{
    cancel::{CancelOnDrop, Cancellation},
    methods::{Access, Method, Methods},
    request::{Context, Origin, Request},
    router::{MethodError, Router},
    services::{ServiceError, Services, Setup},
};
pub(crate) use self::{
    methods::{Call, Started},
    page::{Bounded, ListParams, Listed, bad_cursor, content_bytes, page_bytes, page_rows},
    request::no_session,
};

/// The JSON of a result.
pub type Answer = Result<Box<RawValue>, RpcError>;
/// An answer that takes its time.
pub type AnswerFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A group of methods and what they share.
///
/// ```
/// use bowline_daemon::{ledger::{Reader, Table, Tx}, service::{Methods, Service}};
/// use bowline_protocol::{error::RpcError, methods::Empty};
/// use serde::{Deserialize, Serialize};
///
/// /// What is kept: notes by name, durable.
/// const NOTES: Table<Note> = Table::new("notes");
///
/// #[derive(Serialize, Deserialize)]
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
    /// Names its methods. Called once, when the service is linked into a daemon.
    fn methods(methods: &mut Methods<Self>);
}

/// The JSON of a value.
///
/// # Errors
/// −32603 if the value does not serialise, which is a defect of its type.
pub fn answer<T: Serialize + ?Sized>(value: &T) -> Answer {
    serde_json::value::to_raw_value(value).map_err(|error| RpcError::internal(error.to_string()))
}
