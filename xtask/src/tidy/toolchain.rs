//! The promised minimum Rust version is two releases behind the pinned one, in every file that
//! names either.

use super::Violation;
use crate::tree::Tree;

/// Releases between the pinned toolchain and the oldest that works.
const BACK: u32 = 2;
const PINNED: &str = "rust-toolchain.toml";
const PROMISED: &str = "Cargo.toml";
const IMAGE: &str = "relay/deploy/Dockerfile";

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let minor = |path: &str, before: &str| {
        let text = tree.text(path).unwrap_or_default();
        let rest = text.split(before).nth(1)?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    };
    let Some(pinned) = minor(PINNED, "channel = \"1.") else {
        return vec![Violation::new(PINNED, 0, "pins no release of Rust 1")];
    };
    let mut found = Vec::new();
    for (path, before, expected) in [
        (PROMISED, "rust-version = \"1.", pinned.saturating_sub(BACK)),
        (IMAGE, "FROM rust:1.", pinned),
    ] {
        if minor(path, before) != Some(expected) {
            let what = format!("should name Rust 1.{expected}, as {PINNED} pins 1.{pinned}");
            found.push(Violation::new(path, 0, what));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_that_lags_behind_the_toolchain_is_found() {
        let files = |promised: &str| {
            let cargo = format!("rust-version = \"{promised}\"\n");
            check(&Tree::of(&[
                (PINNED, "[toolchain]\nchannel = \"1.95.0\"\n"),
                (PROMISED, &cargo),
                (IMAGE, "FROM rust:1.95-slim AS build\n"),
            ]))
        };
        assert_eq!(files("1.93"), []);
        assert_eq!(files("1.95")[0].file, PROMISED);
        assert_eq!(files("1.93.1"), []);
        assert_eq!(check(&Tree::of(&[]))[0].file, PINNED);
    }
}
