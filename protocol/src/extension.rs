//! Names for the methods and events of services linked into a daemon, kept apart from the
//! protocol's own.

use crate::methods::name;

/// Longest name of a method or event in bytes.
pub const MAX_NAME: usize = 64;

/// First words of names reserved for the protocol, in this version or a later one.
pub const RESERVED_GROUPS: &[&str] = &[
    "agent",
    "agents",
    "audit",
    "blob",
    "blobs",
    "bowline",
    "connection",
    "connections",
    "daemon",
    "device",
    "devices",
    "host",
    "hosts",
    "live",
    "log",
    "logs",
    "pairing",
    "permission",
    "permissions",
    "provider",
    "providers",
    "relay",
    "rpc",
    "session",
    "sessions",
    "system",
    "table",
    "tables",
    "timeline",
    "topic",
    "topics",
];

/// The tables and logs of the protocol's own that clients may follow (`live.open`).
pub const OWN_LIVE: &[&str] = &["agents", "agents.timeline"];

/// The methods of the protocol's own that a service answers which is linked into the daemon, and
/// not the daemon itself.
pub const OWN_METHODS: &[&str] = &[
    name::PROVIDERS_LIST,
    name::AGENTS_LIST,
    name::AGENTS_CREATE,
    name::AGENTS_SEND,
    name::AGENTS_CANCEL,
    name::AGENTS_ARCHIVE,
    name::AGENTS_RESPOND,
    name::AGENTS_HISTORY,
    name::AGENTS_SUBSCRIBE,
    name::AGENTS_UNSUBSCRIBE,
];

/// Whether a text is a name: words of `a-z`, `0-9` and `_`, at least two, joined by dots.
pub fn is_name(text: &str) -> bool {
    let word = |word: &str| {
        word.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            && word.starts_with(|c: char| c.is_ascii_lowercase())
    };
    text.len() <= MAX_NAME && text.contains('.') && text.split('.').all(word)
}

/// Whether a text can name a table, log or topic: one of a service, or of the protocol's own.
pub fn is_live_name(text: &str) -> bool {
    is_name(text) || OWN_LIVE.contains(&text)
}

/// Whether a name is available to a service: well-formed, and not in a reserved group.
pub fn is_extension(name: &str) -> bool {
    let group = name.split('.').next().unwrap_or_default();
    is_name(name) && !RESERVED_GROUPS.contains(&group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SessionEvent, methods::name::ALL};

    #[test]
    fn every_name_of_ours_is_a_name_and_reserved() {
        for name in ALL.iter().chain(SessionEvent::TYPES) {
            assert!(is_name(name), "{name}");
            assert!(!is_extension(name), "{name}");
        }
        assert!(
            RESERVED_GROUPS.is_sorted()
                && RESERVED_GROUPS
                    .iter()
                    .all(|group| is_name(&format!("{group}.x")))
        );
    }

    #[test]
    fn names_have_one_form() {
        for good in ["voxel.add_layer", "a.b", "app2.x.y"] {
            assert!(is_extension(good), "{good}");
        }
        let long = format!("a.{}", "b".repeat(63));
        for bad in [
            "",
            ".",
            "voxel",
            "voxel.",
            ".add",
            "a..b",
            "Voxel.add",
            "voxel.add-layer",
            "voxel.2d",
            "a b.c",
            "é.x",
            &long,
        ] {
            assert!(!is_name(bad) && !is_extension(bad), "{bad}");
        }
        assert!(!is_extension("rpc.discover") && !is_extension("agents.paint"));
    }
}
