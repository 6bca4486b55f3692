//! The daemon on loopback, driven by clients that share none of its code but the protocol crate.

mod ledger_intents;
mod ledger_replay;
mod ledger_sessions;
mod rig;
