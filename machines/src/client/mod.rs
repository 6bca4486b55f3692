//! The decisions of a client: one connection and what passes over it, the choice between several
//! paths, the cursor in the session, the app's intents, queries and blobs, and recurring work.

pub mod commands;
pub mod connection;
pub mod cursor;
pub mod intents;
pub mod paths;
pub mod queries;
pub mod traffic;
pub mod transfers;
pub mod upkeep;
