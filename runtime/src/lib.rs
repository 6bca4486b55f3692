//! The embeddable Bowline client.
//!
//! A [`Runtime`] keeps an app attached to its hosts: it owns the client's identity, the registry of
//! hosts, one driver per host, and an outbox of intents that outlives the process. A UI subscribes
//! to [`Snapshot`]s and sends [`Intent`]s; it can neither connect nor disconnect (INV-7).
//!
//! All decisions are made by the machines of `bowline-machines`; drivers feed them and execute
//! their effects.

mod blocking;
mod cache;
pub mod client;
mod clock;
mod config;
mod control_slot;
mod directory;
mod error;
mod host;
mod intent;
mod live;
#[cfg(feature = "local")]
pub mod local;
mod observe;
mod offer;
mod outbox;
mod pairing;
mod profile;
mod receipt;
mod registry;
mod runtime;
mod screen;
mod settings;
mod snapshot;
pub mod storage;
mod subscription;
mod timeline;
mod topic;
mod transfer;
pub mod transport;

pub use bowline_machines as machines;
pub use bowline_protocol as protocol;

pub use bowline_machines::{
    client::paths::HostState,
    data::{
        directory::DirectoryState,
        logs::{Expected, Grown, GrownText, LogGrowth, LogRow, LogView},
        optimistic::IntentFailure,
        patches::{Patch, PatchChange, PatchError, RowFailure},
        screens::ScreenTarget,
        tables::{TableRow, TableState, TableView},
        topics::{Backlog as TopicBacklog, TopicBatch, TopicState, TopicStatus},
        view::{Beyond, ItemList, ListChange, ListDiff, RowList, TimelineDiff, TimelineView},
    },
};
pub use config::RuntimeConfig;
pub use directory::{
    DirectoryRow, DirectorySubscription, HostDirectory, MergedDirectory, RowAgent,
};
pub use error::{CallError, Failure, IntentError, OpenError, PairError, TimelineError};
pub use intent::{Intent, Outcome};
pub use live::LiveError;
pub use offer::{OfferAddress, OfferHost, OfferInfo};
pub use pairing::pair_with;
pub use profile::Profile;
pub use receipt::Receipt;
pub use registry::HostRecord;
pub use runtime::{LogSubscription, Runtime, TableSubscription, ViewSubscription};
pub use screen::{ScreenError, ScreenSnapshot, ScreenSubscription};
pub use settings::RuntimeSettings;
pub use snapshot::PairingSnapshot;
pub use snapshot::{
    Counters, DirectoryView, ErrorView, HostSnapshot, IntentsView, ProbeView, Snapshot,
    StorageTrouble, StorageView,
};
pub use subscription::Subscription;
pub use timeline::{TimelinePosition, TimelineStream, TimelineUpdate};
pub use topic::TopicSubscription;
pub use transfer::{
    Blob, BlobSink, BlobSource, Transfer, TransferError, TransferProgress, TransferState,
};

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
