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
mod hooks;
mod live;
mod methods;
pub(crate) mod params;
mod request;
mod router;

pub use self::{
    cancel::{CancelOnDrop, Cancellation},
    hooks::RevokedDevice,
    live::Followable,
    methods::{Access, Method, Methods},
    request::{Context, Origin, Request},
    router::{MethodError, Router},
};
pub(crate) use self::{
    describe::{About, Kind, Types},
    hooks::Hooks,
    live::LiveData,
    methods::{Call, Offered, Started},
};
pub use crate::process::Process;
pub use crate::rpc::{Answer, Done, Made, PAGE_BYTES, Reply, ReplyFuture, answer};
pub use bowline_protocol::live::Scope;

use std::{future::Future, sync::Arc};

use bowline_protocol::{DeviceId, error::RpcError};

use crate::ledger::Tx;

/// A group of methods and their shared state, which may also take part in what happens to the
/// daemon: all other functions have a default that does nothing. A panic in one of them is logged
/// and stops neither the daemon nor other services.
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

    /// Keeps what a device has asked for and has not ended, as work of nobody, if the owner revokes
    /// the device and lets that work go on (`devices revoke --keep-turns`; TR-5). It is part of the
    /// transaction that revokes the device, so nothing comes in between; it must be short: see
    /// [`Methods::write`]. If it fails, the device is revoked without it.
    ///
    /// # Errors
    /// Any; the owner is told.
    fn keep_work_of(&self, _tx: &mut Tx<'_>, _device: &DeviceId) -> Result<(), RpcError> {
        Ok(())
    }

    /// Ends what a device has asked for that the owner has revoked (TR-5); returns how much that
    /// was, which the owner is told. The device is out already, and its sessions are closed. After
    /// 8 s the owner is told that it goes on; it is not dropped.
    ///
    /// # Errors
    /// Any; the owner is told.
    fn end_work_of(
        self: Arc<Self>,
        _device: RevokedDevice,
    ) -> impl Future<Output = Result<u64, RpcError>> + Send {
        async { Ok(0) }
    }

    /// Stops what works for devices when the owner locks the daemon, and lets it go on when the
    /// owner unlocks it (TR-15). Not called at the start of a daemon that is locked: see
    /// [`Ledger::locked_at`](crate::ledger::Ledger::locked_at). If the lock changes again before
    /// this has returned, it is dropped and called anew.
    fn lock_changed(self: Arc<Self>, _is_locked: bool) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Ends what the service has begun, and records it: the ledger still works. Connections end at
    /// the same time. Dropped after 4 s.
    fn shutdown(self: Arc<Self>) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Whether this service has started that process, for somebody else than the owner. Programs
    /// below it may not call methods that are for the owner ([`Method::owner_only`], TR-7). Returns
    /// what the owner calls whoever it was started for, such as `an agent`. Called on a thread of
    /// its own, for the callers of such methods and for their ancestors; the answer is awaited for
    /// 5 s.
    fn has_started(&self, _process: &Process<'_>) -> Option<&'static str> {
        None
    }
}
