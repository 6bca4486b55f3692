//! The Bowline client for Swift, Kotlin and TypeScript: what `bowline-runtime` offers, as values that cross a language
//! boundary.
//!
//! Nothing is decided here. Mirror types stand for those of the runtime, so that the core is free to change and no
//! other crate knows of uniffi. A subscription is a slot that holds the newest value only: one thread, the dispatcher,
//! hands it to the app's listener, so a slow screen gets fewer and newer values and never slows the runtime.
//!
//! Foreign code runs on two kinds of thread and on no other. On the dispatcher's: every listener, with no lock of this library
//! held, and the wakers of the futures that async calls return. On the app's own, inside a call that it makes: a key store,
//! while a runtime is created; the drop of a listener whose subscription was refused; and a future that is polled when
//! its answer is there already.
//!
//! Numbers that a screen sees often are 32 bits wide: TypeScript makes an object of every larger one. Revisions are
//! therefore the low 32 bits of the runtime's.

mod diff;
mod dispatcher;
mod engine;
mod error;
mod key_store;
mod listeners;
mod logging;
mod records;
mod rehearsal;
mod runtime;
mod sinks;
mod slot;
mod subscription;

pub use engine::abi_id;
pub use error::{Advice, BowlineError, Reason, Refusal};
pub use key_store::{KeyStore, KeyStoreError};
pub use listeners::{
    CallbackError, DirectoryListener, HostsListener, LogListener, ScreenListener, TimelineListener,
};
pub use logging::{LogBatch, LogLevel, LogRecord, log_to_system, subscribe_logs};
pub use records::*;
pub use rehearsal::Rehearsal;
pub use runtime::BowlineRuntime;
pub use subscription::{EndReason, Subscription};

uniffi::setup_scaffolding!("bowline");
