//! Crates depend only downward, and pure crates depend on nothing that does I/O.
//!
//! The rule is a table: a new crate must be added here before it builds in CI.

use toml::{Table, Value};

use super::Violation;
use crate::tree::Tree;

/// Crates with unsafe code and the lints for it: one call of the C library, and the code generated
/// by uniffi's macros.
const UNSAFE: &[&str] = &["heap", "ffi"];

/// Folders of the crates from the bottom up, and the workspace crates allowed in `[dependencies]`;
/// `None`: all of them.
const RULES: &[(&str, Option<&str>)] = &[
    ("heap", Some("")),
    ("protocol", Some("")),
    ("machines", Some("protocol")),
    ("local", Some("protocol")),
    ("program", Some("protocol")),
    ("net", Some("protocol")),
    ("runtime", Some("local machines net protocol")),
    ("daemon", Some("heap local machines net program protocol")),
    ("agents", Some("daemon program protocol")),
    ("daemon/program", Some("agents daemon")),
    ("relay", Some("machines program protocol")),
    ("ffi", Some("runtime")),
    ("ffi/bindgen", Some("")),
    ("cli", Some("program runtime")),
    ("examples", Some("daemon protocol runtime")),
    ("testkit", None),
    ("bench", None),
    ("xtask", Some("")),
];

/// Crates that stay free of I/O, also in their tests (an invariant of `machines/` and `protocol/`).
const PURE: &[&str] = &["heap", "protocol", "machines"];

/// Crates that a pure crate must not use: they bring sockets, files, threads or clocks.
const IMPURE: &str = "tokio hyper mio socket2 rusqlite async-std smol futures rand chrono time";

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in tree.ending("/Cargo.toml") {
        let mut add = |what: String| found.push(Violation::new(path, 0, what));
        let folder = path.trim_end_matches("/Cargo.toml");
        // A workspace of its own.
        if folder == "fuzz" {
            continue;
        }
        let Some((_, allowed)) = RULES.iter().find(|(name, _)| *name == folder) else {
            add("the crate has no rule; add it to xtask/src/tidy/dependencies.rs".to_owned());
            continue;
        };
        match text.parse() {
            Ok(manifest) => check_crate(folder, *allowed, &manifest, add),
            Err(error) => add(error.message().to_owned()),
        }
    }
    found
}

fn check_crate(folder: &str, allowed: Option<&str>, manifest: &Table, mut add: impl FnMut(String)) {
    let lints = manifest.get("lints").and_then(|l| l.get("workspace"));
    if !UNSAFE.contains(&folder) && lints.and_then(Value::as_bool) != Some(true) {
        add("does not take the workspace's lints (`[lints] workspace = true`)".to_owned());
    }
    for (kind, name) in dependencies(manifest) {
        let ours = name
            .strip_prefix("bowline-")
            .or((name == "xtask").then_some(name));
        if let (Some(ours), Some(allowed)) = (ours, allowed)
            && kind != "dev-dependencies"
            && !allowed.split(' ').any(|one| one == ours)
        {
            add(format!(
                "must not depend on `{name}` (allowed workspace crates: {allowed})"
            ));
        }
        let family = |root: &str| name == root || name.starts_with(&format!("{root}-"));
        if PURE.contains(&folder) && IMPURE.split(' ').any(family) {
            add(format!("must stay free of I/O: `{name}` in {kind}"));
        }
    }
}

/// Every dependency with its table, including those under `[target.….]`.
fn dependencies(manifest: &Table) -> Vec<(&'static str, &str)> {
    const KINDS: [&str; 3] = ["dependencies", "build-dependencies", "dev-dependencies"];
    let targets = manifest.get("target").and_then(Value::as_table);
    let per_target = targets
        .into_iter()
        .flatten()
        .filter_map(|(_, t)| t.as_table());
    let mut all = Vec::new();
    for table in std::iter::once(manifest).chain(per_target) {
        for kind in KINDS {
            let listed = table.get(kind).and_then(Value::as_table);
            all.extend(listed.into_iter().flatten().map(|(key, value)| {
                let package = value.get("package").and_then(Value::as_str);
                (kind, package.unwrap_or(key))
            }));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(folder: &str, manifest: &str) -> Vec<String> {
        let own = format!("{manifest}\n[lints]\nworkspace = true\n");
        let path = format!("{folder}/Cargo.toml");
        let tree = Tree::of(&[(&path, &own)]);
        check(&tree).into_iter().map(|v| v.what).collect()
    }

    #[test]
    fn a_dependency_that_points_upward_is_found_wherever_it_stands() {
        let upward = "bowline-runtime.workspace = true";
        assert_eq!(
            found("daemon", &format!("[dependencies]\n{upward}")).len(),
            1
        );
        let agents = "[dependencies]\nbowline-agents.workspace = true";
        assert_eq!(found("daemon", agents).len(), 1, "nothing below knows them");
        assert!(found("daemon/program", agents).is_empty());
        let target = format!("[target.'cfg(unix)'.dependencies]\n{upward}");
        assert_eq!(found("daemon", &target).len(), 1);
        let renamed =
            "[dependencies]\nclient = { package = \"bowline-runtime\", path = \"../runtime\" }";
        assert_eq!(found("daemon", renamed).len(), 1);
        assert!(found("daemon", &format!("[dev-dependencies]\n{upward}")).is_empty());
        assert!(found("cli", &format!("[dependencies]\n{upward}")).is_empty());
        assert!(found("testkit", &format!("[dependencies]\n{upward}")).is_empty());
    }

    #[test]
    fn a_pure_crate_has_no_tokio_even_in_its_tests() {
        let manifest = "[dev-dependencies]\ntokio.workspace = true";
        assert_eq!(found("machines", manifest).len(), 1);
        let manifest = "[dependencies]\ntokio-util = \"1\"";
        assert_eq!(found("protocol", manifest).len(), 1);
        assert!(found("runtime", manifest).is_empty());
    }

    #[test]
    fn a_crate_without_rule_or_without_the_lints_is_found() {
        assert_eq!(found("gadgets", "").len(), 1);
        let tree = Tree::of(&[("testkit/Cargo.toml", "[dependencies]\n")]);
        assert_eq!(check(&tree).len(), 1);
    }
}
