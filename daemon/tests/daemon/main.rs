//! The daemon on loopback, driven by clients that share none of its code but the protocol crate.
//!
//! One module a capability. `support` starts daemons and speaks the wire, rightly or wrongly, one
//! step at a time; `rig` does without sockets and drives the ledger itself, `diaries` a service
//! with logs. Agents have their tests in `agents/tests`, and the program `bowline-daemon` has its
//! in `daemon/program/tests`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "a test fails by panicking and prints what it measured"
)]

mod diaries;
mod rig;
mod support;

mod blob_relays;
mod blob_transfers;
mod blobs;
mod blobs_kept;
mod bounds;
mod discover;
mod grants;
mod handshake;
mod identities;
mod intent_answers;
mod ledger_clocks;
mod ledger_intents;
mod ledger_random;
mod ledger_replay;
mod ledger_restored;
mod ledger_services;
mod ledger_sessions;
mod listings;
mod live_logs;
mod live_tables;
mod live_topics;
mod live_wire;
mod local_bounds;
mod local_malformed;
mod local_pool;
mod local_requests;
mod local_socket;
mod log_bounds;
mod log_followers;
mod log_patches;
mod metrics;
mod pairing;
mod pairing_approval;
mod quotas;
mod relay;
mod relay_faults;
mod relay_hostile;
mod relay_tls;
mod requests;
mod revoking;
mod row_patches;
mod services;
mod services_told;
mod session_foreign;
mod table_followers;
mod topic_followers;
