//! Wire and disk formats, byte for byte.
//!
//! Two kinds of test. *Golden*: each file in `tests/fixtures/` holds the exact bytes of one family
//! of values; independent clients can test against the same files. `BOWLINE_BLESS=1 cargo test -p
//! bowline-protocol --test wire` rewrites them: review the difference, since it is a change of the
//! protocol. *Property*: every value written by this crate parses to the same value, and any bytes
//! parse to a value or an error.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking; `clippy.toml` excuses only the test functions themselves"
)]

mod arbitrary;
mod events;
mod fixture;
mod handshake;
mod identities;
mod methods;
mod noise;
mod offers;
mod reasons;
mod relay;
mod rpc;
mod samples;
mod vectors;
