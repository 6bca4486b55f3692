//! The Bowline client for Swift, Kotlin and TypeScript: the API of `bowline-runtime` as values that
//! cross a language boundary.
//!
//! This crate makes no decisions. Mirror types stand for those of the runtime, so that the core can
//! change and no other crate depends on uniffi. A subscription is a slot that holds only the newest
//! value. One thread, the dispatcher, passes it to the app's listener, so a slow screen gets fewer
//! and newer values and never slows the runtime.
//!
//! Foreign code runs on two kinds of thread only. The dispatcher's thread calls all listeners, with
//! no lock of this library held, and the wakers of the futures that async calls return. The app's
//! own thread, inside a call it makes, calls a key store while a runtime is created, drops a
//! listener whose subscription was refused, and polls a future whose result is ready.
//!
//! Numbers that a screen reads often are 32 bits wide, because TypeScript allocates an object for
//! every larger one. Revisions are therefore the low 32 bits of the runtime's.

mod claim;
mod dispatcher;
mod engine;
mod error;
mod key_store;
mod listeners;
mod logging;
mod preview;
mod receipt;
mod records;
mod runtime;
mod sinks;
mod slot;
mod subscription;
mod transfer;

pub use claim::{claim_listeners, release_listeners};
pub use engine::abi_id;
pub use error::{Advice, BowlineError, Reason, Refusal, advice_text};
pub use key_store::{KeyStore, KeyStoreError};
pub use listeners::{
    CallbackError, DirectoryListener, HostsListener, ItemsListener, LogListener, ScreenListener,
    TableListener, TimelineListener, TopicListener, TransferListener,
};
pub use logging::{LogBatch, LogLevel, LogRecord, log_to_system, subscribe_logs};
pub use preview::{PreviewData, PreviewRow, PreviewScreen};
pub use receipt::SentIntent;
pub use records::*;
pub use runtime::BowlineRuntime;
pub use subscription::{EndReason, Subscription, end_advice, end_text};
pub use transfer::Transfer;

uniffi::setup_scaffolding!("bowline");
