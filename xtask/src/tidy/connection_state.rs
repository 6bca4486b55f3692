//! INV-5 and INV-7: connection state exists once, as a machine's state, and apps cannot drive it.

use super::Violation;
use crate::tree::Tree;

/// Names that indicate a second copy of connection state.
const MIRRORS: &[&str] = &[
    "is_connected",
    "isConnected",
    "connected: bool",
    "is_online: bool",
];
/// Folders that are searched.
const FOLDERS: &[&str] = &["machines/src/", "runtime/src/", "cli/src/"];
/// Types held by apps. They render and send intents; they neither open nor close connections.
const FACADES: &[&str] = &["runtime/src/runtime.rs"];
/// Words in the name of a call that drives a connection.
const DRIVING: &[&str] = &["connect", "dial", "attach", "detach", "hang_up"];

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in tree.texts() {
        let mirrored =
            FOLDERS.iter().any(|folder| path.starts_with(folder)) && !path.contains("/tests");
        let facade = FACADES.contains(&path);
        for (n, line) in text.lines().enumerate() {
            if let Some(name) = MIRRORS
                .iter()
                .find(|name| mirrored && line.contains(**name))
            {
                let what = format!(
                    "`{name}` is a second truth about a connection (INV-5): ask the machine"
                );
                found.push(Violation::new(path, n + 1, what));
            }
            if facade && let Some(name) = driving(line) {
                let what = format!("`{name}` lets an app drive a connection (INV-7)");
                found.push(Violation::new(path, n + 1, what));
            }
        }
    }
    found
}

/// The public call on this line, if its name drives a connection.
fn driving(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let rest = line
        .strip_prefix("pub fn ")
        .or_else(|| line.strip_prefix("pub async fn "))?;
    let name = rest.split(['(', '<']).next()?;
    DRIVING
        .iter()
        .any(|word| name.contains(word))
        .then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        check(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn inv_5_a_second_flag_beside_the_machine_is_found() {
        assert_eq!(
            found(
                "runtime/src/host/x.rs",
                "struct X {\n    is_connected: bool,\n}"
            ),
            1
        );
        assert_eq!(found("cli/src/x.rs", "if host.is_connected() {"), 1);
        assert_eq!(
            found(
                "runtime/src/host/x.rs",
                "matches!(state, State::Connected { .. })"
            ),
            0
        );
        assert_eq!(found("daemon/src/x.rs", "is_connected"), 0);
    }

    #[test]
    fn inv_7_a_connect_or_disconnect_for_apps_is_found() {
        assert_eq!(
            found(
                "runtime/src/runtime.rs",
                "    pub async fn disconnect(&self) {}"
            ),
            1
        );
        assert_eq!(
            found("runtime/src/runtime.rs", "    pub fn connect<T>(&self) {}"),
            1
        );
        assert_eq!(
            found("runtime/src/runtime.rs", "    fn reconnect(&self) {}"),
            0
        );
        assert_eq!(
            found("runtime/src/runtime.rs", "    pub fn send(&self) {}"),
            0
        );
    }
}
