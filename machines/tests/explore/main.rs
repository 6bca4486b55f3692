//! Exhaustive exploration of the machines (BX-7): one module per machine, one explorer for all.

#![allow(clippy::print_stdout, reason = "shown when a test fails")]

mod cached;
mod client;
mod collection;
mod connection;
mod cursor;
mod directory;
mod explorer;
mod host;
mod intents;
mod logs;
mod patches;
mod queries;
mod registration;
mod relay_control;
mod relay_lanes;
mod relay_registry;
mod relay_session;
mod screens;
mod session;
mod timeline;
mod timelines;
mod topics;
mod traffic;
mod upkeep;
