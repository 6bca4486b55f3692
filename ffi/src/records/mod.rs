//! Mirror types: each stands for one type of the runtime and converts by `From`. One file per
//! subject.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

mod agent;
mod blob;
mod config;
mod directory;
mod host;
mod intent;
mod list;
mod log;
mod offer;
mod patch;
mod screen;
mod state;
mod table;
mod timeline;
mod topic;

pub use agent::{AgentStatus, AgentSummary, FailedAgent, LoadFailure, PendingAgent, ProviderInfo};
pub use blob::{BlobOf, BlobSink, BlobSource, StoredBlob, TransferProgress, TransferState};
pub use config::{PlatformEvent, RuntimeConfig};
pub use directory::{DirectoryRow, DirectoryUpdate, HostDirectory};
pub use host::{
    ErrorInfo, Grant, HostInfo, HostSnapshot, HostsSnapshot, PairedDevice, Pairing, Path, Probe,
    Role, StorageInfo, StorageTrouble,
};
pub use intent::{Intent, IntentFailure, IntentOutcome, OutcomeKind};
pub use list::ListChange;
pub use log::{JsonItem, LogUpdate, grown_json};
pub use offer::{OfferAddress, OfferHost, OfferInfo, Reach};
pub use patch::{Patch, PatchChange, RowFailure};
pub use screen::{Connectivity, Creation, ErrorIndicator, ScreenTarget, ScreenUpdate, Toast};
pub use state::{DirectoryState, HostState};
pub use table::{MoreRows, TableRow, TableState, TableUpdate};
pub use timeline::{
    FailedMessage, ItemKind, Older, OutputStream, PendingMessage, TimelineItem, TimelineUpdate,
    TurnStatus,
};
pub use topic::{JsonEvent, TopicState, TopicUpdate};

/// Converts a revision for the boundary: it grows, and wraps after four billion changes.
pub(crate) fn rev(rev: u64) -> u32 {
    u32::try_from(rev & u64::from(u32::MAX)).unwrap_or_default()
}

/// Converts a position or count for the boundary; no list is longer than its type allows.
pub(crate) fn small(count: impl TryInto<u32>) -> u32 {
    count.try_into().unwrap_or(u32::MAX)
}

/// Milliseconds since 1970 of the last time that every language and system has, at the end of the
/// year 9999.
const LAST_TIME: i64 = 253_402_300_799_999;
/// The same of the first one: Windows counts from 1601.
const FIRST_TIME: i64 = -11_644_473_600_000;

/// The time that is that many milliseconds after the beginning of 1970; the nearest one if there is
/// no such time everywhere.
pub(crate) fn time(at: i64) -> SystemTime {
    let at = at.clamp(FIRST_TIME, LAST_TIME);
    let away = Duration::from_millis(at.unsigned_abs());
    let time = match at {
        0.. => SystemTime::UNIX_EPOCH.checked_add(away),
        _ => SystemTime::UNIX_EPOCH.checked_sub(away),
    };
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The mirrors of shared values.
pub(crate) fn all<'a, T, M: From<&'a T>>(values: &'a [Arc<T>]) -> Vec<M> {
    values.iter().map(|value| value.as_ref().into()).collect()
}

/// Declares a mirror type and its conversion from the runtime's type: of a record, each field with
/// its value; of an enum, each variant, so that a missing one does not compile. The value in a
/// variant becomes a field.
macro_rules! mirror {
    ($(#[$doc:meta])* $name:ident of $core:tt: $type:ty {
        $($(#[$field_doc:meta])* $field:ident: $field_type:ty = $value:expr,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, uniffi::Record)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $field_type,)*
        }

        impl From<$type> for $name {
            fn from($core: $type) -> Self {
                Self { $($field: $value,)* }
            }
        }
    };
    ($(#[$doc:meta])* $name:ident of $core:path {
        $($(#[$variant_doc:meta])* $variant:ident $({ $(#[$field_doc:meta])* $field:ident: $type:ty $(,)? })?,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, uniffi::Enum)]
        pub enum $name {
            $($(#[$variant_doc])* $variant $({ $(#[$field_doc])* $field: $type })?,)*
        }

        impl From<$core> for $name {
            fn from(core: $core) -> Self {
                use $core as Core;
                match core {
                    $(Core::$variant $(($field))? => Self::$variant $({ $field: $field.into() })?,)*
                }
            }
        }
    };
}
pub(crate) use mirror;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_a_system_or_language_lacks_is_the_nearest_one_that_it_has() {
        let since = |at: i64| match time(at).duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap(),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap(),
        };
        for at in [0, 1, -1, 1_764_500_000_123, FIRST_TIME, LAST_TIME] {
            assert_eq!(since(at), at);
        }
        assert_eq!(since(i64::MAX), LAST_TIME);
        assert_eq!(since(i64::MIN), FIRST_TIME);
    }
}
