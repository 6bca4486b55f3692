//! The modules of a crate depend on each other in one direction only.
//!
//! The rule is a list for each crate, from the bottom up: a module uses only those before it, tests
//! excepted. A new module must be added here.

use super::Violation;
use crate::tree::Tree;

/// Source folders with their modules; each may use only those before it.
const ORDERS: &[(&str, &str)] = &[
    (
        "machines/src/",
        "prng effects time transition machine_core backoff stalls liveness socket_health \
         client data daemon relay",
    ),
    (
        "runtime/src/",
        "blocking clock control_slot local observe settings storage error intent receipt transport \
         profile registry offer client snapshot pairing subscription screen live topic directory outbox \
         cache host timeline transfer \
         config runtime",
    ),
    (
        "daemon/src/",
        "blocking clock files executable process identity observe outbound rpc caller store ledger service \
         blobs system config connection listener relay control metrics setup program \
         belonging state_dir obstacle vigil daemon commands",
    ),
    (
        "relay/src/",
        "clock timer scratch stream tls proxies connection_limits rate metrics websocket \
         fuzzing config origins admission socket messages registry parts control session listener relay \
         commands",
    ),
];

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (folder, order) in ORDERS {
        let order: Vec<_> = order.split(' ').collect();
        for (path, text) in tree.ending(".rs") {
            let Some(inside) = path.strip_prefix(folder) else {
                continue;
            };
            let (module, rest) = inside.split_once(['/', '.']).unwrap_or((inside, ""));
            let is_test = rest.ends_with("tests.rs");
            if matches!(module, "lib" | "main" | "bin") || is_test {
                continue;
            }
            let Some(place) = order.iter().position(|known| *known == module) else {
                let what = format!(
                    "`{module}` is not in the order of modules in xtask/src/tidy/modules.rs"
                );
                found.push(Violation::new(path, 0, what));
                continue;
            };
            for (line, used) in uses(text) {
                let above = order.iter().skip(place + 1).any(|later| *later == used);
                if above {
                    let what = format!("`{module}` uses `{used}`, which is above it");
                    found.push(Violation::new(path, line, what));
                }
            }
        }
    }
    found
}

/// The `crate::…` paths used by a file, with line numbers; comments and tests are ignored.
fn uses(text: &str) -> Vec<(usize, String)> {
    let lines = text
        .lines()
        .take_while(|line| !line.starts_with("mod tests {"));
    let code: Vec<_> = lines
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect();
    let code = code.join("\n");
    let mut found = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        let line = code.get(..at).unwrap_or_default().matches('\n').count() + 1;
        let rest = code.get(at + prefix.len()..).unwrap_or_default();
        match rest.strip_prefix('{') {
            Some(group) => found.extend(names(group).into_iter().map(|name| (line, name))),
            None => found.push((line, word(rest))),
        }
    }
    found
}

/// The top-level names of a `use` group after its opening brace.
fn names(group: &str) -> Vec<String> {
    let (mut depth, mut begins, mut found) = (1, true, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' => begins = depth == 1,
            c if begins && !c.is_whitespace() => {
                found.push(word(group.get(at..).unwrap_or_default()));
                begins = false;
            }
            _ => {}
        }
    }
    found
}

/// The identifier at the start of a text.
fn word(text: &str) -> String {
    let letter = |c: &char| *c == '_' || c.is_ascii_alphanumeric();
    text.chars().take_while(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upward_use_and_an_unknown_module_are_found() {
        let tree = Tree::of(&[
            (
                "relay/src/socket.rs",
                "//! crate::session\n#[cfg(test)]\nmod tests;\nuse crate::{\n    clock::{self, Clock},\n    session::{A, B}, stream\n};\n",
            ),
            (
                "relay/src/clock.rs",
                "fn f() { crate::socket::g() }\n#[cfg(test)]\nmod tests {\n    use crate::session::A;\n}\n",
            ),
            ("relay/src/session/data.rs", "use crate::socket::Socket;\n"),
            ("relay/src/session/timer_tests.rs", "use crate::relay::R;\n"),
            ("relay/src/lib.rs", "use crate::relay::R;\n"),
            ("relay/src/new.rs", ""),
        ]);
        let found: Vec<_> = check(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "relay/src/clock.rs:1: `clock` uses `socket`, which is above it",
                "relay/src/new.rs: `new` is not in the order of modules in xtask/src/tidy/modules.rs",
                "relay/src/socket.rs:4: `socket` uses `session`, which is above it",
            ]
        );
    }
}
