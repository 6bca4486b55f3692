//! What crosses a wire or a disk, held to its bytes.
//!
//! Two kinds of test. *Golden*: each file in `tests/fixtures/` holds the exact bytes of one family of values,
//! written once and compared for ever; whoever writes an independent client can test against the same files.
//! `BOWLINE_BLESS=1 cargo test -p bowline-protocol --test wire` rewrites them: review the difference, since it is
//! a change of the protocol. *Property*: whatever this crate writes it reads back, and whatever bytes come in, it
//! answers with a value or an error.

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
