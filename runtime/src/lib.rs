//! The embeddable Bowline client.
//!
//! A [`Runtime`] keeps an app attached to its hosts: it owns the client's identity, the registry of hosts, one
//! driver per host, and an outbox of intents that outlives the process. A UI subscribes to [`Snapshot`]s and
//! sends [`Intent`]s; it has no connect and no disconnect (INV-7).
//!
//! The drivers here decide nothing: they feed the machines of `bowline-machines` and do what those say.

mod blocking;
pub mod client;
mod clock;
mod config;
mod desk;
mod directory;
mod error;
mod host;
mod intent;
#[cfg(feature = "local")]
pub mod local;
mod observe;
mod outbox;
mod pairing;
mod profile;
mod registry;
mod runtime;
mod screen;
mod settings;
mod snapshot;
pub mod storage;
mod timeline;
pub mod transport;

pub use bowline_machines as machines;
pub use bowline_protocol as protocol;

pub use config::RuntimeConfig;
pub use directory::{
    DirectoryRow, DirectorySubscription, HostDirectory, MergedDirectory, RowAgent,
};
pub use error::{CallError, Failure, IntentError, OpenError, PairError};
pub use intent::{Intent, Outcome};
pub use profile::Profile;
pub use registry::HostRecord;
pub use runtime::{Runtime, Submitted};
pub use screen::{ScreenError, ScreenSnapshot, ScreenSubscription, ScreenTarget};
pub use settings::RuntimeSettings;
pub use snapshot::{
    Counters, DirectoryView, ErrorView, HostSnapshot, IntentsView, ProbeView, Snapshot,
    StorageTrouble, StorageView,
};
pub use timeline::{
    ItemList, ListChange, Newer, Older, TimelineDiff, TimelineError, TimelinePosition,
    TimelineStream, TimelineUpdate, TimelineView,
};
