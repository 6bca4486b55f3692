//! Mirror types: each stands for one of the runtime's and is made of it by `From`, for the records of each subject in their own
//! file.

mod agent;
mod config;
mod directory;
mod host;
mod intent;
mod screen;
mod state;
mod timeline;

pub use agent::{AgentStatus, AgentSummary, FailedAgent, LoadFailure, PendingAgent, ProviderInfo};
pub use config::{PlatformEvent, RuntimeConfig};
pub use directory::{DirectoryRow, DirectoryUpdate, HostDirectory};
pub use host::{
    ErrorInfo, HostInfo, HostSnapshot, HostsSnapshot, Path, Probe, StorageInfo, StorageTrouble,
};
pub use intent::{Intent, IntentFailure, IntentOutcome, OutcomeKind};
pub use screen::{Connectivity, Creation, ErrorIndicator, ScreenTarget, ScreenUpdate, Toast};
pub use state::{DirectoryState, HostState};
pub use timeline::{
    FailedMessage, ItemKind, ListChange, Older, OutputStream, PendingMessage, TimelineItem,
    TimelineUpdate, TurnStatus,
};

pub(crate) use directory::directory_update;
pub(crate) use screen::screen_update;
pub(crate) use timeline::timeline_update;

/// A revision as it crosses the boundary: it grows, and wraps after four billion changes.
pub(crate) fn rev(rev: u64) -> u32 {
    u32::try_from(rev & u64::from(u32::MAX)).unwrap_or_default()
}

/// A place or count as it crosses the boundary; no list is that long.
pub(crate) fn small(count: impl TryInto<u32>) -> u32 {
    count.try_into().unwrap_or(u32::MAX)
}

/// Milliseconds since 1970. A double holds them exactly for 285,000 years.
#[allow(clippy::cast_precision_loss, reason = "see above")]
pub(crate) fn millis(at: i64) -> f64 {
    at as f64
}

/// Mirrors an enum without data, variant by variant: one that is added there does not compile here.
macro_rules! mirror {
    ($(#[$doc:meta])* $name:ident of $core:path { $($(#[$variant_doc:meta])* $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, uniffi::Enum)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl From<$core> for $name {
            fn from(core: $core) -> Self {
                use $core as Core;
                match core { $(Core::$variant => Self::$variant,)* }
            }
        }
    };
}
pub(crate) use mirror;
