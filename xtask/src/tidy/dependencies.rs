//! Crates depend only downward, and the pure ones on nothing that does I/O.
//!
//! The rule is a table: a new crate must be entered here before it builds in CI.

use toml::{Table, Value};

use super::Violation;
use crate::tree::Tree;

/// What one crate of the workspace may see.
struct Rule {
    folder: &'static str,
    /// Crates of ours in `[dependencies]`. `None`: all of them.
    may_use: Option<&'static [&'static str]>,
    /// Whether it must stay free of I/O, in its tests too (architecture rule 1).
    pure: bool,
}

const fn rule(folder: &'static str, may_use: &'static [&'static str]) -> Rule {
    Rule {
        folder,
        may_use: Some(may_use),
        pure: false,
    }
}

const fn pure(folder: &'static str, may_use: &'static [&'static str]) -> Rule {
    Rule {
        folder,
        may_use: Some(may_use),
        pure: true,
    }
}

const fn free(folder: &'static str) -> Rule {
    Rule {
        folder,
        may_use: None,
        pure: false,
    }
}

/// The crates that may have unsafe code, and lints of their own for that: our one call of the C library, and what uniffi's
/// macros write.
const UNSAFE: &[&str] = &["heap", "ffi"];

/// From the ground up.
const RULES: &[Rule] = &[
    pure("heap", &[]),
    pure("protocol", &[]),
    pure("machines", &["bowline-protocol"]),
    rule("local", &["bowline-protocol"]),
    rule("program", &["bowline-protocol"]),
    rule("net", &["bowline-protocol"]),
    rule(
        "runtime",
        &[
            "bowline-local",
            "bowline-machines",
            "bowline-net",
            "bowline-protocol",
        ],
    ),
    rule(
        "daemon",
        &[
            "bowline-heap",
            "bowline-local",
            "bowline-machines",
            "bowline-net",
            "bowline-program",
            "bowline-protocol",
        ],
    ),
    rule("relay", &["bowline-program", "bowline-protocol"]),
    rule("ffi", &["bowline-runtime"]),
    rule("ffi/bindgen", &[]),
    rule("cli", &["bowline-program", "bowline-runtime"]),
    free("sim"),
    free("xtask"),
];

/// Crates that a pure crate must not see: with them come sockets, files, threads or clocks.
const IMPURE: &[&str] = &[
    "tokio",
    "hyper",
    "mio",
    "socket2",
    "rusqlite",
    "async-std",
    "smol",
    "futures",
    "rand",
    "chrono",
    "time",
];

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for folder in members(tree, &mut found) {
        let path = format!("{folder}/Cargo.toml");
        let Some(rule) = RULES.iter().find(|rule| rule.folder == folder) else {
            let what = "the crate has no rule; add it to xtask/src/tidy/dependencies.rs";
            found.push(Violation::new(&path, 0, what));
            continue;
        };
        match tree.text(&path).map(str::parse::<Table>) {
            Some(Ok(manifest)) => check_crate(&path, rule, &manifest, &mut found),
            Some(Err(error)) => found.push(Violation::new(&path, 0, error.message())),
            None => found.push(Violation::new(&path, 0, "is missing")),
        }
    }
    found
}

/// The folders of the workspace's members.
fn members(tree: &Tree, found: &mut Vec<Violation>) -> Vec<String> {
    let root: Table = match tree.text("Cargo.toml").unwrap_or_default().parse() {
        Ok(root) => root,
        Err(error) => {
            found.push(Violation::new("Cargo.toml", 0, error.message()));
            return Vec::new();
        }
    };
    let listed = root.get("workspace").and_then(|w| w.get("members"));
    let names = listed.and_then(Value::as_array).into_iter().flatten();
    let names: Vec<_> = names.filter_map(Value::as_str).map(str::to_owned).collect();
    if names.is_empty() {
        found.push(Violation::new("Cargo.toml", 0, "lists no members"));
    }
    names
}

fn check_crate(path: &str, rule: &Rule, manifest: &Table, found: &mut Vec<Violation>) {
    let mut add = |what: String| found.push(Violation::new(path, 0, what));
    let lints = manifest.get("lints").and_then(|l| l.get("workspace"));
    if !UNSAFE.contains(&rule.folder) && lints.and_then(Value::as_bool) != Some(true) {
        add("does not take the workspace's lints (`[lints] workspace = true`)".to_owned());
    }
    for (kind, name) in dependencies(manifest) {
        let of_ours = name.starts_with("bowline-") || name == "xtask";
        let allowed = rule.may_use.is_none_or(|list| list.contains(&name));
        if of_ours && kind != "dev-dependencies" && !allowed {
            let list = rule.may_use.unwrap_or_default().join(", ");
            let may = if list.is_empty() { "none" } else { &list };
            add(format!(
                "must not depend on `{name}` (of ours it may: {may})"
            ));
        }
        let family = |root: &&&str| name == **root || name.starts_with(&format!("{root}-"));
        if rule.pure && IMPURE.iter().any(|root| family(&root)) {
            add(format!("must stay free of I/O: `{name}` in {kind}"));
        }
    }
}

/// Every dependency with the table it stands in, those of `[target.….]` included.
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
        let root = format!("[workspace]\nmembers = [\"{folder}\"]\n");
        let own = format!("{manifest}\n[lints]\nworkspace = true\n");
        let path = format!("{folder}/Cargo.toml");
        let tree = Tree::of(&[("Cargo.toml", &root), (&path, &own)]);
        check(&tree).into_iter().map(|v| v.what).collect()
    }

    #[test]
    fn a_dependency_that_points_upward_is_found_wherever_it_stands() {
        let upward = "bowline-runtime.workspace = true";
        assert_eq!(
            found("daemon", &format!("[dependencies]\n{upward}")).len(),
            1
        );
        let target = format!("[target.'cfg(unix)'.dependencies]\n{upward}");
        assert_eq!(found("daemon", &target).len(), 1);
        let renamed =
            "[dependencies]\nclient = { package = \"bowline-runtime\", path = \"../runtime\" }";
        assert_eq!(found("daemon", renamed).len(), 1);
        assert!(found("daemon", &format!("[dev-dependencies]\n{upward}")).is_empty());
        assert!(found("cli", &format!("[dependencies]\n{upward}")).is_empty());
        assert!(found("sim", &format!("[dependencies]\n{upward}")).is_empty());
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
        let tree = Tree::of(&[
            ("Cargo.toml", "[workspace]\nmembers = [\"sim\"]\n"),
            ("sim/Cargo.toml", "[dependencies]\n"),
        ]);
        assert_eq!(check(&tree).len(), 1);
    }
}
